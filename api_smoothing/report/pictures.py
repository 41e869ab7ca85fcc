"""Pictures of an image as the report shows them, made from its file when the report is made, and of no other image.

A file is shown only where its pixels have the digest that the certificate names: a run file that points elsewhere shows
nothing.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from api_smoothing.errors import ApiSmoothError
from api_smoothing.report.words import floored

if TYPE_CHECKING:
    from api_smoothing.images import Loaded
    from api_smoothing.results import Certificate

_SIDE: Final = 256  # the longest side of a picture in the report
_PIXELATED: Final = 64  # sides up to which every pixel is shown as a square, without loss
_CLOSE: Final = 24  # pixels a side around a spot that is seen close
_LARGEST: Final = 100_000_000  # bytes of a file that is read for a picture
_FACTORS: Final = [m * 10**d for d in range(5) for m in (1, 2, 5)]
_SEED: Final = 19  # of the direction of the drawn change, the same for every image


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One tile: what it shows, in words, and the file as a data URI; `coarse` asks for square pixels."""

    caption: str
    uri: str
    coarse: bool


Denoise = Callable[[NDArray[np.float32], float], NDArray[np.float32]]


class Pictures:
    """Makes the pictures of many images; a denoiser is loaded once."""

    def __init__(self) -> None:
        self._denoisers: dict[str, Denoise | None] = {}

    def of(self, certificate: Certificate, radius: float) -> list[Picture] | str:
        """The tiles of one image, and of changes of size `radius`, or why there are none."""
        try:
            loaded = _loaded(certificate)
        except (ApiSmoothError, OSError, ValueError) as error:
            return error.args[0] if isinstance(error, _Missing) else "the file cannot be read any more"
        clean = _unit(loaded.grid, loaded.sub)
        noisy = _noisy(loaded, certificate)
        tiles = [("as it enters the noise", clean), (f"one noisy copy, σ = {certificate.sigma:g}", noisy)]
        denoise = self._denoiser(certificate.denoiser)
        if denoise is not None:
            tiles.append(("the copy, denoised", denoise(noisy, certificate.sigma)))
        return [
            _picture(words, pixels) for words, pixels in [*tiles, *changes(clean, radius, certificate.norm)]
        ]

    def _denoiser(self, name: str | None) -> Denoise | None:
        """The denoiser a certificate names, of those that are installed; never one from a file that a run names."""
        if name is None:
            return None
        if name not in self._denoisers:
            self._denoisers[name] = _installed(name)
        return self._denoisers[name]


class _Missing(ValueError):
    """There is no file to show; says why."""


def changes(clean: NDArray[np.float32], radius: float, norm: str) -> list[tuple[str, NDArray[np.float32]]]:
    """The image (H, W, 3) under a change of exactly `radius`, spread; that change made visible; and one spot of it.

    Every result stays within [0, 1]. The spot is the largest square of pixels, each as far as it can go, that a change
    of that size allows.
    """
    if radius <= 0.0:
        return []
    spread = _spread(clean, radius, norm)
    most = float(np.abs(spread).max())
    size = f"{floored(radius, 3):g}"
    factor = max((f for f in _FACTORS if f * most <= 0.5), default=1)
    spot, side = _spot(clean, radius, norm)
    close = max(_CLOSE, 3 * side)
    near = _middle(clean + spot, close)
    nearer = ", seen close" if near.shape[:2] != clean.shape[:2] else ""
    return [
        (f"changed by {size}, spread", clean + spread),
        (f"that change × {factor:,}", 0.5 + factor * spread),
        (f"changed by {size}, in {_square(side)}{nearer}", near),
    ]


