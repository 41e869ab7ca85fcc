"""Presence certificates through the facade: which labels an answer reports, and what is proved about each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from counting_service import TRANSIENT, CountingService, api_of

from api_smoothing import Budget, LabelMap, SmoothedAPI
from api_smoothing.adapters import AdapterCard, Answer, EncodedImage, Label, Verdict
from api_smoothing.adapters.labels.label_map import Words
from api_smoothing.certify.base import Possible
from api_smoothing.cli.commands.certify import read_thresholds
from api_smoothing.cli.text import describe_certificate
from api_smoothing.engine.paths import poll
from api_smoothing.errors import ConfigurationError

GREY = np.full((8, 8, 3), 128, np.uint8)


class Tagger:
    """Reports each of its labels on a fixed share of the images, with a fixed score, independently."""

    def __init__(self, tags: Mapping[str, tuple[float, float]], *, most: int | None = 4) -> None:
        self.card = AdapterCard(name="tagger", fingerprint=repr(tags), max_labels=most, batch=8)
        self.asked = 0
        self._tags = tags

    def label(self, images: Sequence[EncodedImage], /) -> list[Answer]:
        self.asked += len(images)
        return [Answer(labels=tuple(self._labels(image.data))) for image in images]

    def _labels(self, data: bytes) -> list[Label]:
        found = []
        for name, (share, score) in self._tags.items():
            draw = int.from_bytes(hashlib.sha256(name.encode() + data).digest()[:8], "big") / 2**64
            if draw < share:
                found.append(Label(name=name, score=score))
        return found

    def verdict(self, error: Exception, /) -> Verdict:
        return Verdict.FATAL


def smoothed(tagger: Tagger, **options: object) -> SmoothedAPI:
    return SmoothedAPI(tagger, denoiser=None, seed=3, cache=False, **options)  # type: ignore[arg-type]


TAGS = {"dog": (1.0, 0.9), "grass": (0.97, 0.8), "ball": (0.5, 0.9), "sofa": (0.02, 0.9)}


def test_every_label_is_certified_from_the_same_answers() -> None:
    """Two labels that are nearly always reported are certified, one reported half of the time is not."""
    tagger = Tagger(TAGS)
    found = smoothed(tagger).certify_labels(GREY, radius=0.1)
    by_label = {c.label: c for c in found if c.label is not None}
    assert set(by_label) == {"dog", "grass"}
    assert all(c.reached and c.radius == 0.1 and c.target_radius == 0.1 for c in by_label.values())
    assert sum(c.queries for c in found) == tagger.asked
    assert found[0].queries == tagger.asked


def test_a_label_below_its_threshold_is_not_reported() -> None:
    """Thresholds decide what counts as reported; labels without one are not looked at."""
    found = smoothed(Tagger(TAGS)).certify_labels(GREY, radius=0.1, thresholds={"dog": 0.95, "grass": 0.5})
    assert [c.label for c in found if c.label] == ["grass"]
    assert {name for c in found for name in c.counts} <= {"dog", "grass"}


def test_absence_is_certified_for_labels_named_in_advance() -> None:
    """A label that is hardly ever reported is certified as not reported."""
    found = smoothed(Tagger(TAGS)).certify_labels(GREY, radius=0.1, absent=["sofa", "ball"])
    labels = {c.label for c in found}
    assert "not: sofa" in labels
    assert "not: ball" not in labels
    with pytest.raises(ConfigurationError, match="sofa"):
        smoothed(Tagger(TAGS)).certify_labels(GREY, radius=0.1, thresholds={"dog": 0.5}, absent=["sofa"])


def test_a_certificate_says_presence_or_absence_and_its_score() -> None:
    """Kind and threshold are the label's own, proved or not, and terminal, notebook and JSON tell them."""
    found = smoothed(Tagger(TAGS)).certify_labels(
        GREY, radius=0.1, thresholds={"dog": 0.7, "ball": 0.5, "sofa": 0.6}, absent=["sofa"]
    )
    by_name = {next(iter(c.counts)): c for c in found}
    dog, ball, sofa = by_name["dog"], by_name["ball"], by_name["not: sofa"]
    assert (dog.kind, dog.threshold, dog.claim) == ("present", 0.7, "dog present at 0.7 or more")
    assert (ball.label, ball.kind, ball.threshold) == (None, "present", 0.5)
    assert (sofa.kind, sofa.threshold) == ("absent", 0.6)
    assert sofa.claim == "sofa absent: not reported with 0.6 or more"
    for certificate in (dog, ball, sofa):
        assert str(certificate.claim) in describe_certificate(certificate)
        assert str(certificate.claim) in certificate._repr_html_()
        values = certificate.to_dict()
        assert (values["kind"], values["threshold"]) == (certificate.kind, certificate.threshold)
    assert "label  " not in describe_certificate(dog), "it is not the top label"


