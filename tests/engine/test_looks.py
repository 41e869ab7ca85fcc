"""Asking again about the same votes: which question is the first, what later ones are answered from, what is told."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from counting_service import GREY, CountingService, api_of, draw, says

from api_smoothing import Budget, Certificate, LabelMap, Prediction
from api_smoothing.adapters.base import EncodedImage
from api_smoothing.adapters.labels.words import Words
from api_smoothing.certify import Spec, certifier_of
from api_smoothing.certify.prior import PriorLearner
from api_smoothing.cli.text import describe_certificate, describe_prediction
from api_smoothing.engine.looks import Question, about_labels, about_the_label, begun, look_of
from api_smoothing.engine.storage.folder import FolderStorage
from api_smoothing.engine.storage.memory import MemoryStorage
from api_smoothing.errors import ApiSmoothError, ConfigurationError
from api_smoothing.home import home

ALPHA = 0.001
OLD = (
    Path(__file__).parents[1] / "golden" / "looks_1"
)  # of a version whose rules were "open/1" and "capped/1"
PETS = LabelMap(name="pets", classes={"pet": Words(labels=("dog", "cat"))})


def service(share: float = 0.95, **card: Any) -> CountingService:
    """Says dog of that share of the images, cat of the rest; always the same of an image."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        return [says("dog" if draw(image) < share else "cat") for image in images]

    return CountingService(reply, batch=64, **card)


def told(found: Certificate | Prediction) -> tuple[int, float | None, bool]:
    return found.looks, found.alpha_total, found.exploratory


def sequence_radius(api: Any, n: int) -> float:
    """What the confidence sequence proves from the first n votes."""
    certifier = certifier_of(Spec(sigma=api.sigma, alpha=api.alpha, n=n, later=True, slack=5e-12))
    certifier.add(api._known(GREY)[:n])
    return certifier.result().radius


def test_every_later_question_is_answered_from_the_sequence() -> None:
    """The first n has its own rule and α; a larger one the sequence's radius, at 2α together; the same ones no look."""
    with api_of(service(), cache=False) as api:
        first = api.certify(GREY, n=100)
        more = api.certify(GREY, n=200)
        target = api.certify(GREY, radius=0.15, n=400)
        assert (first.method, told(first)) == ("fixed", (1, ALPHA, False))
        assert (more.method, told(more)) == ("sequential", (2, 2 * ALPHA, False))
        assert more.radius == pytest.approx(sequence_radius(api, 200), abs=1e-9)
        assert (target.label, target.reached, told(target)) == ("dog", True, (3, 2 * ALPHA, False))
        for again, before in ((api.certify(GREY, n=100), first), (api.certify(GREY, n=200), more)):
            assert (again.label, again.radius, again.method) == (before.label, before.radius, before.method)
            assert told(again) == (3, 2 * ALPHA, False)


def test_questions_to_the_sequence_alone_share_one_alpha() -> None:
    """Who asks it first as well has α, however often."""
    with api_of(service(), cache=False, method="sequential") as api:
        found = [api.certify(GREY, n=n) for n in (100, 200, 400)]
    assert [told(one) for one in found] == [(looks, ALPHA, False) for looks in (1, 2, 3)]


def test_looks_outlive_answers_and_objects(tmp_path: Path) -> None:
    """Another object, after the answers were cleared and with a public seed, is told of the first question."""
    with api_of(service(), cache=tmp_path) as api:
        api.certify(GREY, n=100)
    FolderStorage(home(), cache=tmp_path).clear()
    with api_of(service(), cache=tmp_path) as api:
        assert told(api.certify(GREY, n=200)) == (2, 2 * ALPHA, False)
        assert told(api.certify(GREY, n=100)) == (2, 2 * ALPHA, False)


@pytest.mark.parametrize("unkept", [{"cache": False}, {"store": "memory"}, {"card": ""}])
def test_looks_of_what_is_not_kept_are_the_objects_own(unkept: dict[str, Any]) -> None:
    """Where answers end with the object, so do the looks, and not before."""
    card = {"fingerprint": unkept.pop("card")} if "card" in unkept else {}
    for _ in range(2):
        with api_of(service(**card), **unkept) as api:
            assert [api.certify(GREY, n=n).looks for n in (60, 90)] == [1, 2]


