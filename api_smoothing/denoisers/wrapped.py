"""Any network or function as a denoiser, in one line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from api_smoothing.denoisers.base import DenoiserCard
from api_smoothing.denoisers.checks import row_levels
from api_smoothing.denoisers.gradients import inference
from api_smoothing.denoisers.padding import padded
from api_smoothing.digests import sha256_of, weights_of
from api_smoothing.errors import ConfigurationError
from api_smoothing.eval_mode import evaluating
from api_smoothing.precision import arithmetic


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedDenoiser:
    """A foreign D(x, σ) with a card. `compute` names the type of its parameters, and what kind of device has them.

    `first` are the facts but for a module's weights, `head` names the code, and `weights` are those that a plain
    function used when it was wrapped.
    """

    paths_per_query: ClassVar[int] = 1
    first: DenoiserCard
    head: str
    weights: str
    compute: str
    function: Callable[[Tensor, Tensor], Tensor]

    @property
    def card(self) -> DenoiserCard:
        """The facts, with the weights as they are now."""
        if isinstance(self.function, nn.Module):
            return replace(self.first, sha256=sha256_of(self.function.state_dict(), self.head))
        if (now := _weights(self.function)) != self.weights:
            return replace(self.first, sha256=sha256_of({}, f"{self.first.sha256} {now}"))
        return self.first

    @inference
    def __call__(self, x: Tensor, sigma: float | Tensor, /) -> Tensor:
        """x̂0 (N,3,H,W) of x's dtype and device. Raises ConfigurationError for a σ or side the card does not have."""
        levels = row_levels(self.first, x, sigma)
        out = padded(self.first, lambda whole: self._estimate(whole, levels), x.float().clone())
        return out.to(x.device, x.dtype)

    def _estimate(self, x: Tensor, levels: Tensor) -> Tensor:
        with evaluating(self.function):
            out = self.function(x, levels)
        if out.shape != x.shape:
            raise ConfigurationError(
                f"{self.first.id} turned {tuple(x.shape)} into {tuple(out.shape)}; a denoiser keeps the shape"
            )
        return out


def wrap(
    network: nn.Module | Callable[[Tensor, Tensor], Tensor],
    *,
    id: str,
    sigma_range: tuple[float, float],
    sizes: Sequence[int] = (),
    multiple: int = 1,
    fingerprint: str | None = None,
) -> WrappedDenoiser:
    """`network(x, sigma)` as a denoiser: x (N,3,H,W) float32, clean signal in [0,1] plus noise; σ (N,) float32.

    A module is asked in evaluation mode and identified by the sha256 of its parameters and buffers, taken anew for
    every image. No digest covers its code, nor a function's: answers behind it are kept in memory only, unless
    `fingerprint` names the version of the code (the `id` will do, where it does so). It serves the sides in `sizes`,
    or any; where the network needs `multiple`s, images of other sides are padded: see `padding`.
    """
    compute = _arithmetic(network) if isinstance(network, nn.Module) else "fp32"
    head = id if fingerprint in (None, id) else f"{id} {fingerprint}"
    first = DenoiserCard(
        id=id,
        sha256=sha256_of({}, head),
        sigma_range=sigma_range,
        sizes=tuple(sizes),
        multiple=multiple,
        named=bool(fingerprint),
    )
    return WrappedDenoiser(
        first=first, head=head, weights=_weights(network), compute=compute, function=network
    )


def _weights(network: object) -> str:
    """The digest of what a function shows of the modules that it uses."""
    return "" if isinstance(network, nn.Module) else sha256_of(weights_of(network))


def _arithmetic(network: nn.Module) -> str:
    """The type of its parameters where they have one, on the device of the first; it is run where they are."""
    types = {p.dtype for p in network.parameters()}
    device = next((str(p.device) for p in network.parameters()), "cpu")
    kind = types.pop() if len(types) == 1 else torch.float32
    return arithmetic({torch.bfloat16: "bf16", torch.float16: "fp16"}.get(kind, "fp32"), device)
