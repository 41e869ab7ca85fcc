"""The certifiers as state machines: when they stop, what they claim, and that no answer is asked in vain."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from api_smoothing.certify import FAILED, Bound, Certifier, certifier, fixed
from api_smoothing.certify.crossing import passage
from api_smoothing.certify.fallback import Fallback
from api_smoothing.certify.plan import target_boundary
from api_smoothing.certify.target import TargetCertifier
from api_smoothing.errors import ConfigurationError, UnreachableRadiusError

ALPHA = 0.05  # large, so that runs are short and every branch is taken
RULES: dict[str, dict[str, object]] = {
    "open target": {"target": 0.25},
    "open target, budget": {"target": 0.25, "cap": 60},
    "capped target": {"target": 0.25, "n": 60},
    "small target": {"target": 0.02, "n": 50},
    "fixed": {"n": 40},
    "fixed target": {"n": 40, "target": 0.1, "method": "fixed"},
    "paper": {"n": 40, "n0": 7, "method": "clopper-pearson"},
    "paper target": {"n": 40, "n0": 7, "method": "clopper-pearson", "target": 0.1},
    "runner-up": {"n": 40, "n0": 7, "method": "runner-up"},
    "anytime": {"n": 40, "method": "sequential"},
    "presence-wide": {"n": 40, "target": 0.05, "max_classes": 3},
}


def make(rule: str, alpha: float = ALPHA) -> Certifier:
    """A fresh certifier of the named rule at σ=0.25."""
    return certifier(sigma=0.25, alpha=alpha, **RULES[rule])  # type: ignore[arg-type]


def stream(seed: int, p: float, failing: float = 0.0) -> Iterator[Hashable | None]:
    """Answers: "a" with probability p, else b, c or no label; some fail."""
    draw = random.Random(seed)
    while True:
        if draw.random() < failing:
            yield FAILED
        else:
            yield "a" if draw.random() < p else draw.choice(["b", "b", "c", None])


def run(made: Certifier, answers: Iterator[Hashable | None], *, one_by_one: bool) -> tuple[Bound, int]:
    """Ask until done; returns the result and the number of rounds."""
    rounds = 0
    while need := made.need():
        made.add([next(answers) for _ in range(1 if one_by_one else need)])
        rounds += 1
    return made.result(), rounds


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


@pytest.mark.parametrize("rule", [r for r in RULES if r != "runner-up"])
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
    assert bound.radius == target if target else bound.radius > 0.2
    assert bound.reached is (True if target else None)
    assert bound.stopped == ("target" if target else "n")
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


@pytest.mark.parametrize("rule", ["fixed", "paper", "runner-up"])
def test_a_fixed_run_claims_nothing_early(rule: str) -> None:
    """Before all n answers are counted a fixed-n rule has no radius, however clear the votes."""
    made = make(rule)
    made.add(["a"] * 39)
    assert made.need() > 0
    assert made.result().label is None
    assert made.result().stopped is None


def test_the_votes_that_choose_are_not_counted() -> None:
    """The paper's protocol bounds p with the n other votes only, and names n0."""
    made = certifier(n=100, n0=10, sigma=1.0, alpha=0.001, method="clopper-pearson")
    made.add(["a"] * 10 + ["a"] * 95 + ["b"] * 5)
    bound = made.result()
    assert (bound.n, bound.n0, bound.votes, bound.runner_up) == (100, 10, 95, "b")
    assert bound.radius == pytest.approx(1.0136817992, abs=1e-9)


def test_runner_up_counts_what_is_no_class() -> None:
    """Answers without a label, and failed ones, stand against the class like one more class."""
    golden = certifier(n=1000, n0=1, sigma=1.0, alpha=0.001, method="runner-up")
    golden.add(["a"] + ["a"] * 600 + ["b"] * 100 + [f"c{i // 90}" for i in range(300)])
    assert golden.result().radius == pytest.approx(0.60455, abs=6e-6)
    unlabelled = certifier(n=1000, n0=1, sigma=1.0, alpha=0.001, method="runner-up")
    unlabelled.add(["a"] + ["a"] * 600 + ["b"] * 100 + [None] * 300)
    assert unlabelled.result().radius < 0.4


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_the_order_of_a_fixed_run_does_not_matter(seed: int) -> None:
    """A complete no-split run depends on the counts only."""
    votes = ["a"] * 35 + ["b"] * 4 + [None]
    shuffled = random.Random(seed).sample(votes, len(votes))
    one, two = make("fixed"), make("fixed")
    one.add(votes)
    two.add(shuffled)
    assert one.result() == two.result()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), p=st.sampled_from([0.6, 0.9]), stop=st.integers(1, 39))
