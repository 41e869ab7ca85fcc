"""The noisy copies of an image, drawn on the processor, or bit for bit the same where the networks are."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from api_smoothing.engine.sending.stream import Draw, Query
from api_smoothing.noise import NoiseStream, checked, to_float, to_uint8

if TYPE_CHECKING:
    from torch import Tensor

    from api_smoothing.denoisers.base import Denoiser
    from api_smoothing.device_noise import DeviceNoise

#: Kinds of devices that draw noise themselves; a processor does it several times faster with numpy.
_DRAWS: Final = {"cuda"}


@dataclass(frozen=True, slots=True)
class Drawing:
    """`Stream.draw` of the image whose `grid` (H,W,3) holds its pixels in units of 1/(255·sub).

    For a denoiser the copies are float32, exact; without one they are rounded and clipped to 8 bits, as they are sent.
    Of a denoiser with K `paths` query i is a path of noise i div K.
    """

    grid: NDArray[np.int32]
    noise: NoiseStream
    paths: int | None
    _there: dict[str, tuple[DeviceNoise, Tensor]] = field(default_factory=dict, repr=False)

    def __call__(self, indices: Sequence[int], /) -> NDArray[Any]:
        if self.paths is None:
            return self.noise.noisy_uint8(self.grid, indices)
        drawn = self.noise.sample([i // self.paths for i in indices])
        return to_float(self.grid + drawn, self.noise.sub)

    def on(self, device: str, indices: Sequence[int], /) -> Tensor:
        import torch

        noise, grid = self._on(device)
        paths, sub = self.paths or 1, self.noise.sub
        noisy = noise.sample(checked([i // paths for i in indices])).add_(grid)
        if self.paths is None:
            coarse = noisy if sub == 1 else noisy.add_(sub // 2).div_(sub, rounding_mode="floor")
            drawn = coarse.clamp_(0, 255).to(torch.uint8)
        else:
            drawn = quotient(noisy, 255 * sub)
        return drawn.view(len(indices), *self.grid.shape)

    def _on(self, device: str) -> tuple[DeviceNoise, Tensor]:
        """The noise there, and the grid as a row, uploaded once."""
        if device not in self._there:
            import torch

            grid = torch.from_numpy(self.grid.reshape(1, -1).copy()).to(device)
            self._there[device] = self.noise.on(device), grid
        return self._there[device]


@dataclass(frozen=True, slots=True)
class AsIs:
    """`Stream.draw` of an image without noise: every query is the image itself, on 8 bits."""

    grid: NDArray[np.int32]
    sub: int

    def __call__(self, indices: Sequence[int], /) -> NDArray[Any]:
        return np.repeat(to_uint8(self.grid, self.sub)[None], len(indices), axis=0)

    def on(self, device: str, indices: Sequence[int], /) -> Tensor:
        import torch

        return torch.from_numpy(self(indices)).to(device)


def drawing(grid: NDArray[np.int32], noise: NoiseStream, denoiser: Denoiser | None) -> Drawing:
    """How copies of an image are drawn for the `denoiser`, or to be sent as they are."""
    return Drawing(grid, noise, None if denoiser is None else denoiser.paths_per_query)


def draw(queries: Sequence[Query]) -> NDArray[Any]:
    """The noisy copies (N,H,W,3) of `queries`, of one shape, each as its stream draws it."""
    parts = [drawn(indices) for drawn, indices in _runs(queries)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def draw_on(device: str, queries: Sequence[Query]) -> Tensor:
    """The same bits on the device, drawn there if it is a CUDA card, with a CUDA stream of the thread's own.

    What it returns is ready, whatever stream it is used in.
    """
    import torch

    if device.partition(":")[0] not in _DRAWS:
        return torch.from_numpy(draw(queries)).to(device)
    with _own_stream(device):
        return torch.cat([drawn.on(device, indices) for drawn, indices in _runs(queries)])


def quotient(x: Tensor, divisor: int) -> Tensor:
    """x/divisor in float32, rounded once: by a plain number CUDA would multiply with the reciprocal."""
    import torch

    return x.to(torch.float32).div_(torch.tensor(divisor, dtype=torch.float32, device=x.device))


def _runs(queries: Sequence[Query]) -> Iterator[tuple[Draw, list[int]]]:
    """The queries in order, those of one stream that follow one another together."""
    for stream, run in groupby(queries, key=lambda query: query.stream):
        assert stream.draw is not None
        yield stream.draw, [query.number for query in run]


@contextmanager
def _own_stream(device: str) -> Iterator[None]:
    """The time of CUDA work that waits for that of no other thread, and is done at the end."""
    import torch

    if not device.startswith("cuda"):
        yield
        return
    if device not in _OWN.streams:
        _OWN.streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    with torch.cuda.stream(_OWN.streams[device]):
        yield
        _OWN.streams[device].synchronize()


class _Own(threading.local):
    """A thread's CUDA streams, by device. Each has a store of memory, so they are not made anew."""

    def __init__(self) -> None:
        self.streams: dict[str, Any] = {}


_OWN = _Own()