def test_a_budget_is_no_part_of_the_question() -> None:
    """A target that the budget interrupted goes on as the same, first question."""
    storage = MemoryStorage()
    with api_of(service(), store=storage, budget=Budget(queries=30)) as api:
        cut = api.certify(GREY, radius=0.2, n=500)
    with api_of(service(), store=storage) as api:
        found = api.certify(GREY, radius=0.2, n=500)
    assert (cut.stopped, told(cut)) == ("budget", (1, ALPHA, False))
    assert (found.reached, told(found)) == (True, (1, ALPHA, False))
    with api_of(service(), store=storage, budget=Budget(queries=5)) as api:
        later = api.certify(GREY, n=400)
    assert (later.stopped, later.looks) == ("budget", 2)


def test_what_shows_no_vote_is_no_look() -> None:
    """A question that the budget could not begin, or that no answers could decide, is not charged."""
    storage = MemoryStorage()
    with api_of(service(), store=storage, budget=Budget(queries=5)) as api:
        assert api.certify(GREY, n=100).n == 0
        api.estimate([GREY], n=300)
    with api_of(service(), store=storage) as api:
        assert told(api.certify(GREY, n=200)) == (1, ALPHA, False)
        assert api.certify(GREY, radius=0.25, n=20).stopped == "futile"
        assert api.certify(GREY, n=300).looks == 2
        with pytest.raises(ApiSmoothError):
            api.certify_labels(GREY, radius=9.0, thresholds={"dog": 0.5})
        assert api.certify(GREY, n=400).looks == 3


def test_a_look_is_charged_before_its_first_vote() -> None:
    """Whoever is killed after seeing a vote has been charged."""
    storage = MemoryStorage()
    seen: list[int] = []

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        seen.append(len(storage._looks.read("SELECT question FROM looks", ())))
        return [says("dog")] * len(images)

    for looks, ask in enumerate(("certify", "predict", "certify_labels"), 1):
        with api_of(CountingService(reply, max_labels=3), store=storage) as api:
            getattr(api, ask)(GREY, n=100 * looks)
        assert set(seen) == {looks}
        seen.clear()


