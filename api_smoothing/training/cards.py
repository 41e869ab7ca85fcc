"""Writing weights with their card: a safetensors file, and a JSON beside it that pins its sha256."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from api_smoothing.digests import not_finite
from api_smoothing.errors import WeightsError
from api_smoothing.training.state import replace


def today() -> str:
    """The date, UTC."""
    return datetime.now(UTC).date().isoformat()


def command_line(kind: str, recipe: str, seed: int = 0, minutes: float | None = None) -> str:
    """The command that trains this again; `recipe` as it is given to it."""
    words = ["api-smooth train", kind, "--recipe", recipe, "--data DATA --out OUT"]
    words += [f"--seed {seed}"] * bool(seed)
    words += [] if minutes is None else [f"--minutes {minutes:g}"]
    return " ".join(words)


def write_weights(file: Path, weights: Mapping[str, Tensor], card: Mapping[str, Any]) -> Path:
    """Write `weights` to `file` and `card`, with the sha256 added, beside it; each atomically. Returns `file`.

    Raises WeightsError, and writes nothing, where a number is not finite.
    """
    if name := not_finite(weights):
        raise WeightsError(f"{file.name} is not written: {name} is not finite; lower the learning rate")
    data = save({k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in weights.items()})
    whole = {"id": card["id"], "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} | dict(card)
    replace(file, data)
    replace(file.with_suffix(".json"), (json.dumps(whole, indent=2, ensure_ascii=False) + "\n").encode())
    return file
