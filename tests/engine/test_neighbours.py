"""A certified image answers for its neighbours: exactly as far as its ball reaches, and for none of other settings."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from counting_service import CountingService, api_of
from numpy.typing import NDArray

from api_smoothing import Certificate, LabelMap, SmoothedAPI
from api_smoothing.adapters.labels.words import Words
from api_smoothing.adapters.local.adapter import CallableAdapter
from api_smoothing.certify import Spec
from api_smoothing.engine.neighbours import Neighbours, _apart, _measure, _sums, distance
from api_smoothing.engine.storage.memory import MemoryStorage
from api_smoothing.errors import ConfigurationError
from api_smoothing.images import Loaded, load

SIDE = 12
SPEC = Spec(sigma=0.25, n=100)
GREY = np.full((SIDE, SIDE, 3), 128, np.uint8)
Image = NDArray[np.uint8]


def moved(steps: int, image: Image = GREY) -> Image:
    """`image` with its first values moved by one step of 8 bits each, so many of them: √steps/255 away."""
    out = image.copy()
    out.reshape(-1)[:steps] += np.uint8(1)
    return out


class HalfSpace:
    """Says "in" where the mean is above `level`: the smoothed radius of an image is its distance from that plane."""

    def __init__(self, level: float) -> None:
        self.level, self.asked = level, 0

    def __call__(self, x: torch.Tensor) -> list[str]:
        self.asked += len(x)
        return ["in" if mean > self.level else "out" for mean in x.double().mean((1, 2, 3)).tolist()]

    def radius(self, image: Image) -> float:
        """The distance of the image from the plane."""
        return float((image.astype(float).mean() / 255 - self.level) * np.sqrt(image.size))


def api_for(model: Any, **options: Any) -> SmoothedAPI:
    return SmoothedAPI(
        model, **{"denoiser": None, "seed": 0, "sigma": 0.1, "reuse": "ball", "store": "memory", **options}
    )


def test_a_neighbour_gets_what_is_left_of_the_radius_without_a_query() -> None:
    """R − d, of the same label, below the radius that is known; the votes and α are its parent's."""
    model = HalfSpace(0.494)
    with api_for(model) as api:
        parent = api.certify(GREY, n=200)
        asked = model.asked
        for steps in (1, 7, 200):
            image = moved(steps)
            found = api.certify(image, n=200)
            left = parent.radius - np.sqrt(steps) / 255
            assert found.radius == pytest.approx(left, abs=1e-12)
            assert 0 < found.radius < model.radius(image)
            assert (found.label, found.parent, found.queries) == (parent.label, parent.image_sha256, 0)
            assert found.image_sha256 == api.digest(image)
            assert (found.votes, found.n, found.looks, found.alpha_total) == (parent.votes, 200, 1, 0.001)
            assert 0.5 < found.p_lower < parent.p_lower
            assert found.radius_original == found.radius
            assert "no query" in found.reason
            assert Certificate.from_json(found.to_json()) == found
        assert model.asked == asked
        assert api.certify(GREY, n=200).parent is None


def test_what_the_ball_does_not_reach_is_asked() -> None:
    """Too far away, or asked for more than is left."""
    model = HalfSpace(0.494)
    with api_for(model) as api:
        parent = api.certify(GREY, n=200)
        left = parent.radius - 2 / 255
        assert api.certify(moved(4), radius=left * 0.999).parent == parent.image_sha256
        assert api.certify(moved(4), radius=left * 0.999).reached
        more = api.certify(moved(4), radius=min(left * 1.001, parent.radius), n=4000)
        assert (more.parent, more.queries > 0) == (None, True)
        assert api.certify(GREY + 10, n=200).parent is None


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("sub", [1, 256])
def test_the_radius_is_never_more_than_is_left(norm: str, sub: int) -> None:
    """In rational arithmetic: the parent's less the distance, and no less than that but for rounding."""
    rng = np.random.default_rng(5)
    noise: Any = "gaussian" if norm == "l2" else "uniform"
    for _ in range(20):
        one, two = near_pair(rng, sub)
        found = answer(
            one, two, replace(SPEC, noise=noise, sigma=100.0), radius=40.0 if norm == "l1" else 9.0, norm=norm
        )
        assert found is not None
        steps = (one.grid.astype(object) - two.grid.astype(object)).ravel()
        gap = Fraction(40 if norm == "l1" else 9) - Fraction(found.radius)
        if norm == "l1":
            exact = Fraction(int(np.abs(steps).sum()), 255 * sub)
            assert 0 <= gap - exact < Fraction(1, 10**13)
        else:
            square = Fraction(int((steps * steps).sum()), (255 * sub) ** 2)
            assert square <= distance(one, two, norm) ** 2 < square * (1 + Fraction(1, 10**13))
            assert square <= gap**2
            assert float(gap) == pytest.approx(float(square) ** 0.5, abs=1e-13)


