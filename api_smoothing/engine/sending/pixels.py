"""The way of a noisy copy to a picture: denoiser, 8 bits, enlargement, file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from api_smoothing.adapters.base import AdapterCard, EncodedImage
from api_smoothing.adapters.local.batches import run_in_micro_batches
from api_smoothing.engine.sending.noisy import draw, draw_on, quotient
from api_smoothing.engine.sending.stream import Query
from api_smoothing.errors import ConfigurationError, ProviderError
from api_smoothing.images import encode_png

if TYPE_CHECKING:
    from torch import Tensor

    from api_smoothing.denoisers.base import Denoiser, ManyPaths

_PNG_OVERHEAD = 128  # bytes of a stored PNG beyond its rows, generously


class Cleaner:
    """Takes the noise out of copies of any images, and brings them to 8 bits. `sigma` is that of the noise."""

    def __init__(self, denoiser: Denoiser | None, sigma: float, device: str) -> None:
        self._denoiser, self._sigma, self._device = denoiser, sigma, device

    @property
    def denoises(self) -> bool:
        """Whether a network is run, on batches of a fixed size."""
        return self._denoiser is not None

    def clean(self, noisy: Tensor, queries: Sequence[Query]) -> Tensor:
        """uint8 (N,3,H,W) on the device of `noisy` (N,H,W,3); of a denoiser with K paths, query i gets path i mod K.

        A copy comes out the same whatever others are cleaned with it.
        """
        import torch

        x = noisy.permute(0, 3, 1, 2)
        if (
            noisy.is_cuda
        ):  # it comes from the stream of the noise, which must not use its memory again too soon
            noisy.record_stream(torch.cuda.current_stream(noisy.device))
        denoiser, sigma = self._denoiser, self._sigma
        if denoiser is None:
            return x
        with torch.no_grad():  # a network may keep what it makes of its input, and be trained later
            if denoiser.paths_per_query == 1:
                return run_in_micro_batches(lambda part: _estimate(denoiser, sigma, part), x)
            many = cast("ManyPaths", denoiser)  # its paths_per_query says so
            out = torch.empty(x.shape, dtype=torch.uint8, device=x.device)
            numbers = torch.tensor([query.number % denoiser.paths_per_query for query in queries])
            for number in sorted({*numbers.tolist()}):
                path, rows = partial(_path, many, sigma, number), (numbers == number).to(x.device)
                out[rows] = run_in_micro_batches(path, x[rows])
            return out

    def pixels(self, queries: Sequence[Query]) -> NDArray[np.uint8]:
        """uint8 (N,H,W,3): what is sent about `queries`, of one shape."""
        if self._denoiser is None:
            return draw(queries)
        return _here(self.clean(draw_on(self._device, queries), queries).permute(0, 2, 3, 1))


def for_model(images: Tensor) -> Tensor:
    """8-bit images (N,3,H,W) in [0,1] units, float32: what a model in this process is given."""
    return quotient(images, 255)


def _here(x: Tensor) -> NDArray[np.uint8]:
    """What a device holds; of a card through pinned memory, which is copied several times faster."""
    import torch

    if not x.is_cuda:
        return x.cpu().numpy()
    return torch.empty(x.shape, dtype=x.dtype, pin_memory=True).copy_(x.contiguous()).numpy()


def encode(pixels: NDArray[np.uint8], factor: int = 1) -> EncodedImage:
    """`pixels` (H,W,3) as a PNG, every pixel repeated `factor` times along both sides."""
    if factor > 1:
        pixels = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    pixels = np.ascontiguousarray(pixels)
    return EncodedImage(data=encode_png(pixels), height=pixels.shape[0], width=pixels.shape[1])


def enlargement(height: int, width: int, card: AdapterCard) -> int:
    """The whole factor that brings an image to the provider's least side; part of the base classifier.

    Raises ConfigurationError for an image the provider would refuse for its size, before anything is sent.
    """
    factor = max(1, -(-card.min_side // min(height, width)))
    sides, data = (height * factor, width * factor), _png_bytes(height * factor, width * factor)
    if card.max_side is not None and max(sides) > card.max_side:
        limit = f"sides up to {card.max_side} pixels"
    elif card.max_image_bytes is not None and data > card.max_image_bytes:
        limit = f"images up to {card.max_image_bytes:,} bytes, and noise does not compress"
    else:
        return factor
    raise ConfigurationError(
        f"{card.name} takes {limit}; this image would be {sides[0]}×{sides[1]} and {data:,} bytes: "
        f"bring it to fewer pixels, such as size=224 (--size 224)"
    )


def batch_size(height: int, width: int, card: AdapterCard) -> int:
    """How many images of this size one request takes: by count, by bytes, and so that they fill the quota.

    Two requests of 16 do not fit into a window of 30 images, two of 15 do. No less than half of what one
    request could take: where requests cost time, many small ones are no gain.
    """
    most = card.batch
    if card.max_request_bytes is not None:
        most = max(1, min(most, card.max_request_bytes // _png_bytes(height, width)))
    counts = [quota.count for quota in card.quotas if quota.unit == "image"]
    if not counts:
        return most
    window = min(counts)
    most = min(most, window)
    return max(range(max(1, most // 2), most + 1), key=lambda size: (window // size * size, size))


def _png_bytes(height: int, width: int) -> int:
    rows = height * (1 + 3 * width)
    return rows + rows // 1000 + _PNG_OVERHEAD


def _to_8_bits(x: Tensor) -> Tensor:
    import torch

    return x.float().clamp(0, 1).mul(255).round().to(torch.uint8)


def _estimate(denoiser: Denoiser, sigma: float, x: Tensor) -> Tensor:
    return _to_8_bits(_checked(denoiser, x, denoiser(x, sigma)))


def _path(denoiser: ManyPaths, sigma: float, number: int, x: Tensor) -> Tensor:
    return _to_8_bits(_checked(denoiser, x, denoiser.path(x, sigma, number)))


def _checked(denoiser: Denoiser, x: Tensor, out: Tensor) -> Tensor:
    """`out`, the estimate of each image of `x`. Raises ProviderError for another shape, or numbers that are none."""
    if out.shape != x.shape:
        told = f"turned {tuple(x.shape)} into {tuple(out.shape)}; a denoiser keeps the shape"
    elif not bool(out.isfinite().all()):
        told = "gave NaN or infinite pixels, which nobody can be asked about"
    else:
        return out
    raise ProviderError(f"the denoiser {denoiser.card.id} {told}")
