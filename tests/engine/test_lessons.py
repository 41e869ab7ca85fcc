"""What images teach one another: by their order alone, never about themselves, and kept with the question."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from counting_service import GREY, CountingService, api_of, draw, says

from api_smoothing import Budget, Certificate
from api_smoothing.adapters.base import EncodedImage
from api_smoothing.certify.prior import Prior, learnt
from api_smoothing.engine.lessons import Lessons, teachers
from api_smoothing.engine.storage.memory import MemoryStorage
from api_smoothing.errors import ConfigurationError

QUESTION: dict[str, Any] = {"radius": 0.2, "n": 300}


def service(share: float = 0.97) -> CountingService:
    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        return [says("dog" if draw(image) < share else "cat") for image in images]

    return CountingService(reply, batch=16)


def pictures(count: int) -> list[Any]:
    return [GREY + GREY.dtype.type(k) for k in range(count)]


def run(count: int, *, storage: Any = "memory", **options: Any) -> list[Certificate]:
    with api_of(service(), store=storage, **options) as api:
        return list(api.certify_many(pictures(count), **QUESTION))


def plain(found: Certificate) -> Certificate:
    return replace(found, created="", queries=0, cached=0)


def test_teachers_are_the_first_images_a_few_times_as_many() -> None:
    """None, 8, 32, 128, …: the most that come before."""
    assert [teachers(place) for place in (0, 7, 8, 31, 32, 127, 128, 600)] == [0, 0, 8, 8, 32, 32, 128, 512]


def test_an_image_waits_for_its_teachers_and_is_taught_by_no_other() -> None:
    """Those done after the first 8, in whatever order, change nothing for the ninth."""
    lessons = Lessons()
    for index in (6, 5, 4, 3, 2, 1, 0):
        assert lessons.ready(7)
        lessons.done(index, (f"d{index}", 90 + index, 100))
        assert not lessons.ready(8)
    lessons.done(9, ("d9", 10, 100))
    lessons.done(7, ("d7", 97, 100))
    assert lessons.ready(8)
    assert not lessons.ready(32)
    assert lessons.prior(8, "new") == learnt((90 + k, 100) for k in range(8))
    assert lessons.prior(7, "new") is None


def test_an_image_is_not_taught_by_itself() -> None:
    """What came before under its digest is left out of its prior, and of no other's."""
    before = [(f"d{k}", 60 + k, 100) for k in range(8)]
    lessons = Lessons(before)
    assert lessons.prior(0, "d3") == learnt((k, n) for digest, k, n in before if digest != "d3")
    assert lessons.prior(0, "new") == learnt((k, n) for _, k, n in before)


def test_certificates_do_not_depend_on_how_many_are_open() -> None:
    """One at a time, or all that there are: the same priors, the same votes, and a fresh run has them again."""
    alone = [plain(found) for found in run(12, prior="learn")]
    assert [plain(found) for found in run(12, prior="learn", concurrency="auto")] == alone
    assert [found.prior is None for found in alone] == [True] * 8 + [False] * 4
    assert {found.rule for found in alone[:8]} == {"capped/2"}
    assert {found.rule for found in alone[8:]} == {f"capped/2+{str(alone[8].prior)[:16]}"}


def test_what_is_learnt_saves_queries_and_is_told_whole() -> None:
    """Images like those before take fewer answers; each certificate has the prior under the digest it names."""
    plainly, taught = run(16), run(16, prior="learn")
    assert [one.n for one in taught[:8]] == [one.n for one in plainly[:8]]
    assert sum(one.n for one in taught[8:]) < sum(one.n for one in plainly[8:])
    again = Certificate.from_json(taught[9].to_json())
    assert Prior.from_dict(again.to_dict()["learned_prior"]).digest == again.prior == taught[9].prior
    assert plainly[9].prior is None
    assert "learned_prior" not in plainly[9].to_dict()


def test_an_image_goes_on_under_the_prior_it_was_begun_with() -> None:
    """A budget cuts it short; who asks again with another prior, or with none, gets the first one's, and no look."""
    storage = MemoryStorage()
    given = learnt([(99, 100)] * 20)
    assert given is not None
    with api_of(service(), store=storage, prior=given, budget=Budget(queries=35)) as api:
        cut = api.certify(GREY, radius=0.2, n=None)
    assert (cut.stopped, cut.prior) == ("budget", given.digest)
    for other in (None, "learn", learnt([(60, 100)] * 20)):
        with api_of(service(), store=storage, prior=other) as api:
            found = api.certify(GREY, radius=0.2, n=None)
            assert (found.reached, found.prior, found.looks) == (True, given.digest, 1)
    with api_of(service(), store=storage) as api:
        later = api.certify(GREY, radius=0.1, n=None)
    assert (later.rule, later.prior, later.looks) == ("anytime/1", None, 2)


def test_what_was_done_before_teaches_the_first() -> None:
    """By this object, or in a run file; rules without a prior have none."""
    done = run(8)
    with api_of(service(), store="memory", prior="learn") as api:
        api.teach(done)
        taught = api.certify(GREY + 90, **QUESTION)
        assert api.certify(GREY + 91, n=50).prior is None
    assert taught.prior == getattr(learnt((max(c.counts.values()), c.n) for c in done), "digest", "")
    with api_of(service(), store="memory", prior="learn") as api:
        for picture in pictures(8):
            api.certify(picture, **QUESTION)
        assert api.certify(GREY + 90, **QUESTION).prior == taught.prior


def test_a_run_file_tells_settings_that_are_shared() -> None:
    """Only those in use: a file of a run without them is gone on with."""
    assert not {"prior", "reuse"} & settings().keys()
    assert settings(prior="learn", reuse="ball").items() >= {"prior": "learn", "reuse": "ball"}.items()
    given = learnt([(9, 10)])
    assert given is not None
    assert settings(prior=given)["prior"] == given.digest


def settings(**options: Any) -> dict[str, Any]:
    with closing(api_of(service(), store="memory", **options)) as api:
        return api.settings()


@pytest.mark.parametrize("wrong", [{"prior": "teach"}, {"prior": 3}, {"reuse": "cube"}])
def test_what_is_neither_is_refused(wrong: dict[str, Any]) -> None:
    """In one line that says what it may be."""
    with pytest.raises(ConfigurationError, match="must be None"):
        api_of(service(), **wrong)
