"""A recogniser of one's own classes, from a folder of pictures for each: its reader, and classifiers to paint for."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any, Final

from api_smoothing.denoisers.registry import load
from api_smoothing.training.classifier import train_classifier
from api_smoothing.training.data import load_images
from api_smoothing.training.denoiser import train_denoiser
from api_smoothing.training.loop import Progress
from api_smoothing.training.packing import write_classes
from api_smoothing.training.recipe import recipe_text

PACK: Final = "own-images.safetensors"

#: Which bundled classifier each part is trained as, how wide, how many steps, and its share of the minutes.
_PARTS: Final[Mapping[str, tuple[str, list[int], int, float]]] = {
    "own-a": ("surrogate-a", [32, 128, 128], 400, 0.08),
    "own-b": ("surrogate-b", [48, 96, 192], 400, 0.08),
    "own-judge": ("surrogate-a", [24, 64, 128], 400, 0.06),
    "own-reader": ("reader-cifar10", [64, 256, 256], 1200, 0.33),
}
_PAINTING: Final = (1000, 0.45)  # steps, share
_BATCH: Final = 64


def train_recogniser(
    data: Path,
    out: Path,
    *,
    minutes: float | None = None,
    seed: int = 0,
    resume: bool = True,
    on_progress: Progress | None = None,
    sizes: Mapping[str, Any] | None = None,
) -> Path:
    """Train a recogniser of the classes that are the folders of `data`; returns `out`/own-recogniser.safetensors.

    The pictures, 32×32, are put into a pack, 15 in 100 of each class apart. In turn are trained: two classifiers of
    clean pictures, a third that only judges, the reader (of what unet-cifar10-mse leaves of noisy ones), and the
    painter, by the objective `told` with the first two. Each writes its checkpoints, log and card, and is taken up
    where it was. `minutes` caps the whole. `sizes` replaces keys of the recipes, by the name of a part ("own-a",
    "own-b", "own-judge", "own-reader", "own-recogniser"). Raises ConfigurationError, ImageError or WeightsError.
    """
    out.mkdir(parents=True, exist_ok=True)
    pack, changes = out / PACK, dict(sizes or {})
    classes = write_classes(data, pack)
    count = len(load_images(pack))
    common: dict[str, Any] = {"seed": seed, "resume": resume, "on_progress": on_progress}
    plans = {name: _classifier(name, classes, count, changes.get(name, {})) for name in _PARTS}
    painting = _painting(classes, count, plans["own-reader"]["widths"], changes.get("own-recogniser", {}))
    load(painting["architecture"]["first"])  # what is missing is told before hours are spent
    for name, plan in plans.items():
        share = None if minutes is None else minutes * _PARTS[name][3]
        train_classifier(plan, pack, out, minutes=share, **common)
    share = None if minutes is None else minutes * _PAINTING[1]
    return train_denoiser(painting, pack, out, minutes=share, surrogates=out, **common)


def _classifier(name: str, classes: list[str], count: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe of one classifier for `count` images: that of the bundled one for this many steps, and not epochs."""
    bundled, widths, steps, _ = _PARTS[name]
    plan = tomllib.loads(recipe_text(bundled))
    batch = min(_BATCH, count)
    train = plan["train"] | {
        "batch": batch,
        "lr": plan["train"]["lr"] / 4,
        "cutout": 8,
    }  # a rate for that batch
    train["epochs"] = ceil(changes.get("steps", steps) / (count // batch))
    return plan | {
        "id": name,
        "widths": list(changes.get("widths", widths)),
        "classes": classes,
        "data": {"holdout": 0, "holdout_seed": 0},  # the pack has a test set
        "train": train,
    }


def _painting(
    classes: list[str], count: int, widths: list[int], changes: Mapping[str, Any]
) -> dict[str, Any]:
    plan = tomllib.loads(recipe_text("recogniser-cifar10"))
    phase = plan["phase"][0] | {
        "steps": changes.get("steps", _PAINTING[0]),
        "batch": min(_BATCH, count),
        "groups": 2,
        "surrogates": ["own-a", "own-b"],
        "turn": ["own-a", "own-b"],
    }
    inside = {key: changes[key] for key in ("channels", "blocks", "width") if key in changes}
    architecture = (
        plan["architecture"] | {"widths": widths, "reader": "own-reader", "classes": classes} | inside
    )
    return plan | {"id": "own-recogniser", "architecture": architecture, "phase": [phase]}
