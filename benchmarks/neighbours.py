"""How far common changes move an image where the noise is, beside the radii that are certified there.

    python benchmarks/neighbours.py --data DIR [--images 50]

A certified image answers for those within its radius (`reuse="ball"`). Photographs in DIR, brought to 224×224 or 32×32,
and CIFAR-10's test images as they are, are encoded as JPEG of three qualities, made one step of 8 bits brighter, and
moved by one pixel; printed are medians of the ℓ2 distance in [0,1] units, as the images enter the noise.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
from certified_accuracy import PHOTOGRAPHS, loader
from numpy.typing import NDArray
from PIL import Image

from api_smoothing.engine.neighbours import distance
from api_smoothing.images import load

Pixels = NDArray[np.uint8]


def jpeg(quality: int) -> Callable[[Pixels], Pixels]:
    """Encoded and read again."""

    def change(image: Pixels) -> Pixels:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file).convert("RGB"))

    return change


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    **{f"JPEG {quality}": jpeg(quality) for quality in (95, 85, 75)},
    "one step brighter": lambda image: np.minimum(image, 254) + np.uint8(1),
    "one pixel to the left": lambda image: np.roll(image, -1, axis=1),
}


def small(data: Path) -> Iterator[Pixels]:
    """CIFAR-10's test images."""
    yield from loader(data).cifar10("test")[0]


def large(data: Path) -> Iterator[Pixels]:
    """Photographs, of any size."""
    yield from (np.asarray(picture) for _, _, picture in loader(data).photos(PHOTOGRAPHS))


def moved_by(change: Callable[[Pixels], Pixels], image: Pixels, size: int | None) -> float:
    """The ℓ2 distance of a change."""
    return float(distance(load(image, size=size), load(change(image), size=size), "l2"))


def main() -> None:
    parser = argparse.ArgumentParser(description="How far common changes move an image.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--images", type=int, default=50)
    args = parser.parse_args()
    columns = {"CIFAR-10": (small, None), "photo, 32": (large, 32), "photo, 224": (large, 224)}
    print(f"{'':<22}" + "".join(f"{name:>12}" for name in columns))
    originals = {source: list(islice(source(args.data), args.images)) for source in (small, large)}
    for name, change in CHANGES.items():
        medians = [
            median(moved_by(change, image, size) for image in originals[source])
            for source, size in columns.values()
        ]
        print(f"{name:<22}" + "".join(f"{value:>12.3f}" for value in medians))


if __name__ == "__main__":
    main()
