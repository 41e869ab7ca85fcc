"""The images of a request as a service reads them: format and sides first, pixels only once those are allowed."""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from api_smoothing.decode import decode
from api_smoothing.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image file whose header was read: its format ("PNG", "JPEG", …) and its sides in pixels."""

    format: str
    height: int
    width: int
    _image: PilImage

    @property
    def smaller(self) -> int:
        """The shorter side."""
        return min(self.height, self.width)

    @property
    def larger(self) -> int:
        """The longer side."""
        return max(self.height, self.width)

    def pixels(self) -> NDArray[np.uint8]:
        """RGB values (H, W, 3), upright, transparency on white. Raises ImageError for damaged or huge files."""
        found = decode(self._image)
        if found.values.dtype == np.uint8:
            return found.values
        return np.rint(found.values * (255.0 / found.peak)).astype(np.uint8)


def open_picture(data: bytes, formats: Collection[str]) -> Picture:
    """Read the header of an image file in one of Pillow's `formats`. Raises ImageError for anything else."""
    try:
        image = Image.open(io.BytesIO(data), formats=list(formats))
    except Exception as error:  # decoders of hostile files raise anything, Pillow's bomb error among it
        raise ImageError(f"not an image in one of the formats {', '.join(formats)}") from error
    width, height = image.size
    return Picture(format=image.format or "", height=height, width=width, _image=image)
