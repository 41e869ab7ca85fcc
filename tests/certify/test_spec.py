"""The settings value: what it names, and that it is the whole of what makes a certifier."""

from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest
from scipy.special import ndtr

from api_smoothing.certify import Spec, certifier, certifier_of
from api_smoothing.certify.boundary import Boundary
from api_smoothing.certify.plan import target_boundary
from api_smoothing.certify.prior import learnt
from api_smoothing.errors import ConfigurationError

PRIOR = learnt([(99, 100), (60, 100)])
assert PRIOR is not None
SETTINGS: list[tuple[dict[str, Any], str, int | None]] = [
    ({"radius": 0.2}, "open/2", None),
    ({"radius": 0.2, "n": 300}, "capped/2", None),
    ({"radius": 0.2, "n": 300, "method": "sequential"}, "capped/2", None),
    ({"radius": 0.2, "version": 1}, "open/1", None),
    ({"radius": 0.2, "n": 300, "version": 1}, "capped/1", None),
    ({"radius": 0.2, "prior": PRIOR}, f"open/2+{PRIOR.digest[:16]}", None),
    ({"radius": 0.2, "n": 300, "prior": PRIOR}, f"capped/2+{PRIOR.digest[:16]}", None),
    ({"radius": 0.2, "prior": PRIOR, "later": True}, "anytime/1", None),
    ({"n": 120}, "no-split/1", 120),
    ({"n": 120, "prior": PRIOR}, "no-split/1", 120),
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
    if {"version", "prior"} & settings.keys():
        return  # of a Spec alone
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


def test_an_old_version_is_computed_as_it_was() -> None:
    """The boundaries of version 1 are the ones it had when it was the newest, count by count."""
    digest = hashlib.sha256()
    for scaled in (0.0, 1.0):
        p0 = float(ndtr(scaled))
        boundaries: list[Boundary] = [
            target_boundary(p0, alpha=0.001, cap=cap, version=1) for cap in (None, 60, 400)
        ]
        for boundary in boundaries:
            digest.update(boundary.counts(2000).astype("<i8").tobytes())
    assert digest.hexdigest() == "45c43a7e87053ba6c63eaf94ca7e103a2b27d1ea041d7828fdf6dfd1c786a7e4"


def test_a_question_goes_on_under_the_rule_it_was_begun_with() -> None:
    """`under` finds the version and the prior a rule's name tells of, and refuses what cannot be computed here."""
    spec = Spec(sigma=0.25, radius=0.2)
    assert PRIOR is not None
    assert spec.under("open/1") == replace(spec, version=1)
    assert spec.under("open/1").rule == "open/1"
    begun = replace(spec, prior=PRIOR)
    assert spec.under(begun.rule, PRIOR).rule == begun.rule
    assert begun.under("open/2", PRIOR).prior is None
    other = learnt([(50, 100)])
    for rule, prior in (
        ("open/3", None),
        ("open/0", None),
        ("capped/2", None),
        (begun.rule, None),
        (begun.rule, other),
    ):
        with pytest.raises(ConfigurationError, match="begun under the rule"):
            spec.under(rule, prior)
    with pytest.raises(ConfigurationError, match="open/9"):
        certifier_of(replace(spec, version=9))
    with pytest.raises(ConfigurationError, match="prior"):
        certifier_of(replace(begun, version=1))
