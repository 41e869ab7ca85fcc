from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from api_smoothing.images import Loaded, load
from api_smoothing.resize import Axis, Resize, cover

CASES = [((9, 14), (4, 4)), ((5, 5), (12, 12)), ((16, 7), (7, 7)), ((31, 47), (8, 13)), ((3, 40), (2, 5))]
side = st.integers(1, 60)


def picture(
    height: int, width: int, seed: int = 0, low: float = 0.3, high: float = 0.7
) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(low, high, (height, width, 3))


def dense(resize: Resize) -> NDArray[np.float64]:
    full: NDArray[np.float64] = np.kron(resize.rows.matrix(), resize.columns.matrix()).astype(np.float64)
    return full


@settings(max_examples=60, deadline=None)
@given(side, side, st.integers(1, 24), st.integers(1, 24))
def test_weights_average_and_the_norm_is_an_upper_bound(h: int, w: int, height: int, width: int) -> None:
    """Rows are non-negative multiples of 2⁻¹⁸ adding up to 1; the norms are the matrices', rounded up."""
    resize = cover((h, w), (height, width))
    for axis, kept, source in ((resize.rows, height, h), (resize.columns, width, w)):
        a = axis.matrix()
        assert a.shape == (kept, source)
        assert a.min() >= 0
        assert np.array_equal(a * 2**18, np.round(a * 2**18))
        assert np.array_equal(a.sum(axis=1), np.ones(kept))
        for norm, order in ((axis.norm, 2), (axis.norm_l1, 1)):
            true = np.linalg.norm(a, order)
            assert true * (1 - 1e-14) <= norm <= true * (1 + 1e-8)


@pytest.mark.parametrize(("original", "target"), CASES)
def test_apply_is_exactly_the_matrix(original: tuple[int, int], target: tuple[int, int]) -> None:
    """T(x) of 8- and 16-bit images is (A_h ⊗ A_w)·x without any rounding, in exact rational arithmetic."""
    resize = cover(original, target)
    a = [np.vectorize(Fraction, otypes=[object])(axis.matrix()) for axis in (resize.rows, resize.columns)]
    for peak in (255, 65535):
        x = np.random.default_rng(3).integers(0, peak + 1, (*original, 3))
        got = resize.apply(x)
        exact = np.einsum("ih,jw,hwc->ijc", *a, x.astype(object))
        assert all(Fraction(g) == e for g, e in zip(got.ravel().tolist(), exact.ravel(), strict=True))


@pytest.mark.parametrize(("original", "target"), CASES)
def test_norm_is_that_of_the_whole_map(original: tuple[int, int], target: tuple[int, int]) -> None:
    """‖A_h‖·‖A_w‖ is the largest singular value of T's full matrix; the ℓ1 norm its largest column sum."""
    resize = cover(original, target)
    assert resize.norm == pytest.approx(np.linalg.svd(dense(resize), compute_uv=False)[0], rel=1e-8)
    assert resize.norm_l1 == pytest.approx(np.abs(dense(resize)).sum(axis=0).max(), rel=1e-8)


def test_shrinking_by_s_has_norm_about_one_over_s_but_not_below() -> None:
    """The naive 1/s is too small: the antialiasing filter's true norm lies above it, though by little."""
    for s in (2, 4, 8):
        norm = cover((32 * s, 32 * s), (32, 32)).norm
        assert 1 / s < norm < 1.1 / s


def test_crops_and_identities_have_norm_one() -> None:
    """A crop keeps pixels as they are: norm 1, the centre, nothing else."""
    x = np.random.default_rng(0).integers(0, 256, (10, 17, 3), dtype=np.uint8)
    crop = cover((10, 17), (10, 10))
    assert crop.is_selection
    assert (crop.norm, crop.norm_l1) == (1.0, 1.0)
    assert np.array_equal(crop.select(x), x[:, 3:13])
    assert np.array_equal(crop.apply(x), x[:, 3:13])
    assert cover((10, 17), (10, 17)).is_selection
    assert not cover((1, 1), (3, 3)).is_selection
    assert not cover((20, 34), (10, 17)).is_selection


def test_resize_agrees_with_pillow() -> None:
    """The map is the usual antialiased bilinear resize: within one level of Pillow's, up and down."""
    x = np.random.default_rng(4).integers(0, 256, (120, 96, 3), dtype=np.uint8)
    for height, width in ((40, 32), (55, 44), (150, 120)):
        theirs = np.asarray(Image.fromarray(x).resize((width, height), Image.Resampling.BILINEAR)).astype(
            float
        )
        assert np.abs(cover((120, 96), (height, width)).apply(x) - theirs).max() <= 1.01


def top_direction(axis: Axis) -> NDArray[np.float64]:
    first: NDArray[np.float64] = np.linalg.svd(axis.matrix())[2][0]
    return first


def perturbed(x: NDArray[np.float64], direction: NDArray[np.float64], length: float) -> NDArray[np.float64]:
    moved = x + direction * (length / np.linalg.norm(direction))
    assert moved.min() >= 0
    assert moved.max() <= 1
    return moved


def distance(a: Loaded, b: Loaded) -> float:
    """The exact ℓ2 distance of two grids, in [0,1] units."""
    difference = (a.grid.astype(np.int64) - b.grid).ravel()
    return math.sqrt(int(difference @ difference)) / (255 * a.sub)


