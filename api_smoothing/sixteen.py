"""The whole 16 bits of colour images, of which Pillow keeps the high bytes.

Its unpackers take one byte of two, the high one in the order of bytes they are told. Told the other order they take
the low one: a file read twice gives both. Grey with alpha, which has one order only, is read as four bytes a pixel.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

_NATIVE: Final = "L" if sys.byteorder == "little" else "B"
_OTHER: Final = {"L": "B", "B": "L"}


def sixteen_bits(image: Image.Image, again: Callable[[], Image.Image]) -> NDArray[np.uint16] | None:
    """The upright values (H, W, 2 to 4) of an image just opened, `again` opened anew; None where they have 8 bits.

    Also None for grey alone, which Pillow keeps whole, and for colour that lies in the file in a way not known here.
    """
    layouts = {_layout(tile) for tile in getattr(image, "tile", ())}
    layout = next(iter(layouts)) if len(layouts) == 1 else None
    name, _, order = (layout or "").partition(";16")
    if name not in ("RGB", "RGBA", "LA") or order not in ("L", "B", "N"):
        return None
    if image.mode not in ((name,) if name != "LA" else ("LA", "RGBA")):  # PNG's comes as RGBA
        return None
    with again() as other:
        if name == "LA":
            if order != "B":
                return None
            other._mode = "RGBA"
            other.tile = [_told(tile, "RGBA") for tile in other.tile]  # type: ignore[attr-defined]
            raw = np.asarray(ImageOps.exif_transpose(other)).astype(np.uint16)
            return raw[:, :, ::2] * np.uint16(256) + raw[:, :, 1::2]
        swapped = f"{name};16{_OTHER[_NATIVE if order == 'N' else order]}"
        other.tile = [_told(tile, swapped) for tile in other.tile]  # type: ignore[attr-defined]
        low = np.asarray(ImageOps.exif_transpose(other)).astype(np.uint16)
    return np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16) * np.uint16(256) + low


def _layout(tile: Any) -> str | None:
    """How the pixels of a tile lie in the file, in Pillow's words."""
    arguments = tile[3]
    found = arguments if isinstance(arguments, str) else next(iter(arguments or ()), None)
    return found if isinstance(found, str) else None


def _told(tile: Any, layout: str) -> Any:
    """The tile with another word for how its pixels lie."""
    arguments = layout if isinstance(tile[3], str) else (layout, *tile[3][1:])
    return type(tile)(*tile[:3], arguments)
