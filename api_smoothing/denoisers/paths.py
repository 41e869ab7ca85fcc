"""Several reverse paths of one noisy image, for a majority vote over their labels: DensePure (Xiao et al. 2022).

The reverse process samples from the images that may lie behind the noise; the label of most samples is the
label of the likeliest region (their section 3). Each of the K paths of a query is sent to the provider, so a
query costs K times its price; the vote within a query is part of the base classifier, and the certificate counts
queries as ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from api_smoothing.denoisers.base import DenoiserCard
from api_smoothing.denoisers.reverse import Reverse, sampler_card
from api_smoothing.errors import ConfigurationError

L = TypeVar("L", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """`paths_per_query` = K reverse paths of each noisy image.

    Who can vote asks `paths`, sends all K images of a query, and takes the `majority` of their labels for the
    query's answer. Called as D(x, σ), where one image is wanted, it gives the path in the middle of the K.
    """

    reverse: Reverse
    paths_per_query: int = 5

    def __post_init__(self) -> None:
        """Check the settings."""
        k = self.paths_per_query
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= 1000:
            raise ConfigurationError(f"paths must be a whole number from 1 to 1000, not {k!r}")
        if k > 1 and (self.reverse.eta == 0 or self.reverse.steps == 1):
            raise ConfigurationError(
                "several paths need chance: give at least 2 steps and an eta above 0, or one path"
            )

    @property
    def card(self) -> DenoiserCard:
        """The facts about the whole."""
        k = self.paths_per_query
        return sampler_card(self.reverse.card, f"vote{k}", {"paths": k})

    @property
    def compute(self) -> str:
        """The denoiser's arithmetic."""
        return self.reverse.compute

    def paths(self, x: Tensor, sigma: float | Tensor, k: int | None = None) -> Tensor:
        """(K,N,3,H,W) of x's dtype and device: K independent ends of the reverse process for each row of x.

        Path number j is the same for any K. Raises ConfigurationError for σ outside the card's range.
        """
        count = self.paths_per_query if k is None else k
        return torch.stack([self.path(x, sigma, j) for j in range(count)])

    def path(self, x: Tensor, sigma: float | Tensor, number: int, /) -> Tensor:
        """Path `number` of each row, (N,3,H,W): `paths(x, sigma)[number]`, alone."""
        return self.reverse.sample(x, sigma, path=number)

    def __call__(self, x: Tensor, sigma: float | Tensor, /) -> Tensor:
        """(N,3,H,W): for each row the one of its paths that is nearest to their mean."""
        return middle(self.paths(x, sigma)) if len(x) else x.clone()


def middle(paths: Tensor) -> Tensor:
    """(N,3,H,W) from (K,N,3,H,W): for each row the path nearest, in ℓ2, to the mean of the K; never a blend."""
    away = torch.stack([(path - paths.mean(0)).square().flatten(1).double().sum(1) for path in paths])
    return paths[away.argmin(0), torch.arange(paths.shape[1], device=paths.device)]


def majority(labels: Sequence[L | None]) -> L | None:
    """The label most paths got; of equals, the one that came first. None ("no label") is counted like a label.

    A function of the labels in their order alone, as a base classifier must be.
    """
    return Counter(labels).most_common(1)[0][0] if labels else None
