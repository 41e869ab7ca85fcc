"""The course of a claim, against every sequence of certificates put to the claim itself."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from api_smoothing.claims.claim import Claim
from api_smoothing.claims.course import boundaries, course, worst_null


@pytest.mark.parametrize(("at_least", "alpha"), [(0.5, 0.01), (0.3, 0.1), (0.9, 0.0)])
def test_a_course_is_what_all_orders_do(at_least: float, alpha: float) -> None:
    """P(proved), P(refuted) and the mean number of images, for each number of certificates in a set of eight."""
    population = 8
    proves, refutes = boundaries(at_least, population, alpha=alpha, confidence=0.7)
    for ones in range(population + 1):
        ends = []
        for seen in itertools.product([False, True], repeat=population):
            if sum(seen) == ones:
                claim = Claim(at_least, confidence=0.7, population=population, alpha=alpha)
                taken = next((i for i, one in enumerate(seen, 1) if claim.add(one) != "open"), population)
                ends.append((claim.state == "proved", claim.state == "refuted", taken))
        found = course(proves, refutes, [ones], np.ones(1))
        assert (found.proved, found.refuted, found.looked) == pytest.approx(tuple(np.mean(ends, axis=0)))


def test_the_worst_null_has_one_image_too_few() -> None:
    """Of 500 at 0.4: 199 and the false certificates of the others, a law."""
    counts, law = worst_null(0.4, 500, alpha=0.001)
    assert counts[0] == 199
    assert law.sum() == pytest.approx(1.0)
    assert float((counts * law).sum()) == pytest.approx(199 + 301 * 0.001)


def test_a_claim_far_from_the_truth_takes_few_images() -> None:
    """Of 500 images of which 60 % would be certified, 0.4 takes fewer than 50; of 50 % fewer than 130."""
    proves, refutes = boundaries(0.4, 500, alpha=0.001)
    for ones, most in ((300, 50), (250, 130)):
        found = course(proves, refutes, [ones], np.ones(1))
        assert found.looked < most
        assert found.proved > 0.998
    below = course(proves, refutes, [150], np.ones(1))
    assert below.refuted > 0.99
    assert below.looked < 130


def test_the_table_of_the_documentation() -> None:
    """docs/claims.md tells what a claim takes: each figure is computed here."""
    page = (Path(__file__).parents[2] / "docs" / "claims.md").read_text(encoding="utf-8")
    table = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("|")][:4]
    proves, refutes = boundaries(0.4, 500, alpha=0.001)
    for share, images, decided in list(zip(table[0], table[2], table[3], strict=True))[1:]:
        ran = course(proves, refutes, [round(float(share) * 500)], np.ones(1))
        assert round(ran.looked) == int(images)
        assert (ran.proved if decided.strip() == "proved" else ran.refuted) > 0.98
    never = np.full(500, 501, dtype=np.int64)
    wrong = course(proves, never, *worst_null(0.4, 500, alpha=0.001)).proved
    assert f"one image too few is right: {wrong:.1%}".replace("%", " %") in page
