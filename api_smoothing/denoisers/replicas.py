"""One denoiser on several devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from api_smoothing.denoisers.base import Denoiser, DenoiserCard, ManyPaths

if TYPE_CHECKING:
    from torch import Tensor


class Replicas:
    """The same denoiser, loaded once a device, by the device's name: images are denoised where they lie.

    The devices round alike, so there is one card and one arithmetic. Each is used by one thread at a time.
    """

    def __init__(self, replicas: Mapping[str, Denoiser]) -> None:
        self._replicas, self._first = dict(replicas), next(iter(replicas.values()))

    @property
    def card(self) -> DenoiserCard:
        return self._first.card

    @property
    def compute(self) -> str:
        return self._first.compute

    @property
    def paths_per_query(self) -> int:
        return self._first.paths_per_query

    def __call__(self, x: Tensor, sigma: float | Tensor, /) -> Tensor:
        return self._of(x)(x, sigma)

    def path(self, x: Tensor, sigma: float | Tensor, number: int, /) -> Tensor:
        return cast(ManyPaths, self._of(x)).path(x, sigma, number)

    def _of(self, x: Tensor) -> Denoiser:
        return self._replicas.get(str(x.device), self._first)
