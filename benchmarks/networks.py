"""The bare networks: denoiser, rounding to 8 bits and classifier on full batches that lie ready in memory."""

from __future__ import annotations

from typing import Any

import torch

from api_smoothing import SmoothedAPI, images
from api_smoothing.adapters.local.batches import micro_batch
from api_smoothing.noise import to_float

READY = 1024  # noisy copies that lie in memory


class Bare:
    """The two networks of `api`, a local one, on noisy copies of `picture`; `batch` is what the engine gives them."""

    def __init__(self, api: SmoothedAPI, picture: Any) -> None:
        loaded = images.load(picture, size=api.size)
        noisy = to_float(loaded.grid + api._noise_stream(loaded).sample(range(READY)), loaded.sub)
        ready = torch.from_numpy(noisy).permute(0, 3, 1, 2).to(api._device)
        self._ready = ready.contiguous(memory_format=torch.channels_last)
        self._denoiser, self.classifier, self._sigma = api._denoiser, api._adapter.module, api.sigma  # type: ignore[union-attr,attr-defined]
        self.batch = micro_batch(ready.device.type, ready.shape[2] * ready.shape[3])

    def run(self, rows: int, batch: int | None = None) -> int:
        """Put at least `rows` copies through, in full batches; returns how many."""
        batch = batch or self.batch
        for number in range(count := -(-rows // batch)):
            first = number * batch % READY
            self.labels(self._ready[first : first + batch])
        return count * batch

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """The class scores (N, classes) of noisy images (N,3,H,W)."""
        clean = self._denoiser(x, self._sigma) if self._denoiser is not None else x
        return self.classifier(clean.clamp(0, 1).mul(255).round().div(255))

    def labels(self, x: torch.Tensor) -> torch.Tensor:
        """The class numbers of noisy images (N,3,H,W)."""
        with torch.inference_mode():
            return self.scores(x).argmax(1)

    def as_module(self) -> torch.nn.Module:
        """Both networks as one, in evaluation mode."""
        return _Both(self).eval()


class _Both(torch.nn.Module):
    def __init__(self, bare: Bare) -> None:
        super().__init__()
        self._bare, self.classifier = bare, bare.classifier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._bare.scores(x)
