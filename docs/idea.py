"""Draws docs/idea.svg, the picture in the README, from a real run: `python docs/idea.py`.

The cat, its noisy copies and what the denoiser makes of them are the queries 0–3 of a certificate with seed 7; the
votes, the count and the radius are that certificate's.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data

from api_smoothing import SmoothedAPI, denoisers, images
from api_smoothing.noise import NoiseStream, to_float, to_uint8
from api_smoothing.secret import resolve_seed

SIGMA, RADIUS, SEED, SHOWN = 0.12, 0.1, 7, 4
INK, SOFT, LINE, HERE, THERE, PAPER = "#1f2933", "#66727f", "#9aa5b1", "#2563a8", "#b4541a", "#ffffff"
FONT = "font-family='Helvetica,Arial,sans-serif'"


def picture(pixels: np.ndarray, x: float, y: float, side: float) -> str:
    """uint8 (H,W,3) as an <image> at (x, y)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    text = base64.b64encode(file.getvalue()).decode()
    return (
        f"<image x='{x}' y='{y}' width='{side}' height='{side}' style='image-rendering:pixelated' "
        f"href='data:image/png;base64,{text}'/>"
        f"<rect x='{x}' y='{y}' width='{side}' height='{side}' fill='none' stroke='{LINE}'/>"
    )


def text(
    x: float,
    y: float,
    words: str,
    *,
    size: int = 13,
    color: str = INK,
    anchor: str = "middle",
    bold: bool = False,
) -> str:
    weight = " font-weight='bold'" if bold else ""
    look = f"font-size='{size}' fill='{color}' text-anchor='{anchor}'{weight} {FONT}"
    return f"<text x='{x}' y='{y}' {look}>{words}</text>"


def arrow(x1: float, y1: float, x2: float, y2: float, color: str = LINE) -> str:
    ends = f"x1='{x1}' y1='{y1}' x2='{x2}' y2='{y2}'"
    return f"<line {ends} stroke='{color}' stroke-width='1.5' marker-end='url(#tip)'/>"


def main() -> None:
    photo = data.chelsea()
    with SmoothedAPI("torchvision", model="cifar10", sigma=SIGMA, seed=SEED, cache=False) as api:
        side = api.size
        certificate = api.certify(photo, radius=RADIUS)
        few = [api.predict(photo, n=k + 1).counts for k in range(SHOWN)]
    loaded = images.load(photo, size=side)
    noise = NoiseStream(
        sigma=SIGMA,
        seed=resolve_seed(SEED).key,
        image_digest=loaded.digest,
        shape=loaded.grid.shape,
        sub=loaded.sub,
    )
    noisy = loaded.grid + noise.sample(range(SHOWN))
    denoiser = denoisers.load(certificate.denoiser.split("@")[0])
    with torch.inference_mode():
        clean = denoiser(torch.from_numpy(to_float(noisy, loaded.sub)).permute(0, 3, 1, 2), SIGMA)
    clean = clean.float().clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).numpy()
    votes = [
        next(k for k in now if now[k] != (few[i - 1].get(k, 0) if i else 0)) for i, now in enumerate(few)
    ]
    draw(to_uint8(loaded.grid, loaded.sub), to_uint8(noisy, loaded.sub), clean, votes, certificate)


def draw(image: np.ndarray, noisy: np.ndarray, clean: np.ndarray, votes: list[str], certificate) -> None:  # type: ignore[no-untyped-def]
    tile, step, top = 60, 70, 66
    rows = [top + step * i for i in range(SHOWN)]
    middle = top + step * SHOWN / 2 - 5
    parts = [
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 960 396' role='img' aria-labelledby='t'>",
        "<title id='t'>An image becomes noisy copies; each is denoised here and labelled by the API; the votes are "
        "counted until they prove that the label holds within a radius.</title>",
        f"<defs><marker id='tip' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' orient='auto'>"
        f"<path d='M0 0L8 4L0 8z' fill='{LINE}'/></marker></defs>",
        f"<rect width='960' height='396' rx='10' fill='{PAPER}'/>",
        "<rect x='150' y='22' width='300' height='352' rx='10' fill='#eef4fb'/>",
        text(300, 44, "on your machine", color=HERE, bold=True),
        "<rect x='480' y='22' width='130' height='352' rx='10' fill='#fdf1e8'/>",
        text(545, 44, "at the provider", color=THERE, bold=True),
        picture(image, 24, middle - 48, 96),
        text(72, middle + 70, "image x", color=SOFT),
    ]  # fmt: skip
    for i, y in enumerate(rows):
        center = y + tile / 2
        parts += [
            arrow(122, middle, 172, center),
            picture(noisy[i], 178, y, tile),
            arrow(242, center, 336, center),
            picture(clean[i], 344, y, tile),
            arrow(408, center, 491, center),
            arrow(599, center, 648, center),
            text(656, center + 5, votes[i], anchor="start", bold=votes[i] == certificate.label),
        ]
    low = rows[-1] + tile + 22
    parts += [
        text(208, low, f"+ noise, σ = {SIGMA:g}", color=SOFT),
        text(374, low, "denoiser", color=SOFT),
        f"<rect x='495' y='{top}' width='100' height='{step * SHOWN - 10}' rx='6' fill='{INK}'/>",
        text(545, middle - 6, "vision API", color=PAPER, bold=True),
        text(545, middle + 14, "only called,", color="#cbd2d9", size=11),
        text(545, middle + 30, "never changed", color="#cbd2d9", size=11),
        text(545, low, "one query each", color=SOFT),
        text(672, low, "votes …", color=SOFT),
    ]
    parts += [*proof(certificate, middle), "</svg>"]
    Path(__file__).with_name("idea.svg").write_text("\n".join(parts) + "\n", encoding="utf-8")
    print(certificate.to_json())


def proof(certificate, middle: float) -> list[str]:  # type: ignore[no-untyped-def]
    """The right-hand side: the count, and the ball in which the label holds."""
    x, y, r = 846, middle - 26, 58
    if certificate.label is None:
        raise SystemExit(f"this run abstained, which makes a poor picture: {certificate.reason}")
    return [
        arrow(712, middle, 758, middle),
        f"<path fill='#e9f6ec' stroke='#3f8f55' stroke-dasharray='5 4' "
        f"d='M770 {y - 96} C 806 {y - 122}, 906 {y - 120}, 932 {y - 78} S 942 {y + 58}, 905 {y + 80} "
        f"S 790 {y + 96}, 770 {y + 58} S 750 {y - 60}, 770 {y - 96}z'/>",
        text(x + 2, y - 84, f"smoothed label {certificate.label}", color="#2f6f42", size=11),
        f"<circle cx='{x}' cy='{y}' r='{r}' fill='#cfead6' stroke='#2f6f42' stroke-width='2'/>",
        f"<circle cx='{x}' cy='{y}' r='3.5' fill='{INK}'/>",
        text(x - 10, y + 4, "x", anchor="end"),
        f"<line x1='{x}' y1='{y}' x2='{x + r}' y2='{y}' stroke='{INK}' stroke-width='1.5'/>",
        text(x + r / 2, y - 7, f"R = {certificate.radius:.3g}", size=11),
        text(x, y + 128, f"{certificate.votes} of {certificate.n} votes", bold=True),
        text(x, y + 147, "are enough: it stops here.", color=SOFT),
        text(x, y + 166, f"Wrong with probability ≤ {certificate.alpha:g}", color=SOFT),
    ]


if __name__ == "__main__":
    main()
