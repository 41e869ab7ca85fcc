"""What tells tensors apart for good: the sha256 of their names, types, shapes and bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def sha256_of(tensors: Mapping[str, Tensor], head: str = "") -> str:
    """The sha256, in hex, of `head` and the named `tensors`, whatever their order, strides and device."""
    digest = hashlib.sha256(head.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
