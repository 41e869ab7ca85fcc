"""Attacks inside certified radii: a half-space, whose radius is exact, holds just inside and never just outside."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from half_space import HalfSpace
from PIL import Image
from torch import Tensor, nn

from api_smoothing import Budget, SmoothedAPI, images
from api_smoothing.attacks.ball import Ball, Pixels
from api_smoothing.attacks.holding import Holding, attack_certificates, climb, pixels_of
from api_smoothing.attacks.outcome import Votes, verdict
from api_smoothing.attacks.pgd import PGD
from api_smoothing.attacks.revote import by_prediction, by_report
from api_smoothing.attacks.victim import victim_of
from api_smoothing.datasets import Example, map_truths, open_dataset
from api_smoothing.errors import ConfigurationError, ImageError

QUICK = Holding(steps=6, restarts=1, eot=4, votes=400)


def opened(model: Any = None, **options: Any) -> SmoothedAPI:
    settings = {"denoiser": None, "store": "memory", "seed": 0, "sigma": 0.08, "class_names": ["up", "down"]}
    return SmoothedAPI(HalfSpace() if model is None else model, **{**settings, **options})


def attacked(api: SmoothedAPI, given: Any, holding: Holding = QUICK, **asked: Any) -> list[Any]:
    data = open_dataset(given)
    return list(
        attack_certificates(api, data, map_truths(data, api.label_map, api.card.labels), holding, **asked)
    )


@pytest.mark.parametrize("far", [0.1, 0.2, 0.3])
def test_a_half_space_turns_just_outside_its_radius_and_never_just_inside(far: float) -> None:
    """The smoothed classifier is the half-space itself: its radius is the distance, nearly to the edge."""
    net = HalfSpace(8)
    pixels = net.at(far)
    exact = net.distance(pixels)
    with opened(net) as api:
        certificate = replace(api.certify(pixels, n=200), radius_original=exact)
        victim = victim_of(api, smoothed=True)
        holding = replace(QUICK, factors=(0.95, 1.08), votes=8_000)
        inside, outside = holding(victim, pixels, certificate, by_prediction(api, "up"))
        assert not inside.turned
        assert outside.turned
        assert inside.votes is not None
        assert 0.5 < inside.votes.k / inside.votes.n < 0.62, "the attack comes to the edge"


def test_certificates_hold_and_the_attack_has_power() -> None:
    """At their own radius none turns, at four times that all do; both are counted, at α = 0.001 and 0.1."""
    net = HalfSpace(8)
    given = [(net.at(d), "up" if d > 0 else "down") for d in (0.15, 0.2, 0.25, -0.2)]
    for alpha in (0.001, 0.1):
        with opened(net, alpha=alpha) as api:
            done = attacked(api, given, n=300)
        found = verdict(done)
        assert (found.images, found.turned, found.outside, found.power) == (4, 0, 4, 4)
        assert found.level == pytest.approx(alpha + QUICK.error)
        for one in done:
            assert one.right
            assert one.certified < net.distance(net.at(0.25)) + 0.01
            assert one.distance > one.certified, "certified ≤ true ≤ attack"


def test_false_certificates_are_caught() -> None:
    """The check can fail: radii half as large again as the truth are broken, and the count says so."""
    net = HalfSpace(8)
    with opened(net) as api:
        victim, done = victim_of(api, smoothed=True), []
        for d in (0.15, 0.2, 0.25):
            pixels = net.at(d)
            lie = replace(api.certify(pixels, n=200), radius_original=1.5 * net.distance(pixels))
            (attempt,) = replace(QUICK, factors=(1.0,))(victim, pixels, lie, by_prediction(api, "up"))
            done.append(attempt.turned)
    assert done == [True] * 3


def test_several_images_go_through_the_networks_together_each_in_its_own_ball() -> None:
    """Grey and RGB ones, by shapes: the attempts are in the order of the images, and in whole numbers in their ball."""
    net = HalfSpace(8)
    grey = np.full((8, 8), 128, np.uint8) + np.uint8(24) * (net.w.sum(2) > 0).astype(np.uint8)
    calls: list[int] = []

    class Counted(HalfSpace):
        def forward(self, x: Tensor) -> Tensor:
            if x.requires_grad:
                calls.append(len(x))
            return super().forward(x)

    given = [net.at(0.15), grey, net.at(0.25), net.at(0.3)]
    with opened(Counted(8), size=8, sigma=0.15) as api:
        done = attacked(api, given, n=300)
    assert max(calls) == 3 * QUICK.eot
    assert [one.id for one in done] == sorted(one.id for one in done)
    for one, pixels in zip(done, given, strict=True):
        assert [attempt.turned for attempt in one.attempts] == [False, True]
        for attempt in one.attempts:
            assert Ball(norm="l2", radius=attempt.radius).holds(pixels, attempt.image)
            assert attempt.distance > 0.3 * attempt.radius, "each uses a ball of its own"


def test_an_attack_that_found_something_looks_nearer() -> None:
    """Halving the way to the certified radius brings what is reported to the truth, and never into the radius."""
    net = HalfSpace(8)
    with opened(net) as api:
        plain, near = (attacked(api, [net.at(0.2)], replace(QUICK, narrow=k), n=300)[0] for k in (0, 6))
    exact = net.distance(net.at(0.2))
    assert near.certified < exact <= near.distance < 1.25 * exact < 2 * exact < plain.distance
    assert near.image is not None
    assert near.outside.factor == 4, "the power is that of the larger ball"
    assert near.inside.radius == near.certified


def test_in_original_pixels_through_the_resize_and_of_grey_images() -> None:
    """The ball is in the values that were given: larger and grey pictures hold inside, and turn outside."""
    net = HalfSpace(8)
    small = net.at(0.3)
    large = np.asarray(Image.fromarray(small).resize((19, 16), Image.Resampling.BILINEAR))
    grey = np.full((8, 8), 128, np.uint8) + np.uint8(24) * (net.w.sum(2) > 0).astype(np.uint8)
    with opened(net, size=8, sigma=0.15) as api:
        for pixels in (large, grey):
            done = attacked(api, [pixels], n=500)[0]
            assert done.certified > 0
            inside, outside = done.attempts
            assert not inside.turned
            assert outside.turned
            for attempt in done.attempts:
                assert attempt.image.shape == pixels.shape
                assert Ball(norm="l2", radius=attempt.radius).holds(pixels, attempt.image)
                loaded = images.load(attempt.image, size=8)
                assert loaded.original.name == ("RGB" if pixels is large else "grey")


class Tagger(nn.Module):
    """Reports "bright", by the half-space, and "plain" always: probabilities of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.plane = HalfSpace(8)

    def forward(self, x: Tensor) -> Tensor:
        up = (2 * self.plane(x)[:, 0]).sigmoid()
        return torch.stack((up, 0.9 - 0.5 * up), 1)