def test_one_score_for_every_label_is_each_ones() -> None:
    """A number is the threshold of all, of an abstention that names no label as well."""
    found = smoothed(Tagger(TAGS)).certify_labels(GREY, n=100, thresholds=0.3)
    assert {(c.kind, c.threshold) for c in found} == {("present", 0.3)}
    (nothing,) = SmoothedAPI(
        Tagger(TAGS), denoiser=None, seed=3, cache=False, budget=Budget(queries=0)
    ).certify_labels(GREY, n=100, thresholds=0.3)
    assert (nothing.kind, nothing.threshold, nothing.claim) == ("present", 0.3, None)


def test_a_label_map_makes_its_classes_the_labels() -> None:
    """With a map an answer reports every class one of its labels means."""
    words = {"pet": Words(labels=("dog", "cat")), "plant": Words(labels=("grass",))}
    pets = LabelMap(name="pets", classes=words, other="something else")
    found = smoothed(Tagger(TAGS), labels=pets).certify_labels(GREY, n=200)
    assert {c.label for c in found if c.label} == {"pet", "plant"}


def test_radii_grow_with_the_share_of_answers() -> None:
    """With n alone each label has the best radius its votes prove, more votes a larger one."""
    found = smoothed(Tagger(TAGS)).certify_labels(GREY, n=400)
    radii = {c.label: c.radius for c in found if c.label}
    assert radii["dog"] > radii["grass"] > 0
    assert all(c.n == 400 for c in found)


def test_an_open_vocabulary_without_a_bound_needs_names() -> None:
    """Where nobody bounds the labels of an answer, the level cannot be divided: the labels must be named."""
    tagger = Tagger(TAGS, most=None)
    with pytest.raises(ConfigurationError, match="thresholds"):
        smoothed(tagger).certify_labels(GREY, radius=0.1)
    assert smoothed(tagger).certify_labels(GREY, radius=0.1, thresholds={"dog": 0.5})[0].label == "dog"


@pytest.mark.parametrize("bad", [1.5, -0.1, {"dog": 2.0}, {}])
def test_thresholds_are_scores(bad: float | dict[str, float]) -> None:
    """A threshold outside [0, 1], or none at all, is refused before anything is asked."""
    tagger = Tagger(TAGS)
    with pytest.raises(ConfigurationError):
        smoothed(tagger).certify_labels(GREY, radius=0.1, thresholds=bad)
    assert tagger.asked == 0


