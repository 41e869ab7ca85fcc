"""The commitment: what is asked of which images, in which order, at what price, written before the first query."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from api_smoothing.certify import Spec
from api_smoothing.errors import ConfigurationError
from api_smoothing.runs import COMMITMENT, PLANNED, RunFile, canonical


def commit(
    run: RunFile,
    images: Sequence[Mapping[str, Any]],
    *,
    spec: Spec,
    price_usd: float,
    radii: Sequence[float] = (),
    paths: int = 1,
    ordered: bool = True,
) -> None:
    """Bind `run` to its settings (those of the header, the seed's label among them), its plan and its `images`.

    Each of `images` has `id`, `path`, `truth` and `image_sha256`, as its certificate will (`SmoothedAPI.digest`; None
    of an image that cannot be read). `radii` are read together from one image's votes. `price_usd` is that of a query,
    of which a vote takes `paths`. Without `ordered` the images may be done in any order.

    Of a run that goes on nothing is written but what is missing. Raises ConfigurationError where the file is bound to
    something else, or has lines from before it was.
    """
    plan = {
        "rule": spec.rule,
        "radius": spec.radius,
        "radii": list(radii),
        "n": spec.n,
        "n0": (spec.most or 0) - (spec.n or 0),
        "alpha": spec.alpha,
        "sigma": spec.sigma,
        "noise": spec.noise,
        "paths": paths,
    }
    lines = [
        {
            "schema": PLANNED,
            "number": number,
            **{name: image.get(name) for name in ("id", "path", "truth", "image_sha256")},
        }
        for number, image in enumerate(images)
    ]
    digest = hashlib.sha256(b"".join(canonical(line) + b"\n" for line in lines)).hexdigest()
    facts = {
        "schema": COMMITMENT,
        "plan": plan,
        "price_usd": price_usd,
        "ordered": ordered,
        "items": len(lines),
        "items_sha256": digest,
    }
    if run.commitment is None:
        run.append_line({**facts, "created": _now()}, sync=False)
    else:
        for name, value in facts.items():
            if run.commitment.get(name) != value:
                raise ConfigurationError(
                    f"{run.path} is bound to {_told(name, run.commitment.get(name))}, this run has "
                    f"{_told(name, value)}; choose another file"
                )
    for line in lines[run.planned :]:
        run.append_line(line, sync=False)
    run.flush()


def finish(run: RunFile, *, seconds: float, left: int = 0, **facts: Any) -> None:
    """End a run: `left` counts the last images, in order, that it did not come to; `facts` may say why."""
    run.append_line(
        {"schema": "api-smooth/finished/1", "created": _now(), "seconds": seconds, "left": left, **facts}
    )


def _told(name: str, value: object) -> str:
    return "other images, or another order of them" if name == "items_sha256" else f"{name} = {value}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
