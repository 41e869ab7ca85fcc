"""Balls on the 8-bit grid: whole numbers decide, and what is brought there loses as little as can be."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from api_smoothing.attacks.ball import Ball, Norm, distance, measure
from api_smoothing.errors import ConfigurationError


def test_a_radius_in_whole_steps_is_that_many() -> None:
    """8/255 in floating point is 8 steps in ℓ∞, and less than that is fewer."""
    for steps in range(1, 256):
        assert Ball(norm="linf", radius=steps / 255).limit == steps
        assert Ball(norm="linf", radius=(steps - 1e-6) / 255).limit == steps - 1


def test_the_edge_is_decided_exactly() -> None:
    """In ℓ2 the float that is the radius is taken at its word: one step of Σδ² more is outside."""
    clean = np.full((4, 4, 3), 100, np.uint8)
    attacked = clean.copy()
    attacked[0, 0, 0] += 3
    attacked[0, 0, 1] += 4
    for radius in (5 / 255, math.nextafter(5 / 255, 0), math.nextafter(5 / 255, 1)):
        inside = Fraction(radius) * 255 >= 5
        assert Ball(norm="l2", radius=radius).holds(clean, attacked) == inside
    assert distance(clean, attacked, "l2") == pytest.approx(5 / 255)
    assert distance(clean, attacked, "linf") == 4 / 255


def test_an_image_outside_is_an_error() -> None:
    """`check` raises for what `holds` denies, and what cannot be measured is refused."""
    clean = np.zeros((2, 2, 3), np.uint8)
    far = clean + np.uint8(2)
    with pytest.raises(AssertionError, match="left its linf ball"):
        Ball(norm="linf", radius=1 / 255).check(clean, far)
    Ball(norm="linf", radius=2 / 255).check(clean, far)
    with pytest.raises(ConfigurationError, match="uint8"):
        measure(clean, far.astype(np.float64), "l2")


@pytest.mark.parametrize(("norm", "radius"), [("l1", 1), ("l2", -0.1), ("l2", math.nan), ("linf", math.inf)])
def test_a_ball_that_is_none_is_refused(norm: Norm, radius: float) -> None:
    """In one line."""
    with pytest.raises(ConfigurationError):
        Ball(norm=norm, radius=radius)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), radius=st.floats(0, 3), norm=st.sampled_from(["l2", "linf"]))
def test_what_is_brought_to_the_grid_is_in_the_ball(seed: int, radius: float, norm: Norm) -> None:
    """Whatever the point, the result is a whole image of the ball, by a count that shares no code with it."""
    radius = min(radius, 1) if norm == "linf" else radius
    draw = np.random.default_rng(seed)
    clean = draw.integers(0, 256, (3, 3, 5, 4))
    x = clean / 255 + draw.standard_normal(clean.shape) * draw.choice([0.001, 0.05, 1.0])
    found = Ball(norm=norm, radius=radius).on_grid(torch.from_numpy(clean / 255), torch.from_numpy(x)).numpy()
    levels = np.rint(found * 255)
    assert np.abs(levels - found * 255).max() < 1e-6
    assert levels.min() >= 0
    assert levels.max() <= 255
    for row, base in zip(levels, clean, strict=True):
        apart = [int(d) for d in (row - base).ravel()]
        if norm == "linf":
            assert max(map(abs, apart)) <= radius * 255 * (1 + 1e-11)
        else:
            assert sum(d * d for d in apart) <= (Fraction(radius) * 255) ** 2


def test_another_norm_is_refused() -> None:
    """Not measured as ℓ2."""
    black = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(ConfigurationError, match="l2 or linf"):
        distance(black, black, "l1")  # type: ignore[arg-type]


def test_a_radius_in_levels_is_refused() -> None:
    """8 in place of 8/255 would be the whole cube."""
    with pytest.raises(ConfigurationError, match="8/255"):
        Ball(norm="linf", radius=8)
    Ball(norm="l2", radius=8)


def test_of_all_whole_steps_in_the_ball_it_takes_the_best() -> None:
    """On three values every step of the ball is tried: none gains more along the way than the one that is taken."""
    clean = torch.full((1, 1, 1, 3), 128 / 255, dtype=torch.float64)
    draw = np.random.default_rng(1)
    for _ in range(20):
        way = draw.standard_normal(3)
        radius = draw.uniform(2, 7) / 255
        edge = clean + torch.from_numpy(way / np.linalg.norm(way) * radius).view_as(clean)
        found = Ball(norm="l2", radius=radius).on_grid(clean, edge)
        taken = np.rint((found - clean).numpy().ravel() * 255)
        grid = np.stack(np.meshgrid(*[np.arange(-8, 9)] * 3), -1).reshape(-1, 3)
        inside = grid[(grid**2).sum(1) <= (radius * 255) ** 2]
        same = inside[(inside**2).sum(1) <= (taken**2).sum()]
        assert taken @ way == pytest.approx((same @ way).max())
