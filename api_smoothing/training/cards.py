"""Writing weights with their card: a safetensors file, and a JSON beside it that pins its sha256."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor


def today() -> str:
    """The date, UTC."""
    return datetime.now(UTC).date().isoformat()


def command_line(kind: str, recipe: str, seed: int) -> str:
    """The command that trains this again."""
    return f"api-smooth train {kind} --recipe {recipe} --data DATA --out OUT" + (
        f" --seed {seed}" if seed else ""
    )


def write_weights(file: Path, weights: Mapping[str, Tensor], card: Mapping[str, Any]) -> Path:
    """Write `weights` to `file` and `card`, with the sha256 added, beside it; each atomically. Returns `file`."""
    data = save({k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in weights.items()})
    whole = {"id": card["id"], "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} | dict(card)
    _replace(file, data)
    _replace(file.with_suffix(".json"), (json.dumps(whole, indent=2, ensure_ascii=False) + "\n").encode())
    return file


def _replace(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    part.write_bytes(data)
    os.replace(part, file)