@pytest.mark.parametrize(("far", "kind"), [(0.25, "present"), (-0.25, "absent")])
def test_certificates_of_presence_and_absence(far: float, kind: str) -> None:
    """Inside the radius the label is still reported, or still not; at four times the radius it is otherwise."""
    tagger = Tagger()
    pixels = tagger.plane.at(far)
    names = ["bright", "plain"]
    with opened(tagger, class_names=names, outputs="probabilities", top=2) as api:
        absent = ["bright"] if kind == "absent" else []
        found = api.certify_labels(pixels, thresholds=0.5, n=600, absent=absent)
        (certificate,) = [one for one in found if one.kind == kind and "bright" in str(one.label)]
        revote = by_report(api, certificate, 0.5)
        inside, outside = QUICK(victim_of(api, smoothed=True), pixels, certificate, revote)
    assert not inside.turned
    assert outside.turned
    assert inside.votes is not None
    assert 50 <= inside.votes.n < 400, "one that surely holds needs no more"


def test_votes_are_fresh() -> None:
    """Those of `predict` on the attacked image are none of the certificate's, and n of them are drawn."""
    net = HalfSpace(8)
    with opened(net) as api:
        api.certify(net.at(0.3), n=100)
        votes = by_prediction(api, "up")(net.at(0.1), 250)
        assert votes.n == votes.k + votes.other == 250
        assert api.predict(net.at(0.1), n=250).cached == 250


