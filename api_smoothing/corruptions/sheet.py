"""A contact sheet: one image under every corruption at every severity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from api_smoothing.corruptions.corrupt import NAMES, SEVERITIES, apply
from api_smoothing.images import ImageLike, load

_MARGIN, _LINE = 118, 14


def contact_sheet(img: ImageLike, *, cell: int = 96, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 (H, W, 3): a row for each corruption; the image as it is, then severities 1 to 5.

    Each is `cell` pixels wide, or as high as twice that, if it is more than twice as high as wide.
    """
    image = load(img)
    reach = min(cell / image.size[1], 2 * cell / image.size[0])
    height, width = (max(1, round(side * reach)) for side in image.size)
    pitch = max(height, _LINE)  # of the rows, which have names
    columns = 1 + len(SEVERITIES)
    sheet = Image.new("RGB", (_MARGIN + columns * cell, _LINE + len(NAMES) * pitch), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for column in range(columns):
        pen.text((_MARGIN + column * cell + 4, 0), str(column or "original"), "black", font)
    original = np.rint(image.grid / image.sub).astype(np.uint8)
    for row, name in enumerate(NAMES):
        top = _LINE + row * pitch
        pen.text((4, top + pitch // 2 - 7), name, "black", font)
        pictures = [original, *(apply(image, name, severity, seed=seed) for severity in SEVERITIES)]
        for column, pixels in enumerate(pictures):
            small = Image.fromarray(pixels).resize((width, height), _filter(pixels, width))
            sheet.paste(small, (_MARGIN + column * cell, top))
    return np.asarray(sheet)


def _filter(pixels: NDArray[np.uint8], width: int) -> Image.Resampling:
    return Image.Resampling.NEAREST if pixels.shape[1] <= width else Image.Resampling.LANCZOS
