"""Purify one image: add the noise of its first query, and take that away again with a denoiser.

oneshot asks the denoiser once; ensemble averages what it makes of mirror images; multistep goes down the noise in
steps; vote takes several such paths, has a surrogate label them and keeps the middle one of the label most of them got;
guided holds the path to the input and to the surrogate's answer about it. Nothing is sent anywhere. Purifying is no
certificate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from api_smoothing.denoisers import samplers
from api_smoothing.errors import ConfigurationError, MissingExtraError, WeightsError, unknown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor, nn

    from api_smoothing.denoisers import Denoiser
    from api_smoothing.images import ImageLike, Loaded

__all__ = [
    "METHODS",
    "Purified",
    "choose_denoiser",
    "load_classifier",
    "purify",
    "purify_and_measure",
    "vote",
]

#: The options each method takes, with their defaults. Here a surrogate counts the votes, not a provider.
METHODS: Final[dict[str, Mapping[str, Any]]] = {
    **samplers.METHODS,
    "vote": {**samplers.METHODS["vote"], "surrogate": "cifar10"},
}

#: (noisy (1,3,H,W), the image without the noise, σ) → the purified image (1,3,H,W), and how its paths voted.
WayBack: TypeAlias = "Callable[[Tensor, Tensor, float], tuple[Tensor, dict[str, int] | None]]"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Purified:
    """A purified image, and how it came about.

    `pixels` is uint8 (H, W, 3). `source` names the image it was made of, `denoiser` is id@sha256, shortened, `options`
    are all of the method's, `seed` the seed's public label. `psnr` is in dB, to the image before the noise, and None
    where they are equal. `seconds` is the way back alone. `votes` counts the labels of the paths, by class, where they
    voted.
    """

    pixels: NDArray[np.uint8]
    source: str
    method: str
    options: dict[str, Any]
    sigma: float
    denoiser: str
    seed: str
    psnr: float | None
    seconds: float
    votes: dict[str, int] | None

    @property
    def image(self) -> Image.Image:
        """The purified image, RGB."""
        from PIL import Image

        return Image.fromarray(self.pixels)


def purify(
    image: ImageLike,
    *,
    denoiser: str | Path | Denoiser = "auto",
    sigma: float = 0.25,
    method: str = "oneshot",
    seed: int | None = None,
    size: int | tuple[int, int] | None = None,
    device: str = "auto",
    **options: Any,
) -> Image.Image:
    """`image` with noise of standard deviation `sigma` ([0,1] pixel units) added and taken away, as an RGB PIL image.

    `denoiser` is a name, a path, a Denoiser, or "auto": the bundled one for this image's sides and σ. `size` is the
    side (or height, width) the image is brought to first; None leaves it. The noise is that of the image's first query:
    `seed` None draws it from the installation's secret key, an int makes it public and repeatable. `options` are the
    method's (see `METHODS`): views, steps, eta, paths, guidance, weight, surrogate, distance.

    Raises ImageError, ConfigurationError, WeightsError or MissingExtraError, one line each.
    """
    return purify_and_measure(
        image,
        denoiser=denoiser,
        sigma=sigma,
        method=method,
        seed=seed,
        size=size,
        device=device,
        **options,
    ).image


def purify_and_measure(
    image: ImageLike,
    *,
    denoiser: str | Path | Denoiser | None = "auto",
    sigma: float = 0.25,
    method: str = "oneshot",
    seed: int | None = None,
    size: int | tuple[int, int] | None = None,
    device: str = "auto",
    **options: Any,
) -> Purified:
    """What `purify` does, with votes, seconds and PSNR. Takes and raises the same."""
    from time import perf_counter

    from api_smoothing import images
    from api_smoothing.engine import parts
    from api_smoothing.secret import resolve_seed

    chosen = method_options(method, options)
    parts.check(sigma=sigma, alpha=0.001, method="auto", noise="gaussian", budget=None)
    place, noise_seed = parts.device(device), resolve_seed(seed)
    loaded = images.load(image, size=size)
    found = choose_denoiser(denoiser, loaded, sigma=sigma, device=place)
    back = way_back(method, chosen, found, place)
    clean, noisy = _with_noise(loaded, sigma=sigma, key=noise_seed.key, device=place)
    start = perf_counter()
    result, votes = back(noisy, clean, sigma)
    if not bool(result.isfinite().all()):
        raise WeightsError(
            f"{parts.denoiser_name(found)} gave numbers that are not finite; it is broken, use another"
        )
    levels = result[0].float().clamp(0, 1).mul(255).round().cpu()
    seconds = perf_counter() - start
    return Purified(
        pixels=levels.byte().permute(1, 2, 0).contiguous().numpy(),
        source=loaded.source,
        method=method,
        options=chosen,
        sigma=sigma,
        denoiser=parts.denoiser_name(found),
        seed=noise_seed.label,
        psnr=_decibels(levels / 255, clean[0].cpu()),
        seconds=seconds,
        votes=votes,
    )


def method_options(
    method: str, given: Mapping[str, Any], *, spell: Callable[[str], str] = "{}=".format
) -> dict[str, Any]:
    """All options of `method`, given or by default. Raises ConfigurationError for those of others, `spell`ed."""
    if method not in METHODS:
        raise ConfigurationError(unknown("method", method, list(METHODS)))
    for name in given:
        if name not in METHODS[method]:
            takers = " or ".join(other for other, options in METHODS.items() if name in options)
            if not takers:
                raise ConfigurationError(
                    f"purify has no option {name!r}; see api_smoothing.purification.METHODS"
                )
            raise ConfigurationError(
                f"{spell(name).strip()} goes with {spell('method')}{takers}, not {method}"
            )
        samplers.check(name, given[name])
    return {**METHODS[method], **given}


def choose_denoiser(
    choice: str | Path | Denoiser | None, loaded: Loaded, *, sigma: float, device: str
) -> Denoiser:
    """The denoiser meant, checked to fit the image. Raises ConfigurationError, WeightsError, MissingExtraError."""
    from api_smoothing.denoisers.selection import select

    found = select(choice, size=loaded.size, sigma=sigma, device=device)
    if found is None:
        raise ConfigurationError('purify needs a denoiser; give "auto", a name or a file')
    return found


def way_back(method: str, options: Mapping[str, Any], denoiser: Denoiser, device: str) -> WayBack:
    """The way back from the noise: a `method` of `METHODS`, with all of its `options`."""
    from api_smoothing.denoisers.guided import Guided
    from api_smoothing.denoisers.paths import Paths

    found = samplers.sampler(
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
    import torch

    from api_smoothing.denoisers.paths import majority, middle

    with torch.no_grad():
        labels: list[int] = classifier(ends[:, 0].clamp(0, 1)).argmax(1).tolist()
    winner = majority(labels)
    ranked = sorted(set(labels), key=lambda label: (-labels.count(label), labels.index(label)))
    return middle(ends[[label == winner for label in labels]]), {str(k): labels.count(k) for k in ranked}


def load_classifier(name: str, device: str) -> nn.Module:
    """The surrogate `cifar10`, a torchvision model, or the weights FOLDER/NAME. Raises WeightsError."""
    return load_named_classifier(name, device)[0]


def load_named_classifier(name: str, device: str) -> tuple[nn.Module, tuple[str, ...]]:
    """The same, and its classes, one a column."""
    from api_smoothing.training.surrogates import load_surrogate, names_of

    try:
        folders = [] if name == "cifar10" else [Path(name).parent]  # without a folder: the bundled one
        net = load_surrogate(Path(name).name, folders).to(device)
        return net, names_of(net, Path(name).name, folders)
    except ImportError:
        raise MissingExtraError(
            f"the surrogate {name} needs torchvision; run: pip install 'api-smooth[torchvision]'"
        ) from None


def _with_noise(loaded: Loaded, *, sigma: float, key: bytes, device: str) -> tuple[Tensor, Tensor]:
    """(the image, the image with the noise of its query 0), float32 (1,3,H,W) on the device."""
    import torch

    from api_smoothing.noise import NoiseStream, to_float

    stream = NoiseStream(
        sigma=sigma, seed=key, image_digest=loaded.digest, shape=(*loaded.size, 3), sub=loaded.sub
    )
    clean, noisy = (
        torch.from_numpy(to_float(grid, loaded.sub)).permute(0, 3, 1, 2).to(device)
        for grid in (loaded.grid[None], loaded.grid[None] + stream.sample([0]))
    )
    return clean, noisy


def _decibels(found: Tensor, clean: Tensor) -> float | None:
    from api_smoothing.denoisers.distances import psnr

    decibels = psnr(found, clean)
    return decibels if math.isfinite(decibels) else None
