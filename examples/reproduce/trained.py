"""Denoisers trained for a page, by recipes that are written here, and kept beside the cells."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api_smoothing.training import train_denoiser
from api_smoothing.training.recipe import read_recipe
from api_smoothing.training.target import TARGET as ASKS_TARGET
from reproduce import inputs
from reproduce.cells import Cells
from reproduce.certified import TARGET, Method

MANY = ["resnet20", "resnet32", "resnet44", "cifar10"]

_SIGMA = {"low": 0.05, "high": 1.0, "focus": 0.25, "share": 0.4, "spread": 0.3}
_SCHEDULE = {"start": 0.1, "peak": 0.05, "end": 0.02, "shape": "cosine"}


@dataclass(frozen=True, kw_only=True)
class Training:
    """A recipe, and the rows that the files it writes are, by their names."""

    recipe: Mapping[str, Any]
    rows: Mapping[str, str]

    def methods(self, args: argparse.Namespace, cells: Cells) -> list[Method]:
        """Train, where that has not been done; [] where there was no time."""
        name = str(self.recipe["id"])
        settings = {"recipe": self.recipe, "images": args.train_images, "seed": args.seed}
        folder = cells.file(name, settings, "")

        def train() -> list[str]:
            kept = cells.folder / f"train-{args.train_images}"
            asked = [name for phase in self.recipe["phase"] for name in phase.get("surrogates", [])]
            train_denoiser(
                self.recipe,
                inputs.training_images(args.data, args.train_images, kept),
                folder,
                seed=args.seed,
                surrogates=args.data / "weights",
                target=inputs.classifier(args.data, TARGET) if ASKS_TARGET in asked else None,
            )
            return sorted(file.name for file in folder.glob("*.safetensors"))

        if cells.get(name, settings, train) is None:
            return []
        return [
            Method(
                row=row,
                denoiser=str(folder / f"{stem}.safetensors"),
                name=stem,
                trained={**settings, "file": stem},
            )
            for stem, row in self.rows.items()
        ]


def full_access(args: argparse.Namespace) -> Training:
    """`unet-cifar10` tuned for the target."""
    plan = read_recipe("tuned-32", "denoiser")
    phase = {**plan["phase"][0], "steps": args.tune_steps, "batch": args.batch}
    row = "full access (`unet-cifar10` tuned for the target)"
    return Training(recipe={**plan, "data": {}, "phase": [phase]}, rows={"tuned-32": row})


def small(args: argparse.Namespace) -> list[Training]:
    """The small U-Nets, by objective and by surrogates: those after closeness come from the same weights."""
    more, after = args.more_steps, {"after": "closeness"}
    phases = [
        _phase(args, "closeness", "mse", args.steps),
        _phase(args, "mse", "mse", more, **after),
        _phase(args, "many", "stability", more, **after, surrogates=MANY),
        _phase(args, "class", "classification", more, **after, surrogates=MANY),
        _phase(args, "one", "stability", more, **after, surrogates=["resnet20"]),
        _phase(args, "other", "stability", more, **after, surrogates=["cifar10"]),
        _phase(args, "full", "stability", more, **after, surrogates=[ASKS_TARGET]),
    ]
    rows = {
        "small-mse": "closeness",
        "small-many": "stability after closeness, four surrogates",
        "small-class": "classification after closeness, four surrogates",
        "small-one": "stability after closeness, ResNet-20 alone",
        "small-other": "stability after closeness, no ResNet (the bundled network alone)",
        "small-full": "stability after closeness, the target itself (full access)",
    }
    found = [Training(recipe=_recipe(args, "small", phases), rows=rows)]
    for name, objective in (("stability-alone", "stability"), ("class-alone", "classification")):
        phase = _phase(args, "all", objective, 2 * more, surrogates=MANY)
        row = f"{objective} from nothing, four surrogates"
        found.append(Training(recipe=_recipe(args, name, [phase]), rows={name: row}))
    return found


def architectures(args: argparse.Namespace) -> list[Training]:
    """One of each kind of network, for closeness at σ = 0.25 alone."""
    dncnn = {"kind": "dncnn", "depth": args.depth}
    memnet = {"kind": "memnet", "channels": args.width, "blocks": args.blocks, "units": args.blocks}
    kinds: dict[str, dict[str, Any]] = {
        "U-Net": {},
        "DnCNN": {"architecture": {**dncnn, "channels": args.width}},
        "DnCNN, wide": {"architecture": {**dncnn, "channels": 2 * args.width}},
        "MemNet": {"architecture": memnet},
    }
    found = []
    for row, more in kinds.items():
        name = f"arch-{row.lower().replace(', ', '-')}"
        phase = _phase(args, "mse", "mse", args.slow_steps) | {"sigma": {"low": 0.25, "high": 0.25}}
        plan = _recipe(args, name, [phase]) | more | {"sigma_range": [0.25, 0.25]}
        found.append(Training(recipe=plan, rows={name: row}))
    return found


def _phase(args: argparse.Namespace, name: str, objective: str, steps: int, **more: Any) -> dict[str, Any]:
    """A phase of a small training; `surrogates` in `more` are shown a part of each batch."""
    asking: dict[str, Any] = {}
    if names := more.get("surrogates"):
        asking = {"mse_weight": 0.0, "jitter": 0, "turn": names, "groups": min(len(names), args.batch)}
    return {
        "name": name,
        "objective": objective,
        "steps": steps,
        "share": 1.0,
        "batch": args.batch,
        "lr": 0.0003 if "after" in more else 0.0015,
        "clip": 1.0,
        "decay": 0.99,
        "sigma": _SIGMA,
        "schedule": _SCHEDULE,
        **asking,
        **more,
    }


def _recipe(args: argparse.Namespace, name: str, phases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A small U-Net's recipe."""
    channels = list(args.channels)
    unet = {"kind": "unet", "channels": channels, "blocks": [1] * len(channels), "width": channels[0]}
    return {
        "id": name,
        "kind": "denoiser",
        "sigma_range": [0.05, 1.0],
        "architecture": unet,
        "phase": list(phases),
    }