def near_pair(rng: np.random.Generator, sub: int) -> tuple[Loaded, Loaded]:
    image = rng.integers(10, 240, (SIDE, SIDE, 3))
    other = image + rng.integers(-9, 10, image.shape)
    one, two = (load(pixels.astype(np.uint8), sub=sub) for pixels in (image, other))
    return one, two


def certificate(radius: float, **fields: Any) -> Certificate:
    with closing(api_for(HalfSpace(0.3))) as api:
        return replace(api.certify(GREY, n=20), radius=radius, **fields)


def answer(
    one: Loaded,
    two: Loaded,
    spec: Spec,
    *,
    radius: float,
    settings: tuple[str, str] = ("s", "s"),
    all_: Neighbours | None = None,
    meanwhile: Callable[[Neighbours], None] = lambda all_: None,
    **fields: Any,
) -> Certificate | None:
    """What `one`, certified to `radius`, says about `two`."""
    all_ = all_ or Neighbours()
    first = all_.visit(one, spec, run=1, settings=settings[0], stream="one")
    first.enter()
    first.done(certificate(radius, **fields))
    meanwhile(all_)
    return all_.visit(two, spec, run=2, settings=settings[1], stream="two").answer(slack=0.0)


def test_nothing_is_reused_under_other_settings_or_another_model() -> None:
    """Other settings, a stream whose model has changed since, a version that another image has seen since."""
    one, two = load(GREY), load(moved(3))

    def newer(all_: Neighbours) -> None:
        visit = all_.visit(load(GREY + 50), SPEC, run=1, settings="s", stream="far")
        visit.enter()
        visit.done(certificate(0.1, model_version="2"))

    assert answer(one, two, SPEC, radius=0.1) is not None
    assert answer(one, two, SPEC, radius=0.1, settings=("s", "t")) is None
    assert answer(one, two, SPEC, radius=0.1, all_=Neighbours(stands=lambda stream: stream != "one")) is None
    assert answer(one, two, SPEC, radius=0.1, model_version="1") is not None
    assert answer(one, two, SPEC, radius=0.1, model_version="1", meanwhile=newer) is None


def test_objects_settings_are_told_apart() -> None:
    """A finer grid is another classifier, and so are weights that were trained on meanwhile."""
    with api_for(HalfSpace(0.4), size=SIDE) as api:
        api.certify(GREY, n=100)
        fine = moved(2).astype(float) / 255 + 1e-5
        assert api.certify(fine, n=100).parent is None
        assert api.certify(fine + 1e-4, n=100).parent is not None
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIDE * SIDE, 2))
    with api_for(module) as api:
        api.certify(GREY, n=100)
        assert api.certify(moved(1), n=100).parent is not None
        with torch.no_grad():
            module[1].bias += 1.0  # type: ignore[operator]
        assert api.certify(moved(2), n=100).parent is None


def test_the_nearest_answers_whatever_came_of_it() -> None:
    """An abstention that is nearer is not passed over for a certificate farther away; votes of its own come first."""
    all_ = Neighbours()
    for steps, radius in ((9, 0.3), (4, 0.0)):
        visit = all_.visit(load(moved(steps)), SPEC, run=1, settings="s", stream=str(steps))
        visit.enter()
        visit.done(certificate(radius, label="in" if radius else None))

    def of(steps: int, new: bool = True) -> Certificate | None:
        visit = all_.visit(load(moved(steps)), SPEC, run=2, settings="s", stream="x", new=new)
        return visit.answer(slack=0.0)

    assert of(3) is None
    assert of(8) is not None
    assert of(8, new=False) is None
    assert of(9) is None


def entered(all_: Neighbours, image: Image, found: Certificate | None) -> None:
    """Asked about, with what came of it, or in a run that ended before."""
    visit = all_.visit(load(image), SPEC, run=1, settings="s", stream="x")
    visit.enter()
    if found is not None:
        visit.done(found)
    visit.leave()


