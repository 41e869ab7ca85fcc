"""One image corrupted by name and severity, the same every time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from api_smoothing.corruptions import blurs, digital, noises, weather
from api_smoothing.datasets.base import DataSet, Example
from api_smoothing.errors import ConfigurationError, unknown
from api_smoothing.images import ImageLike, Loaded, load

Pixels = NDArray[np.float64]
#: (image (H, W, 3) in [0, 1], severity 1 to 5, length of a pixel of CIFAR-10 in pixels, random draws) → image.
Corruption = Callable[[Pixels, int, float, np.random.RandomState], Pixels]

_ALL: Final[Mapping[str, Corruption]] = {
    "gaussian_noise": noises.gaussian_noise,
    "shot_noise": noises.shot_noise,
    "impulse_noise": noises.impulse_noise,
    "defocus_blur": blurs.defocus_blur,
    "glass_blur": blurs.glass_blur,
    "motion_blur": blurs.motion_blur,
    "zoom_blur": blurs.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
}
#: The corruptions, in the order and under the names of CIFAR-10-C's files.
NAMES: Final = tuple(_ALL)
SEVERITIES: Final = (1, 2, 3, 4, 5)
_LABEL: Final = b"api-smooth corruption 1\0"
_ARITHMETIC: Final = 1e-6  # of an 8-bit level: what floating point may fall short of a whole one


def corrupt(img: ImageLike, name: str, severity: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """`img` corrupted: uint8 (H, W, 3), of the size of `img`. Values between levels are cut off, as CIFAR-10-C's are.

    `img` is what `images.load` takes. Chance is a function of the image's digest, `name` and `seed` alone: one image
    has the same flakes or the same direction at every severity. The severities are made for 32×32 pixels. In larger
    images what is a length there (a blur, a shift, a flake) grows with the shorter side; noise stays that of a pixel,
    JPEG its quality, pixelate its ratio. Raises ConfigurationError for an unknown name or severity, ImageError for what
    is no image.
    """
    check(name, severity)
    return apply(load(img), name, severity, seed=seed)


def apply(image: Loaded, name: str, severity: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """`corrupt` for an image that is loaded, of a name and severity that are checked."""
    pixels = image.grid / (255.0 * image.sub)
    scale = max(1.0, min(image.size) / 32.0)
    done = _ALL[name](pixels, severity, scale, draws(image.digest, name, seed))
    return (np.clip(done, 0.0, 1.0) * 255.0 + _ARITHMETIC).astype(np.uint8)


def corrupted(dataset: DataSet, name: str, severity: int, *, seed: int = 0) -> DataSet:
    """The data set with every image corrupted, when it is read. Ids, labels and order stay."""
    check(name, severity)
    examples = tuple(
        Example(id=e.id, image=partial(_read, e, name, severity, seed), truth=e.truth) for e in dataset
    )
    return replace(dataset, name=f"{dataset.name} ({name} {severity})", examples=examples)


def check(name: str, severity: int) -> None:
    """Raise ConfigurationError unless there is such a corruption and severity."""
    if name not in _ALL:
        raise ConfigurationError(unknown("corruption", name, NAMES))
    if isinstance(severity, bool | float) or severity not in SEVERITIES:
        raise ConfigurationError(f"severity must be a whole number from 1 to 5, not {severity!r}")


def named(words: Iterable[str], severities: Sequence[int] = SEVERITIES) -> list[tuple[str, int]]:
    """(corruption, severity) of words such as "fog:3", "fog" at all of `severities`, "all" and "all:2"; each once.

    Raises ConfigurationError for what is no such corruption or severity.
    """
    found: dict[tuple[str, int], None] = {}
    for word in words:
        name, colon, level = word.strip().partition(":")
        if colon and not level.isdecimal():
            raise ConfigurationError(f"the severity in {word!r} must be a whole number from 1 to 5, as fog:3")
        for one in NAMES if name == "all" else (name,):
            for severity in [int(level)] if colon else severities:
                check(one, severity)
                found[one, severity] = None
    return list(found)


def draws(digest: bytes, name: str, seed: int) -> np.random.RandomState:
    """The random numbers of one image and corruption. NumPy keeps this generator's streams as they are (NEP 19)."""
    key = hashlib.sha256(_LABEL + digest + name.encode() + b"\0" + str(seed).encode()).digest()
    return np.random.RandomState(np.frombuffer(key, dtype="<u4").astype(np.uint32))


def _read(example: Example, name: str, severity: int, seed: int) -> Any:
    return corrupt(example.read(), name, severity, seed=seed)
