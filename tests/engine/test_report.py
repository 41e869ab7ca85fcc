"""From a bound and what was spent to the certificate a user gets."""

from __future__ import annotations

from collections.abc import Hashable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api_smoothing import images
from api_smoothing.adapters import Answer, Label
from api_smoothing.adapters.labels.label_map import Reports, WordKinds
from api_smoothing.certify.base import Bound
from api_smoothing.engine.report import certificate
from api_smoothing.engine.votes import QueryCount
from api_smoothing.results import Certificate, Look, Provenance

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)


def certified(
    label: str | None = "cat",
    *,
    radius: float = 0.25,
    noise: str = "gaussian",
    size: int | None = None,
    pixels: images.ImageLike = PIXELS,
    votes: int = 99,
    count: QueryCount | None = None,
    target: float | None = None,
    label_map: str | None = None,
    counts: dict[Hashable, int] | None = None,
    whole_side: int | None = None,
) -> Certificate:
    bound = Bound(
        label=label, radius=radius, p_lower=0.9, votes=votes, n=100, n0=0, counts=counts or {"cat": 99}, failed=0,
        runner_up=None,
        reached=None if target is None else label is not None, stopped="n", method="fixed", reason="",
    )  # fmt: skip
    provenance = Provenance(
        provider="toy", model="toy/1", denoiser=None, label_map=label_map, sigma=0.25, alpha=0.001, method="auto",
        noise=noise, seed="public:1",
    )  # fmt: skip
    return certificate(
        bound, count or QueryCount(), images.load(pixels, size=size), provenance=provenance, target=target,
        cost_usd=0.0, whole_side=whole_side,
        look=Look(later=False, rule="no-split/1", looks=1, alpha_total=0.001, exploratory=False),
    )  # fmt: skip


@pytest.mark.parametrize("radius", [0.25, 0.1, 1 / 3, 0.7071, 1e-9, 2.3])
@pytest.mark.parametrize("size", [None, 32])
def test_the_radius_of_the_maximum_norm_is_inside_the_certified_ball(radius: float, size: int | None) -> None:
    """d values moved by it stay within the l2 radius, in exact arithmetic, and by hardly more they would not."""
    found = certified(radius=radius, size=size)
    d = 3 * found.space[0] * found.space[1]
    assert found.linf_radius is not None
    assert Fraction(found.linf_radius) ** 2 * d <= Fraction(found.radius) ** 2
    assert Fraction(found.linf_radius * (1 + 1e-9)) ** 2 * d > Fraction(found.radius) ** 2


@pytest.mark.parametrize("noise", ["uniform", "laplace"])
def test_no_other_norm_has_one(noise: str) -> None:
    """Nothing is derived from an l1 radius."""
    assert certified(noise=noise).linf_radius is None


def test_an_abstention_has_no_radius_of_any_kind() -> None:
    """Where nothing is certified every radius is 0."""
    found = certified(None)
    assert (found.radius, found.radius_original, found.linf_radius) == (0.0, 0.0, 0.0)


def test_both_spaces_are_told() -> None:
    """The certificate names the sides as the image enters the noise, and those of the image as given."""
    assert (certified(size=32).space, certified(size=32).space_original) == ((32, 32), (40, 48))
    assert certified().space == certified().space_original == (40, 48)


def test_the_original_is_named_and_a_bound_that_is_not_there() -> None:
    """A grey image is certified in its own values, √3 less far; a palette not at all, and the certificate says why."""
    grey = certified(pixels=PIXELS[:, :, 0])
    assert (grey.original, grey.unbounded) == ("grey", None)
    assert grey.radius_original == pytest.approx(grey.radius / 3**0.5)
    palette = certified(pixels=Image.fromarray(PIXELS).quantize(16))
    assert (palette.original, palette.radius_original) == ("palette", 0.0)
    assert palette.radius == grey.radius
    assert "palette" in str(palette.unbounded)