def test_the_nearest_is_found_among_those_that_look_nearer() -> None:
    """Noise that leaves the sums of blocks as they are hides nobody."""
    wide = np.full((16, 16, 3), 128, np.uint8)
    plain_ = wide.copy()
    wide[::2, :, 0] += 40  # a block has two rows
    wide[1::2, :, 0] -= 40
    all_ = Neighbours()
    entered(all_, wide, certificate(0.0, label=None))
    entered(all_, moved(9, plain_), certificate(3.0))
    assert _apart(_sums(load(wide).grid)[None], _sums(load(plain_).grid), "l2")[0] == 0.0
    found = all_.visit(load(plain_), replace(SPEC, sigma=9.0), run=2, settings="s", stream="x").answer(
        slack=0.0
    )
    assert found is not None
    assert found.radius == pytest.approx(3.0 - 3 / 255)


def test_an_image_waits_only_for_those_of_its_own_run() -> None:
    """Another run may stand still, for as long as its user likes."""
    all_ = Neighbours()
    all_.visit(load(moved(2)), SPEC, run="one", settings="s", stream="x").enter()
    for run, aim, ready in (("one", None, False), ("two", None, True), ("one", 0.1, True)):
        spec = replace(SPEC, radius=aim)
        near = all_.visit(load(moved(1)), spec, run=run, settings="s", stream="y")
        assert near.ready() == ready
        assert near.answer(slack=0.0) is None


def test_an_image_that_was_never_done_is_nobodys_neighbour() -> None:
    """Its run was broken off: one farther away answers."""
    all_ = Neighbours()
    entered(all_, moved(9), certificate(0.2))
    entered(all_, moved(2), None)
    assert all_.visit(load(moved(1)), SPEC, run=2, settings="s", stream="x").answer(slack=0.0) is not None


def test_a_run_does_not_depend_on_time() -> None:
    """However many images are open, the same ones are asked, and an image waits for the one that may answer for it."""
    images = [moved(k, GREY + np.uint8(20 * (k % 3))) for k in range(12)]
    found = []
    for concurrency in (1, "auto"):
        model = HalfSpace(0.45)
        with api_for(model, concurrency=concurrency) as api:
            made = list(api.certify_many(images, n=60))
        assert model.asked >= 180
        found.append([replace(one, created="", queries=0, cached=0) for one in made])
    assert found[0] == found[1]
    assert [one.parent is None for one in found[0]] == [True] * 3 + [False] * 9


def test_a_run_that_was_broken_off_keeps_nobody_waiting() -> None:
    """Images that it had open are asked by the next."""
    with api_for(HalfSpace(0.45), concurrency="auto") as api:
        run = api.certify_many([moved(k, GREY + np.uint8(30 * (k % 2))) for k in range(6)], n=60)
        next(run)
        run.close()
        assert len(list(api.certify_many([moved(9, GREY + 30), moved(10, GREY + 30)], n=60))) == 2


def test_a_parents_looks_pass_on_and_its_child_has_none() -> None:
    """Later and exploratory parents say so of their children; the child's own votes have not been looked at."""
    storage = MemoryStorage()
    pets = LabelMap(name="pets", classes={"pet": Words(labels=("dog", "cat"))})
    service = CountingService(batch=32)
    with api_of(service, store=storage, reuse="ball") as api:
        image = np.full((8, 8, 3), 128, np.uint8)
        api.certify(image, n=100)
        parent = api.certify(image, n=300)
        child = api.certify(moved(1, image), n=100)
    assert (child.parent, child.looks, child.alpha_total) == (parent.image_sha256, 2, 0.002)
    with api_of(service, store=storage, reuse="ball", labels=pets) as api:
        assert api.certify(image, n=100).exploratory
        child = api.certify(moved(1, image), n=100)
        assert (child.parent, child.exploratory, child.alpha_total) == (parent.image_sha256, True, None)
    with api_of(service, store=storage) as api:
        assert (api.certify(moved(1, image), n=100).looks, api.certify(moved(1, image), n=100).parent) == (
            1,
            None,
        )


def test_of_several_answers_about_an_image_the_farthest_stands() -> None:
    """With the error of them all, as it was chosen among them."""
    with api_for(HalfSpace(0.45)) as api:
        first, later = api.certify(GREY, n=100), api.certify(GREY, n=110)
        child = api.certify(moved(1), n=100)
    assert later.radius < first.radius
    assert child.radius == pytest.approx(first.radius - 1 / 255, abs=1e-12)
    assert (child.looks, child.alpha_total) == (2, 0.002)


