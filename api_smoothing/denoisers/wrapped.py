"""Any network or function as a denoiser, in one line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from api_smoothing.denoisers.base import DenoiserCard
from api_smoothing.denoisers.checks import row_levels
from api_smoothing.digests import sha256_of
from api_smoothing.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedDenoiser:
    """A foreign D(x, σ) with a card. `compute` names the type of its parameters."""

    card: DenoiserCard
    compute: str
    function: Callable[[Tensor, Tensor], Tensor]

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: float | Tensor, /) -> Tensor:
        """x̂0 (N,3,H,W) of x's dtype and device. Raises ConfigurationError for a σ or side the card does not have."""
        levels = row_levels(self.card, x, sigma)
        out = self.function(x.float().clone(), levels)
        if out.shape != x.shape:
            raise ConfigurationError(
                f"{self.card.id} turned {tuple(x.shape)} into {tuple(out.shape)}; a denoiser keeps the shape"
            )
        return out.to(x.device, x.dtype)


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
    shows nothing to digest, so `id` must name its version: results are cached under it.
    """
    tensors, compute = dict[str, Tensor](), "fp32"
    if isinstance(network, nn.Module):
        tensors = network.eval().state_dict()
        types = {p.dtype for p in network.parameters()}
        compute = (
            {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(types.pop(), "fp32")
            if len(types) == 1
            else "fp32"
        )
    card = DenoiserCard(
        id=id, sha256=sha256_of(tensors, id), sigma_range=sigma_range, sizes=tuple(sizes), multiple=multiple
    )
    return WrappedDenoiser(card=card, compute=compute, function=network)
