"""Networks run on batches of one shape, so that an image's answer is the same whatever others are asked with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from api_smoothing.errors import ConfigurationError, ProviderError

if TYPE_CHECKING:
    from torch import Tensor

#: Local networks run on batches of exactly as many images as these for the device, or up to eight times fewer where
#: the images are large, padded, so that an image's answer cannot depend on how many others were asked with it (float
#: convolutions round differently at other shapes).
_MICRO_BATCH = {"cpu": 64}
_SMALL = 64 * 64  # pixels
#: On a CUDA card it is the power of two that makes at most so many pixels, by the memory in GiB that the card has at
#: least, free or not: a batch that followed what is free, or what is fast today, would change the bits of answers.
#: It is part of what the card's name stands for in the names of answers: change both together.
_CUDA_PIXELS = {64: 1 << 22, 32: 1 << 21, 12: 1 << 20, 0: 1 << 19}
_CUDA_MOST = 512


def micro_batch(device: str, pixels: int) -> int:
    """How many images of so many pixels go through a network at once; padding to more would only cost."""
    kind = device.partition(":")[0]
    if kind == "cuda":
        return cuda_batch(_memory(device), pixels)
    most = _MICRO_BATCH.get(kind, 32)
    return min(most, max(most // 8, most * _SMALL // pixels))


def cuda_batch(memory: int, pixels: int) -> int:
    """The same on a card of `memory` bytes."""
    room = next(room for least, room in _CUDA_PIXELS.items() if memory >= least << 30)
    return min(_CUDA_MOST, 1 << (max(1, room // pixels).bit_length() - 1))


def most_at_once(kind: str) -> int:
    """How many images a network on such a device is handed at once: no fewer than go through it together."""
    return _CUDA_MOST if kind == "cuda" else 256


def _memory(device: str) -> int:
    import torch

    return torch.cuda.get_device_properties(device).total_memory


def run_in_micro_batches(
    function: Callable[[Tensor], Any], x: Tensor, micro: int | None = None, *, who: str = "the denoiser"
) -> Tensor:
    """`function` over x (N,C,H,W) in batches of exactly `micro` rows, the last one padded with zeros.

    Without `micro` it follows from the device and the size of the images: `micro_batch`. Raises ProviderError where
    it does not give one row of output for one image, and ConfigurationError where the card has too little memory left:
    fewer rows would be other bits.
    """
    import torch

    check_repeatable(x.device.type)
    if micro is None:
        micro = micro_batch(str(x.device), x.shape[-2] * x.shape[-1])
    outputs = []
    for start in range(0, len(x), micro):
        part = x[start : start + micro]
        rows = len(part)
        if rows < micro:
            part = torch.cat([part, part.new_zeros((micro - rows, *part.shape[1:]))])
        part = part.contiguous(memory_format=torch.channels_last)  # another layout would round differently
        try:
            out = function(part)
        except torch.OutOfMemoryError as error:
            height, width = x.shape[-2:]
            raise ConfigurationError(
                f"{x.device} has too little memory left for {micro} images of {height}×{width} at once; end what else "
                "uses the card, or bring images to fewer pixels, such as size=224 (--size 224)"
            ) from error
        if not isinstance(out, torch.Tensor):
            raise ProviderError(
                f"{who} returned a {type(out).__name__}; return a tensor with one row an image"
            )
        if out.ndim == 0 or len(out) != len(part):
            raise ProviderError(
                f"{who} returned shape {tuple(out.shape)} for {len(part)} images; return one row of output an image"
            )
        outputs.append(out[:rows])
    return torch.cat(outputs) if len(outputs) != 1 else outputs[0]


def check_repeatable(kind: str) -> None:
    """Raise ConfigurationError where on that kind of device the time of day would choose the arithmetic."""
    import torch

    if kind == "cuda" and torch.backends.cudnn.benchmark:
        raise ConfigurationError(
            "torch.backends.cudnn.benchmark lets timing choose how images are computed, so that answers would not "
            "repeat; set it to False"
        )
