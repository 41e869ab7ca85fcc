"""Ways to purify attacked images, and a classifier behind one of them, for benchmarks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from api_smoothing.attacks.losses import Model
from api_smoothing.denoisers import Denoiser
from api_smoothing.denoisers.guided import Guided
from api_smoothing.denoisers.paths import Paths
from api_smoothing.denoisers.reverse import Reverse
from api_smoothing.errors import ConfigurationError
from api_smoothing.purification import load_classifier, vote
from api_smoothing.training.loop import generator
from api_smoothing.training.objectives import add_noise, on_grid

METHODS = ("none", "oneshot", "multistep", "vote", "guided")

#: (noisy images, the same before the noise), both (N,3,H,W) → purified images (N,3,H,W).
Purify = Callable[[Tensor, Tensor], Tensor]


class Attack(Protocol):
    """Changes images so that a model errs.

    Where it has `sees_defence`, and that holds, the model it is given is the defended one, which draws fresh noise at
    each call and gives no gradients. Otherwise it gets the bare classifier, and its images are made once for all
    defences.
    """

    @property
    def name(self) -> str: ...

    def __call__(self, images: Tensor, labels: Tensor, model: Model, /) -> Tensor:
        """Attacked images (N,3,H,W) in [0,1] of `images` (N,3,H,W) in [0,1], whose true labels are (N,) int64."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """σ in [0,1] units, and what `api-smooth purify` takes by the same names; `surrogate` is used for `weight` ≠ 0."""

    sigma: float = 0.17
    steps: int = 8
    eta: float = 1.0
    paths: int = 5
    guidance: float = 40.0
    weight: float = 0.0
    distance: str = "mse"
    surrogate: str = "cifar10"
    seed: int = 0


def purifier(method: str, denoiser: Denoiser, classifier: nn.Module, o: Options) -> Purify | None:
    """The `method` by name, None for "none". Raises ConfigurationError."""
    reverse = Reverse(denoiser=denoiser, steps=o.steps, eta=o.eta, seed=o.seed)
    if method == "none":
        return None
    if method == "oneshot":
        return lambda noisy, before: denoiser(noisy, o.sigma)
    if method == "multistep":
        return lambda noisy, before: reverse(noisy, o.sigma)
    if method == "vote":
        paths = Paths(reverse=reverse, paths_per_query=o.paths)

        def elect(noisy: Tensor, before: Tensor) -> Tensor:
            ends = on_grid(paths.paths(noisy, o.sigma))
            return torch.cat([vote(ends[:, k : k + 1], classifier)[0] for k in range(len(noisy))])

        return elect
    if method == "guided":
        guided = Guided(
            denoiser=denoiser,
            surrogate=load_classifier(o.surrogate, "cpu") if o.weight else None,
            surrogate_name=o.surrogate,
            scale=o.guidance,
            weight=o.weight,
            distance=o.distance,
            steps=o.steps,
            seed=o.seed,
        )
        return lambda noisy, before: guided.steer(noisy, o.sigma, before)
    raise ConfigurationError(f"no method {method!r}; choose from {', '.join(METHODS)}")


@torch.no_grad()
def purified(purify: Purify, images: Tensor, sigma: float, draws: Sequence[torch.Generator]) -> Tensor:
    """`images` (N,3,H,W) with noise from `draws`, one a row, purified: in [0,1] and of 8 bits, as they are sent."""
    level = torch.tensor([sigma])
    noisy = [add_noise(image[None], level, draw) for image, draw in zip(images, draws, strict=True)]
    return on_grid(purify(torch.cat(noisy), images))


def defended(purify: Purify, classifier: Model, o: Options) -> Model:
    """The classifier behind the method, with fresh noise at each call: what an attack that sees the defence gets."""
    calls = itertools.count()

    def scores(images: Tensor) -> Tensor:
        call = next(calls)
        draws = [generator(o.seed, 6, call, k) for k in range(len(images))]
        return classifier(purified(purify, images.detach(), o.sigma, draws))

    return scores