def test_a_prediction_is_a_question() -> None:
    """It shows votes: a certificate after it is from the sequence, and so is a prediction after another question."""
    with api_of(service(), cache=False) as api:
        assert told(api.predict(GREY, n=50)) == (1, ALPHA, False)
        found = api.certify(GREY, n=100)
        assert (found.method, told(found)) == ("sequential", (2, 2 * ALPHA, False))

    def of_three(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        return [
            says("dog" if (at := draw(image)) < 0.46 else "cat" if at < 0.75 else "fox") for image in images
        ]

    with api_of(CountingService(of_three, batch=64), cache=False, alpha=0.01) as api:
        first, later = api.predict(GREY, n=400), api.predict(GREY, n=401)
    assert (first.label, later.label) == ("dog", None)  # they are the most, but no majority
    assert told(later) == (2, 0.02, False)
    assert json.loads(later.to_json())["looks"] == 2


def test_a_prediction_that_the_budget_cut_short_predicts_nothing() -> None:
    """PREDICT is for an n fixed beforehand; what is left of it is no label, however clear."""
    with api_of(service(1.0), cache=False, budget=Budget(queries=40)) as api:
        found = api.predict(GREY, n=100)
    assert (found.n, found.votes, found.label) == (40, 40, None)


def test_another_reading_of_seen_votes_is_exploratory() -> None:
    """A label map chosen after a vote was seen has no bound, and the first reading keeps its own."""
    storage = MemoryStorage()
    with (
        api_of(service(max_labels=3), store=storage) as api,
        api_of(service(max_labels=3), store=storage, labels=PETS) as mapped,
    ):
        assert told(api.certify(GREY, n=100)) == (1, ALPHA, False)
        assert told(mapped.certify(GREY, n=100)) == (2, None, True)
        assert told(mapped.predict(GREY, n=100)) == (3, None, True)
        assert {told(one) for one in api.certify_labels(GREY, n=100)} == {(4, None, True)}
        assert told(api.certify(GREY, n=200)) == (5, 2 * ALPHA, False)


def test_readings_of_labels_named_together_share_alpha() -> None:
    """The same thresholds and absences are one reading, at any n or radius; others, chosen later, are exploratory."""
    with api_of(service(max_labels=3), cache=False) as api:
        reading: dict[str, Any] = {"thresholds": {"dog": 0.5, "cat": 0.5}, "absent": ["cat"]}
        aimed = api.certify_labels(GREY, radius=0.1, n=400, **reading)
        assert {told(one) for one in aimed} == {(1, ALPHA, False)}
        later = api.certify_labels(GREY, radius=0.15, n=500, **reading)
        assert {told(one) for one in later} == {(2, 2 * ALPHA, False)}
        assert {one.label for one in later} == {"dog", "not: cat", None}
        same = api.certify_labels(
            GREY, radius=0.1, n=400, thresholds={"cat": 0.5, "dog": 0.5}, absent=["cat"]
        )
        assert [(one.label, one.n) for one in same] == [(one.label, one.n) for one in aimed]
        for other in ({"thresholds": 0.3}, {**reading, "absent": ["dog"]}):
            assert {told(one)[1:] for one in api.certify_labels(GREY, n=400, **other)} == {(None, True)}


def test_answers_from_before_there_were_looks_have_been_looked_at(tmp_path: Path) -> None:
    """What is kept without a question was asked one that nobody knows: this one is not the first."""
    with api_of(service(), cache=tmp_path) as api:
        api.certify(GREY, n=100)
    for file in tmp_path.glob("looks.db*"):
        file.unlink()
    with api_of(service(), cache=tmp_path) as api:
        found = api.certify(GREY, n=100)
        assert (found.method, found.queries, told(found)) == ("sequential", 0, (2, 2 * ALPHA, False))
        assert told(api.certify(GREY, n=100)) == (2, 2 * ALPHA, False)


def test_terminal_and_notebook_say_how_often_was_asked() -> None:
    """A later answer tells its looks and the error of all together; an exploratory one that there is no bound."""
    storage = MemoryStorage()
    with api_of(service(), store=storage) as api, api_of(service(), store=storage, labels=PETS) as mapped:
        first, later = api.certify(GREY, n=100), api.certify(GREY, n=200)
        other, predicted = mapped.certify(GREY, n=200), api.predict(GREY, n=200)
    assert "question" not in describe_certificate(first)
    for text in (describe_certificate(later), later._repr_html_()):
        assert "question 2 about these votes" in text
        assert "0.002" in text
    for text in (describe_certificate(other), other._repr_html_()):
        assert "exploratory" in text
    assert "question 4 about these votes" in describe_prediction(predicted)


def question(alpha: float = ALPHA, **of: Any) -> Question:
    return about_the_label(Spec(sigma=0.25, alpha=alpha, **of), None)


def test_a_question_is_all_that_decides_its_answer() -> None:
    """Rule, radius, n, n0 and α tell questions apart; what a budget allows, and how a number is written, do not."""
    different = [
        question(n=100), question(n=101), question(n=100, radius=0.1), question(radius=0.1),
        question(n=100, alpha=0.01),
        question(n=100, method="sequential"), question(n=100, method="clopper-pearson"),
        question(n=100, method="clopper-pearson", n0=50),
    ]  # fmt: skip
    assert len(set(map(str, different))) == len(different)
    assert (
        question(n=100, cap=7) == question(n=100) == question(n=100, n0=50) == question(n=100, method="fixed")
    )
    assert str(question(radius=1)) == str(question(radius=1.0))


def test_the_total_is_that_of_the_largest_levels() -> None:
    """α of the first, and the largest that the sequence was asked at; only the latter where the first was of it."""
    fixed, sequence = question(n=100), question(n=100, method="sequential")
    asked = [str(one) for one in (fixed, question(n=200, alpha=0.01), question(n=300, alpha=0.005))]
    assert look_of(asked, fixed).alpha_total == pytest.approx(0.011)
    assert look_of([str(sequence), *asked[1:]], sequence).alpha_total == 0.01
    assert not look_of(asked, fixed).later
    assert look_of(asked, question(n=500)).looks == 4


def test_a_certificate_names_the_rule_it_rests_on() -> None:
    """The first question is answered by its own rule, every later one by the sequence; the version stands with it."""
    with api_of(service(), cache=False) as api:
        assert api.certify(GREY, n=100).rule == "no-split/1"
        assert api.certify(GREY, radius=0.05, n=200).rule == "anytime/1"
    with api_of(service(), cache=False) as api:
        assert api.certify(GREY, radius=0.05, n=200).rule == "capped/2"


# rules that became sharper, and rules that learn


def restore(folder: Path) -> list[dict[str, Any]]:
    """The looks as an earlier version left them; returns its certificates, about GREY and twice about GREY + 5."""
    with closing(sqlite3.connect(folder / "looks.db")) as db:
        db.executescript((OLD / "looks.sql").read_text(encoding="utf-8"))
    return [json.loads(line) for line in (OLD / "certificates.jsonl").read_text().splitlines()]


def test_a_question_goes_on_under_the_version_it_was_begun_with(tmp_path: Path) -> None:
    """What an earlier version was asked has its certificate still, line for line, and is no new look."""
    first, opened, later = restore(tmp_path)
    with api_of(service(), cache=tmp_path) as api:
        again = [
            api.certify(GREY, radius=0.2, n=500),
            api.certify(GREY + 5, radius=0.1, n=None),
            api.certify(GREY + 5, radius=0.15, n=300),
        ]
        fresh = api.certify(GREY + 9, radius=0.2, n=500)
    spent = {"created", "queries", "cached", "looks", "alpha_total"}
    for found, before in zip(again, (first, opened, later), strict=True):
        assert {k: v for k, v in found.to_dict().items() if k in before.keys() - spent} == {
            k: v for k, v in before.items() if k not in spent
        }
    assert [told(found)[:2] for found in again] == [(1, ALPHA), (2, 2 * ALPHA), (2, 2 * ALPHA)]
    assert (fresh.rule, told(fresh)) == ("capped/2", (1, ALPHA, False))
    with closing(sqlite3.connect(tmp_path / "looks.db")) as db:
        assert db.execute("SELECT COUNT(*) FROM looks").fetchone() == (4,)


def test_old_and_new_questions_share_a_stream(tmp_path: Path) -> None:
    """One that is new there is a later one, whatever its version; the old one keeps its own α."""
    restore(tmp_path)
    with api_of(service(), cache=tmp_path) as api:
        new = api.certify(GREY, radius=0.15, n=500)
        assert (new.rule, told(new)) == ("anytime/1", (2, 2 * ALPHA, False))
        old = api.certify(GREY, radius=0.2, n=500)
        assert (old.rule, told(old)) == ("capped/1", (2, 2 * ALPHA, False))


def test_labels_go_on_under_the_version_they_were_begun_with() -> None:
    """A report that an earlier version began takes the answers it took then; a new one takes fewer."""
    asked: dict[str, Any] = {"radius": 0.2, "n": 400, "thresholds": {"dog": 0.5}}
    spec = Spec(sigma=0.25, alpha=ALPHA, radius=0.2, n=400, method="sequential", version=1)
    old = about_labels(spec, label_map=None, thresholds={"dog": 0.5}, absent=(), most=1)
    storage, ends = MemoryStorage(), []
    for began in (True, False):
        with api_of(service(1.0), store=storage if began else "memory") as api:
            if began:
                sent = api._inquiry(
                    api._loaded(GREY), api._noise_stream(api._loaded(GREY)), api._session.sender()
                )
                with closing(storage.looks()) as looks:
                    looks.record(sent.stream.name, str(old))
            (found,) = api.certify_labels(GREY, **asked)
            ends.append((found.rule, found.n, found.looks))
    assert [(rule, looks) for rule, _, looks in ends] == [("capped/1", 1), ("capped/2", 1)]
    assert ends[0][1] > ends[1][1]


def learnt(votes: int = 95) -> Any:
    learner = PriorLearner()
    learner.add("a", votes, 100)
    return learner.without("b")


def test_a_question_goes_on_under_the_prior_it_was_begun_with() -> None:
    """Its text holds the whole prior; another prior, or none, asks the same question again."""
    spec = Spec(sigma=0.25, alpha=ALPHA, radius=0.2)
    first = about_the_label(replace(spec, prior=learnt()), None)
    assert Question.from_text(str(first)) == first
    for again in (spec, replace(spec, prior=learnt(60)), replace(spec, version=1)):
        assert begun([str(first)], about_the_label(again, None)) == first
    for other in (replace(spec, n=300), replace(spec, alpha=0.01), replace(spec, radius=0.3)):
        assert begun([str(first)], about_the_label(other, None)) == about_the_label(other, None)
    assert look_of([str(first)], first).prior == learnt().digest
    assert about_the_label(replace(spec, n=50, radius=None, prior=learnt()), None).prior is None


def test_a_question_of_a_newer_version_is_not_answered_under_another() -> None:
    """As a first question it is refused, and nothing is charged; a text of a kind that is not known is passed over."""
    spec = Spec(sigma=0.25, alpha=ALPHA, radius=0.2)
    newer = replace(about_the_label(spec, None), rule="open/9")
    unknown = json.dumps({**json.loads(str(newer)), "reach": 3})
    assert begun([unknown], about_the_label(spec, None)) == about_the_label(spec, None)
    storage, service_ = MemoryStorage(), service()
    with api_of(service_, store=storage) as api:
        loaded = api._loaded(GREY)
        stream = api._inquiry(loaded, api._noise_stream(loaded), api._session.sender()).stream.name
        with closing(storage.looks()) as looks:
            looks.record(stream, str(newer))
        with pytest.raises(ConfigurationError, match="open/9"):
            api.certify(GREY, radius=0.2, n=None)
    assert service_.seen == 0
