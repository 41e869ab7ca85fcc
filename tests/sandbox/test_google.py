"""Google's part of the sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc_service import recorded
from rpc_clients import (
    ASKS,
    MODULES,
    Ask,
    channel_to,
    classifier,
    expected,
    failure_of,
    picture,
    said,
)

from api_smoothing.sandbox import Sandbox
from api_smoothing.sandbox.classifier import CLASSES
from api_smoothing.sandbox.vocabulary import labels_of

grpc = pytest.importorskip("grpc")


@contextmanager
def asking(provider: str, **settings: Any) -> Iterator[tuple[Sandbox, Ask]]:
    """A sandbox, and a client of it that the provider's SDK makes."""
    pytest.importorskip(MODULES[provider])
    with Sandbox(provider, classifier=classifier, **settings) as sandbox, channel_to(sandbox) as channel:
        yield sandbox, ASKS[provider](sandbox, channel)


@pytest.mark.parametrize("kind", ["empty", "missing-key"])
def test_google_without_its_list_of_responses(google: tuple[Sandbox, Ask], kind: str) -> None:
    """Google's answers leave empty lists out: what is missing is the list of responses, not its content."""
    sandbox, ask = google
    sandbox.faults.inject(kind)
    assert len(ask([picture(1)]).responses) == 0


def test_google_says_why_it_refuses(google: tuple[Sandbox, Ask]) -> None:
    """Reasons and limits come as error details: the minute's quota, the day's, a wait, a key that expired."""
    from google.api_core import exceptions

    sandbox, ask = google

    def error(kind: str) -> Any:
        sandbox.faults.inject(kind)
        with pytest.raises(exceptions.GoogleAPICallError) as caught:
            ask([picture(1)])
        return caught.value

    throttled, waiting, quota, expired = map(
        error, ("throttle", "throttle-retry-after", "quota", "expired-key")
    )
    assert {throttled.reason, waiting.reason, quota.reason} == {"RATE_LIMIT_EXCEEDED"}
    assert throttled.metadata["quota_unit"] == waiting.metadata["quota_unit"] == "1/min/{project}"
    assert quota.metadata["quota_unit"] == "1/d/{project}"
    assert "per day" in quota.message
    assert [detail.retry_delay.seconds for detail in waiting.details if hasattr(detail, "retry_delay")] == [1]
    assert not any(hasattr(detail, "retry_delay") for detail in throttled.details)
    assert (expired.reason, expired.domain) == ("API_KEY_INVALID", "googleapis.com")


def test_google_obeys_max_results(google: tuple[Sandbox, Ask]) -> None:
    """maxResults cuts the list, its default is 10, and topicality repeats the score."""
    sandbox, ask = google
    scores = dict.fromkeys(CLASSES, 0.5)
    sandbox.classifier = lambda images: [scores for _ in images]
    names = [label.name for label in labels_of("google", scores)]
    assert len(names) > 10
    for results, most in ((1, 1), (3, 3), (0, 10), (200, len(names))):
        labels = ask([picture(1)], results=results).responses[0].label_annotations
        assert [label.description for label in labels] == names[:most]
        assert all(label.topicality == label.score for label in labels)


def test_google_finds_nothing_without_saying_so(google: tuple[Sandbox, Ask]) -> None:
    """An image without labels has an empty response in its place."""
    _, ask = google
    first, second = ask([picture(255), picture(1)]).responses
    assert type(first).to_dict(first, always_print_fields_with_no_presence=False) == {}
    assert second.label_annotations


def test_google_takes_sixteen_images(google: tuple[Sandbox, Ask]) -> None:
    """The seventeenth image refuses the request, which is not billed."""
    sandbox, ask = google
    error = failure_of(lambda: ask([picture(1)] * 17))
    assert (error.code().name, error.details()) == ("INVALID_ARGUMENT", "Too many images per request")
    (request,) = sandbox.meter.log()
    assert (request.images, request.billed) == (17, 0)


@pytest.mark.parametrize("features", [(), (1,), (4, 11)])
def test_google_serves_two_features(google: tuple[Sandbox, Ask], features: Sequence[int]) -> None:
    """A request for no feature, or for one that the sandbox does not have, is refused and never half answered."""
    sandbox, ask = google
    error = failure_of(lambda: ask([picture(1)], features=features))
    assert error.code().name == ("UNIMPLEMENTED" if features else "INVALID_ARGUMENT")
    assert sandbox.meter.billed == 0


