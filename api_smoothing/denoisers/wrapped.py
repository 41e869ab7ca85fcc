"""Any network or function as a denoiser, in one line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from api_smoothing.denoisers.base import DenoiserCard
from api_smoothing.denoisers.checks import row_levels
from api_smoothing.denoisers.padding import padded
from api_smoothing.digests import sha256_of
from api_smoothing.errors import ConfigurationError
from api_smoothing.precision import arithmetic


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedDenoiser:
    """A foreign D(x, σ) with a card. `compute` names the type of its parameters, and what kind of device has them."""

    paths_per_query: ClassVar[int] = 1
    card: DenoiserCard
    compute: str
    function: Callable[[Tensor, Tensor], Tensor]

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: float | Tensor, /) -> Tensor:
        """x̂0 (N,3,H,W) of x's dtype and device. Raises ConfigurationError for a σ or side the card does not have."""
        levels = row_levels(self.card, x, sigma)
        out = padded(self.card, lambda whole: self._estimate(whole, levels), x.float().clone())
        return out.to(x.device, x.dtype)

    def _estimate(self, x: Tensor, levels: Tensor) -> Tensor:
        out = self.function(x, levels)
        if out.shape != x.shape:
            raise ConfigurationError(
                f"{self.card.id} turned {tuple(x.shape)} into {tuple(out.shape)}; a denoiser keeps the shape"
            )
        return out


def wrap(
    network: nn.Module | Callable[[Tensor, Tensor], Tensor],
    *,
    id: str,
    sigma_range: tuple[float, float],
    sizes: Sequence[int] = (),
    multiple: int = 1,
) -> WrappedDenoiser:
    """`network(x, sigma)` as a denoiser: x (N,3,H,W) float32, clean signal in [0,1] plus noise; σ (N,) float32.

    A module is put in eval mode and identified by the sha256 of its parameters and buffers. A plain function
    shows nothing to digest, so `id` must name its version: results are cached under it. It serves the sides in
    `sizes`, or any; where the network needs `multiple`s, images of other sides are padded: see `padding`.
    """
    tensors, compute = dict[str, Tensor](), "fp32"
    if isinstance(network, nn.Module):
        tensors, compute = network.eval().state_dict(), _arithmetic(network)
    card = DenoiserCard(
        id=id, sha256=sha256_of(tensors, id), sigma_range=sigma_range, sizes=tuple(sizes), multiple=multiple
    )
    return WrappedDenoiser(card=card, compute=compute, function=network)


def _arithmetic(network: nn.Module) -> str:
    """The type of its parameters where they have one, on the device of the first; it is run where they are."""
    types = {p.dtype for p in network.parameters()}
    device = next((p.device.type for p in network.parameters()), "cpu")
    kind = types.pop() if len(types) == 1 else torch.float32
    return arithmetic({torch.bfloat16: "bf16", torch.float16: "fp16"}.get(kind, "fp32"), device)