def _middle(pixels: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """The middle of a large image, `side` pixels wide and high; a small one whole."""
    height, width = pixels.shape[:2]
    if max(height, width) <= _PIXELATED or min(height, width) <= side:
        return pixels
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def size_of(change: NDArray[np.float32], norm: str) -> float:
    """The ℓ1 or ℓ2 size of a change, in [0, 1] units."""
    values = change.astype(np.float64)
    return float(np.abs(values).sum() if norm == "l1" else math.sqrt((values**2).sum()))


def _spread(clean: NDArray[np.float32], radius: float, norm: str) -> NDArray[np.float32]:
    """A smooth pattern over the image, scaled so that after staying within [0, 1] its size is `radius`, or less where
    no larger one fits.
    """
    from PIL import Image

    height, width = clean.shape[:2]
    coarse = np.random.default_rng(_SEED).standard_normal((6, 6, 3)).astype(np.float32)
    bands = [
        Image.fromarray(coarse[:, :, c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(3)
    ]
    pattern = np.stack([np.asarray(band) for band in bands], axis=2)

    def within(scale: float) -> NDArray[np.float32]:
        return (np.clip(clean + np.float32(scale) * pattern, 0.0, 1.0) - clean).astype(np.float32)

    low, high = 0.0, radius / max(size_of(pattern, norm), 1e-9)
    while size_of(within(high), norm) < radius and high < 1e6:
        low, high = high, 2.0 * high
    for _ in range(30):
        middle = (low + high) / 2.0
        low, high = (middle, high) if size_of(within(middle), norm) <= radius else (low, middle)
    return within(low)


def _spot(clean: NDArray[np.float32], radius: float, norm: str) -> tuple[NDArray[np.float32], int]:
    height, width = clean.shape[:2]
    far = np.where(clean < 0.5, 1.0, 0.0).astype(np.float32) - clean
    best, side = np.zeros_like(clean), 0
    for s in range(1, min(height, width) + 1):
        top, left = (height - s) // 2, (width - s) // 2
        change = np.zeros_like(clean)
        change[top : top + s, left : left + s] = far[top : top + s, left : left + s]
        if (size := size_of(change, norm)) > radius:
            return (best, side) if side else (change * np.float32(radius / size), 1)
        best, side = change, s
    return best, side


def _square(side: int) -> str:
    return "one pixel" if side == 1 else f"{side}×{side} pixels"


def _loaded(certificate: Certificate) -> Loaded:
    from api_smoothing import images

    item = certificate.item
    path = Path((item["path"] or "") if item is not None else certificate.image)
    if not path.name or not path.is_file():
        raise _Missing("the file is not here")
    if path.stat().st_size > _LARGEST:
        raise _Missing("the file is too large to show")
    loaded = images.load(path, size=certificate.space)
    if loaded.digest.hex() != certificate.image_sha256:
        raise _Missing("the file there now is another image")
    return loaded


def _noisy(loaded: Loaded, certificate: Certificate) -> NDArray[np.float32]:
    """The image under the noise of query 0 where the seed is public, else under noise of the same kind."""
    from api_smoothing.noise import NoiseStream
    from api_smoothing.secret import public_seed

    kind, _, number = certificate.seed.partition(":")
    stream = NoiseStream(
        kind=certificate.noise,  # type: ignore[arg-type]  # checked where it is used
        sigma=certificate.sigma,
        seed=public_seed(int(number) if kind == "public" and number.lstrip("-").isdigit() else 0),
        image_digest=loaded.digest,
        shape=(*loaded.size, 3),
        sub=loaded.sub,
    )
    return _unit(loaded.grid + stream.sample([0])[0], loaded.sub)


def _unit(grid: NDArray[np.int32], sub: int) -> NDArray[np.float32]:
    from api_smoothing.noise import to_float

    return to_float(grid, sub)


def _installed(name: str) -> Denoise | None:
    from api_smoothing.denoisers import registry

    ident, _, digest = name.rpartition("@")
    if ident.partition("?")[0] not in registry.names():
        return None
    try:
        found: Any = registry.load(ident)
    except ApiSmoothError:
        return None
    if not found.card.sha256.startswith(digest):
        return None

    def denoise(pixels: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            given = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
            out: NDArray[np.float32] = found(given, sigma)[0].float().permute(1, 2, 0).cpu().numpy()
            return out

    return denoise


def _picture(caption: str, pixels: NDArray[np.float32]) -> Picture:
    from PIL import Image

    image = Image.fromarray(np.clip(pixels * 255.0 + 0.5, 0, 255).astype(np.uint8))
    coarse = max(image.size) <= _PIXELATED
    if max(image.size) > _SIDE:
        image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    file, kind = io.BytesIO(), "png" if coarse else "webp"
    if coarse:
        image.save(file, "PNG", optimize=True)
    else:
        image.save(file, "WEBP", quality=80, method=4)
    return Picture(
        caption=caption,
        uri=f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}",
        coarse=coarse,
    )
