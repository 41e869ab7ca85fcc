"""The drawn panes."""

from __future__ import annotations

import numpy as np
import pytest

from api_smoothing.corruptions import frozen


def test_panes_are_five_and_differ() -> None:
    """Each is always the same, neither dark nor white, with ice in it."""
    panes = [np.asarray(frozen._pane(number)) for number in range(5)]
    for pane in panes:
        assert pane.shape == (640, 640)
        assert 0.3 < pane.clip(0, 1).mean() < 0.75
        assert pane.clip(0, 1).std() > 0.1
    assert all(not np.allclose(panes[0], other) for other in panes[1:])


@pytest.mark.parametrize(
    ("size", "scale"), [((32, 32), 1.0), ((224, 224), 7.0), ((1, 1), 1.0), ((4000, 32), 1.0)]
)
def test_a_window_has_the_images_size(size: tuple[int, int], scale: float) -> None:
    """Whatever the size; a large image sees the same part as a small one, in more detail."""
    window = frozen.window(*size, scale, np.random.RandomState(3))
    assert window.shape == (*size, 3)
    assert 0.0 <= window.min() <= window.max() <= 1.0


def test_a_large_window_is_a_small_one_enlarged() -> None:
    """Means over 7×7 pixels of the one are the pixels of the other."""
    small = frozen.window(32, 32, 1.0, np.random.RandomState(3))
    large = frozen.window(224, 224, 7.0, np.random.RandomState(3))
    means = large.reshape(32, 7, 32, 7, 3).mean(axis=(1, 3))
    assert np.corrcoef(small.ravel(), means.ravel())[0, 1] > 0.98
