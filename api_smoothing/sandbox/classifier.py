"""What looks at the images behind a sandbox: the bundled classifiers, or a script with known shares.

A classifier takes images (H, W, 3), uint8, RGB, of any size, and gives each a mapping from class names to scores in
[0, 1]; the vocabulary turns that into what a provider would say.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from api_smoothing.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import nn

Classifier: TypeAlias = Callable[[Sequence[NDArray[np.uint8]]], Sequence[Mapping[str, float]]]

CLASSES: Final = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE: Final = 32
SMALL: Final = 64  # pixels of the shorter side; larger images are photographs
PHOTOGRAPH: Final = 160

_SURE: Final = 0.97  # a script's score for the class it drew; the others share the rest


@functools.cache
def bundled_classifier() -> Classifier:
    """The bundled classifiers, each loaded once a process when first needed. Thread-safe.

    The CIFAR-10 one looks at images up to SMALL pixels, the photographic one at larger ones; an image that was enlarged
    by a whole factor is as large as it was. Each image is run by itself, in float32: then its scores are the same in
    whatever batch it came, and do not tie where the shorter type's would.
    """
    # One thread for all requests: torch keeps a pool of workers for every thread that ever calls it.
    worker = ThreadPoolExecutor(1, thread_name_prefix="sandbox-classifier")

    def classifier(images: Sequence[NDArray[np.uint8]]) -> list[dict[str, float]]:
        return worker.submit(lambda: [_scores(as_sent(image)) for image in images]).result()

    return classifier


def as_sent(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image before every pixel was repeated k times along both sides; itself, where none was."""
    height, width, _ = image.shape
    for k in range(min(height, width), 1, -1):
        if height % k == 0 and width % k == 0:
            small = image[::k, ::k]
            if np.array_equal(image[:k, :k], np.broadcast_to(small[:1, :1], (k, k, 3))) and np.array_equal(
                image, small.repeat(k, 0).repeat(k, 1)
            ):
                return small
    return image


def scripted_brain(shares: Mapping[str, float], seed: int = 0) -> Classifier:
    """A classifier that draws each image's class by a hash of its pixels: class names → probabilities.

    Over images that differ the classes come with just these shares, independently; the same image always gets
    the same one. What the shares lack of 1 is the chance that the classifier sees nothing, all scores 0. Raises
    ConfigurationError for names that are no class, and for shares below 0 or of more than 1 together.
    """
    unknown = [name for name in shares if name not in CLASSES]
    if unknown:
        raise ConfigurationError(f"{unknown[0]!r} is no class of the sandbox; use {', '.join(CLASSES)}")
    if not all(share >= 0 for share in shares.values()) or math.fsum(shares.values()) > 1 + 1e-9:
        raise ConfigurationError("shares are probabilities: none below 0, and not above 1 together")
    names, limits = tuple(shares), tuple(accumulate(shares.values()))

    def draw(image: NDArray[np.uint8]) -> dict[str, float]:
        digest = hashlib.blake2b(repr((seed, image.shape)).encode(), digest_size=8)
        digest.update(np.ascontiguousarray(image).data)
        u = int.from_bytes(digest.digest()) / 2**64
        drawn = next((name for name, limit in zip(names, limits, strict=True) if u < limit), None)
        rest = 0.0 if drawn is None else (1 - _SURE) / (len(CLASSES) - 1)
        return {name: _SURE if name == drawn else rest for name in CLASSES}

    return lambda images: [draw(image) for image in images]


def to_side(image: NDArray[np.uint8], side: int = SIDE) -> NDArray[np.float32]:
    """An image (H, W, 3) as float32 (3, side, side) in [0, 1].

    Whole multiples of `side` are averaged over blocks, which exactly undoes an enlargement by a whole factor;
    other sizes are resampled.
    """
    height, width, _ = image.shape
    if height % side == 0 and width % side == 0:
        blocks = image.reshape(side, height // side, side, width // side, 3)
        pixels = blocks.sum((1, 3), dtype=np.int64) / (height * width // side**2)
    else:
        from PIL import Image

        pixels = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1) / 255.0, dtype=np.float32)


def _scores(image: NDArray[np.uint8]) -> dict[str, float]:
    import torch

    small = min(image.shape[:2]) <= SMALL
    network, names = _network() if small else _photographic()
    pixels = to_side(image, SIDE if small else PHOTOGRAPH)
    with torch.inference_mode():
        x = torch.from_numpy(pixels)[None].contiguous(memory_format=torch.channels_last)
        return dict(zip(names, network(x).softmax(1)[0].tolist(), strict=True))


@functools.cache
def _network() -> tuple[nn.Module, tuple[str, ...]]:
    from api_smoothing.adapters.local.cifar10net import load_cifar10net

    return load_cifar10net(), CLASSES


@functools.cache
def _photographic() -> tuple[nn.Module, tuple[str, ...]]:
    from api_smoothing.sandbox.photographs import load_imagenette_net, read_card

    return load_imagenette_net(), tuple(read_card()["classes"])