def test_the_flag_names_labels_and_scores() -> None:
    """--labels-present takes "all", or names with the score each needs."""
    assert read_thresholds("all") == 0.5
    assert read_thresholds("cat, dog:0.7") == {"cat": 0.5, "dog": 0.7}
    with pytest.raises(ConfigurationError, match="dog:x"):
        read_thresholds("cat,dog:x")


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize("thresholds", [0.5, {"dog": 0.5}], ids=["all", "named"])
def test_presence_on_a_service_that_is_down_has_failed(thresholds: Any) -> None:
    """Where all answers failed, somebody says so, and says what it cost."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        raise TRANSIENT

    with api_of(CountingService(reply, max_labels=4), cache=False) as api:
        found = api.certify_labels(GREY, thresholds=thresholds, radius=0.1)
    assert [(one.stopped, one.queries > 0) for one in found[:1]] == [("failed", True)]


def test_a_label_that_nobody_reports_did_not_reach_its_target() -> None:
    """A named label without a vote says, like the others, whether the radius was reached."""
    with api_of(CountingService(max_labels=4), cache=False) as api:
        found = api.certify_labels(GREY, thresholds={"dog": 0.5, "cat": 0.5}, radius=0.1)
    assert [(one.reached, list(one.counts)) for one in found] == [(True, ["dog"]), (False, ["cat"])]


def absences(labels: Sequence[Label], *, most: int = 4, **options: Any) -> dict[str | None, str]:
    """What a service that says the same `labels` every time is certified for, with the reasons of what it is not."""
    given = {"thresholds": 0.5, "n": 100, **options}
    card: dict[str, Any] = {"max_labels": most, **{k: given.pop(k) for k in ("min_score",) if k in given}}
    card["labels"] = given.pop("names", None)
    service = CountingService(lambda first, images: [Answer(labels=tuple(labels))] * len(images), **card)
    with api_of(service, cache=False) as api:
        return {found.label: found.reason for found in api.certify_labels(GREY, **given)}


CAT, DOG = Label(name="Cat", score=0.97, id="/m/01yrx"), Label(name="Dog", score=0.9)


@pytest.mark.parametrize("name", ["cat", "Cat", "CAT", "/m/01yrx"])
def test_absence_is_not_certified_of_a_label_by_another_spelling(name: str) -> None:
    """A label is known by its id, or by its name in any case: what is said 100 times of 100 is not absent."""
    assert set(absences([CAT], absent=[name])) == {name, None}


def test_absence_needs_a_sign_that_the_name_is_known() -> None:
    """A name that no answer has at any score may be a wrong one, unless the user says that it is right."""
    found = absences([CAT], absent=["zebra"])
    assert set(found) == {"Cat", None}
    assert "unseen_ok" in found[None]
    assert "not: zebra" in absences([CAT], absent=["zebra"], unseen_ok=True)
    assert "not: dog" in absences([CAT, Label(name="Dog", score=0.1)], absent=["dog"])


def test_a_closed_list_is_taken_by_the_letter() -> None:
    """Of a provider with a fixed vocabulary absence is certified for its own names only, seen or not."""
    assert "not: Dog" in absences([CAT], absent=["Dog"], names=("Cat", "Dog"))
    with pytest.raises(ConfigurationError, match=r"never says 'dog'.*did you mean 'Dog'"):
        absences([CAT], absent=["dog"], names=("Cat", "Dog"))


@pytest.mark.parametrize(
    ("labels", "most", "certain"),
    [
        ([CAT, DOG], 2, False),  # a third one with 0.6 would have been cut off
        ([CAT, DOG], 3, True),
        ([CAT, Label(name="Dog", score=0.4)], 2, True),  # whatever was cut off has less than 0.4
        ([Label(name="Cat"), Label(name="Dog")], 2, False),
        ([Label(name="Cat")], 1, True),  # a classifier's whole answer
    ],
)
def test_absence_is_not_certified_where_a_label_may_be_cut_off(
    labels: list[Label], most: int, certain: bool
) -> None:
    """A full answer speaks for absence only where its last score is below the threshold; other labels are present."""
    found = absences(labels, most=most, absent=["fox"], unseen_ok=True)
    assert ("not: fox" in found) == certain
    assert "Cat" in found


def test_absence_below_what_is_asked_for_is_refused() -> None:
    """Where the request leaves out scores below 0.6, no answer can tell the absence at 0.5."""
    with pytest.raises(ConfigurationError, match=r"below 0.6.*min_confidence"):
        absences([CAT], absent=["dog"], min_score=0.6)
    assert "not: dog" in absences([CAT], absent=["dog"], min_score=0.5, unseen_ok=True)


def test_a_cut_in_most_paths_is_a_cut() -> None:
    """Paths that report a label and paths that may have lost it are together against its absence."""
    cut, reported, neither = (
        frozenset([Possible("a")]), frozenset(["a", Possible("a")]), frozenset[Any]()
    )  # fmt: skip
    assert poll([cut, reported, neither]) == frozenset([Possible("a")])
    assert poll([cut, neither, neither]) == frozenset()
