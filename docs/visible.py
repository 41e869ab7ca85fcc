"""Draws docs/visible.svg, what an ℓ2 radius means to the eye: `python docs/visible.py`.

The cat of the README at 32×32 and at 224×224 (of which a piece is shown, as large), changed by exactly so much: spread
over all pixels with random signs, and gathered in as few as hold it. Beside them the noise of a certificate, for scale.
Pixels are those of an 8-bit file, so every norm is that of a change one could send.
"""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RADII, SIGMA = (0.25, 0.5, 1.0), 0.25
SIDES = {32: (0, 0, 32), 224: (44, 82, 64)}  # the side, and (row, column, side) of what is shown of it
INK, SOFT, LINE, PAPER = "#1f2933", "#66727f", "#9aa5b1", "#ffffff"
Pixels = NDArray[np.uint8]


def norm(changed: Pixels, image: Pixels) -> float:
    """The ℓ2 distance in units of [0,1] pixels."""
    return float(np.sqrt(np.sum((changed.astype(float) - image) ** 2))) / 255


def spread(image: Pixels, radius: float) -> Pixels:
    """`image` with every value up or down by one level or two neighbouring ones, at most `radius` away in all."""
    draw = np.random.default_rng(7)
    squares = (radius * 255) ** 2  # the sum of squares there is
    level = int(math.sqrt(squares / image.size))
    higher = int((squares - image.size * level**2) // (2 * level + 1))  # so many take one level more
    steps = np.full(image.size, level)
    steps[draw.permutation(image.size)[:higher]] += 1
    signs = draw.choice([-1, 1], image.size)
    flat = image.reshape(-1).astype(int)
    inside = (flat + signs * steps >= 0) & (flat + signs * steps <= 255)
    return (flat + np.where(inside, signs, -signs) * steps).astype(np.uint8).reshape(image.shape)


def gathered(image: Pixels, radius: float, at: tuple[int, int]) -> Pixels:
    """`image` with pixels about `at` taken to black or white, whichever is farther, until `radius` is used up."""
    left, out = (radius * 255) ** 2, image.astype(int)
    rows, columns = np.indices(image.shape[:2])
    near = np.argsort(((rows - at[0]) ** 2 + (columns - at[1]) ** 2).ravel(), kind="stable")
    for place in near:
        pixel = out[np.unravel_index(place, image.shape[:2])]
        for channel in range(3):
            step = min(int(math.sqrt(left)), int(max(pixel[channel], 255 - pixel[channel])))
            pixel[channel] += step if pixel[channel] + step <= 255 else -step
            left -= step**2
        if left < 1:
            break
    return out.astype(np.uint8)


def noisy(image: Pixels) -> Pixels:
    """`image` under the noise of a certificate, as a service would get it without a denoiser."""
    noise = np.random.default_rng(7).normal(0, SIGMA * 255, image.shape)
    return np.clip(np.round(image + noise), 0, 255).astype(np.uint8)


def photograph(side: int) -> Pixels:
    """The cat as it enters the noise, on the 8-bit grid."""
    from skimage import data

    from api_smoothing import images
    from api_smoothing.noise import to_uint8

    loaded = images.load(data.chelsea(), size=side)
    return to_uint8(loaded.grid, loaded.sub)


def rows() -> list[tuple[str, str, list[tuple[str, Pixels]]]]:
    """(side, kind of change, its pictures with what stands below them)."""
    found = []
    for side, (top, left, shown) in SIDES.items():
        image = photograph(side)
        middle = (top + shown // 2, left + shown // 2)
        piece = np.s_[top : top + shown, left : left + shown]
        for kind in ("spread over all pixels", "gathered in a few"):
            pictures = [("as it is", image[piece])]
            for radius in RADII:
                changed = (
                    spread(image, radius) if kind.startswith("spread") else gathered(image, radius, middle)
                )
                count = int(np.any(changed != image, axis=2).sum())
                pictures.append((f"{norm(changed, image):.2f}, in {count:,} pixels", changed[piece]))
            if kind.startswith("spread"):
                length = SIGMA * math.sqrt(image.size)
                pictures.append((f"noise, σ = {SIGMA:g}: about {length:.0f}", noisy(image)[piece]))
            where = "" if shown == side else f", {shown}×{shown} of it shown"
            found.append((f"{side}×{side}{where}", kind, pictures))
    return found


def picture(pixels: Pixels, x: float, y: float, side: float) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    text = base64.b64encode(file.getvalue()).decode()
    return (
        f"<image x='{x}' y='{y}' width='{side}' height='{side}' style='image-rendering:pixelated' "
        f"href='data:image/png;base64,{text}'/>"
        f"<rect x='{x}' y='{y}' width='{side}' height='{side}' fill='none' stroke='{LINE}'/>"
    )


def text(x: float, y: float, words: str, *, size: int = 13, color: str = INK, anchor: str = "middle") -> str:
    look = (
        f"font-size='{size}' fill='{color}' text-anchor='{anchor}' font-family='Helvetica,Arial,sans-serif'"
    )
    return f"<text x='{x}' y='{y}' {look}>{words}</text>"


def main() -> None:
    tile, step, down, start = 160, 176, 214, 16
    found = rows()
    width, height = start + 5 * step, len(found) * down + 20
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' role='img' aria-labelledby='t'>",
        "<title id='t'>A cat at two sizes, unchanged and changed by an ℓ2 norm of 0.25, 0.5 and 1, spread over all "
        "pixels and gathered in a few, beside the noise of a certificate.</title>",
        f"<rect width='{width}' height='{height}' rx='10' fill='{PAPER}'/>",
    ]
    for number, (side, kind, pictures) in enumerate(found):
        y = number * down + 14
        parts.append(text(start, y + 14, f"{side}; the change {kind}", anchor="start"))
        for column, (below, pixels) in enumerate(pictures):
            x = start + column * step
            parts += [
                picture(pixels, x, y + 22, tile),
                text(x + tile / 2, y + 22 + tile + 15, below, color=SOFT, size=12),
            ]
    Path(__file__).with_name("visible.svg").write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")
    for side, kind, pictures in found:
        print(f"{side}, {kind}: " + "; ".join(below for below, _ in pictures))


if __name__ == "__main__":
    main()