def test_a_radius_in_which_nothing_changes_is_no_attempt() -> None:
    """Less than a step of 1/255: there is no other image, and nothing is asked."""
    net = HalfSpace(8)

    def none(pixels: Pixels, n: int) -> Votes:
        raise AssertionError("nothing is to be voted on")

    with opened(net) as api:
        certificate = api.certify(net.at(0.3), n=100)
        holding = replace(QUICK, radius=0.5 / 255)
        (attempt,) = holding(victim_of(api, smoothed=True), net.at(0.3), certificate, none)
    assert (attempt.votes, attempt.distance, attempt.factor, attempt.turned) == (None, 0.0, None, False)


def test_what_is_not_certified_is_told_and_a_spent_budget_ends_it() -> None:
    """An image on the plane gets no certificate, one that is no image its reason; what is not paid is left out."""
    net = HalfSpace(8)
    with opened(net) as api:
        plain, broken = attacked(api, [np.full((8, 8, 3), 127, np.uint8), b"broken"], n=50)
        assert plain.certified is None
        assert plain.reason
        assert "not an image" in broken.reason
    for queries, images_ in ((700, 2), (480, 1)):  # each takes 200, and 50 on what was found in either ball
        with opened(net, budget=Budget(queries=queries, run="attacks")) as api:
            assert len(attacked(api, [net.at(d) for d in (0.2, 0.21, 0.22)], n=200)) == images_


def test_what_has_no_8_bit_values_of_its_own_is_refused() -> None:
    """Transparency and 16 bits; grey stays grey."""

    def example(img: Any) -> Example:
        return Example(id="x", image=img)

    with pytest.raises(ImageError, match="RGBA"):
        pixels_of(example(Image.new("RGBA", (4, 4), (1, 2, 3, 4))))
    with pytest.raises(ImageError, match="8-bit"):
        pixels_of(example(np.full((4, 4), 300, np.uint16)))
    buffer = io.BytesIO()
    Image.new("L", (5, 4), 7).save(buffer, "PNG")
    assert pixels_of(example(buffer.getvalue())).shape == (4, 5)


def test_an_attack_that_leaves_its_ball_is_an_error() -> None:
    """The check of whole numbers is in the path of every attack, not only in these tests."""
    net = HalfSpace(8)

    class Cheat(PGD):
        def __call__(self, images: Tensor, labels: Tensor, model: Any, /, **_: Any) -> Tensor:
            return 1 - images

    with opened(net) as api:
        victim = victim_of(api, smoothed=False)
        with pytest.raises(AssertionError, match="left its l2 ball"):
            climb(Cheat(norm="l2", radius=0.1), victim, net.at(0.3), "up")


@pytest.mark.parametrize(
    "odd",
    [
        {"steps": 0},
        {"eot": 0},
        {"votes": 0},
        {"narrow": -1},
        {"error": 0.0},
        {"radius": -1.0},
        {"losses": ("none",)},
        {"factors": ()},
        {"factors": (1.0, float("nan"))},
        {"factors": (1.0, float("inf"))},
    ],
)
def test_settings_are_checked_before_anything_is_paid_for(odd: dict[str, Any]) -> None:
    """Not once the first image is certified."""
    with pytest.raises(ConfigurationError):
        replace(QUICK, **odd)


def test_other_norms_and_no_certificate_are_refused() -> None:
    """An ℓ1 radius says nothing of an ℓ2 ball."""
    net = HalfSpace(8)
    with opened(net) as api:
        good = api.certify(net.at(0.3), n=100)
        for bad in (replace(good, norm="l1"), replace(good, label=None)):
            with pytest.raises(ConfigurationError, match="ℓ2"):
                QUICK(victim_of(api, smoothed=True), net.at(0.3), bad, by_prediction(api, "up"))
