"""What the bundled denoisers were measured to certify, from their cards; without torch, which is slow to import."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import api_smoothing

_CERTIFIED: Final = re.compile(r"certified_(.+)_at_([0-9.]+)")

#: Who read, by the name in the figures of the cards, and which images.
READERS: Final = {
    "resnet56": "ResNet-56, 500 of CIFAR-10",
    "ten_way": "MobileNetV2, ten-way, 250 photographs",
    "1000_way": "MobileNetV2, 1000-way, 250 photographs",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The `share` of the images that were certified at `radius` within `cap` answers, at `sigma`."""

    denoiser: str
    reader: str
    sigma: float
    radius: float
    share: float
    cap: int


def measured() -> list[Measured]:
    """All such figures, by denoiser, reader, σ and radius."""
    found = []
    folder = Path(api_smoothing.__file__).parent / "denoisers" / "weights"
    for file in folder.glob("*.json"):
        card = json.loads(file.read_text(encoding="utf-8"))
        for sigma, figures in card["quality"].items():
            for name, share in figures.items():
                if (words := _CERTIFIED.fullmatch(name)) is not None:
                    reader, radius = words.groups()
                    found.append(
                        Measured(
                            denoiser=card["id"],
                            reader=reader,
                            sigma=float(sigma),
                            radius=float(radius),
                            share=share,
                            cap=figures[f"cap_{reader}_at_{radius}"],
                        )
                    )
    return sorted(found, key=lambda one: (one.denoiser, one.reader, one.sigma, one.radius))


def at(sigma: float, radius: float) -> list[Measured]:
    """For each denoiser and reader the figure at `sigma` of the least radius from `radius` on, the best first.

    A certificate of a larger radius is one of `radius` too, so a share is never too high. [] for a σ of no card.
    """
    least: dict[tuple[str, str], Measured] = {}
    for one in measured():
        if one.sigma == sigma and one.radius >= radius:
            least.setdefault((one.denoiser, one.reader), one)
    return sorted(least.values(), key=lambda one: (one.reader, -one.share))
