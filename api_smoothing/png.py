"""PNG out: the one format every provider takes that sends the 8-bit values unchanged."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"


def encode_png(image: NDArray[np.uint8], *, level: int = 0) -> bytes:
    """An RGB PNG of `image`, uint8 (H, W, 3); lossless.

    Level 0 stores the values as they are: noise hardly compresses, and storing is many times faster. Levels
    1–9 trade time for bytes where the upload is the bottleneck.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"encode_png takes uint8 (H, W, 3), not {image.dtype} {image.shape}")
    height, width, _ = image.shape
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)  # each row starts with its filter: 0, none
    rows[:, 1:] = image.reshape(height, 3 * width)
    header = _chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
    return b"".join((_SIGNATURE, header, _chunk(b"IDAT", zlib.compress(rows.data, level)), _END))


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(data, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", check)))
