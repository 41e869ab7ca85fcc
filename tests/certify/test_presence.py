"""Labels certified as present and as absent, from the same answers."""

from __future__ import annotations

import random
from collections.abc import Hashable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_smoothing.certify import FAILED
from api_smoothing.certify.error_bounds import null_error, open_crossing
from api_smoothing.certify.presence import Absent, PresenceCertifier, top_k_presence
from api_smoothing.certify.sequential import open_boundary
from api_smoothing.errors import ConfigurationError

ALPHA = 0.001


def tags(draw: random.Random) -> frozenset[str]:
    """A tagger's answer: cat nearly always, outdoor half of the time, dog hardly ever."""
    chances = {"cat": 0.985, "outdoor": 0.5, "dog": 0.01}
    return frozenset(label for label, p in chances.items() if draw.random() < p)


def test_presence_and_absence_are_certified_together() -> None:
    """From the same answers: cat present, dog absent, outdoor neither."""
    made = PresenceCertifier(target=0.1, alpha=ALPHA, sigma=0.25, max_labels=3, absent=["dog"])
    draw = random.Random(0)
    while need := made.need():
        made.add([tags(draw) for _ in range(need)])
    results = {bound.label: bound for bound in made.results() if bound.label is not None}
    assert set(results) == {"cat", Absent("dog")}
    assert all(bound.radius == 0.1 and bound.reached for bound in results.values())
    assert {bound.stopped for bound in made.results() if bound.label is None} == {"futile"}


def test_presence_reports_the_best_radius_after_n() -> None:
    """Without a target each label gets its own radius; more labels an answer cost a little of it."""
    radii = []
    for max_labels in (3, 30):
        made = PresenceCertifier(n=200, alpha=ALPHA, sigma=0.25, max_labels=max_labels)
        draw = random.Random(0)
        while need := made.need():
            made.add([tags(draw) for _ in range(need)])
        best = made.results()[0]
        assert (best.label, best.stopped, best.n) == ("cat", "n", 200)
        radii.append(best.radius)
        assert all(bound.label in ("cat", None) for bound in made.results())
    assert radii[0] > radii[1] > 0.2


@pytest.mark.parametrize("mode", [{"target": 0.1}, {"target": 0.1, "n": 80}, {"n": 60}])
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_presence_batches_change_nothing(mode: dict[str, Any], seed: int) -> None:
    """Asking need() answers at a time gives the labels the same decisions at the same n as one at a time."""
    results = []
    for one_by_one in (True, False):
        made = PresenceCertifier(alpha=0.05, sigma=0.25, max_labels=3, absent=["dog"], **mode)
        draw = random.Random(seed)
        while need := made.need():
            made.add([tags(draw) for _ in range(1 if one_by_one else need)])
        results.append(made.results())
    assert results[0] == results[1]


def test_a_failed_answer_is_neither_presence_nor_absence() -> None:
    """Failures certify nothing, not even absence, and too many fail every label."""
    made = PresenceCertifier(n=100, alpha=ALPHA, sigma=0.25, max_labels=2, absent=["dog"])
    made.add([frozenset({"cat"})] * 90 + [FAILED] * 10)
    assert {bound.stopped for bound in made.results()} == {"failed"}
    assert all(bound.label is None for bound in made.results())
    assert {bound.votes for bound in made.results()} == {90}


def test_too_many_labels_break_the_contract() -> None:
    """An answer with more labels than max_labels is refused, as the error bound rests on it."""
    made = PresenceCertifier(n=100, alpha=ALPHA, sigma=0.25, max_labels=1)
    with pytest.raises(ConfigurationError, match="max_labels"):
        made.add([frozenset({"cat", "dog"})])


@pytest.mark.parametrize("k", [2, 3])
def test_top_k_is_sound_over_its_classes(k: int) -> None:
    """p0 may be below ½: the error over all classes, Σp ≤ 1, stays within α, and k classes may meet it."""
    p0, boundary = top_k_presence(target=0.02, k=k, alpha=0.05, sigma=0.25)
    assert 1 / (k + 1) < p0 < 0.5
    same = open_boundary(p0, 0.05)
    assert null_error(lambda p: open_crossing(same, 2048, p), p0, 1) <= 0.05
    assert boundary.reach(0, 0) is not None


def test_labels_may_be_any_hashable() -> None:
    """Labels are compared, never interpreted."""
    labels: list[Hashable] = [0, ("a", 1), None]
    made = PresenceCertifier(n=20, alpha=0.05, sigma=0.25, max_labels=3)
    made.add([frozenset(labels[:2])] * 20)
    assert {bound.label for bound in made.results()} == {0, ("a", 1)}


@pytest.mark.parametrize("n", [None, 400])
def test_a_newer_version_needs_fewer_answers(n: int | None) -> None:
    """Labels are certified under the version that is asked for: the second takes fewer unanimous answers."""
    asked = []
    for version in (1, 2):
        made = PresenceCertifier(alpha=0.001, sigma=0.25, max_labels=3, target=0.25, n=n, version=version)
        while not any(bound.label for bound in made.results()):
            made.add([{"cat"}])
        asked.append(made.results()[0].n)
    assert asked[1] < asked[0]
