"""The way of a query from its index to its outcome: noise, denoiser, 8 bits, enlargement, file, provider."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from api_smoothing.adapters.base import AdapterCard, EncodedImage
from api_smoothing.adapters.local.adapter import run_in_micro_batches
from api_smoothing.engine.sending.outcome import Outcome
from api_smoothing.engine.sending.sender import Sender
from api_smoothing.errors import ConfigurationError, ProviderError
from api_smoothing.images import encode_png
from api_smoothing.noise import NoiseStream, to_float

if TYPE_CHECKING:
    from torch import Tensor

    from api_smoothing.denoisers.base import Denoiser, ManyPaths

#: Queries that travel through the networks together; also the unit in which local answers are saved.
BLOCK = 256
_SENT_BLOCK = 64  # for services: small, so that the first requests leave while the rest is denoised
_PNG_OVERHEAD = 128  # bytes of a stored PNG beyond its rows, generously


class Pipeline:
    """Asks the queries of one image. `grid` (H,W,3) int32 holds its pixels in units of 1/(255·sub).

    `workers` requests may be under way at once; None leaves that to the quota and the measured latency.
    """

    def __init__(
        self,
        *,
        grid: np.ndarray,
        noise: NoiseStream,
        denoiser: Denoiser | None,
        card: AdapterCard,
        sender: Sender,
        device: str = "cpu",
        workers: int | None = 1,
    ) -> None:
        self._grid = grid
        self._noise = noise
        self._denoiser = denoiser
        self._card, self._sender = card, sender
        self._device = device
        self._workers = workers
        self._paths = 1 if denoiser is None else denoiser.paths_per_query
        if card.accepts == "png":
            height, width = grid.shape[:2]
            self._factor = enlargement(height, width, card)
            self._batch = batch_size(height * self._factor, width * self._factor, card)

    def ask(self, indices: Sequence[int]) -> Iterator[dict[int, Outcome]]:
        """Outcomes by query index, in portions as they come in, not always in order."""
        if indices:
            yield from (self._ask_here if self._card.accepts == "tensor" else self._ask_there)(indices)

    def _noisy(self, indices: Sequence[int]) -> np.ndarray:
        """(N,H,W,3): grid values for the denoiser; without one rounded and clipped to 8 bits, as they are sent."""
        if self._denoiser is None:
            return self._noise.noisy_uint8(self._grid, indices)
        return self._grid + self._noise.sample([index // self._paths for index in indices])

    def _clean(self, noisy: np.ndarray, indices: Sequence[int]) -> Tensor:
        """uint8 (N,3,H,W) on the pipeline's device; of a denoiser with K paths, query i is sent path i mod K."""
        import torch

        if self._denoiser is None:
            return torch.from_numpy(noisy).permute(0, 3, 1, 2).to(self._device)
        denoiser, sigma = self._denoiser, self._noise.sigma
        with torch.no_grad():  # a network may keep what it makes of its input, and be trained later
            x = torch.from_numpy(to_float(noisy, self._noise.sub)).permute(0, 3, 1, 2).to(self._device)
            if self._paths == 1:
                return run_in_micro_batches(lambda part: _estimate(denoiser, sigma, part), x)
            many = cast("ManyPaths", denoiser)  # its paths_per_query says so
            out = torch.empty(x.shape, dtype=torch.uint8, device=x.device)
            numbers = torch.tensor(indices, device=x.device) % self._paths
            for number in range(self._paths):
                path = partial(_path, many, sigma, number)
                out[numbers == number] = run_in_micro_batches(path, x[numbers == number])
            return out

    def _ask_here(self, indices: Sequence[int]) -> Iterator[dict[int, Outcome]]:
        """A model in this process. The noise of the next block is drawn while this one is in the networks."""
        blocks = [indices[i : i + BLOCK] for i in range(0, len(indices), BLOCK)]
        batch = self._card.batch
        with ThreadPoolExecutor(1, thread_name_prefix="noise") as ahead:
            pending: Future[np.ndarray] | None = None
            for number, block in enumerate(blocks):
                noisy = pending.result() if pending is not None else self._noisy(block)
                pending = ahead.submit(self._noisy, blocks[number + 1]) if number + 1 < len(blocks) else None
                images = self._clean(noisy, block).float().div_(255)
                for start in range(0, len(block), batch):
                    part = block[start : start + batch]
                    yield self._sender.send(part, images[start : start + batch])

    def _ask_there(self, indices: Sequence[int]) -> Iterator[dict[int, Outcome]]:
        """A service. Blocks are denoised ahead while requests are under way."""
        block = max(_SENT_BLOCK, self._batch)
        blocks = [indices[i : i + block] for i in range(0, len(indices), block)]
        pool = ThreadPoolExecutor(self._in_flight(len(indices)), thread_name_prefix="send")
        done: SimpleQueue[Future[dict[int, Outcome]]] = SimpleQueue()
        under_way = 0
        with ThreadPoolExecutor(1, thread_name_prefix="denoise") as ahead:
            try:
                pixels = ahead.submit(self._pixels, blocks[0])
                for number, part in enumerate(blocks):
                    ready = pixels.result()
                    if number + 1 < len(blocks):
                        pixels = ahead.submit(self._pixels, blocks[number + 1])
                    for start in range(0, len(part), self._batch):
                        rows = slice(start, start + self._batch)
                        pool.submit(self._send, part[rows], ready[rows]).add_done_callback(done.put)
                        under_way += 1
                    last = number + 1 == len(blocks)
                    while under_way * self._batch > (0 if last else block):
                        under_way -= 1
                        yield done.get().result()
            except BaseException:
                self._sender.halt()
                raise
            finally:  # what has left is waited for: it is paid, and its worker keeps the answer
                pool.shutdown(wait=True, cancel_futures=True)

    def _pixels(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        noisy = self._noisy(indices)
        return (
            noisy if self._denoiser is None else self._clean(noisy, indices).permute(0, 2, 3, 1).cpu().numpy()
        )

    def _send(self, indices: Sequence[int], pixels: NDArray[np.uint8]) -> dict[int, Outcome]:
        return self._sender.send(indices, [encode(image, self._factor) for image in pixels])

    def _in_flight(self, queries: int) -> int:
        """Requests at once: enough to use the quota at the latency seen so far, none without work."""
        requests = -(-queries // self._batch)
        if self._workers is not None:
            return min(self._workers, requests)
        rate = self._card.queries_per_second
        if rate is None:
            return min(16, requests)
        wanted = rate / self._batch * max(0.5, self._sender.usage.seconds) * 1.5
        return max(1, min(64, requests, round(wanted) + 2))


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
