"""The way of a query from its index to the provider's answer: noise, denoiser, 8 bits, adapter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from api_smoothing.adapters.base import Adapter, Answer, EncodedImage
from api_smoothing.adapters.local import MICRO_BATCH, run_in_micro_batches
from api_smoothing.engine.attempt import attempt
from api_smoothing.images import encode_png
from api_smoothing.noise import NoiseStream, to_float, to_uint8

if TYPE_CHECKING:
    from torch import Tensor

    from api_smoothing.denoisers.base import Denoiser

#: Queries that travel through the stages together; also the unit in which local answers are saved.
BLOCK = 256


class Pipeline:
    """Asks the queries of one image. `grid` (H,W,3) int32 holds its pixels in units of 1/(255·sub)."""

    def __init__(
        self,
        *,
        grid: np.ndarray,
        noise: NoiseStream,
        denoiser: Denoiser | None,
        adapter: Adapter,
        device: str = "cpu",
        workers: int = 1,
    ) -> None:
        self._grid = grid
        self._noise = noise
        self._denoiser = denoiser
        self._adapter = adapter
        self._device = device
        self._workers = workers

    def ask(self, indices: Sequence[int]) -> Iterator[dict[int, Answer | None]]:
        """Answers by query index, in portions as they are complete; None marks a query that finally failed.

        The noise of the next block is drawn while the current one is in the networks.
        """
        if not indices:
            return
        blocks = [indices[i : i + BLOCK] for i in range(0, len(indices), BLOCK)]
        call = self._call_tensors if self._adapter.card.accepts == "tensor" else self._call_encoded
        with ThreadPoolExecutor(1, thread_name_prefix="noise") as ahead:
            pending: Future[np.ndarray] | None = None
            for number, block in enumerate(blocks):
                noisy = pending.result() if pending is not None else self._noisy(block)
                pending = ahead.submit(self._noisy, blocks[number + 1]) if number + 1 < len(blocks) else None
                yield from call(block, noisy)

    def _noisy(self, indices: Sequence[int]) -> np.ndarray:
        return self._grid + self._noise.sample(indices)

    def _clean(self, noisy: np.ndarray) -> Tensor:
        """uint8 (N,3,H,W) on the pipeline's device: denoised, or only rounded and clipped to 8 bits."""
        import torch

        if self._denoiser is None:
            clean = to_uint8(noisy, self._noise.sub)
            return torch.from_numpy(clean).permute(0, 3, 1, 2).to(self._device)
        denoiser, sigma = self._denoiser, self._noise.sigma
        with torch.inference_mode():
            x = torch.from_numpy(to_float(noisy, self._noise.sub)).permute(0, 3, 1, 2).to(self._device)
            micro = MICRO_BATCH.get(x.device.type, MICRO_BATCH["cpu"])
            return run_in_micro_batches(lambda part: _to_8_bits(denoiser(part, sigma)), x, micro)

    def _call_tensors(self, indices: Sequence[int], noisy: np.ndarray) -> Iterator[dict[int, Answer | None]]:
        images = self._clean(noisy).float().div_(255)
        batch = self._adapter.card.batch
        for start in range(0, len(indices), batch):
            part = images[start : start + batch]
            answers = attempt(lambda part=part: self._adapter.label(part), self._adapter, len(part))  # type: ignore[misc]
            yield dict(zip(indices[start : start + batch], answers, strict=True))

    def _call_encoded(self, indices: Sequence[int], noisy: np.ndarray) -> Iterator[dict[int, Answer | None]]:
        pixels = self._clean(noisy).permute(0, 2, 3, 1).cpu().numpy()
        height, width = pixels.shape[1:3]
        batch = self._adapter.card.batch

        def send(start: int) -> dict[int, Answer | None]:
            part = [
                EncodedImage(data=encode_png(np.ascontiguousarray(p)), height=height, width=width)
                for p in pixels[start : start + batch]
            ]
            answers = attempt(lambda: self._adapter.label(part), self._adapter, len(part))
            return dict(zip(indices[start : start + batch], answers, strict=True))

        with ThreadPoolExecutor(self._workers, thread_name_prefix="send") as pool:
            yield from pool.map(send, range(0, len(indices), batch))


def _to_8_bits(x: Tensor) -> Tensor:
    import torch

    return x.float().clamp(0, 1).mul(255).round().to(torch.uint8)
