"""The bundled CIFAR-10 classifier: its pinned weights, and loading them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from api_smoothing.convnet import CLASSES, Cifar10Net
from api_smoothing.digests import not_finite
from api_smoothing.errors import WeightsError

__all__ = ["CLASSES", "SHA256", "WEIGHTS", "load_cifar10net", "read_card"]

WEIGHTS = Path(__file__).parent / "weights" / "cifar10.safetensors"

#: sha256 of the bundled file; the card beside it repeats it.
SHA256 = "814f83a676209170a7b22acb276223aafb6e9f5314389df6d9fd627706cff71b"


def read_card(path: Path | None = None) -> dict[str, Any]:
    """The card beside the weights: data, split, recipe, measured accuracy, sha256."""
    card = (path or WEIGHTS).with_suffix(".json")
    if not card.is_file():
        raise WeightsError(
            f"no card {card.name} beside the weights; reinstall api-smooth, or train the classifier again"
        )
    try:
        loaded: dict[str, Any] = json.loads(card.read_text(encoding="utf-8"))
        if "architecture" not in loaded and (
            [type(width) for width in loaded["widths"]] != [int, int, int] or min(loaded["widths"]) < 1
        ):
            raise ValueError("widths")
        if len(loaded.setdefault("classes", list(CLASSES))) < 2:
            raise ValueError("classes")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(
            f"the card {card.name} is not as training wrote it; fetch both files again"
        ) from error
    return loaded


def load_cifar10net(path: Path | None = None) -> Cifar10Net:
    """The bundled classifier (or one trained with `api-smooth train classifier` at `path`), in eval mode, float32.

    The bundled file must have the pinned sha256, any other file that of its card; else WeightsError.
    """
    file = path or WEIGHTS
    if not file.is_file():
        raise WeightsError(
            f"classifier weights {file} are missing; reinstall api-smooth, or give another file"
        )
    data, card = file.read_bytes(), read_card(file)
    digest = hashlib.sha256(data).hexdigest()
    if digest != (SHA256 if path is None else card.get("sha256")):
        raise WeightsError(f"{file.name} has sha256 {digest[:12]}…, not the pinned one; reinstall api-smooth")
    try:
        net = Cifar10Net(tuple(card["widths"]), folded=True, classes=len(card["classes"])).eval()
        weights = {k: v.float() for k, v in load(data).items()}
        net.load_state_dict(weights)
    except (KeyError, RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"{file.name} does not fit the network; give a file its own training wrote"
        ) from error
    if name := not_finite(weights):
        raise WeightsError(f"{file.name} is damaged: {name} is not finite; train it again")
    return net.to(memory_format=torch.channels_last).requires_grad_(False)
