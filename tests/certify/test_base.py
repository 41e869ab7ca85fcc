"""What holds for every certifier, whatever its rule."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pytest
from certifiers import ALPHA, RULES, make, run, stream
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from api_smoothing.certify import FAILED, certifier
from api_smoothing.errors import ConfigurationError


@pytest.mark.parametrize("rule", RULES)
@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    p=st.sampled_from([0.2, 0.5, 0.7, 0.93, 1.0]),
    failing=st.sampled_from([0, 0.04]),
)
def test_batches_of_need_change_nothing(rule: str, seed: int, p: float, failing: float) -> None:
    """Asking need() answers at a time gives the same decision at the same n as asking one at a time."""
    alone, _ = run(make(rule), stream(seed, p, failing), one_by_one=True)
    batched, _ = run(make(rule), stream(seed, p, failing), one_by_one=False)
    assert batched == alone


@pytest.mark.parametrize("rule", [r for r in RULES if r != "runner-up" and "radii" not in r])
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), p=st.sampled_from([0.3, 0.7, 0.95]), start=st.integers(0, 30))
def test_need_is_the_fewest(rule: str, seed: int, p: float, start: int) -> None:
    """Some need() answers stop the run, and no smaller number of any answers does."""
    made, answers, seen = make(rule), stream(seed, p), []
    for _ in range(start):
        if not made.need():
            return
        seen.append(next(answers))
        made.add(seen[-1:])
    need = made.need()
    if not need:
        return
    leader = max(sorted({a for a in seen if a}), key=seen.count, default="a")

    def stops(answer: Hashable | None, count: int, first: Sequence[Hashable | None] = ()) -> bool:
        copy = make(rule)
        for answer_ in [*seen, *first, *[answer] * count]:
            if not copy.need():
                return True
            copy.add([answer_])
        return copy.need() == 0

    choosing = RULES[rule].get("n0", 0) if "paper" in rule else 0
    candidates = {leader, "a", "b", None, "new"}
    prefixes: list[Sequence[Hashable | None]] = [()]
    if choosing and start < int(choosing):  # the votes that choose the class come first
        rest = min(int(choosing) - start, need)
        prefixes += [[c] * rest for c in candidates]
    assert any(stops(c, need - len(f), f) for c in candidates for f in prefixes)
    assert not any(stops(c, need - 1 - len(f), f) for c in candidates for f in prefixes if len(f) < need)


def test_rounds_hold_many_answers() -> None:
    """Answers are asked for in rounds of many, although none of them may turn out to be in vain."""
    made = certifier(target=0.5, sigma=0.25, alpha=0.001)
    bound, rounds = run(made, stream(3, 0.999), one_by_one=False)
    assert bound.reached
    assert bound.n > 300
    assert rounds < bound.n / 8


@pytest.mark.parametrize("rule", RULES)
def test_unanimous_answers_certify(rule: str) -> None:
    """If all agree, the class is certified, at the target where there is one."""
    bound, _ = run(make(rule), stream(0, 1.0), one_by_one=False)
    assert (bound.label, bound.votes, bound.failed) == ("a", bound.n, 0)
    target = RULES[rule].get("target")
    radii = RULES[rule].get("radii", ())
    assert bound.radius == target if target else bound.radius > max(radii, default=0.2)
    assert all(read.reached for read in bound.radii)
    assert bound.reached is (True if target else None)
    assert bound.stopped == ("target" if target or radii else "n")
    assert bound.p_lower > ndtr(bound.radius / 0.25) * (1 - 1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_no_label_is_never_certified(rule: str) -> None:
    """Unanimous "no label" abstains, as votes for no class."""
    made = make(rule)
    while need := made.need():
        made.add([None] * need)
    assert made.result().label is None
    assert made.result().radius == made.result().p_lower == 0.0
    assert made.result().counts == {}


@pytest.mark.parametrize("rule", RULES)
def test_more_than_five_percent_failures_fail_the_certificate(rule: str) -> None:
    """Failed answers count in n; above 5 % the certificate is reported as failed, with the reason."""
    made = make(rule)
    while made.need():
        made.add([FAILED if made.result().n % 8 == 0 else "a"])
    bound = made.result()
    assert bound.failed > 0.05 * (bound.n + bound.n0)
    assert (bound.stopped, bound.label, bound.radius) == ("failed", None, 0.0)
    assert "failed" in bound.reason
    assert bound.reached in (False, None)


@pytest.mark.parametrize("rule", RULES)
def test_a_finished_run_is_not_topped_up(rule: str) -> None:
    """Answers after the decision are refused, not counted."""
    made = make(rule)
    bound, _ = run(made, stream(5, 0.9), one_by_one=False)
    with pytest.raises(ConfigurationError, match="topped up"):
        made.add(["a"])
    assert made.result() == bound


def test_slack_is_charged() -> None:
    """Total-variation slack raises what must be exceeded, and lowers what is proved."""
    exact, coarse = (certifier(n=100, sigma=1.0, slack=s) for s in (0.0, 1e-3))
    for made in (exact, coarse):
        made.add(["a"] * 100)
    assert coarse.result().p_lower == exact.result().p_lower
    assert coarse.result().radius == pytest.approx(
        float(ndtr_inverse(exact.result().p_lower - 1e-3)), abs=1e-9
    )
    plain, charged = (certifier(target=0.25, sigma=0.25, slack=s) for s in (0.0, 0.02))
    bounds = [run(made, stream(0, 1.0), one_by_one=False)[0] for made in (plain, charged)]
    assert bounds[1].p_lower == pytest.approx(bounds[0].p_lower + 0.02)
    assert bounds[1].n > bounds[0].n


def ndtr_inverse(p: float) -> float:
    """Φ⁻¹."""
    from scipy.special import ndtri

    return float(ndtri(p))


def test_votes_of_numpy_and_int_classes() -> None:
    """Any hashable is a class; 0 and "" are classes too, not abstentions."""
    made = certifier(n=40, sigma=0.25, alpha=ALPHA)
    made.add([np.int64(0).item()] * 40)
    assert made.result().label == 0
    assert made.result().radius > 0