def test_google_safe_search(google: tuple[Sandbox, Ask]) -> None:
    """SafeSearch gives five likelihoods that depend on the image; labels come only if asked for."""
    from google.cloud import vision

    sandbox, ask = google
    responses = ask([picture(number) for number in (36, 43, 54, 75, 67, 1)], features=(6,)).responses
    names = ("adult", "spoof", "medical", "violence", "racy")
    found = [tuple(int(getattr(one.safe_search_annotation, name)) for name in names) for one in responses]
    assert {value for values in found for value in values} == {1, 3, 5}
    assert len(set(found)) == len(found)
    assert not any(one.label_annotations for one in responses)
    both = ask([picture(1)], features=(4, 6)).responses[0]
    assert both.label_annotations
    assert both.safe_search_annotation.adult == vision.Likelihood.VERY_UNLIKELY
    sandbox.faults.inject("version")
    changed = ask([picture(36)], features=(6,)).responses[0].safe_search_annotation
    assert (changed.adult, changed.spoof, changed.racy) == (4, 2, 1)


def test_google_spoils_one_image_inside_a_success(google: tuple[Sandbox, Ask]) -> None:
    """A damaged image has its error in its own place; the others are answered and billed."""
    sandbox, ask = google
    for images in ([picture(1), b"no image", picture(2)], [picture(1), picture(3)[:200], picture(2)]):
        first, second, third = ask(images).responses
        assert (second.error.code, second.error.message) == (3, "Bad image data.")
        assert not second.label_annotations
        assert not first.error.code
        assert not third.error.code
        assert said(ask(images))[2] == expected("google", 2)
    assert sandbox.meter.billed == 8


def test_google_answers_have_the_recorded_shape(google: tuple[Sandbox, Ask], shared: Path) -> None:
    """Labels and errors have exactly the fields of recorded responses, a general label above the car."""
    _, ask = google
    theirs = recorded(shared, "google_labels_car.json")["responses"]
    response = ask([picture(1)])
    ours = json.loads(type(response).to_json(response, always_print_fields_with_no_presence=False))[
        "responses"
    ]
    assert [set(one) for one in ours] == [set(one) for one in theirs]
    fields = {frozenset(label) for label in theirs[0]["labelAnnotations"]}
    assert {frozenset(label) for label in ours[0]["labelAnnotations"]} == fields
    mids = [label["mid"] for label in ours[0]["labelAnnotations"]]
    assert mids.index("/m/01prls") < mids.index("/m/0k4j")
    failed = ask([b"no image"])
    theirs = recorded(shared, "google_per_image_error.json")
    assert json.loads(type(failed).to_json(failed, always_print_fields_with_no_presence=False)) == theirs


def test_a_new_google_model_shows_only_in_words_and_scores(google: tuple[Sandbox, Ask]) -> None:
    """After a change of version the ids are the same, names and scores are not, and no field tells."""
    sandbox, ask = google
    before = said(ask([picture(1)]))[0]
    sandbox.faults.inject("version")
    answer = ask([picture(1)])
    after = said(answer)[0]
    assert [mid for mid, _, _ in after] == [mid for mid, _, _ in before]
    assert all(old[1] != new[1] and old[2] > new[2] for old, new in zip(before, after, strict=True))
    assert said(ask([picture(1)]))[0] == after
    assert sandbox.version not in str(answer)


@pytest.mark.parametrize(
    ("metadata", "code", "text"),
    [
        ((), "PERMISSION_DENIED", "unregistered callers"),
        ([("authorization", "Bearer ya29.token")], "UNAUTHENTICATED", "invalid authentication credentials"),
        ([("x-goog-api-key", "planted-wrong-key")], "INVALID_ARGUMENT", "API key not valid"),
    ],
)
def test_google_wants_its_key(
    google: tuple[Sandbox, Ask], metadata: Sequence[tuple[str, str]], code: str, text: str
) -> None:
    """Without the key nothing is answered, billed or echoed."""
    sandbox, ask = google
    sandbox.faults.inject("version")
    error = failure_of(lambda: ask([picture(1)], metadata=metadata))
    assert error.code().name == code
    assert text in error.details()
    assert "planted" not in str(error.details()) + str(sandbox.meter.log())
    assert [(request.billed, request.fault) for request in sandbox.meter.log()] == [(0, None)]
