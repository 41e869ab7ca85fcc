"""The settings value: what it names, and that it is the whole of what makes a certifier."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

from api_smoothing.certify import Spec, certifier, certifier_of

SETTINGS: list[tuple[dict[str, Any], str, int | None]] = [
    ({"radius": 0.2}, "open/1", None),
    ({"radius": 0.2, "n": 300}, "capped/1", None),
    ({"radius": 0.2, "n": 300, "method": "sequential"}, "capped/1", None),
    ({"n": 120}, "no-split/1", 120),
    ({"n": 120, "method": "fixed"}, "no-split/1", 120),
    ({"radius": 0.1, "n": 120, "method": "fixed"}, "no-split/1", 120),
    ({"n": 120, "method": "sequential"}, "anytime/1", 120),
    ({"n": 120, "max_classes": 5}, "anytime/1", 120),
    ({"n": 120, "later": True}, "anytime/1", 120),
    ({"radius": 0.2, "n": 300, "later": True}, "anytime/1", None),
    ({"radius": 0.1, "n": 100, "n0": 20, "method": "clopper-pearson", "later": True}, "anytime/1", None),
    ({"n": 100, "n0": 20, "method": "clopper-pearson"}, "cohen/1", 120),
    ({"n": 100, "n0": 20, "method": "runner-up"}, "runner-up/1", 120),
]


@pytest.mark.parametrize(("settings", "rule", "fixed"), SETTINGS)
def test_the_rule_and_the_price_of_a_spec(settings: dict[str, Any], rule: str, fixed: int | None) -> None:
    """Every combination of settings names one versioned rule, and the votes it takes where those are known."""
    spec = Spec(sigma=0.25, **settings)
    assert (spec.rule, spec.fixed) == (rule, fixed)


@pytest.mark.parametrize("settings", [settings for settings, _, _ in SETTINGS])
def test_a_certifier_takes_as_many_votes_as_its_spec_says(settings: dict[str, Any]) -> None:
    """Unanimous votes end a fixed rule after exactly `fixed` votes, and a sequential one at its radius before n."""
    spec = Spec(sigma=0.25, **settings)
    made, taken = certifier_of(spec), 0
    while need := made.need():
        made.add(["cat"] * need)
        taken += need
    bound = made.result()
    assert bound.n + bound.n0 == taken
    if spec.fixed is not None and spec.radius is None:
        assert taken == spec.fixed
    if spec.radius is not None:
        assert bound.reached
        assert bound.label == "cat"


@pytest.mark.parametrize("settings", [settings for settings, _, _ in SETTINGS])
def test_spelled_out_settings_are_the_same_as_a_spec(settings: dict[str, Any]) -> None:
    """`certifier(…)` and `certifier_of(Spec(…))` prove the same from the same votes."""
    spelled = {("target" if name == "radius" else name): value for name, value in settings.items()}
    votes = ["cat"] * 99 + ["dog", None] + ["cat"] * 300
    bounds = []
    for made in (certifier(sigma=0.25, **spelled), certifier_of(Spec(sigma=0.25, **settings))):
        left = list(votes)
        while (need := made.need()) and left:
            made.add(left[:need])
            del left[:need]
        bounds.append(made.result())
    assert bounds[0] == bounds[1]


def test_a_spec_is_a_value() -> None:
    """A spec is frozen, equal to its copy, and another one when any of its fields is."""
    spec = Spec(sigma=0.25, radius=0.2, n=100)
    assert spec == replace(spec)
    assert len({spec, replace(spec), replace(spec, slack=1e-12)}) == 2
    with pytest.raises(FrozenInstanceError):
        spec.n = 5  # type: ignore[misc]
    assert {field.name for field in fields(Spec)} >= {"method", "noise", "slack", "cap", "alpha", "sigma"}


@pytest.mark.parametrize(("noise", "norm"), [("gaussian", "l2"), ("uniform", "l1"), ("laplace", "l1")])
def test_the_norm_is_that_of_the_noise(noise: Any, norm: str) -> None:
    """Gaussian noise certifies in ℓ2, uniform and Laplace noise in ℓ1."""
    assert Spec(sigma=0.25, n=10, noise=noise).norm == norm
