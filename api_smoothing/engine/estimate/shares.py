"""What is known of vote shares before an image is asked: how often its top class will win.

A share varies from image to image, and how it varies differs from model to model. The shares of one model are taken
as a draw from a Dirichlet process around measured ones, which weigh as much as `concentration` images would. So a
forecast for many images stays as uncertain as the model is, and images that were asked speak for the others.

Which measured ones: `prior` goes by the noise, the side of the images and who answers. Source: Ferguson 1973.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from api_smoothing.adapters.base import AdapterCard
from api_smoothing.certify.crossing import Floats

#: Vote shares of the top class at the 5th, 15th, …, 95th percentile of images: the published certification logs of
#: four noise-trained CIFAR-10 and ImageNet models (Salman et al. 2019; Jeong and Shin 2020), pooled.
PUBLISHED: Final = (0.45, 0.5968, 0.7432, 0.8685, 0.9596, 0.9927, 0.9995, 1.0, 1.0, 1.0)

#: By the σ of the noise, shares at the 2.5th, 7.5th, …, 97.5th percentile behind the denoisers that "auto" takes, as
#: `python benchmarks/vote_shares.py --data DIR --what …` measures them: of the bundled classifier on CIFAR-10's test
#: images 500–690 (--images 500:691, 100 votes each), and of the sandboxes' on Imagenette's validation photographs from
#: 250 on (--images 250:306, 20 votes each).
CIFAR10: Final[dict[float, tuple[float, ...]]] = {
    0.25: (
        0.4439,
        0.4726,
        0.5367,
        0.5953,
        0.6233,
        0.7589,
        0.7774,
        0.8318,
        0.8681,
        0.8832,
        0.9,
        0.9568,
        0.9743,
        0.9826,
        0.9895,
        0.9944,
        0.9969,
        0.9982,
        0.999,
        0.9994,
    ),
}
PHOTOGRAPHS: Final[dict[float, tuple[float, ...]]] = {
    0.25: (
        0.5617,
        0.7542,
        0.8692,
        0.8887,
        0.9031,
        0.9259,
        0.994,
        0.9964,
        0.9974,
        0.9979,
        0.9983,
        0.9986,
        0.9988,
        0.9989,
        0.9991,
        0.9992,
        0.9993,
        0.9994,
        0.9994,
        0.9995,
    ),
}
_SMALL: Final = 64  # pixels of the longer side, up to which an image is no photograph
_ALIKE: Final = 1.5  # a σ this many times another one's still has its shares

LEAST: Final = (
    0.2  # images that abstained have no share in the logs; it is taken to lie between here and 0.45
)
CONCENTRATION: Final = 5.0
_EACH: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """Shares (`nodes`), their `weights` before any answer (they sum to 1), and how many images those weigh as."""

    nodes: Floats
    weights: Floats
    concentration: float
    told: str

    def posterior(self, n: int, votes: int) -> Floats:
        """The weights of the nodes for one image with `votes` for its top class among n answers."""
        p = np.clip(self.nodes, 1e-12, 1.0 - 1e-12)
        log = np.log(self.weights) + votes * np.log(p) + (n - votes) * np.log1p(-p)
        weights = np.exp(log - log.max())
        return np.asarray(weights / weights.sum())

    def model(self, images: Iterable[tuple[int, int]]) -> Floats:
        """Dirichlet parameters over the nodes for one model, of some images' (answers n, votes for the top class)."""
        parameters: Floats = self.concentration * self.weights
        for n, votes in images:
            parameters = parameters + self.posterior(n, votes)
        return parameters


def _prior(shares: Sequence[float], *, diffuse: float, concentration: float, told: str) -> Prior:
    """Shares at equally spaced percentiles, of which a part `diffuse` may be any from LEAST on."""
    at = (np.arange(_EACH) + 0.5) / _EACH
    knots = (np.arange(len(shares)) + 0.5) / len(shares)
    nodes = np.concatenate([np.interp(at, [0.0, *knots], [LEAST, *shares]), LEAST + (1.0 - LEAST) * at])
    weights = np.repeat([(1.0 - diffuse) / _EACH, diffuse / _EACH], _EACH)
    nodes, weights = nodes[weights > 0], weights[weights > 0]
    return Prior(nodes=nodes, weights=weights, concentration=concentration, told=told)


#: For a model of which nothing is known.
UNKNOWN: Final = _prior(
    PUBLISHED,
    diffuse=0.25,
    concentration=CONCENTRATION,
    told="vote shares as in published certification logs, of a model that may differ from those",
)


def prior(
    card: AdapterCard, *, sigma: float, size: int | tuple[int, int] | None, denoiser: str | None
) -> Prior:
    """What is known of the provider of `card` with images of `size` behind the denoiser of that name.

    The bundled classifiers and their sandboxes have been measured, behind the bundled denoisers; of a service it is
    only known what those denoisers leave of such images.
    """
    side = max(size) if isinstance(size, tuple) else size
    if denoiser is None or not denoiser.startswith("unet-") or side is None:
        return UNKNOWN
    small = side <= _SMALL
    tables, images = (
        (CIFAR10, "CIFAR-10's test images") if small else (PHOTOGRAPHS, "Imagenette's photographs")
    )
    nearest = min(tables, key=lambda known: abs(math.log(known / sigma)))
    if max(nearest / sigma, sigma / nearest) > _ALIKE:
        return UNKNOWN
    known = card.place == "sandbox" or card.name == "torchvision/cifar10"
    return _prior(
        tables[nearest],
        diffuse=0.0 if known else 0.25,
        concentration=10 * CONCENTRATION if known else CONCENTRATION,
        told=f"vote shares as measured on {images} at σ={nearest:g}, {'' if known else 'of another model; '}"
        "yours may differ from those",
    )


def draw(parameters: Floats, runs: int, rng: np.random.Generator) -> Floats:
    """Weights of the nodes for `runs` models drawn from the Dirichlet distribution: (runs, nodes), rows sum to 1."""
    mass = rng.standard_gamma(parameters, size=(runs, parameters.size))
    weights: Floats = mass / mass.sum(axis=1, keepdims=True)
    return weights