def test_the_anytime_bound_resumes_and_only_grows(seed: int, p: float, stop: int) -> None:
    """Fed the same answers in any portions it ends the same, and a longer run never takes back a radius."""
    answers = [a for a, _ in zip(stream(seed, p), range(400), strict=False)]
    short = certifier(n=200, sigma=0.25, alpha=ALPHA, method="sequential")
    long = certifier(n=400, sigma=0.25, alpha=ALPHA, method="sequential")
    for made in (short, long):
        start = 0
        while need := made.need():
            made.add(answers[start : start + min(stop, need)])
            start += min(stop, need)
    assert long.result().radius >= short.result().radius


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


@pytest.mark.parametrize(
    "settings_",
    [
        {"target": 0.5, "n": 20},
        {"target": 0.5, "cap": 30},
        {"target": 0.5, "n": 20, "method": "fixed"},
        {"target": 0.5, "n": 20, "method": "clopper-pearson"},
        {"target": 5.0},
        {"n": 5},
        {"n": 5, "method": "clopper-pearson"},
        {"n": 5, "method": "sequential"},
    ],
)
def test_what_cannot_be_reached_is_refused_before_the_first_query(settings_: dict[str, object]) -> None:
    """An unreachable target, or an n that can certify nothing, is one line before any answer is asked."""
    with pytest.raises(UnreachableRadiusError) as caught:
        certifier(sigma=0.25, **settings_)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings_",
    [
        {},
        {"n": 0},
        {"n": 50, "alpha": 0.0},
        {"n": 50, "alpha": 0.5},
        {"n": 50, "method": "bayes"},
        {"target": 0.2, "method": "fixed"},
        {"target": 0.0},
        {"target": -1.0},
        {"n": 50, "noise": "salt"},
        {"n": 50, "sigma": 0.0},
        {"n": 50, "max_classes": 3, "method": "fixed"},
        {"n": 100, "cap": 50},
        {"n": 50, "n0": 0, "method": "clopper-pearson"},
    ],
)
def test_nonsense_is_refused(settings_: dict[str, object]) -> None:
    """Settings out of range or in conflict raise ConfigurationError."""
    with pytest.raises(ConfigurationError):
        certifier(**{"sigma": 0.25, **settings_})  # type: ignore[arg-type]


def test_a_run_below_the_target_says_why_it_stopped() -> None:
    """Giving up names whether it was certain or likely; a budget names what the target still needed."""
    likely, _ = run(certifier(target=0.25, sigma=0.25), stream(0, 0.4), one_by_one=False)
    assert (likely.stopped, likely.reached) == ("futile", False)
    assert "likelihood" in likely.reason
    certain, _ = run(certifier(target=0.25, sigma=0.25, n=45), stream(2, 0.88), one_by_one=False)
    assert certain.stopped == "futile"
    assert "certain" in certain.reason
    made = certifier(target=0.25, sigma=0.25, cap=200)
    made.add(["a"] * 20 + ["b"] * 2 + ["a"] * 20 + ["b"] * 2)
    while made.need():
        made.add(["a" if made.result().n % 12 else "b"])
    assert made.result().stopped in ("budget", "target", "futile")


@pytest.mark.parametrize("budget", [{"n": 60}, {"cap": 60}])
@pytest.mark.parametrize("p", [0.8, 0.9])
def test_certain_futility_is_neither_early_nor_late(budget: dict[str, int], p: float) -> None:
    """A run is given up for certain at the first n at which unanimous answers could not bring the target."""
    for seed in range(25):
        made, answers, top, n = certifier(target=0.25, sigma=0.25, **budget), stream(seed, p), 0, 0
        boundary = target_boundary(float(ndtr(1.0)), alpha=0.001, cap=budget.get("n"))
        while made.need():
            needed = boundary.reach(top, n)
            assert needed is not None
            assert n + needed <= 60
            made.add([next(answers)])
            top, n = max(made.result().counts.values(), default=0), n + 1
        if "certain" in made.result().reason:
            needed = boundary.reach(top, n)
            assert needed is None or n + needed > 60


def test_a_missed_target_reports_what_was_proved() -> None:
    """A share well above ½ but below the target is certified at a smaller radius, with reached=False."""
    bound, _ = run(certifier(target=0.5, sigma=0.25), stream(1, 0.965), one_by_one=False)
    assert bound.stopped == "futile"
    assert bound.reached is False
    assert bound.label == "a"
    assert 0.0 < bound.radius < 0.5
    assert bound.p_lower >= ndtr(bound.radius / 0.25)


@lru_cache
def fallback_run() -> tuple[float, TargetCertifier]:
    """A capped target whose fallback is proved at α=0.05."""
    made = certifier(target=0.35, sigma=0.25, alpha=ALPHA, n=120)
    assert isinstance(made, TargetCertifier)
    return float(ndtr(0.35 / 0.25)), made


