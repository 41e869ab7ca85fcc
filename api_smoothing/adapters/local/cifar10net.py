"""The bundled CIFAR-10 classifier: its pinned weights, and loading them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load

from api_smoothing.convnet import CLASSES, Cifar10Net
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
    loaded: dict[str, Any] = json.loads(card.read_text(encoding="utf-8"))
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
    net = Cifar10Net(tuple(card["widths"]), folded=True).eval()
    try:
        net.load_state_dict({k: v.float() for k, v in load(data).items()})
    except RuntimeError as error:
        raise WeightsError(
            f"{file.name} does not fit the network; give a file its own training wrote"
        ) from error
    return net.to(memory_format=torch.channels_last).requires_grad_(False)