@pytest.mark.parametrize(
    ("original", "target"), [((64, 64), 16), ((50, 83), 32), ((20, 20), 48), ((30, 45), 30)]
)
def test_no_attack_on_the_original_leaves_the_certified_ball(original: tuple[int, int], target: int) -> None:
    """Worst-case, random, sign and rounding attacks within radius_original stay within the radius."""
    rng = np.random.default_rng(7)
    x = picture(*original)
    loaded = load(x, size=target, sub=256)
    resize = cover(original, (target, target))
    worst = np.outer(top_direction(resize.rows), top_direction(resize.columns))[:, :, None] * np.ones(3)
    residual = loaded.grid - resize.apply(x) * 65280  # pushing along −Tᵀ·residual flips roundings
    back = np.einsum("ih,jw,ijc->hwc", resize.rows.matrix(), resize.columns.matrix(), residual)
    attacks = [worst, -worst, -back, back, rng.normal(size=x.shape), np.sign(rng.normal(size=x.shape))]
    attacks += [np.sign(worst), np.eye(1, x.size, x.size // 2).reshape(x.shape)]
    for radius in (loaded.rounding * 1.0001, 0.01, 0.05, 0.25):
        length = loaded.radius_original(radius)
        assert length > 0
        for direction in attacks:
            if length / np.linalg.norm(direction) * np.abs(direction).max() < 0.29:
                assert distance(load(perturbed(x, direction, length), size=target, sub=256), loaded) <= radius


def worst_attack(loaded: Loaded, resize: Resize, x: NDArray[np.float64], length: float) -> float:
    """How far the grid moves when the original moves by `length` along the top singular direction of T."""
    worst = np.outer(top_direction(resize.rows), top_direction(resize.columns))[:, :, None] * np.ones(3)
    target = resize.apply(x).shape[:2]
    return distance(load(perturbed(x, worst, length), size=target, sub=256), loaded)


@pytest.mark.parametrize(("original", "target"), [((64, 64), 16), ((50, 83), 32), ((30, 45), 30)])
def test_the_bound_is_nearly_reached(original: tuple[int, int], target: int) -> None:
    """The top singular direction gets from the original to 97 % of the certified radius, and never beyond."""
    x, radius = picture(*original), 0.25
    loaded = load(x, size=target, sub=256)
    resize = cover(original, (target, target))
    assert 0.97 * radius <= worst_attack(loaded, resize, x, loaded.radius_original(radius)) <= radius


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_naive_norm_is_broken(scale: int) -> None:
    """Carried back with 1/s in place of ‖T‖, a radius is false: the worst direction leaves the ball."""
    x, radius = picture(16 * scale, 16 * scale), 0.9
    loaded = load(x, size=16, sub=256)
    resize = cover((16 * scale, 16 * scale), (16, 16))
    assert worst_attack(loaded, resize, x, (radius - loaded.rounding) * scale) > radius
    assert worst_attack(loaded, resize, x, loaded.radius_original(radius)) <= radius


def test_rounding_to_eight_bits_costs_more_than_half_a_level() -> None:
    """√d/510 is no bound between two rounded images: 0.499 and 0.501 of a level are a whole level apart.

    With the charge √d/510 the perturbed image would count as certified although its grid lies outside the
    ball; the residual plus √d/510 charges √d/255 here, and certifies nothing.
    """
    d, level = 3, 1 / 255
    x, moved = np.full((1, 1, 3), 0.499 * level), np.full((1, 1, 3), 0.501 * level)
    a, b = load(x, sub=1), load(moved, sub=1)
    attack = float(np.linalg.norm(moved - x))
    apart = distance(a, b)
    assert apart == pytest.approx(math.sqrt(d) * level)
    assert apart > attack + math.sqrt(d) / 510  # the inequality that a charge of √d/510 would need
    radius = 0.6 * math.sqrt(d) * level
    assert radius - math.sqrt(d) / 510 > attack  # it would certify the attacked image …
    assert apart > radius  # … which lies outside
    assert a.radius_original(radius) == 0.0
    assert apart <= attack + a.rounding  # the charge that is made


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 256]), st.floats(0, 2))
def test_the_rounding_charge_covers_every_pair(seed: int, sub: int, reach: float) -> None:
    """‖round(Tx′) − round(Tx)‖ ≤ ‖T‖·‖x′ − x‖ + rounding, in ℓ2 and ℓ1; rounding ≤ √d/(255·sub)."""
    x = picture(7, 9, seed)
    rng = np.random.default_rng(seed)
    moved = np.clip(x + rng.normal(size=x.shape) * reach / (255 * sub), 0, 1)
    a, b = load(x, size=5, sub=sub), load(moved, size=5, sub=sub)
    assert distance(a, b) <= a.operator_norm * np.linalg.norm(moved - x) + a.rounding
    apart_l1 = np.abs(a.grid - b.grid).sum() / (255 * sub)
    assert apart_l1 <= a.operator_norm_l1 * np.abs(moved - x).sum() + a.rounding_l1
    assert a.rounding <= math.sqrt(75) / (255 * sub) * (1 + 1e-5)
    assert a.radius_original(a.rounding, norm="l2") == 0.0


def test_the_fine_grid_keeps_the_charge_small() -> None:
    """At 224×224×3 the charge is below 0.006, where 8 bits would cost over 1.1."""
    x = np.random.default_rng(1).integers(0, 256, (256, 300, 3), dtype=np.uint8)
    fine, coarse = load(x, size=224), load(x, size=224, sub=1)
    assert fine.sub == 256
    assert fine.rounding < 0.006
    assert coarse.rounding > 1.1
    assert coarse.radius_original(1.0) == 0.0
    assert fine.radius_original(1.0) > 1.1


def test_radius_in_the_original_pixels_grows_with_shrinking() -> None:
    """Shrinking by s makes the original radius about s times as large; no resize, not at all."""
    x = np.random.default_rng(1).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    assert load(x).radius_original(0.3) == 0.3
    assert load(x, size=(128, 100)).radius_original(0.3) == 0.3
    assert load(x).radius_original(-1.0) == 0.0
    assert 3.8 < load(x, size=32).radius_original(0.3) / 0.3 < 4.0
