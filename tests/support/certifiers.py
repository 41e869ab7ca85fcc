"""Every rule at one σ, and answers to run it on."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterator

from api_smoothing.certify import FAILED, Bound, Certifier, certifier

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
    "later": {"n": 40, "later": True},
    "later target": {"n": 60, "target": 0.1, "later": True},
    "later open target": {"target": 0.1, "later": True},
    "later target, budget": {"target": 0.1, "cap": 60, "later": True},
    "radii, capped": {"radii": (0.0, 0.05, 0.1), "n": 60},
    "radii, budget": {"radii": (0.0, 0.1), "n": 90, "cap": 60},
    "radii, later": {"radii": (0.0, 0.2), "n": 40, "later": True},
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
