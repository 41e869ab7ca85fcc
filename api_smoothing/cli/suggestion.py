"""Which σ would have done better for an image that abstained, found out on this machine."""

from __future__ import annotations

from pathlib import Path

from api_smoothing.cli.settings import Settings
from api_smoothing.cli.smoothing import complain, open_adapter
from api_smoothing.errors import ApiSmoothError
from api_smoothing.results import Certificate


def is_open(done: Certificate) -> bool:
    """Whether the answers about a label prove nothing, and no further ones at the same σ are likely to."""
    return (
        done.label is None
        and done.kind == "label"
        and done.stopped in ("n", "futile")
        and done.n > 0
        and "n" not in done.extra.get("hint", {})  # at the same σ; of another one a rehearsal says more
        and done.denoiser is not None
        and Path(done.image).is_file()
    )


def suggestion(done: Certificate, settings: Settings, *, sandbox: bool) -> str:
    """In words, what a free run of the sandbox's classifier suggests for the image of `done`."""
    from api_smoothing.stand_in import suggest

    complain("trying other σ on this machine, free …")
    of = {"size": settings.size, "denoiser": settings.denoiser, "device": settings.device}
    try:
        with open_adapter(settings, sandbox=sandbox, sends=False) as adapter:
            found = suggest(done.image, done, adapter=adapter, labels=settings.labels, **of)
    except ApiSmoothError as error:  # the certificate is made, whatever becomes of this
        return f"other σ could not be tried: {error}"
    return "no other σ is likely to certify more" if found is None else str(found)
