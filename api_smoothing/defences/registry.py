"""Which defences there are, and loading one by a name with its settings: bundled, or of another package.

    none                   the images as they are
    jpeg-75                JPEG at that quality
    bits-5                 values in so many bits
    denoised               one noisy copy, one use of a denoiser
    diffusion              the same by the bundled diffusion model, in one step
    reverse                its reverse process, in several steps
    guided                 the same, held to the image: guided distribution transfer
    densepure              several reverse processes from one noisy copy, which vote
    smoothing              several noisy copies, each denoised in one step, which vote

Settings follow the name: `jpeg-75` or `jpeg?quality=75`, `guided?sigma=0.2&guidance=20`; of a denoiser's own an "&" is
written %26, as in a URL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final
from urllib.parse import parse_qsl, quote

from api_smoothing.defences.base import Defence, check_defence
from api_smoothing.defences.pixels import Bits, Jpeg, Nothing
from api_smoothing.denoisers import samplers
from api_smoothing.errors import ApiSmoothError, ConfigurationError, unknown

GROUP: Final = "api_smoothing.defences"

#: σ of all that draw noise, chosen on CIFAR-10's test images 500–599.
SIGMA: Final = 0.1
_MODEL: Final = "diffusion-cifar10"

#: The settings of each bundled defence, with their defaults.
OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "none": {},
    "jpeg": {"quality": 75},
    "bits": {"bits": 5},
    "denoised": {"denoiser": "auto", "sigma": SIGMA},
    "diffusion": {"denoiser": _MODEL, "sigma": SIGMA, "copies": 1},
    "reverse": {"denoiser": _MODEL, "sigma": SIGMA, "copies": 1, **samplers.METHODS["multistep"]},
    "guided": {
        "denoiser": _MODEL,
        "sigma": SIGMA,
        "copies": 1,
        "reference": "input",
        **samplers.METHODS["guided"],
    },
    "densepure": {"denoiser": _MODEL, "sigma": SIGMA, **samplers.METHODS["vote"]},
    "smoothing": {"denoiser": "auto", "sigma": SIGMA, "copies": 10},
}
#: How each of them uses the denoiser, where not in one step.
_METHODS: Final = {"reverse": "multistep", "guided": "guided", "densepure": "vote"}
_NUMBERED: Final = {"jpeg": "quality", "bits": "bits"}  # the setting that may stand behind a dash


def names() -> list[str]:
    """The names `load` takes: the bundled ones, then those that other packages add."""
    return [*OPTIONS, *sorted(entry.name for entry in entry_points(group=GROUP) if entry.name not in OPTIONS)]


def load(name: str, *, device: str = "cpu", **options: Any) -> Defence:
    """The defence of that name, with settings behind it or as `options`; networks run on `device`.

    Another package's, of the entry-point group "api_smoothing.defences", is called with the settings, which are text
    where they follow the name, and with `device` where that is not the CPU. Raises ConfigurationError for an unknown
    name or setting, and, naming it, for a plug-in that cannot be loaded or makes no defence; WeightsError for a
    denoiser's weights.
    """
    family, _, words = name.partition("?")
    family, options = _numbered(family, {**dict(parse_qsl(words, keep_blank_values=True)), **options})
    if family in OPTIONS:
        return _bundled(family, _checked(family, options), device)
    for entry in entry_points(group=GROUP):
        if entry.name == family:
            return _of_plugin(entry, {"device": device, **options} if device != "cpu" else options)
    raise ConfigurationError(unknown("defence", family, names()))


def _numbered(family: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    found = re.fullmatch(r"(jpeg|bits)-(\d+)", family)
    if found is None:
        return family, options
    return found[1], {_NUMBERED[found[1]]: int(found[2]), **options}


def _checked(family: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All settings, those `given` of the kind that the defaults have."""
    known = OPTIONS[family]
    for option, value in given.items():
        if option not in known:
            takes = f"; it takes {', '.join(known)}" if known else ", nor any other"
            raise ConfigurationError(f"the defence {family} has no setting {option!r}{takes}")
        samplers.check(option, value)
    return {option: _of_kind(option, given.get(option, value), value) for option, value in known.items()}


def _of_kind(option: str, value: Any, default: Any) -> Any:
    """What is given as text becomes a number where a number is meant."""
    is_text = isinstance(value, str) and not isinstance(default, str)
    return samplers.value_of(option, value, default) if is_text else value


def _bundled(family: str, options: dict[str, Any], device: str) -> Defence:
    if family == "none":
        return Nothing()
    if family == "jpeg":
        return Jpeg(quality=options["quality"])
    if family == "bits":
        return Bits(bits=options["bits"])
    from api_smoothing.defences.denoised import Denoised

    changed = [
        f"{option}={quote(str(value), safe='/?=')}"
        for option, value in options.items()
        if value != OPTIONS[family][option]
    ]
    denoiser, sigma, copies = options.pop("denoiser"), options.pop("sigma"), options.pop("copies", 1)
    reference = options.pop("reference", "input")
    if family in _METHODS:
        if not isinstance(denoiser, str):
            raise ConfigurationError(
                f"the defence {family} takes a denoiser's name or path; of an object make a defences.Denoised"
            )
        words = "&".join(f"{option}={value}" for option, value in options.items())
        denoiser = f"{denoiser}{'&' if '?' in denoiser else '?'}method={_METHODS[family]}&{words}"
    return Denoised(
        name="?".join([family, "&".join(changed)] if changed else [family]),
        denoiser=denoiser,
        sigma=sigma,
        copies=copies,
        reference=reference,
        device=device,
    )


def _of_plugin(entry: EntryPoint, options: Mapping[str, Any]) -> Defence:
    """What the plug-in makes. Raises ConfigurationError, naming it, for whatever it raises itself."""
    who = f"the defence {entry.name} ({entry.value})"
    try:
        made = entry.load()(**options)
        return check_defence(made, who)
    except ApiSmoothError:
        raise
    except Exception as error:  # a plugin may raise anything
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigurationError(f"{who} cannot be loaded: {why}; repair or uninstall its package") from error
