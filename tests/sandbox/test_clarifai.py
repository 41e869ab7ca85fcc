"""Clarifai's part of the sandbox."""

from __future__ import annotations

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
    picture,
    said,
)

from api_smoothing.sandbox import Sandbox
from api_smoothing.sandbox.classifier import CLASSES
from api_smoothing.sandbox.vocabulary import CURRENT, labels_of

grpc = pytest.importorskip("grpc")


@contextmanager
def asking(provider: str, **settings: Any) -> Iterator[tuple[Sandbox, Ask]]:
    """A sandbox, and a client of it that the provider's SDK makes."""
    pytest.importorskip(MODULES[provider])
    with Sandbox(provider, classifier=classifier, **settings) as sandbox, channel_to(sandbox) as channel:
        yield sandbox, ASKS[provider](sandbox, channel)


def test_clarifai_without_its_labels(clarifai: tuple[Sandbox, Ask]) -> None:
    """A Clarifai answer without its key has outputs that succeeded, but neither concepts nor version."""
    sandbox, ask = clarifai
    sandbox.faults.inject("missing-key")
    (output,) = ask([picture(1)]).outputs
    assert output.status.code == 10000
    assert not output.HasField("data")
    assert not output.model.model_version.id


def test_clarifai_names_its_version(clarifai: tuple[Sandbox, Ask]) -> None:
    """Every output names the model version; it changes with the sandbox's, and with it the scores."""
    sandbox, ask = clarifai
    before = ask([picture(1)] * 2)
    assert {output.model.model_version.id for output in before.outputs} == {CURRENT["clarifai"]}
    sandbox.faults.inject("version")
    after = ask([picture(1)] * 2)
    assert {output.model.model_version.id for output in after.outputs} == {sandbox.version}
    assert sandbox.version != CURRENT["clarifai"]
    assert said(after)[0] == expected("clarifai", 1, sandbox.version) != said(before)[0]


def test_clarifai_keeps_to_a_pinned_version(clarifai: tuple[Sandbox, Ask]) -> None:
    """A version that is pinned goes on answering after a newer one has come; an unknown one does not exist."""
    sandbox, ask = clarifai
    before = ask([picture(1)])
    sandbox.faults.inject("version")
    ask([picture(1)])
    pinned = ask([picture(1)], version=CURRENT["clarifai"])
    assert said(pinned) == said(before)
    assert pinned.outputs[0].model.model_version.id == CURRENT["clarifai"]
    assert ask([picture(1)], version="0" * 32).status.code == 21200


def test_clarifai_bounds_its_concepts(clarifai: tuple[Sandbox, Ask]) -> None:
    """max_concepts cuts the list at 1 to 200, 20 by default; min_value leaves out what scores less."""
    sandbox, ask = clarifai
    sandbox.classifier = lambda images: [dict.fromkeys(CLASSES, 0.5) for _ in images]
    known = len(labels_of("clarifai", dict.fromkeys(CLASSES, 0.5)))
    assert known > 20
    for most, count in ((0, 20), (1, 1), (25, 25), (200, known)):
        assert len(said(ask([picture(1)], max_concepts=most))[0]) == count
    assert ask([picture(1)], max_concepts=201).status.code == 21202
    kept = said(ask([picture(1)], max_concepts=200, min_value=0.6))[0]
    assert 0 < len(kept) < known
    assert all(value >= 0.6 for _, _, value in kept)


def test_clarifai_answers_just_the_concepts_selected(clarifai: tuple[Sandbox, Ask]) -> None:
    """Selected concepts, by name or id, come all and alone, best first, likely or not."""
    _, ask = clarifai
    ids = {name: id for id, name, _ in said(ask([picture(35)], max_concepts=200))[0]}
    select = [{"name": "frog"}, {"name": "cat"}, {"id": ids["dog"]}]
    answer = said(ask([picture(35)], select=select))[0]
    assert [name for _, name, _ in answer] == ["dog", "cat", "frog"]
    assert answer[0][2] > answer[1][2] > answer[2][2] == 0
    assert ask([picture(1)], select=[{"name": "no such thing"}]).status.code == 21202


