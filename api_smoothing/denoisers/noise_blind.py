"""Networks that are not told the noise level, as denoisers: D(x, σ) = N(x) wherever σ is in the card's range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from api_smoothing.denoisers.base import DenoiserCard
from api_smoothing.denoisers.checks import row_levels
from api_smoothing.denoisers.gradients import inference
from api_smoothing.denoisers.padding import padded
from api_smoothing.digests import not_finite
from api_smoothing.errors import WeightsError
from api_smoothing.precision import arithmetic, torch_type


class Normalised(nn.Module):
    """`net` behind an input normalisation: N((x − mean)/std), or, with `back`, mean + std·N((x − mean)/std).

    `mean` and `std` have one number a channel, in [0,1] pixel units.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, *, mean: Sequence[float], std: Sequence[float], back: bool) -> None:
        super().__init__()
        self.net, self.back = net, back
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net((x - self.mean) / self.std)
        return out * self.std + self.mean if self.back else out


class BlindDenoiser:
    """A trained network N: (N,3,H,W) → (N,3,H,W), float32 in [0,1] units, as a denoiser: `card`, and D(x, σ).

    `compute` names the type the convolutions run in ("fp32", "bf16" or "fp16") and, other than the CPU, the kind of
    device; results differ in the last bits between them, so it is part of every cache key.
    """

    paths_per_query: ClassVar[int] = 1

    def __init__(
        self, net: nn.Module, card: DenoiserCard, *, device: str = "cpu", compute: str = "fp32"
    ) -> None:
        self.card, self.compute = card, arithmetic(compute, device)
        self._device = torch.device(device)
        self._net = ready(net, self._device, compute)

    @inference
    def __call__(self, x: Tensor, sigma: float | Tensor, /) -> Tensor:
        """x̂0 (N,3,H,W) for x = x0 + σ·noise, σ a number or (N,), same dtype and device as x; not clipped.

        Raises ConfigurationError for a σ or side the card does not have.
        """
        if not len(x):
            return x.clone()
        row_levels(self.card, x, sigma)
        noisy = x.to(self._device, torch.float32)
        return padded(self.card, self._estimate, noisy).to(x.device, x.dtype)

    def _estimate(self, x: Tensor) -> Tensor:
        estimate: Tensor = self._net(x.contiguous(memory_format=torch.channels_last))
        return estimate


def fill(net: nn.Module, card: DenoiserCard, weights: Mapping[str, Tensor]) -> nn.Module:
    """`net` with the `weights` of the file of `card`. Raises WeightsError where they do not fit or are not finite."""
    if name := not_finite(weights):
        raise WeightsError(
            f"the weights of {card.id} are damaged: {name} is not finite; train or fetch them again"
        )
    try:
        net.load_state_dict({name: value.float() for name, value in weights.items()})
    except RuntimeError as error:
        raise WeightsError(f"the weights of {card.id} do not fit its card; fetch both files again") from error
    return net


def ready(net: nn.Module, device: str | torch.device, compute: str) -> nn.Module:
    """`net` on `device` and frozen, its convolutions in the type `compute` ("fp32", "bf16" or "fp16")."""
    frozen = net.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in frozen.modules():
        if isinstance(module, nn.Conv2d):
            module.to(torch_type(compute))
    return frozen  # type: ignore[no-any-return]
