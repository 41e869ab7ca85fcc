"""What a bundled network computes in: the fastest number type its device has natively."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api_smoothing.errors import ConfigurationError

if TYPE_CHECKING:
    import torch


def compute_type(device: str, dtype: str) -> str:
    """What `dtype` means on `device`: "auto" is bf16 where it is native, otherwise fp32."""
    if dtype in {"fp32", "bf16", "fp16"}:
        return dtype
    if dtype != "auto":
        raise ConfigurationError(f"dtype {dtype!r} is unknown; choose auto, fp32, bf16 or fp16")
    import torch

    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device == "cpu":
        has = torch.cpu.get_capabilities()
        return "bf16" if has.get("avx512_bf16") or has.get("amx_bf16") or has.get("bf16") else "fp32"
    return "fp32"


def arithmetic(compute: str, device: str) -> str:
    """The name of computing in `compute` on `device`: "bf16" on the CPU, "bf16/cuda" on CUDA, whichever card it is.

    Devices of two kinds round differently, so what depends on bits is kept apart by this.
    """
    kind = device.partition(":")[0]
    return compute if kind == "cpu" else f"{compute}/{kind}"


def torch_type(compute: str) -> torch.dtype:
    """The torch type of "fp32", "bf16" or "fp16"."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[compute]
