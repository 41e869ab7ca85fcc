from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from run_files import certificates, settings, write
from scipy.stats import binomtest, fisher_exact

from api_smoothing.report.comparing import compare, fisher, pairs_of
from api_smoothing.report.rows import Rows, rows_of
from api_smoothing.report.source import read


@pytest.fixture
def rows(tmp_path_factory: pytest.TempPathFactory):
    """Columns of a run of so many images."""

    def make(count: int, *, first: int = 0, **more: float) -> Rows:
        path = tmp_path_factory.mktemp("runs") / "run.jsonl"
        found = certificates(first + count, settings(), **more)[first:]  # type: ignore[arg-type]
        return rows_of(read(write(path, settings(), found)))

    return make


@pytest.mark.parametrize("table", [(3, 10, 9, 12), (0, 5, 5, 5), (50, 200, 70, 150), (0, 4, 0, 9)])
def test_fisher_is_scipys(table: tuple[int, int, int, int]) -> None:
    k_a, n_a, k_b, n_b = table
    expected = fisher_exact([[k_a, n_a - k_a], [k_b, n_b - k_b]])[1]
    assert fisher(k_a, n_a, k_b, n_b) == pytest.approx(expected, rel=1e-6)


def test_the_same_images_are_compared_image_by_image(rows) -> None:
    """Counts, difference and pairs are those of a loop over the images; the interval holds the difference."""
    a, b = rows(200, seed=1), rows(200, seed=1, skill=2.0)
    (found,) = compare([a, b], [0.25])
    in_a = {n for n, r, ok in zip(a.ids, a.reach, a.right, strict=True) if ok and r >= 0.25}
    in_b = {n for n, r, ok in zip(b.ids, b.reach, b.right, strict=True) if ok and r >= 0.25}
    assert found.paired
    assert (found.only_base, found.only_other) == (len(in_a - in_b), len(in_b - in_a))
    assert found.difference == pytest.approx((len(in_b) - len(in_a)) / 200)
    assert found.low < found.difference < found.high
    assert found.p == pytest.approx(binomtest(len(in_a - in_b), len(in_a ^ in_b)).pvalue)


def test_other_images_are_no_pairs(rows) -> None:
    """Images of the same name and other pixels, or of other names, are compared as two samples."""
    a, b = rows(60, seed=1), rows(60, first=60, seed=1)
    assert pairs_of(a, b) is None
    assert pairs_of(a, a) is not None
    changed = [None if c is None else replace(c, image_sha256="f" * 64) for c in a.certificates]
    assert pairs_of(a, replace(a, certificates=tuple(changed))) is None
    (found,) = compare([a, b], [0.1])
    assert not found.paired
    assert found.only_base is None


def test_an_interval_misses_the_difference_at_most_as_often_as_it_says() -> None:
    """Of 400 pairs of runs that differ by nothing at most 5 % of intervals exclude 0, or are called significant."""
    draw = np.random.default_rng(3)
    missed = significant = 0
    for _ in range(400):
        a, b = (_rows(draw.random(120) < 0.5) for _ in range(2))
        (found,) = compare([a, b], [0.0])
        missed += not found.low <= 0.0 <= found.high
        significant += found.significant
    assert missed <= 20
    assert significant <= 20


def test_significance_allows_for_how_many_are_compared() -> None:
    """A p of 3 % is significant alone, and not beside nineteen others (Holm)."""
    a = _rows(np.arange(100) < 40)
    b = _rows((np.arange(100) < 38) | (np.arange(100) >= 88))
    (alone,) = compare([a, b], [0.0])
    assert alone.p < 0.05
    assert alone.significant
    among = compare([a, b, *[a] * 19], [0.0])
    assert not among[0].significant


def _rows(certified: np.ndarray) -> Rows:
    count = len(certified)
    nothing = (None,) * count
    names = tuple(map(str, range(count)))
    zeros = np.zeros(count, dtype=np.int64)
    return Rows(
        ids=names,
        names=names,
        digests=("",) * count,
        truths=nothing,
        labels=nothing,
        clean=nothing,
        outcomes=zeros.astype(np.int8),
        reach=np.where(certified, 1.0, -1.0),
        counted=np.where(certified, 1.0, -1.0),
        right=certified,
        votes=zeros,
        answers=zeros,
        queries=zeros,
        usd=zeros.astype(np.float64),
        certificates=nothing,
    )