def claims_error(q: float, other: float, horizon: int, wrong_if: Callable[[float, float], bool]) -> float:
    """Exact probability of a wrong claim by target or fallback: class a has `q`, class b `other`, the rest none."""
    p0, made = fallback_run()
    levels = made._fallback._levels
    counts = target_boundary(p0, alpha=ALPHA, cap=120).counts(horizon)
    tables = [boundary.counts(horizon) for _, _, boundary in levels]
    states: dict[tuple[int, int, int, str], float] = {(0, 0, 0, ""): 1.0}  # votes a, votes b, proved, by whom
    error = 0.0
    for n in range(1, horizon + 1):
        after: dict[tuple[int, int, int, str], float] = {}
        for (a, b, proved, who), mass in states.items():
            for da, db, chance in ((1, 0, q), (0, 1, other), (0, 0, 1 - q - other)):
                if chance * mass < 1e-15:
                    continue
                ka, kb, j, by = a + da, b + db, proved, who
                top, label = max((ka, "a"), (kb, "b"))
                p = q if label == "a" else other
                if top >= counts[n - 1]:
                    error += chance * mass if wrong_if(p0, p) else 0.0
                    continue
                while j < len(levels) and top >= tables[j][n - 1] and by in ("", label):
                    j, by = j + 1, label
                if j > proved and wrong_if(levels[j - 1][1], p):
                    error += chance * mass
                    continue
                key = (ka, kb, j, by)
                after[key] = after.get(key, 0.0) + chance * mass
        states = after
    return error


def test_fallback_and_target_share_one_alpha() -> None:
    """Exact DP: the probability of any wrong claim, target or smaller radius, is at most α wherever p lies."""
    _, made = fallback_run()
    levels = made._fallback._levels
    assert len(levels) == 8
    for _, g, _ in [levels[0], levels[1], levels[4], levels[7]]:
        for other in (1 - g, 0.0):
            error = claims_error(g, other, 60, lambda level, p: p <= level)
            assert error <= ALPHA
    p0, _ = fallback_run()
    assert claims_error(p0, 1 - p0, 60, lambda level, p: p <= level) <= ALPHA


def test_the_fallback_leaves_the_target_its_share() -> None:
    """At every level: its own error, the target's, and what the other classes can do, sum to at most α."""
    p0, made = fallback_run()
    levels = made._fallback._levels
    target = target_boundary(p0, alpha=ALPHA, cap=120).counts(120)
    majority = levels[0][2]

    def others(p: float) -> float:
        return passage(target, p).upper + passage(majority.counts(600), p).upper

    own = [math.exp(-boundary.log_threshold) for _, _, boundary in levels]  # Ville
    assert 2 * (own[0] + passage(target, 0.5).upper) <= ALPHA
    for (_, below, _), (_, g, _), level in zip(levels, levels[1:], own[1:], strict=False):
        assert level + passage(target, g).upper + others(1 - below) <= ALPHA * (1 + 1e-9)
    assert passage(target, p0).upper + others(1 - levels[-1][1]) <= ALPHA


def test_the_fallback_claims_in_order() -> None:
    """A level is claimed only after all lower ones, and by one class only."""
    _, made = fallback_run()
    levels = made._fallback._levels
    fresh = Fallback(levels)
    fresh.look("a", 60, 60)
    assert fresh.best[0] == "a"
    assert fresh.best[2] == levels[-1][0]
    fresh.look("b", 100, 120)
    assert fresh.best[0] == "a"


def test_no_split_target_agrees_with_the_full_run() -> None:
    """A curtailed fixed-n decision is the decision of all n votes."""
    for seed in range(30):
        answers = [a for a, _ in zip(stream(seed, 0.8), range(200), strict=False)]
        curtailed = certifier(n=200, target=0.12, sigma=0.25, method="fixed")
        i = 0
        while need := curtailed.need():
            curtailed.add(answers[i : i + need])
            i += need
        votes = sum(a == "a" for a in answers)
        p_lower = fixed.no_split_lower(votes, 200, 0.001)
        assert curtailed.result().reached == (p_lower >= ndtr(0.12 / 0.25) * (1 + 1e-14))


def test_certify_is_light_to_import() -> None:
    """Importing the package loads neither numpy nor scipy; they come with the first certifier."""
    code = "import sys, api_smoothing.certify; assert not {'numpy', 'scipy', 'torch'} & set(sys.modules), 'heavy'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_votes_of_numpy_and_int_classes() -> None:
    """Any hashable is a class; 0 and "" are classes too, not abstentions."""
    made = certifier(n=40, sigma=0.25, alpha=ALPHA)
    made.add([np.int64(0).item()] * 40)
    assert made.result().label == 0
    assert made.result().radius > 0
