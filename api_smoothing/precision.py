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
    """The name of computing in `compute` on `device`: "bf16" on the CPU, "bf16/cuda NVIDIA H200" on that card.

    Devices of two kinds round differently, so what depends on bits is kept apart by this.
    """
    kind = kind_of(device)
    return compute if kind == "cpu" else f"{compute}/{kind}"


def kind_of(device: str) -> str:
    """What rounds alike: "cpu", the model of a CUDA card, or torch's name for another device.

    The compute capability would be too little: CUDA's libraries choose their kernels by the number of processors as
    well, and cards of one capability differ in it. Where the user has changed how CUDA's libraries round, that is told
    too. Of several devices, which are alike, it is that of the first.
    """
    first = devices(device)[0]
    kind = first.partition(":")[0]
    if kind != "cuda":
        return kind
    import torch

    if (torch.device(first).index or 0) >= torch.cuda.device_count():
        return kind  # of a card that is not here, so that nothing is computed on it
    return f"{kind} {torch.cuda.get_device_name(first)}{_changed()}"


def _changed() -> str:
    """What is set otherwise than torch comes: the precision of products and convolutions, whether kernels repeat."""
    import torch

    cudnn = torch.backends.cudnn
    try:
        convolutions: object = cudnn.allow_tf32
    except RuntimeError:  # some operations were set one by one, as `cudnn.conv.fp32_precision`
        convolutions = cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    found = {
        "products": (torch.get_float32_matmul_precision(), "highest"),
        "convolutions": (convolutions, True),
        "deterministic": (cudnn.deterministic, False),
    }
    return "".join(f" {name}={now}" for name, (now, usual) in found.items() if now != usual)


def devices(names: str) -> list[str]:
    """The single devices of "cuda:0,cuda:1"."""
    return [name.strip() for name in names.split(",")]


def check_device(name: str) -> None:
    """Raise ConfigurationError unless torch has this device here."""
    import torch

    try:
        torch.empty(0, device=name).cpu()  # "meta" is made, but holds nothing
    except (RuntimeError, AssertionError, NotImplementedError):  # what torch raises for one that is not there
        raise ConfigurationError(
            f"device {name!r} is not available here; choose cpu, or leave it out"
        ) from None


def torch_type(compute: str) -> torch.dtype:
    """The torch type of "fp32", "bf16" or "fp16"."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[compute]
