"""`benchmarks/attacks.py`: it goes on where it was killed, shares attacks between levels, and counts what is false."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from half_space import HalfSpace

from api_smoothing import SmoothedAPI
from api_smoothing.attacks import Attempt, Holding
from api_smoothing.attacks.outcome import Votes
from api_smoothing.errors import ConfigurationError

SETTINGS: dict[str, Any] = {"alpha": ["0.001", "0.1"], "restarts": 1}
QUICK = Holding(steps=6, restarts=1, eot=4, votes=200)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    found = import_module("attacks")
    monkeypatch.setattr(found, "TOGETHER", 2)
    return found


@pytest.fixture
def check(bench: ModuleType) -> Iterator[Any]:
    """A check of a half-space of 32×32, in place of the bundled classifier."""
    made = bench.Check(alphas=("0.001", "0.1"), n=100, holding=QUICK)
    made.__dict__["apis"] = {
        alpha: SmoothedAPI(
            HalfSpace(32), denoiser=None, sigma=0.15, alpha=float(alpha), seed=1, size=32, store="memory",
            class_names=["up", "down"], outputs="logits",
        )
        for alpha in made.alphas
    }  # fmt: skip
    yield made
    made.close()


def test_every_case_holds_and_the_attack_has_power(bench: ModuleType, check: Any) -> None:
    """Grey, in original pixels through the resize, of presence and of exact radii, at both levels."""
    net, record = HalfSpace(32), bench.Record(None, SETTINGS)
    pictures = np.stack([net.at(far) for far in (0.25, 0.35)])
    bench.go_on(record, check, bench.CASES, pictures, 2)
    lines = list(bench.table(record.done, SETTINGS))
    assert all(holds for _, holds in lines)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line, _ in lines if line.startswith("| ")][
        1:
    ]
    assert [(row[0], row[1]) for row in rows] == [
        ("half-space", "exact"),
        *((case, alpha) for case in bench.CASES[1:] for alpha in SETTINGS["alpha"]),
    ]
    for row in rows:
        assert row[4].startswith("0 ("), "nothing turned inside"
        if (
            row[0] != "grey"
        ):  # a grey ball holds less of what tells these apart, one before a resize some of it
            assert row[6].startswith(("1 of 2", "2 of 2") if row[0] == "resized" else "2 of 2"), row
    assert record.of("resized")[0].attempts[0].radius > 0
    for one in record.done:
        if one.case != "half-space":
            assert len(one.attempts) == 2, "one attack for both levels, one for the power"


def test_it_goes_on_where_it_was_killed(bench: ModuleType, tmp_path: Path) -> None:
    """A line that was cut off is done again; in the end there is what an undisturbed run has, to the byte."""
    check = bench.Check(alphas=("0.001", "0.1"), n=50, holding=QUICK)
    pictures = np.zeros((5, 8, 8, 3), np.uint8)
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    bench.go_on(bench.Record(whole, SETTINGS), check, ["half-space"], pictures, 5)
    lines = whole.read_bytes().splitlines(keepends=True)
    assert len(lines) == 6
    cut.write_bytes(b"".join(lines[:3]) + lines[3][:40])
    again = bench.Record(cut, SETTINGS)
    assert len(again.done) == 2
    bench.go_on(again, check, ["half-space"], pictures, 5)
    assert cut.read_bytes() == whole.read_bytes()
    bench.go_on(bench.Record(cut, SETTINGS), check, ["half-space"], pictures, 5)
    assert cut.read_bytes() == whole.read_bytes()
    with pytest.raises(ConfigurationError, match="other settings"):
        bench.Record(cut, {**SETTINGS, "restarts": 2})


def test_what_turns_in_the_larger_ball_is_attacked_in_the_smaller(bench: ModuleType, check: Any) -> None:
    """A certificate at 0.1 that is false is counted there; at 0.001 its own ball decides."""
    net = HalfSpace(32)
    pixels, exact = net.at(0.3), net.distance(net.at(0.3))
    (honest,) = check.images("rgb", [0], [pixels])
    assert [one.factor for one in honest.attempts] == [1.0, 4.0]

    certify = type(check)._certify

    def lying(self: Any, case: str, alpha: str, given: Any) -> Any:
        found = certify(self, case, alpha, given)
        return replace(found, radius_original=1.4 * exact) if alpha == "0.1" else found

    type(check)._certify, before = lying, certify
    try:
        (lied,) = check.images("rgb", [0], [pixels])
    finally:
        type(check)._certify = before
    assert [one.factor for one in lied.attempts] == [1.0, 4.0, 1.0]
    assert lied.at("0.1").inside.turned
    assert not lied.at("0.001").inside.turned


def test_what_is_false_is_counted_against_the_level(bench: ModuleType) -> None:
    """Two certificates in three that break are too many at 0.001, and not yet at 0.1."""

    def attempt(radius: float, turned: bool) -> Attempt:
        votes = Votes(k=0 if turned else 9, other=9 if turned else 0, n=9)
        return Attempt(factor=1.0, radius=radius, distance=radius, votes=votes, turned=turned)

    done = [
        bench.Done(case="rgb", image=k, certified={"0.001": 0.1, "0.1": 0.2}, attempts=(attempt(0.1, k < 2),))
        for k in range(3)
    ]
    held = [holds for line, holds in bench.table(done, SETTINGS) if line.startswith("| rgb")]
    assert held == [False, True]
