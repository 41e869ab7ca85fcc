"""The sandboxes' classifier of photographs: Imagenette's ten classes, at 160 pixels, 1.6 MB."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load

from api_smoothing.errors import WeightsError
from api_smoothing.mobilenet import MobileNetV1

WEIGHTS: Final = Path(__file__).parent / "weights" / "imagenette.safetensors"

#: sha256 of the bundled file; the card beside it repeats it.
SHA256: Final = "ce2fef1c9868ead32c0cbbfaf96a0a7e2cbf87fc5676b21910a24b5c698f038a"


def read_card() -> dict[str, Any]:
    """The card beside the weights: what they were made from, its licence, classes, accuracy, sha256."""
    loaded: dict[str, Any] = json.loads(WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))
    return loaded


def load_imagenette_net() -> MobileNetV1:
    """The classifier, x (N,3,H,W) in [0,1] → logits (N,10) over the card's classes, in eval mode, float32.

    Raises WeightsError when the file is missing or not the pinned one.
    """
    try:
        data, card = WEIGHTS.read_bytes(), read_card()
    except OSError as error:
        raise WeightsError(f"{WEIGHTS.name} is missing: {error.strerror}; reinstall api-smooth") from None
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        raise WeightsError(
            f"{WEIGHTS.name} has sha256 {digest[:12]}…, not the pinned one; reinstall api-smooth"
        )
    arrays = {name: tensor.float() for name, tensor in load(data).items()}
    pairs = [(arrays[f"w{k:02d}"], arrays[f"b{k:02d}"]) for k in range(len(card["strides"]))]
    net = MobileNetV1(pairs, card["strides"], card["side"]).eval()
    return net.to(memory_format=torch.channels_last).requires_grad_(False)
