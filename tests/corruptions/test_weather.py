"""Snow, frost, fog and light."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from api_smoothing.corruptions import weather


def random(seed: int = 7) -> np.random.RandomState:
    return np.random.RandomState(seed)


@pytest.mark.parametrize(("severity", "more"), list(enumerate([0.05, 0.1, 0.15, 0.2, 0.3], 1)))
def test_light_raises_the_value_of_hsv(severity: int, more: float) -> None:
    """Against the standard library's HSV, black and white included."""
    x = np.random.default_rng(0).random((6, 5, 3))
    x[0, 0], x[0, 1] = 0.0, 1.0
    got = weather.brightness(x, severity, 1.0, random())
    for place in np.ndindex(6, 5):
        h, s, v = colorsys.rgb_to_hsv(*x[place])
        assert got[place] == pytest.approx(colorsys.hsv_to_rgb(h, s, min(v + more, 1.0)))


def literal_plasma(side: int, decay: float, random: np.random.RandomState) -> list[list[float]]:
    """Diamond-square, point by point, with draws in the same order."""
    grid, step, rough = {(0, 0): 0.0}, side, 1.0

    def mean(*places: tuple[int, int]) -> float:
        return sum(grid[a % side, b % side] for a, b in places) / 4

    while step >= 2:
        h, points = step // 2, [(a, b) for a in range(0, side, step) for b in range(0, side, step)]
        draws = iter(random.uniform(-1, 1, len(points)))
        for a, b in points:
            corners = mean((a, b), (a + step, b), (a, b + step), (a + step, b + step))
            grid[a + h, b + h] = corners + rough * next(draws)
        draws = iter(random.uniform(-1, 1, 2 * len(points)))
        for a, b in points:
            grid[a, b + h] = mean((a, b), (a, b + step), (a + h, b + h), (a - h, b + h)) + rough * next(draws)
        for a, b in points:
            grid[a + h, b] = mean((a, b), (a + step, b), (a + h, b + h), (a + h, b - h)) + rough * next(draws)
        step, rough = h, rough / decay**2
    low, high = min(grid.values()), max(grid.values())
    return [[(grid[a, b] - low) / (high - low) for b in range(side)] for a in range(side)]


def test_plasma_is_diamond_square() -> None:
    """Against a version point by point; it fills [0, 1] and is smoother where detail decays faster."""
    assert np.allclose(weather.plasma(16, 2.5, random()), literal_plasma(16, 2.5, random()))
    rough, smooth = (weather.plasma(64, decay, random()) for decay in (1.75, 3.0))
    for clouds in (rough, smooth):
        assert (clouds.min(), clouds.max()) == (0.0, 1.0)
    assert np.abs(np.diff(rough)).mean() > 1.5 * np.abs(np.diff(smooth)).mean()


def test_fog_keeps_the_brightest_value_below_what_it_was() -> None:
    """And fades the image: at severity 5 its own contrast is 1/(1 + 1.5/max)."""
    x = np.random.default_rng(0).random((40, 33, 3)) * 0.8
    foggy = weather.fog(x, 5, 1.0, random())
    assert foggy.max() <= x.max()
    colour = foggy[..., 0] - foggy[..., 1]
    assert np.allclose(colour, (x[..., 0] - x[..., 1]) * x.max() / (x.max() + 1.5))


def test_snow_whitens_and_never_darkens() -> None:
    """Flakes and whitening add light; more flakes are seen at a higher severity, twice, turned by 180°."""
    x = np.full((32, 32, 3), 0.3)
    layers = [weather.snow(x, severity, 1.0, random()) for severity in range(1, 6)]
    assert all((layer >= x - 1e-12).all() for layer in layers)
    assert np.allclose(layers[4], np.rot90(layers[4], 2))
    assert np.std(layers[4]) > np.std(layers[0])


def test_frost_blends_a_pane() -> None:
    """The share of the image is the reference's; what is added is white to blue, between 0 and its share."""
    black, white = np.zeros((32, 32, 3)), np.ones((32, 32, 3))
    for severity, (of_image, of_frost) in enumerate(
        [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)], 1
    ):
        pane = weather.frost(black, severity, 1.0, random())
        assert np.allclose(weather.frost(white, severity, 1.0, random()) - pane, of_image)
        assert 0.0 <= pane.min() < pane.max() <= of_frost + 1e-12
        assert (pane[..., 2] >= pane[..., 0]).all()
