"""One denoiser on several devices; here the processor, and torch's device that computes shapes only."""

from __future__ import annotations

import torch

from api_smoothing.denoisers.base import DenoiserCard, ManyPaths
from api_smoothing.denoisers.replicas import Replicas


class Noting:
    """A denoiser that notes where it is asked."""

    compute, paths_per_query = "fp32", 2
    card = DenoiserCard(id="noting", sha256="0" * 64, sigma_range=(0.0, 1.0))

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []

    def __call__(self, x: torch.Tensor, sigma: object, /) -> torch.Tensor:
        return self.path(x, sigma, 0)

    def path(self, x: torch.Tensor, sigma: object, number: int, /) -> torch.Tensor:
        self.seen.append((x.device.type, number))
        return x


def test_images_are_denoised_where_they_lie() -> None:
    """By the replica on their device, every path; those from elsewhere by the first."""
    here, there = Noting(), Noting()
    both = Replicas({"cpu": here, "meta": there})
    for device in ("cpu", "meta"):
        x = torch.zeros(1, 3, 4, 4, device=device)
        assert both(x, 0.5) is x
        both.path(x, 0.5, 1)
    assert here.seen == [("cpu", 0), ("cpu", 1)]
    assert there.seen == [("meta", 0), ("meta", 1)]
    elsewhere = Replicas({"cuda:0": here, "cuda:1": there})
    elsewhere(torch.zeros(1, 3, 4, 4), 0.5)
    assert here.seen == [("cpu", 0), ("cpu", 1), ("cpu", 0)]


def test_it_is_one_denoiser() -> None:
    """With the card, the arithmetic and the paths of its replicas."""
    one = Noting()
    both = Replicas({"cuda:0": one, "cuda:1": one})
    assert isinstance(both, ManyPaths)
    assert (both.card, both.compute, both.paths_per_query) == (one.card, "fp32", 2)
