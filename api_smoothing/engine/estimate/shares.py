"""What is known of vote shares before an image is asked: how often its top class will win.

A share varies from image to image, and how it varies differs from model to model. The shares of one model are taken
as a draw from a Dirichlet process around published ones, which weigh as much as `CONCENTRATION` images would. So a
forecast for many images stays as uncertain as the model is, and images that were asked speak for the others.

Source: Ferguson 1973.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from api_smoothing.certify.crossing import Floats

#: Vote shares of the top class at the 5th, 15th, …, 95th percentile of images: the published certification logs of
#: four noise-trained CIFAR-10 and ImageNet models (Salman et al. 2019; Jeong and Shin 2020), pooled.
PUBLISHED: Final = (0.45, 0.5968, 0.7432, 0.8685, 0.9596, 0.9927, 0.9995, 1.0, 1.0, 1.0)
LEAST: Final = (
    0.2  # images that abstained have no share in those logs; it is taken to lie between here and 0.45
)
DIFFUSE: Final = 0.25  # of the images may have any share from LEAST on: the model is none of those
CONCENTRATION: Final = 5.0
_EACH = 200

#: Shares, and their weights before any answer (they sum to 1).
NODES: Final[Floats] = np.concatenate(
    [
        np.interp((np.arange(_EACH) + 0.5) / _EACH, [0.0, *(np.arange(10) / 10 + 0.05)], [LEAST, *PUBLISHED]),
        LEAST + (1.0 - LEAST) * (np.arange(_EACH) + 0.5) / _EACH,
    ]
)
WEIGHTS: Final[Floats] = np.repeat([(1.0 - DIFFUSE) / _EACH, DIFFUSE / _EACH], _EACH)


def posterior(n: int, votes: int) -> Floats:
    """The weights of NODES for one image with `votes` for its top class among n answers."""
    p = np.clip(NODES, 1e-12, 1.0 - 1e-12)
    log = np.log(WEIGHTS) + votes * np.log(p) + (n - votes) * np.log1p(-p)
    weights = np.exp(log - log.max())
    return np.asarray(weights / weights.sum())


def model(images: Iterable[tuple[int, int]]) -> Floats:
    """Dirichlet parameters over NODES for one model, of whose images (answers n, votes for the top class) are known."""
    parameters: Floats = CONCENTRATION * WEIGHTS
    for n, votes in images:
        parameters = parameters + posterior(n, votes)
    return parameters


def draw(parameters: Floats, runs: int, rng: np.random.Generator) -> Floats:
    """Weights of NODES for `runs` models drawn from the Dirichlet distribution: (runs, nodes), rows sum to 1."""
    mass = rng.standard_gamma(parameters, size=(runs, parameters.size))
    weights: Floats = mass / mass.sum(axis=1, keepdims=True)
    return weights
