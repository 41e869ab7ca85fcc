"""Query index → noise: a pure function of (seed, image digest, kind, σ, shape, grid, index), exact on the
pixel grid.

A smoothed classifier under real noise, whose base classifier first rounds to the grid, sees round(x+ε) = x +
round(ε) when x lies on the grid. So integers drawn from the rounded distribution *are* that noise, and x+ε is
exact: the attacks on floating-point certificates [Jin et al. 2022; Voráček & Hein 2023] have nothing to hold
on to.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigurationError
from .thresholds import (
    OPEN,
    NoiseKind,
    NoiseTable,
    grid_scale,
    laplace_scale,
    noise_table,
    uniform_half_width,
)

if TYPE_CHECKING:
    from .device_noise import DeviceNoise

__all__ = ["NoiseKind", "NoiseStream", "laplace_scale", "to_float", "to_uint8", "uniform_half_width"]

_LABEL = b"api-smooth noise 1\0"  # a change of the stream's format changes this number
_BLOCK = 4  # 64-bit words in one Philox4x64 block
_CACHE_VALUES = 1 << 16  # values worked on at a time, to stay in the processor's cache
_MAX_INDEX = 2**64


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseStream:
    """The noise of every query about one image.

    `sigma` is the standard deviation in [0,1] units for every kind: `uniform_half_width(sigma)` and
    `laplace_scale(sigma)` give the λ and b of the ℓ1 radii [Yang et al. 2020, Table 1]. `sub` is the grid:
    values are integers in units of 1/(255·sub). `seed` has 16 bytes, `image_digest` 32, `shape` is (H, W, 3).

    Format 1. key = SHA-256(label ‖ seed ‖ digest ‖ kind ‖ σ ‖ shape ‖ sub)[:16]; query i owns the blocks
    Philox4x64-10(key, counter = (b, i, 0, 0)), b = 1, 2, …. Its words are first cut, little end first, into
    one head per value of 16 bits (32 on fine grids); then, from the next block on, each value in order whose
    head does not decide takes the top bits of one further word to complete a 64-bit integer.
    """

    kind: NoiseKind = "gaussian"
    sigma: float
    seed: bytes = field(repr=False)
    image_digest: bytes
    shape: tuple[int, int, int]
    sub: int = 1
    _key: int = field(init=False, repr=False, compare=False)
    _drawn_from: NoiseTable | None = field(init=False, default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the settings and derive the key."""
        if not (math.isfinite(self.sigma) and self.sigma > 0.0):
            raise ConfigurationError(f"sigma must be positive, in [0,1] pixel units, not {self.sigma!r}")
        if len(self.seed) != 16 or len(self.image_digest) != 32:
            raise ConfigurationError("the seed must have 16 bytes and the image digest 32")
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ConfigurationError(f"the shape must be (height, width, channels), not {self.shape!r}")
        if not 1 <= self.sub <= 65536:
            raise ConfigurationError(f"sub must be a whole number from 1 to 65536, not {self.sub!r}")
        grid_scale(self.kind, float(self.sigma), self.sub)
        settings = struct.pack("<16sd4I", self.kind.encode(), self.sigma, *self.shape, self.sub)
        key = hashlib.sha256(_LABEL + self.seed + self.image_digest + settings).digest()[:16]
        object.__setattr__(self, "_key", int.from_bytes(key, "little"))

    @property
    def _table(self) -> NoiseTable:
        """What noise is drawn from; on the fine grid it takes a second, which who only counts answers does without."""
        if self._drawn_from is None:
            object.__setattr__(self, "_drawn_from", noise_table(self.kind, float(self.sigma), self.sub))
        assert self._drawn_from is not None
        return self._drawn_from

    @property
    def slack(self) -> float:
        """Total-variation bound between one query's noise and exactly discretised noise; charge it to p↓.

        The sum over the H·W·C independent values of the bound for one: about 5e-12 at 224×224×3, σ=0.25,
        sub=1.
        """
        return math.prod(self.shape) * self._table.slack

    def sample(self, indices: Sequence[int]) -> NDArray[np.int32]:
        """Noise of the queries `indices`, int32 (N, H, W, C) in units of 1/(255·sub).

        Query i gets the same noise in every batch, order, thread, process and machine.
        """
        out = np.empty((len(indices), math.prod(self.shape)), dtype=np.int32)
        for first, portion in self._portions(indices):
            self._fill(out[first : first + len(portion)], portion)
        return out.reshape(len(indices), *self.shape)

    def noisy_uint8(self, grid: NDArray[np.int32], indices: Sequence[int]) -> NDArray[np.uint8]:
        """`to_uint8(grid + sample(indices), sub)`, (N, H, W, C), for an image `grid` (H, W, C) on this grid.

        Done portion by portion in the processor's cache, as the memory for all of it costs more than the noise.
        """
        out = np.empty((len(indices), math.prod(self.shape)), dtype=np.uint8)
        for first, portion in self._portions(indices):
            noisy = np.empty((len(portion), out.shape[1]), dtype=np.int32)
            self._fill(noisy, portion)
            noisy += grid.reshape(-1)
            out[first : first + len(portion)] = to_uint8(noisy, self.sub)
        return out.reshape(len(indices), *self.shape)

    def on(self, device: str) -> DeviceNoise:
        """The same noise, drawn on a torch device."""
        from .device_noise import DeviceNoise

        return DeviceNoise(key=self._key, table=self._table, size=math.prod(self.shape), device=device)

    def _portions(self, indices: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
        """The indices in portions whose noise fits the cache, with the place of each; checks their range."""
        wanted = checked(indices)
        rows = max(1, _CACHE_VALUES // math.prod(self.shape))
        for first in range(0, len(wanted), rows):
            yield first, wanted[first : first + rows]

    def _fill(self, out: NDArray[np.int32], indices: list[int]) -> None:
        """Write the noise of each index to its row of `out` (N, H·W·C)."""
        table, size = self._table, out.shape[1]
        blocks = -(-size * table.head_bits // (64 * _BLOCK))
        bits = np.random.Philox(key=self._key, counter=0)
        state: Any = bits.state
        words = np.concatenate([_words(bits, state, i, 0, blocks * _BLOCK) for i in indices])
        head = words.view("<u2" if table.head_bits == 16 else "<u4").reshape(len(indices), -1)[:, :size]
        drop = table.head_bits - table.guide_bits
        prefix = head >> drop if drop else head
        table.guide.take(prefix, out=out, mode="wrap")  # always in range, of which this asks least
        open_values = np.flatnonzero(out >= OPEN // 2)
        if not len(open_values):
            return
        row, column = np.divmod(open_values, size)
        counts = np.bincount(row, minlength=len(indices)).tolist()
        extra = np.concatenate(
            [_words(bits, state, i, blocks, count) for i, count in zip(indices, counts, strict=True)]
        )
        tail_bits = np.uint64(64 - table.head_bits)
        u = (head[row, column].astype(np.uint64) << tail_bits) | (extra >> np.uint64(table.head_bits))
        out[row, column] = table.resolve(u, out[row, column] - OPEN)


def checked(indices: Sequence[int]) -> list[int]:
    """The indices as whole numbers. Raises ConfigurationError for one out of range."""
    wanted = [int(index) for index in indices]
    if wanted and not 0 <= min(wanted) <= max(wanted) < _MAX_INDEX:
        raise ConfigurationError("a query index must be from 0 to 2**64 - 1")
    return wanted


def _words(bits: np.random.Philox, state: Any, index: int, block: int, count: int) -> NDArray[np.uint64]:
    """The first `count` words (little-endian) of query `index` after its block `block`."""
    state["state"]["counter"][:2] = block, index  # numpy counts up before it makes a block, hence b = 1, 2, …
    bits.state = state
    return bits.random_raw(count).astype("<u8", copy=False)


def to_float(grid: NDArray[np.int32], sub: int) -> NDArray[np.float32]:
    """Grid values (x+ε, any shape) in [0,1] units, float32 and unclipped: what a denoiser reads.

    The rounding to 8 bits may come after the denoiser: both are part of the base classifier, of which the
    certificate asks nothing but that it is a function of the grid values.
    """
    out = grid.astype(np.float32)
    out /= np.float32(255 * sub)
    return out


def to_uint8(grid: NDArray[np.int32], sub: int) -> NDArray[np.uint8]:
    """Grid values (x+ε, any shape) rounded half up to 8 bits and clipped: what is sent without a denoiser."""
    coarse = grid if sub == 1 else (grid + sub // 2) // sub
    return np.clip(coarse, 0, 255, out=np.empty(grid.shape, np.uint8), casting="unsafe")
