"""From the flags of `purify` to its parts: the denoiser, the noisy image, and the way back from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from api_smoothing.cli.settings import Settings
from api_smoothing.denoisers import Denoiser
from api_smoothing.denoisers.guided import Guided
from api_smoothing.denoisers.paths import Paths, majority, middle
from api_smoothing.denoisers.samplers import sampler
from api_smoothing.denoisers.selection import select
from api_smoothing.engine import parts
from api_smoothing.errors import ConfigurationError, MissingExtraError
from api_smoothing.images import Loaded
from api_smoothing.noise import NoiseStream, to_float
from api_smoothing.secret import resolve_seed

#: (noisy (1,3,H,W), the image without the noise, σ) → the purified image (1,3,H,W), and how its paths voted.
Purify = Callable[[Tensor, Tensor, float], tuple[Tensor, dict[str, int] | None]]


def choose_denoiser(settings: Settings, loaded: Loaded) -> Denoiser:
    """The denoiser meant, checked to fit the image. Raises ConfigurationError, WeightsError, MissingExtraError."""
    device = parts.device(settings.device)
    found = select(settings.denoiser, size=loaded.size, sigma=settings.sigma, device=device)
    if found is None:
        raise ConfigurationError("purify needs a denoiser; give --denoiser auto, a name or a file")
    return found


def with_noise(loaded: Loaded, settings: Settings) -> tuple[Tensor, Tensor]:
    """(the image, the image with the noise of its query 0), float32 (1,3,H,W) on the device."""
    stream = NoiseStream(
        sigma=settings.sigma,
        seed=resolve_seed(settings.seed).key,
        image_digest=loaded.digest,
        shape=(*loaded.size, 3),
        sub=loaded.sub,
    )
    clean, noisy = (
        torch.from_numpy(to_float(grid, loaded.sub)).permute(0, 3, 1, 2).to(parts.device(settings.device))
        for grid in (loaded.grid[None], loaded.grid[None] + stream.sample([0]))
    )
    return clean, noisy


def purifier(method: str, options: dict[str, Any], denoiser: Denoiser, device: str) -> Purify:
    """The way back from the noise: a `method` of `samplers.METHODS`, with its `options`."""
    found = sampler(
        denoiser, {"method": method, **options}, lambda surrogate: load_classifier(surrogate, device)
    )
    # By the method, too: with "oneshot" it is the denoiser itself, whatever method that was named with.
    if method == "guided" and isinstance(found, Guided):
        return lambda noisy, clean, sigma: (found.steer(noisy, sigma, clean), None)
    if method == "vote" and isinstance(found, Paths):
        classifier = load_classifier(options["surrogate"], device)
        return lambda noisy, clean, sigma: vote(found.paths(noisy, sigma), classifier)
    return lambda noisy, clean, sigma: (found(noisy, sigma), None)


def vote(ends: Tensor, classifier: nn.Module) -> tuple[Tensor, dict[str, int]]:
    """From the ends (K,1,3,H,W) of K paths: the middle one of those with the majority's label; votes by class."""
    with torch.no_grad():
        labels: list[int] = classifier(ends[:, 0].clamp(0, 1)).argmax(1).tolist()
    winner = majority(labels)
    ranked = sorted(set(labels), key=lambda label: (-labels.count(label), labels.index(label)))
    return middle(ends[[label == winner for label in labels]]), {str(k): labels.count(k) for k in ranked}


def load_classifier(name: str, device: str) -> nn.Module:
    """The surrogate `cifar10`, a torchvision model, or the weights FOLDER/NAME. Raises WeightsError."""
    from api_smoothing.training.surrogates import load_surrogate

    try:
        folders = [] if name == "cifar10" else [Path(name).parent]  # without a folder: the bundled one
        return load_surrogate(Path(name).name, folders).to(device)
    except ImportError:
        raise MissingExtraError(
            f"the surrogate {name} needs torchvision; run: pip install 'api-smooth[torchvision]'"
        ) from None
