"""The contact sheet."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from api_smoothing.corruptions import NAMES, contact_sheet, corrupt


def test_a_sheet_shows_every_corruption_at_every_severity(small: NDArray[np.uint8]) -> None:
    """Six columns and fifteen rows; in its cell each picture is what `corrupt` gives, in whole pixels."""
    sheet = contact_sheet(small, cell=32, seed=5)
    left, top = sheet.shape[1] - 6 * 32, sheet.shape[0] - 15 * 32
    for row, name in enumerate(NAMES):
        for column in range(6):
            y, x = top + 32 * row, left + 32 * column
            shown = sheet[y : y + 32, x : x + 32]
            wanted = small if column == 0 else corrupt(small, name, column, seed=5)
            assert np.array_equal(shown, wanted), (name, column)


@pytest.mark.parametrize("shape", [(400, 2), (2, 400)])
def test_a_sheet_of_a_strip_is_no_larger_than_a_page(shape: tuple[int, int]) -> None:
    """However long it is."""
    strip = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert contact_sheet(strip, cell=32).shape[0] <= 14 + 15 * 64
