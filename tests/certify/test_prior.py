"""A prior learned from other images: what it says, and that it costs no soundness."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import ndtr

from api_smoothing.certify.crossing import passage
from api_smoothing.certify.error_bounds import null_error, open_crossing
from api_smoothing.certify.mixture import tuned_mixture
from api_smoothing.certify.plan import expected_queries, information_limit
from api_smoothing.certify.prior import GRID, Prior, PriorLearner, learnt
from api_smoothing.certify.sequential import open_boundary
from api_smoothing.certify.spending import spending_boundary

ALPHA = 0.001
P0 = float(ndtr(1.0))
IMAGES = [(100, 100), (99, 100), (43, 43), (60, 100), (388, 400), (41, 41), (12, 30)]


def prior(images: list[tuple[int, int]] = IMAGES) -> Prior:
    """What those images teach."""
    made = learnt(images)
    assert made is not None
    return made


#: Wrong on purpose: learned from images that are all just above p0, all unanimous, or all hopeless.
PRIORS = [prior(), prior([(4300, 5000)] * 200), prior([(1000, 1000)] * 200), prior([(1, 50)] * 50)]


def test_the_order_of_the_images_does_not_matter() -> None:
    """The same images in another order are the same prior, with the same digest; another image makes another."""
    assert prior(IMAGES[::-1]) == prior()
    assert prior(IMAGES[::-1]).digest == prior().digest
    assert prior([*IMAGES, (97, 100)]).digest != prior().digest
    assert prior().images == pytest.approx(len(IMAGES), abs=0.1)


def test_an_image_does_not_teach_about_itself() -> None:
    """What a learner says about an image is what it would say had it never seen it."""
    everything, others = PriorLearner(), PriorLearner()
    for i, (votes, n) in enumerate(IMAGES):
        everything.add(f"{i}", votes, n)
        if i != 3:
            others.add(f"{i}", votes, n)
    assert everything.without("3") == others.without("new") != everything.without("new")
    alone = PriorLearner()
    alone.add("x", 50, 60)
    assert alone.without("x") is None
    alone.add("y", 50, 60)
    alone.add("y", 10, 12)  # an earlier state of the same image
    assert alone.without("x") == prior([(50, 60)])


def test_a_prior_survives_being_written() -> None:
    """As JSON and back it is equal, with its digest; what is none is refused."""
    text = json.dumps(prior().to_dict())
    assert Prior.from_dict(json.loads(text)) == prior()
    assert Prior.from_dict(json.loads(text)).digest == prior().digest
    for broken in ({}, {"schema": "api-smooth/prior/1"}, {**prior().to_dict(), "weights": [1, 2]}):
        with pytest.raises(ValueError, match="prior"):
            Prior.from_dict(broken)
    with pytest.raises(ValueError, match="votes"):
        PriorLearner().add("x", 3, 2)


@pytest.mark.parametrize("made", PRIORS)
@pytest.mark.parametrize("p0", [0.3, 0.5, P0, 0.99, 0.99999])
def test_whatever_it_says_the_mixture_is_a_supermartingale(made: Prior, p0: float) -> None:
    """From any state the expected e-value after one more answer is at most the present one, for every p ≤ p0."""
    mixture = tuned_mixture(p0, ALPHA, prior=made)
    assert sum(mixture.weight) == pytest.approx(1.0)
    assert min(mixture.q) > p0
    n, k = (values.ravel() for values in np.meshgrid([0, 1, 7, 40, 300], [0, 1, 5, 30, 290]))
    n, k = n[k <= n], k[k <= n]
    here = np.exp(mixture.log_e(k, n))
    for p in np.linspace(0.0, p0, 6):
        after = p * np.exp(mixture.log_e(k + 1, n + 1)) + (1 - p) * np.exp(mixture.log_e(k, n + 1))
        assert np.all(after <= here * (1 + 1e-9))


@pytest.mark.parametrize("made", PRIORS)
def test_whatever_it_says_the_error_is_within_alpha(made: Prior) -> None:
    """Exact, over all nulls, without a cap and with one."""
    boundary = open_boundary(P0, ALPHA, prior=made)
    assert null_error(lambda p: open_crossing(boundary, 4096, p), P0, 1) <= ALPHA * (1 + 1e-9)
    counts = spending_boundary(P0, 300, ALPHA, prior=made).counts(300)
    assert 0.95 * ALPHA <= null_error(lambda p: passage(counts, p).upper, P0, 1) <= ALPHA


def test_choosing_a_prior_after_the_votes_is_unsound() -> None:
    """Whoever takes the better of two priors with the votes at hand errs above α: it must be fixed before."""
    counts = [open_boundary(P0, ALPHA, prior=made).counts(2000) for made in PRIORS[2:]]
    assert passage(np.minimum(*counts), P0).upper > 1.1 * ALPHA


def test_a_prior_that_is_right_saves_and_a_wrong_one_costs_a_little() -> None:
    """Near-unanimous images come near the limit; a prior learned from the opposite costs at most a fifth."""
    limit = information_limit(0.999, P0, ALPHA)
    none, right, wrong = (
        expected_queries(0.999, P0, alpha=ALPHA, horizon=2000, prior=made).calls
        for made in (None, PRIORS[2], PRIORS[1])
    )
    assert right <= 1.08 * limit
    assert right < none < wrong <= 1.2 * none


@pytest.mark.parametrize("p0", [0.5, P0, 0.977])
def test_the_weights_are_of_the_images_above_the_threshold(p0: float) -> None:
    """Images at or below p0 say nothing about how fast one above it is certified; the others count beside ten."""
    q = np.array([1.0, 0.5 + p0 / 2, p0 + 1e-3])
    usual = np.array([0.5, 0.25, 0.25])
    point = np.zeros(GRID.size, dtype=int)
    point[-1] = 20_000
    assert Prior(tuple(point.tolist())).blend(q, p0, usual) == pytest.approx([5 / 6, 1 / 12, 1 / 12])
    below = np.where(p0 >= GRID, 1000, 0)
    assert Prior(tuple(below.tolist())).blend(q, p0, usual) == pytest.approx(usual)
