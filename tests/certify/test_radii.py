from __future__ import annotations

import random
from collections.abc import Hashable
from itertools import islice

import pytest
from certifiers import ALPHA, make, stream

from api_smoothing.certify import certifier
from api_smoothing.certify.anytime import ConfidenceSequence
from api_smoothing.certify.radius import threshold
from api_smoothing.errors import ConfigurationError, UnreachableRadiusError

RADII = (0.0, 0.05, 0.1, 0.25)


@pytest.mark.parametrize("p", [0.5, 0.65, 0.8, 0.9, 0.97, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_radius_is_reached_when_the_sequence_has_proved_it(p: float, seed: int) -> None:
    """What is certified, and after how many answers, is what one confidence sequence says of the same answers."""
    made = certifier(radii=RADII, n=400, sigma=0.25, alpha=ALPHA)
    answers = list(islice(stream(seed, p), 400))
    counted = 0
    while need := made.need():
        made.add(answers[counted : counted + need])
        counted += need
    sequence, counts, proved = ConfidenceSequence(ALPHA), dict[object, int](), dict[float, int]()
    for n, answer in enumerate(answers[:counted], 1):
        if answer is not None:
            counts[answer] = counts.get(answer, 0) + 1
            sequence.look(answer, counts[answer], n)
        for r in RADII:
            if sequence.lower(sequence.best) >= threshold(max(r, 1e-9), sigma=0.25):
                proved.setdefault(r, n)
    found = made.result()
    assert {read.radius: read.n for read in found.radii if read.reached} == proved
    assert all(read.label == found.label for read in found.radii if read.reached)
    assert all(read.reached is not None for read in found.radii)
    assert [read.reached for read in found.radii] == sorted(
        (read.reached for read in found.radii), reverse=True
    )
    assert found.radius >= max((r for r in proved if r), default=0.0)


@pytest.mark.parametrize("start", [0, 1, 9, 17, 26])
@pytest.mark.parametrize("rule", ["radii, capped", "radii, budget", "radii, later"])
def test_need_is_the_fewest(rule: str, start: int) -> None:
    """Some need() answers of at most two kinds stop the run, and none that are fewer do."""
    made, answers = make(rule), stream(start, 0.75)
    seen = [next(answers) for _ in range(start)]
    for answer in seen:
        if not made.need():
            return
        made.add([answer])
    need, counts = made.need(), made.result().counts
    if not need:
        return
    leader = max(counts, key=counts.__getitem__, default="a")

    def stops(more: list[Hashable | None]) -> bool:
        copy = make(rule)
        for answer in [*seen, *more]:
            if not copy.need():
                return True
            copy.add([answer])
        return not copy.need()

    def any_stops(total: int) -> bool:
        kinds = ((leader, None), (None, leader), ("b", leader))
        return any(stops([x] * k + [y] * (total - k)) for k in range(total + 1) for x, y in kinds)

    assert any_stops(need)
    assert need == 1 or not any_stops(need - 1)


def test_it_ends_when_every_radius_is_decided() -> None:
    """Unanimous answers end with the largest radius; answers at odds long before the cap."""
    made = certifier(radii=RADII, n=5000, sigma=0.25, alpha=0.001)
    while need := made.need():
        made.add(["a"] * need)
    least = ConfidenceSequence(0.001).reach(threshold(0.25, sigma=0.25), 0, 0)
    assert (made.result().stopped, made.result().n) == ("target", least)
    draw = random.Random(1)
    made = certifier(radii=RADII, n=5000, sigma=0.25, alpha=0.001)
    while need := made.need():
        made.add([draw.choice("abc") for _ in range(need)])
    assert (made.result().stopped, made.result().label) == ("futile", None)
    assert made.result().n < 200


def test_what_a_budget_cannot_decide_stays_open() -> None:
    """A radius that more money might certify is neither reached nor given up; the run says that the budget ended it."""
    made = certifier(radii=(0.0, 0.25), n=1000, cap=40, sigma=0.25, alpha=0.05)
    answers = ["a"] * 12 + ["b"] + ["a"] * 6 + ["b"] + ["a"] * 20
    while need := made.need():
        made.add(answers[:need])
        del answers[:need]
    found = made.result()
    assert found.stopped == "budget"
    assert [read.reached for read in found.radii] == [True, None]


def test_what_is_no_question_is_refused() -> None:
    """No radius at all, a negative one, one beside a target, a method with a bound of its own, one out of reach."""
    of = {"sigma": 0.25, "alpha": 0.001}
    for wrong in (
        {"radii": (-0.1, 0.1)},
        {"radii": (0.1,), "target": 0.1},
        {"radii": (0.1, 0.2), "n": 100, "method": "fixed"},
    ):
        with pytest.raises(ConfigurationError):
            certifier(**of, **wrong)  # type: ignore[arg-type]
    with pytest.raises(UnreachableRadiusError, match="at least"):
        certifier(radii=(0.0, 0.5), n=100, **of)  # type: ignore[arg-type]