def test_a_first_look_has_all_of_alpha() -> None:
    """One question so far: its alpha is all there is."""
    found = certified()
    assert (found.kind, found.threshold, found.looks, found.alpha_total) == ("label", None, 1, found.alpha)
    assert not found.exploratory
    assert (found.provider, found.model, found.method, found.seed) == ("toy", "toy/1", "fixed", "public:1")


def test_an_abstention_says_what_would_certify() -> None:
    """From the votes at hand: more answers, a smaller radius, another σ, or other classes; `hint` has the settings."""
    close = certified(None, radius=0.0, votes=66)
    assert "66 of 100: n=1,000 would likely certify r=" in close.reason
    assert close.extra["hint"]["n"] == 1000
    short = certified(None, radius=0.0, votes=100, target=0.5)
    assert "every vote agrees: n=1,000 would likely certify r=0.5" in short.reason
    split = certified(None, radius=0.0, votes=45, counts={"cat": 45, "dog": 30, "fox": 25}, target=0.25)
    assert "by how these votes split, σ=0.06 would likely certify r=0.05 " in split.reason
    assert "--labels" in split.reason
    assert split.extra["hint"] == {"sigma": 0.06, "radius": 0.05}
    even = certified(None, radius=0.0, votes=50, counts={"cat": 50, "dog": 50})
    assert "try a smaller σ" in even.reason
    assert "hint" not in even.extra
    assert (
        "hint"
        not in certified(None, radius=0.0, votes=40, counts={"cat": 40, "dog": 35}, noise="laplace").extra
    )
    silent = QueryCount(counted={None: 80, "cat": 20}, n=100)
    mute = certified(None, radius=0.0, votes=20, count=silent, label_map="mine@1")
    assert "80 of 100 answers named no label that counts" in mute.reason
    assert "use another map by --labels" in mute.reason
    assert "use classes by --labels" in certified(None, radius=0.0, votes=20, count=silent).reason


def test_a_photograph_that_was_shown_as_a_thumbnail_is_told_the_size() -> None:
    """Before a smaller σ, and only where the photograph has more pixels, the size is free, and answers do not do."""
    photograph = np.zeros((300, 400, 3), np.uint8)
    told: dict[str, Any] = {
        "radius": 0.0,
        "votes": 45,
        "counts": {"cat": 45, "dog": 30, "fox": 25},
        "whole_side": 224,
    }
    found = certified(None, pixels=photograph, size=32, target=0.25, **told)
    assert found.extra["hint"] == {"size": 224, "radius": 0.25}
    assert "size=224 at the same σ would likely certify more" in found.reason
    for other in (
        certified(None, pixels=photograph, size=32, **{**told, "whole_side": None}),
        certified(None, pixels=photograph, size=224, **told),
        certified(None, size=32, **told),  # an image of 48×40 pixels, of which there is no more
        certified(None, pixels=photograph, size=32, **{**told, "votes": 66}),
    ):
        assert "size" not in {**other.extra["hint"]}


def test_a_certificate_that_did_what_was_asked_has_no_hint() -> None:
    """Nothing is suggested where the target is reached, or a best radius is certified."""
    assert certified(target=0.25).reason == certified().reason == ""
    assert certified().extra == {}


def test_a_general_tag_is_named_with_what_is_more_specific() -> None:
    """The labels that the same answers report often enough; never as a certificate."""
    reports = Reports(WordKinds(general=frozenset({"animal"})))
    for number in range(100):
        more = [Label(name="Cat", score=0.9)] if number % 20 else [Label(name="Dog", score=0.9)]
        reports.add(Answer(labels=(Label(name="Animal", score=0.95), *more)))
    found = certified("Animal", count=QueryCount(reports=reports))
    assert found.reason.startswith("Animal is a general tag; the same answers report Cat in 95 of 100, ")
    assert "exploratory" in found.reason
    assert "--labels" in found.reason
    assert found.extra["general_tag"] == {"Cat": 95}, "Dog is in too few for a certificate"
    assert Certificate.from_json(found.to_json()) == found
    assert certified("Cat", count=QueryCount(reports=reports)).extra == {}
