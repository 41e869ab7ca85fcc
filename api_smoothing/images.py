"""An image as it enters the noise: whole numbers on a grid, their digest, and the way back to the original's
radius.

An 8-bit image that is not resized is its own grid (`sub` = 1), exactly. Everything else is put on the grid of
step 1/(255·256), not back on 8 bits: rounding is charged against the radius, and at 224×224×3 the 8-bit
charge, up to √d/255 = 1.52 in the worst case, would leave no radius at all; on the fine grid it is about
0.005.
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .decode import MAX_PIXELS, ImageLike, decode, is_open_file
from .errors import ConfigurationError
from .original import Original
from .png import encode_png
from .resize import cover

__all__ = ["LATER", "MAX_PIXELS", "ImageLike", "Later", "Loaded", "as_list", "encode_png", "load"]

FINE = 256
_LABEL = b"api-smooth image 1\0"
_ARITHMETIC = 1e-6  # grid steps; float64 errs below 1e-7 of a fine step in T(x)


class Later(Enum):
    """In place of an image that is not there yet: it is asked for again."""

    LATER = auto()


LATER: Final = Later.LATER


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loaded:
    """One image ready for the noise.

    `grid` is int32 (H, W, 3), read-only, in units of 1/(255·sub); `digest` is the SHA-256 of its shape, `sub`
    and values. `original` and `original_size`, (h, w), are the kind and the upright sides of the image that was
    read, the space of `radius_original`. `operator_norm` bounds ‖T‖₂ of all that was done to it, the way to three
    channels included, and is inf where nothing does; `rounding` is the ℓ2 distance charged for leaving T(x), in
    [0,1] units. They are 1 and 0 for an 8-bit RGB image used as it is. The `_l1` twins are for ℓ1 certificates.
    """

    grid: NDArray[np.int32]
    sub: int
    digest: bytes
    original: Original
    original_size: tuple[int, int]
    source: str
    operator_norm: float
    rounding: float
    operator_norm_l1: float
    rounding_l1: float

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image as it enters the noise."""
        return self.grid.shape[0], self.grid.shape[1]

    def radius_original(self, radius: float, norm: str = "l2") -> float:
        """The radius certified in the original image when `radius` is certified around `grid`; both in [0,1]
        units.

        Let z = round(Tx) be the grid and z′ = round(Tx′) that of a perturbed original. Then ‖z′ − z‖ ≤
        ‖round(Tx′) − Tx′‖ + ‖T‖·‖x′ − x‖ + ‖Tx − round(Tx)‖: half a grid step for each value of the first
        term, the residual of this very image for the last. So ‖x′ − x‖ ≤ (radius − rounding)/‖T‖ suffices.
        Perturbed originals are of the same kind: grey if this one is grey, 8-bit if it is 8-bit, of the same size.
        It is 0 where no distance between originals bounds that in the noise: `original.unbounded` says why.
        """
        if norm == "l2":
            charge, stretch = self.rounding, self.operator_norm
        elif norm == "l1":
            charge, stretch = self.rounding_l1, self.operator_norm_l1
        else:
            raise ConfigurationError(f"no radius in the norm {norm!r} is carried back: ask for l2 or l1")
        if charge == 0.0 and stretch == 1.0:
            return max(0.0, radius)
        return max(0.0, (radius - charge) / stretch * (1.0 - 1e-12))


def load(img: ImageLike, *, size: int | tuple[int, int] | None = None, sub: int | None = None) -> Loaded:
    """Read `img`, bring it to `size`, and put it on the grid; raise `ImageError` in one line if it cannot be
    read.

    `img` is a path, `bytes`, an open file, `PIL.Image`, numpy uint8 or uint16 or float-in-[0,1] array (H, W, 3) or
    (H, W), or a torch tensor (3, H, W). `size` is (H, W), or one side for a square: the image is scaled, antialiased,
    until it covers that, and its centre is kept; None leaves it. `sub` overrides the grid: by default 1 where
    an 8-bit image needs no resize, and 256 otherwise. Values are never clipped, as T keeps them in [0,1].
    """
    pixels = decode(img)
    height, width = pixels.values.shape[:2]
    resize = cover((height, width), _target(size) or (height, width))
    exact = resize.is_selection and pixels.peak == 255.0
    if sub is None:
        sub = 1 if exact else FINE
    elif not 1 <= sub <= 65536:
        raise ConfigurationError(f"sub must be a whole number from 1 to 65536, not {sub!r}")
    steps = 255 * sub
    if exact:
        grid, charge, charge_l1 = resize.select(pixels.values).astype(np.int32) * np.int32(sub), 0.0, 0.0
    else:
        grid, charge, charge_l1 = _round(resize.apply(pixels.values) * steps / pixels.peak)
    grid.setflags(write=False)
    shape = struct.pack("<4I", *grid.shape, sub)
    return Loaded(
        grid=grid,
        sub=sub,
        digest=hashlib.sha256(_LABEL + shape + grid.astype("<i4", copy=False).tobytes()).digest(),
        original=pixels.original,
        original_size=(height, width),
        source=pixels.source,
        operator_norm=resize.norm * pixels.original.norm,
        rounding=charge / steps,
        operator_norm_l1=resize.norm_l1 * pixels.original.norm_l1,
        rounding_l1=charge_l1 / steps,
    )


def _round(levels: NDArray[np.float64]) -> tuple[NDArray[np.int32], float, float]:
    """The nearest grid values; ℓ2 and ℓ1 charges in grid steps: the residual, and half a step a value."""
    grid = np.floor(levels + 0.5)
    residual = levels - grid
    half = 0.5 + _ARITHMETIC
    charge = float(np.linalg.norm(residual)) + math.sqrt(levels.size) * half
    return grid.astype(np.int32), charge, float(np.abs(residual).sum()) + levels.size * half


def as_list(imgs: ImageLike | Iterable[ImageLike]) -> list[ImageLike]:
    """One image or several, as a list; an array, a tensor or an open file is one image, whatever its shape."""
    one = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray)
    if isinstance(imgs, one) or is_open_file(imgs) or hasattr(imgs, "detach"):
        return [imgs]  # type: ignore[list-item]
    return list(imgs)


def _target(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    if not (1 <= height <= 8192 and 1 <= width <= 8192):
        raise ConfigurationError(f"size must be sides of 1 to 8192 pixels, not {size!r}")
    return height, width
