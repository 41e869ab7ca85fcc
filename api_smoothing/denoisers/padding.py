"""Images of any size for networks whose sides come in steps: a mirrored border, added below and right, and cut off.

D(x, σ) = crop N(pad x, σ). What the border holds depends on the row alone and its width on the shape alone, so rows
stay apart and D is one function. The certificate is about the votes of whatever stands between the noise and the class,
and takes no account of how it works: the border is part of the base classifier, as the network's own zeros beyond the
edge are. Another border would be another base classifier, whose answers must not be mixed with those kept of this one:
what pads otherwise needs another `sha256`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from api_smoothing.denoisers.base import DenoiserCard


def padded(card: DenoiserCard, estimate: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`estimate(x)` (N,3,H,W) for x (N,3,H,W) of any sides from 1 on, of a network as `card` tells it.

    Where the sides fit, `estimate` is given x itself; where the card has `sizes`, always.
    """
    height, width = x.shape[-2:]
    if card.sizes or (height % card.multiple == 0 and width % card.multiple == 0):
        return estimate(x)
    return estimate(mirror(x, card.multiple))[..., :height, :width]


def mirror(x: Tensor, multiple: int) -> Tensor:
    """The rows of x (N,C,H,W) continued below and right to the next sides that are multiples of `multiple`.

    Mirrored about the last pixel, which is not repeated, and back about the first as often as it takes.
    """
    for dim in (-2, -1):
        side = x.shape[dim]
        x = x.index_select(dim, _bounce(side, -(-side // multiple) * multiple, x.device))
    return x


def _bounce(side: int, length: int, device: torch.device) -> Tensor:
    """`length` indices: 0, 1, …, side − 1, side − 2, …, 0, 1, …"""
    period = max(1, 2 * (side - 1))
    place = torch.arange(length, device=device) % period
    return torch.minimum(place, period - place) if side > 1 else place