def test_clarifai_takes_128_inputs_of_the_model_it_has(clarifai: tuple[Sandbox, Ask]) -> None:
    """Requests with too many inputs, none, or for another model are refused with a code, and not billed."""
    sandbox, ask = clarifai
    one = [picture(1)]
    answers = [ask(one * 129), ask([]), ask(one, model="another"), ask(one, user="another")]
    assert [answer.status.code for answer in answers] == [40001, 40001, 21200, 21200]
    assert not any(answer.outputs for answer in answers)
    assert [request.status for request in sandbox.meter.log()] == ["40001", "40001", "21200", "21200"]
    assert (sandbox.meter.images, sandbox.meter.billed) == (131, 0)


@pytest.mark.parametrize(
    ("bad", "code"),
    [((), 10000), ((1,), 10010), ((0, 2), 10010), ((0, 1, 2), 10020)],
)
def test_clarifai_mixes_successes_and_failures(
    clarifai: tuple[Sandbox, Ask], bad: Sequence[int], code: int
) -> None:
    """Damaged images fail in their own places: some make a mixed status, all of them a failure."""
    sandbox, ask = clarifai
    answer = ask([b"no image" if i in bad else picture(i) for i in range(3)])
    assert answer.status.code == code
    assert [output.status.code for output in answer.outputs] == [
        47104 if i in bad else 10000 for i in range(3)
    ]
    assert [output.HasField("data") for output in answer.outputs] == [i not in bad for i in range(3)]
    assert sandbox.meter.billed == 3 - len(bad)


def test_clarifai_finds_nothing_and_says_so(clarifai: tuple[Sandbox, Ask]) -> None:
    """An image without concepts has data and a version all the same."""
    _, ask = clarifai
    (output,) = ask([picture(255)]).outputs
    assert output.HasField("data")
    assert not output.data.concepts
    assert output.model.model_version.id == CURRENT["clarifai"]


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ((), 11102),
        ([("authorization", "planted-wrong-key")], 11102),
        ([("authorization", "Key planted-wrong-key")], 11008),
    ],
)
def test_clarifai_wants_its_key(
    clarifai: tuple[Sandbox, Ask], metadata: Sequence[tuple[str, str]], code: int
) -> None:
    """Without the key nothing is answered, billed or echoed."""
    sandbox, ask = clarifai
    answer = ask([picture(1)], metadata=metadata)
    assert answer.status.code == code
    assert not answer.outputs
    assert "planted" not in str(answer) + str(sandbox.meter.log())
    assert sandbox.meter.billed == 0


def test_clarifai_answers_have_the_recorded_shape(clarifai: tuple[Sandbox, Ask], shared: Path) -> None:
    """Every field of a recorded answer is in ours, with the same constant values."""
    from google.protobuf.json_format import MessageToDict

    _, ask = clarifai
    theirs = recorded(shared, "clarifai_metro_north_v_aa7f35c0.json")
    ours = MessageToDict(
        ask([picture(1)], max_concepts=3), preserving_proto_field_name=True, use_integers_for_enums=True
    )

    def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from leaves(inner, f"{path}.{key}")
        elif isinstance(value, list):
            for inner in value:
                yield from leaves(inner, f"{path}[]")
        else:
            yield path, value

    assert {path for path, _ in leaves(theirs)} <= {path for path, _ in leaves(ours)}
    for path in (".status", ".outputs[].status", ".outputs[].model.model_version.status"):
        assert dict(leaves(theirs))[f"{path}.code"] == dict(leaves(ours))[f"{path}.code"]
    for path in (".status.description", ".outputs[].model.id", ".outputs[].data.concepts[].app_id"):
        assert dict(leaves(theirs))[path] == dict(leaves(ours))[path]
    assert len(ours["outputs"][0]["data"]["concepts"]) == len(theirs["outputs"][0]["data"]["concepts"])
