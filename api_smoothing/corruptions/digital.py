"""What cameras and programs do: contrast, bending, coarse pixels, JPEG."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

Pixels = NDArray[np.float64]

_CONTRAST: Final = (0.75, 0.5, 0.4, 0.3, 0.15)
#: Size of the shifts, σ of their smoothing, size of the corners' shifts: in parts of the image's side.
_ELASTIC: Final = (
    (0.0, 0.0, 0.08),
    (0.05, 0.2, 0.07),
    (0.08, 0.06, 0.06),
    (0.1, 0.04, 0.05),
    (0.1, 0.03, 0.03),
)
_PIXELATE: Final = (0.95, 0.9, 0.85, 0.75, 0.65)
_QUALITY: Final = (80, 65, 58, 50, 40)


def contrast(x: Pixels, severity: int, scale: float, random: RandomState) -> Pixels:
    """Each channel drawn towards its mean."""
    mean: Pixels = x.mean(axis=(0, 1), keepdims=True)
    return mean + (x - mean) * _CONTRAST[severity - 1]


def elastic_transform(x: Pixels, severity: int, scale: float, random: RandomState) -> Pixels:
    """An affine map that moves three points a little, then a smooth random shift of every pixel."""
    side = min(x.shape[:2])
    shift, smooth, corners = (part * side for part in _ELASTIC[severity - 1])
    shift *= scale  # smoothing over more pixels leaves less of their noise
    x = _affine(x, random.uniform(-corners, corners, (3, 2)))
    noise = random.uniform(-1.0, 1.0, (2, *x.shape[:2]))
    across, down = (shift * gaussian_filter(one, smooth, mode="reflect", truncate=3.0) for one in noise)
    rows, columns = np.mgrid[: x.shape[0], : x.shape[1]]
    return _sampled(x, rows + down, columns + across, "reflect")


def _affine(x: Pixels, moves: Pixels) -> Pixels:
    """Three points around the centre, (x, y), moved by `moves`; each pixel takes what was where it comes from."""
    height, width = x.shape[:2]
    centre, reach = np.array([width // 2, height // 2], dtype=np.float64), min(height, width) // 3
    before = centre + reach * np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    if reach == 0:  # an image of a few pixels has no such points
        return x
    after = before + moves
    back = np.linalg.solve(np.column_stack([after, np.ones(3)]), before)  # rows: (x, y, 1) → (x, y)
    rows, columns = np.mgrid[:height, :width]
    from_x = columns * back[0, 0] + rows * back[1, 0] + back[2, 0]
    from_y = columns * back[0, 1] + rows * back[1, 1] + back[2, 1]
    return _sampled(x, from_y, from_x, "mirror")


def _sampled(x: Pixels, rows: Pixels, columns: Pixels, edge: str) -> Pixels:
    channels = [map_coordinates(x[:, :, c], [rows, columns], order=1, mode=edge) for c in range(x.shape[2])]
    return np.stack(channels, axis=2)


def pixelate(x: Pixels, severity: int, scale: float, random: RandomState) -> Pixels:
    """Fewer pixels, and back, by means over boxes."""
    height, width = x.shape[:2]
    ratio = _PIXELATE[severity - 1]
    fewer = max(1, int(width * ratio)), max(1, int(height * ratio))
    small = _picture(x).resize(fewer, Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BOX), dtype=np.float64) / 255.0


def jpeg_compression(x: Pixels, severity: int, scale: float, random: RandomState) -> Pixels:
    """Written as JPEG with Pillow's usual subsampling, and read again; the last bit is libjpeg's."""
    file = io.BytesIO()
    _picture(x).save(file, "JPEG", quality=_QUALITY[severity - 1])
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"), dtype=np.float64) / 255.0


def _picture(x: Pixels) -> Image.Image:
    return Image.fromarray(np.rint(x * 255.0).astype(np.uint8))