def test_images_of_an_earlier_run_answer_too() -> None:
    """Given back with their certificates: as they did there, with no query, under the same settings only."""
    plane = HalfSpace(0.494)
    model = CallableAdapter(plane, fingerprint="plane")
    with api_for(model) as api:
        parent = api.certify(GREY, n=200)
        child = api.certify(moved(7), n=200)
    asked = plane.asked
    with api_for(model) as api:
        api.recall(moved(7), child)  # has no votes of its own
        api.recall(GREY, Certificate.from_json(parent.to_json()))
        found = api.certify(moved(7), n=200)
        assert replace(found, created="") == replace(child, created="")
        assert plane.asked == asked
        with pytest.raises(ConfigurationError, match="image_sha256"):
            api.recall(moved(1), parent)
        others: list[dict[str, Any]] = [{"sigma": 0.2}, {"alpha": 0.01}, {"epoch": "2"}, {"kind": "present"}]
        for other in others:
            with pytest.raises(ConfigurationError, match=next(iter(other))):
                api.recall(GREY, replace(parent, **other))
    with api_for(model, reuse=None) as api:
        api.recall(GREY, parent)
        assert api.certify(moved(7), n=200).parent is None


def test_what_nobody_knows_to_stand_is_not_recalled() -> None:
    """A model that was seen to change since; a function without a name, which may have been another one."""
    storage = MemoryStorage()
    named = CallableAdapter(HalfSpace(0.494), fingerprint="plane")
    for model in (named, HalfSpace(0.494)):
        with api_for(model, store=storage) as api:
            parent = api.certify(GREY, n=200)
            if model is named:
                noise = api._noise_stream(load(GREY))
                stream = api._session.lasting_stream(noise, seed=api._seed.label)
                api._session._cache.describe(f"{stream}/drift", {})
        with api_for(model, store=storage) as api:
            api.recall(GREY, parent)
            assert api.certify(moved(7), n=200).parent is None


def test_a_resized_image_has_its_own_way_back() -> None:
    """The distance is that after the resize, and the radius of the original by its own map."""
    large = np.kron(GREY, np.ones((2, 2, 1), np.uint8))
    wide = np.kron(GREY, np.ones((3, 3, 1), np.uint8))
    wide[:3, :3] += 1
    with api_for(HalfSpace(0.45), size=SIDE) as api:
        parent, child = api.certify(large, n=100), api.certify(wide, n=100)
        loaded = load(wide, size=SIDE)
    assert child.parent == parent.image_sha256
    gap = distance(load(large, size=SIDE), loaded, "l2")
    assert child.radius == pytest.approx(parent.radius - float(gap), abs=1e-12)
    assert child.radius_original == loaded.radius_original(child.radius)
    assert child.space_original == (3 * SIDE, 3 * SIDE)


def test_memory_is_bounded() -> None:
    """The latest images are kept."""
    all_ = Neighbours(memory=3 * (GREY.nbytes + _sums(load(GREY).grid).nbytes))
    for steps in range(10):
        visit = all_.visit(load(GREY + 20 * steps), SPEC, run=1, settings="s", stream=str(steps))
        visit.enter()
        visit.done(certificate(0.1))
    assert len(all_._kept) == 3

    def of(steps: int) -> Certificate | None:
        near = load(moved(1, GREY + np.uint8(20 * steps)))
        return all_.visit(near, SPEC, run=2, settings="s", stream="x").answer(slack=0.0)

    assert [of(steps) is not None for steps in (0, 6, 7, 9)] == [False, False, True, True]


@pytest.mark.parametrize("shape", [(5, 7), (8, 8), (33, 20)])
def test_sums_of_blocks_are_never_farther_apart_than_the_images(shape: tuple[int, int]) -> None:
    """So no neighbour is missed; equal for a shift of all values."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        one, two = (rng.integers(0, 256, (*shape, 3)).astype(np.int32) for _ in range(2))
        for norm in ("l2", "l1"):
            apart = _apart(_sums(one)[None], _sums(two), norm)[0]
            assert apart <= _measure(one, two, norm) * (1 + 1e-12)
        assert _apart(_sums(one)[None], _sums(one + 7), "l2")[0] == pytest.approx(49 * one.size)
