"""The noise of `noise.NoiseStream`, format 1, drawn where the networks are: the same integers, bit for bit.

Philox4x64-10 [Salmon et al. 2011] and the look-up in the table are integer operations alone, so no device can round
them differently. torch has no unsigned 64-bit arithmetic: words are int64 that wrap around, products of 128 bits are
made of limbs of 32, and what is compared has its sign bit flipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from torch import Tensor

from api_smoothing.thresholds import OPEN, NoiseTable

_ROUNDS: Final = 10
_MULTIPLIERS: Final = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL: Final = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_LOW: Final = 0xFFFFFFFF
_SIGN: Final = 1 << 63
_BLOCK: Final = 4  # 64-bit words in one Philox4x64 block
_MOST_VALUES: Final = 1 << 25  # drawn at a time, which takes about 1 GB


class DeviceNoise:
    """The noise of one `NoiseStream` on `device`, of which it has the `key`, the `table` and the `size` of a query.

    For one thread.
    """

    def __init__(self, *, key: int, table: NoiseTable, size: int, device: str) -> None:
        self._keys, self._table, self._size = (key % 2**64, key >> 64), table, size
        self._device = torch.device(device)
        self._guide, self._thresholds = _uploaded(table, device)

    def sample(self, indices: Sequence[int]) -> Tensor:
        """int32 (N, size): the values of each query, from 0 to 2⁶⁴−1, as `NoiseStream.sample` has them."""
        rows = max(1, _MOST_VALUES // self._size)
        parts = [self._sample(indices[first : first + rows]) for first in range(0, len(indices), rows)]
        if not parts:
            return torch.empty((0, self._size), dtype=torch.int32, device=self._device)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _sample(self, indices: Sequence[int]) -> Tensor:
        table = self._table
        numbers = torch.tensor([_signed(index) for index in indices], device=self._device)
        blocks = -(-self._size * table.head_bits // (64 * _BLOCK))
        heads = self._words(numbers, 0, blocks)
        if table.head_bits == 16:  # little end first, as words lie in memory
            head = heads.view(torch.int16)[:, : self._size].int() & 0xFFFF
        else:
            head = heads.view(torch.int32)[:, : self._size].long() & _LOW
        prefix = head >> (table.head_bits - table.guide_bits)
        out = self._guide.index_select(0, prefix.flatten()).view(prefix.shape)
        row, column = (out >= OPEN // 2).nonzero(as_tuple=True)
        if len(row):
            out[row, column] = self._resolved(head[row, column].long(), row, numbers, blocks)
        return out

    def _resolved(self, head: Tensor, row: Tensor, numbers: Tensor, blocks: int) -> Tensor:
        """The values (M,) int32 whose `head` (M,) leaves them open, those of one query in `row` (M,) in order."""
        counts = row.bincount(minlength=len(numbers))
        first = counts.cumsum(0) - counts
        nth = torch.arange(len(row), device=self._device) - first[row]
        words = self._words(numbers, blocks, -(-int(counts.max()) // _BLOCK))
        bits = self._table.head_bits
        u = (head << (64 - bits)) | _shifted(words[row, nth], bits)
        rank = torch.searchsorted(self._thresholds, u ^ -_SIGN, right=True, out_int32=True)
        return rank - self._table.largest

    def _words(self, numbers: Tensor, block: int, count: int) -> Tensor:
        """int64 (N, 4·count): the words of the blocks `block` + 1, …, `block` + `count` of each query.

        The counter is (b, i, 0, 0): until the third round its words depend on the block or the query alone, and are
        rows and columns.
        """
        x = [
            torch.arange(block + 1, block + count + 1, device=self._device)[None],
            numbers[:, None],
            numbers.new_zeros((1, 1)),
            numbers.new_zeros((1, 1)),
        ]
        keys = self._keys
        for _ in range(_ROUNDS):
            (high, low), (other_high, other_low) = (
                _product(x[2 * k], multiplier) for k, multiplier in enumerate(_MULTIPLIERS)
            )
            x = [
                other_high ^ x[1] ^ _signed(keys[0]),
                other_low,
                high ^ x[3] ^ _signed(keys[1]),
                low,
            ]
            keys = ((keys[0] + _WEYL[0]) % 2**64, (keys[1] + _WEYL[1]) % 2**64)
        return torch.stack(x, dim=-1).view(len(numbers), -1)


@lru_cache(maxsize=16)
def _uploaded(table: NoiseTable, device: str) -> tuple[Tensor, Tensor]:
    """The guide, and the thresholds as int64 in the order of the unsigned numbers, for any CUDA stream."""
    flipped = (table.thresholds ^ np.uint64(_SIGN)).view(np.int64)
    there = torch.from_numpy(table.guide.copy()).to(device), torch.from_numpy(flipped).to(device)
    if there[0].is_cuda:
        torch.cuda.current_stream(there[0].device).synchronize()
    return there


def _product(x: Tensor, multiplier: int) -> tuple[Tensor, Tensor]:
    """The high and the low 64 bits of x·multiplier, all of them unsigned numbers in int64."""
    m_high, m_low = multiplier >> 32, multiplier & _LOW
    high, low = _shifted(x, 32), x & _LOW
    middle = (low * m_low).bitwise_right_shift_(32).bitwise_and_(_LOW)
    middle += low * m_high  # below 2⁶⁴, as (2³²−1)² + 2³² − 1 is
    other = (middle & _LOW).add_(high * m_low)
    top = (high * m_high).add_(_shifted(middle, 32)).add_(_shifted(other, 32))
    return top, x * _signed(multiplier)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """The unsigned x·2^−bits, rounded down: `>>` on int64 would draw the sign in."""
    return (x >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _signed(number: int) -> int:
    """The int64 that has the bits of the unsigned `number`."""
    return number - 2**64 if number >= _SIGN else number
