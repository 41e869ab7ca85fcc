"""A rate over any second, wherever it starts."""

from __future__ import annotations

from api_smoothing.sandbox.window import SlidingWindow


def test_a_window_slides() -> None:
    """Never more than the rate in any one second, wherever it starts; refused requests do not count."""
    window = SlidingWindow()
    times = [0.0, 0.5, 0.6, 0.9, 1.0, 1.4, 1.5, 1.55, 1.6]
    assert [window.admits(at, 1, 3.0) for at in times] == [True] * 3 + [False, True, False, True, False, True]
    assert not window.admits(9.0, 4, 3.0)
    assert window.admits(9.0, 3, 3.0)
    assert window.admits(9.0, 99, None)
