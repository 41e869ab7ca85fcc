"""The way of a query from its index to a picture: noise, denoiser, 8 bits, enlargement, file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from api_smoothing.adapters.base import AdapterCard, EncodedImage
from api_smoothing.adapters.local.adapter import run_in_micro_batches
from api_smoothing.engine.sending.stream import Query
from api_smoothing.errors import ConfigurationError, ProviderError
from api_smoothing.images import encode_png
from api_smoothing.noise import NoiseStream, to_float

if TYPE_CHECKING:
    from torch import Tensor

    from api_smoothing.denoisers.base import Denoiser, ManyPaths

_PNG_OVERHEAD = 128  # bytes of a stored PNG beyond its rows, generously


def drawing(
    grid: NDArray[np.int32], noise: NoiseStream, denoiser: Denoiser | None
) -> Callable[[Sequence[int]], NDArray[Any]]:
    """`Stream.draw` of the image whose `grid` (H,W,3) holds its pixels in units of 1/(255·sub).

    For a denoiser the copies are float32, exact; without one they are rounded and clipped to 8 bits, as they are sent.
    Of a denoiser with K paths query i is a path of noise i div K.
    """
    if denoiser is None:
        return lambda indices: noise.noisy_uint8(grid, indices)
    paths = denoiser.paths_per_query
    return lambda indices: to_float(grid + noise.sample([i // paths for i in indices]), noise.sub)


def draw(queries: Sequence[Query]) -> NDArray[Any]:
    """The noisy copies (N,H,W,3) of `queries`, of one shape, each as its stream draws it."""
    parts, first = [], 0
    for last in range(1, len(queries) + 1):  # a run of queries of one stream is drawn together
        if last == len(queries) or queries[last].stream is not queries[first].stream:
            drawn = queries[first].stream.draw
            assert drawn is not None
            parts.append(drawn([query.number for query in queries[first:last]]))
            first = last
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


class Cleaner:
    """Takes the noise out of copies of any images, and brings them to 8 bits. `sigma` is that of the noise."""

    def __init__(self, denoiser: Denoiser | None, sigma: float, device: str) -> None:
        self._denoiser, self._sigma, self._device = denoiser, sigma, device

    def clean(self, noisy: NDArray[Any], queries: Sequence[Query]) -> Tensor:
        """uint8 (N,3,H,W) on the device; of a denoiser with K paths, query i gets path i mod K.

        A copy comes out the same whatever others are cleaned with it.
        """
        import torch

        x = torch.from_numpy(noisy).permute(0, 3, 1, 2).to(self._device)
        denoiser, sigma = self._denoiser, self._sigma
        if denoiser is None:
            return x
        with torch.no_grad():  # a network may keep what it makes of its input, and be trained later
            if denoiser.paths_per_query == 1:
                return run_in_micro_batches(lambda part: _estimate(denoiser, sigma, part), x)
            many = cast("ManyPaths", denoiser)  # its paths_per_query says so
            out = torch.empty(x.shape, dtype=torch.uint8, device=x.device)
            indices = [query.number for query in queries]
            numbers = torch.tensor(indices, device=x.device) % denoiser.paths_per_query
            for number in sorted({i % denoiser.paths_per_query for i in indices}):
                path = partial(_path, many, sigma, number)
                out[numbers == number] = run_in_micro_batches(path, x[numbers == number])
            return out

    def pixels(self, queries: Sequence[Query]) -> NDArray[np.uint8]:
        """uint8 (N,H,W,3): what is sent about `queries`, of one shape."""
        noisy = draw(queries)
        if self._denoiser is None:
            return noisy
        return self.clean(noisy, queries).permute(0, 2, 3, 1).cpu().numpy()


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
