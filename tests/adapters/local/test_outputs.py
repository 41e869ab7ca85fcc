"""What functions and networks return, read as answers: only numbers that are scores become votes."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch

from api_smoothing.adapters import Answer, Verdict
from api_smoothing.adapters.local.adapter import answers_of
from api_smoothing.adapters.local.outputs import Outputs, checked_top, content, names_of, read, rows_of
from api_smoothing.errors import ApiSmoothError, ConfigurationError, ProviderError

NAN, INF = float("nan"), float("inf")


def answers(
    returned: Any, *, names: Any = None, outputs: Outputs | None = None, top: int = 1
) -> list[Answer | Verdict]:
    table = read(returned, outputs, "it")
    return answers_of(rows_of(table, names_of(names), top=top, outputs=outputs, who="it"), "it")


def labels(returned: Any, **options: Any) -> list[str | None]:
    found = answers(returned, **options)
    assert all(isinstance(answer, Answer) for answer in found)
    return [a.labels[0].name if isinstance(a, Answer) and a.labels else None for a in found]


@pytest.mark.parametrize("row", [[NAN] * 3, [0.1, NAN, 0.5], [INF, 0, 0], [-INF] * 3, [0.0, -INF, 1.0]])
def test_a_row_that_is_no_numbers_fails_alone(row: list[float]) -> None:
    """NaN and infinities are no scores: that image gets no vote, and its neighbours get theirs."""
    before, broken, after = answers(torch.tensor([[0.0, 2.0, 1.0], row, [3.0, 2.0, 1.0]]))
    assert isinstance(broken, Verdict)
    assert broken.kind == "refused"
    assert "no scores" in broken.message
    assert [a.labels[0].name for a in (before, after) if isinstance(a, Answer)] == ["1", "0"]


@pytest.mark.parametrize("outputs", [None, "logits", "probabilities"])
def test_one_column_is_of_two_classes_or_refused(outputs: Outputs | None) -> None:
    """One number an image is never class 0: it is the score of class 1 where the user says so."""
    for shape in ((2, 1), (2,)):
        column = torch.tensor([0.98, 0.02]).reshape(shape)
        if outputs is None:
            with pytest.raises(ProviderError, match=r'one number an image.*outputs="probabilities"'):
                answers(column)
        else:
            score = column * 8 - 4 if outputs == "logits" else column
            assert labels(score, outputs=outputs, names=["no", "yes"]) == ["yes", "no"]
    assert labels(np.array([[3], [0]])) == ["3", "0"]


@pytest.mark.parametrize(
    "returned",
    [
        np.float64([[0.1, 0.9], [0.8, 0.2]]),
        np.float32([[0.1, 0.9], [0.8, 0.2]]),
        np.array([[0, 1], [1, 0]]),
        torch.tensor([[0.1, 0.9], [0.8, 0.2]], dtype=torch.bfloat16),
        torch.tensor([[0.1, 0.9], [0.8, 0.2]], requires_grad=True),
        [[0.1, 0.9], [0.8, 0.2]],
        ([0.1, 0.9], [0.8, 0.2]),
        [np.array([0.1, 0.9]), np.array([0.8, 0.2])],
        [torch.tensor([0.1, 0.9]), torch.tensor([0.8, 0.2])],
        (torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.zeros(2, 7, 16)),
        {"logits": torch.tensor([[0.1, 0.9], [0.8, 0.2]]), "embeddings": torch.zeros(2, 512)},
        {"scores": torch.tensor([[0.1, 0.9], [0.8, 0.2]])},
        namedtuple("Output", "logits aux")(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.zeros(2, 9)),
        [1, 0],
        np.array([1, 0]),
        [np.int64(1), np.int32(0)],
        [torch.tensor(1), torch.tensor(0)],
        torch.tensor([1, 0]),
    ],
    ids=repr,
)
def test_scores_and_labels_in_every_usual_form(returned: Any) -> None:
    """Tensors, arrays, lists, `.logits`, tuples and dicts with one table: the same two answers."""
    assert labels(returned, names=["ant", "bee"]) == ["bee", "ant"]


def test_text_in_every_usual_form() -> None:
    """Names may come as a list, an array or a column of one; None is no label."""
    for named in (["cat", None], np.array(["cat", None], object)):
        assert labels(named) == ["cat", None]
    for named in (np.array(["cat", "dog"]), np.array([["cat"], ["dog"]]), [["cat"], ["dog"]], ("cat", "dog")):
        assert labels(named) == ["cat", "dog"]


@pytest.mark.parametrize(
    ("returned", "options", "told"),
    [
        ([-1], {}, "class number -1"),
        ([-1], {"names": ["a", "b"]}, "class number -1"),
        (np.array([2]), {"names": ["a", "b"]}, "class number 2.*below the 2 class_names"),
        ([""], {}, "non-empty"),
        ([" "], {}, "non-empty"),
        ([0.5], {}, "non-empty str"),
        ([True], {}, "True"),
        ("cat", {}, "returned a str"),
        ({"cat"}, {}, "returned a set"),
        (None, {}, "NoneType"),
        ([[0.1, 0.9], [0.3]], {}, "lengths"),
        (torch.zeros(1, 3, 2, 2), {}, "shape"),
        ((torch.zeros(1, 3), torch.zeros(1, 4)), {}, "2 tables"),
        ({"a": torch.zeros(1, 3), "b": torch.zeros(1, 4)}, {}, "2 tables"),
        ([[2.0, -1.0]], {"outputs": "probabilities"}, "no probabilities"),
        ([[0.2, 0.8]], {"outputs": "logits"}, 'say outputs="probabilities"'),
        ([0.5], {"outputs": "labels"}, "0.5"),
        (np.array([0.5]), {"outputs": "labels"}, "0.5"),
        (np.array([[0.5, 0.1]]), {"outputs": "labels"}, "a label an image"),
        (["cat"], {"outputs": "logits"}, "labels where"),
    ],
)
def test_what_is_neither_is_refused_in_one_line(returned: Any, options: dict[str, Any], told: str) -> None:
    """No class is made of what is no class, nor of several tables, nor against what the user said."""
    with pytest.raises(ApiSmoothError, match=told) as caught:
        answers(returned, **options)
    assert "\n" not in str(caught.value)


def test_the_argmax_wins_to_the_last_bit() -> None:
    """Scores that differ in their last bit, or not at all, are told by value and then by the order of the outputs."""
    close = torch.tensor([[0.5, 0.5000001, 0.0], [0.5, 0.5, 0.0], [20.0, 20.000002, 0.0]])
    assert labels(close, names=["zebra", "ant", "bee"]) == ["ant", "zebra", "ant"]
    tied = answers(torch.tensor([[20.0, 20.000002, 0.0]]), top=2)[0]
    assert isinstance(tied, Answer)
    assert len({label.score for label in tied.labels}) == 2


@pytest.mark.parametrize(
    ("row", "outputs", "score"),
    [
        ([0.99, 0.01, 0.0], None, 0.99),
        ([0.99, 0.01, 0.0], "probabilities", 0.99),
        ([0.9, 0.8, 0.1], "probabilities", 0.9),
        ([0.9, 0.8, 0.1], None, None),
        ([0.9, 0.8, 0.1], "logits", 0.4248),
        ([9.0, 0.0, 0.0], None, 0.9998),
    ],
)
def test_probabilities_are_not_softmaxed_again(
    row: list[float], outputs: Outputs | None, score: float | None
) -> None:
    """Probabilities are kept as they are, logits become them, and what may be either has no score but an order."""
    (answer,) = answers([row], outputs=outputs, top=2)
    assert isinstance(answer, Answer)
    assert [label.name for label in answer.labels] == ["0", "1"]
    assert answer.labels[0].score == (score if score is None else pytest.approx(score, abs=1e-3))


def test_class_names_may_be_arrays_and_mappings_but_never_empty() -> None:
    """`id2label` of a config, arrays and lists name the classes; an empty name, or a gap, is refused."""
    for given in (["a", "b"], ("a", "b"), np.array(["a", "b"]), {1: "b", 0: "a"}, {"0": "a", "1": "b"}):
        assert names_of(given) == ("a", "b")
    for broken in (["a", ""], ["a", " "], ["a", None], [0, 1], "ab", {0: "a", 2: "c"}):
        with pytest.raises(ConfigurationError, match=r"class_names|class \d has the name"):
            names_of(broken)


def test_top_is_a_whole_number_from_1_on() -> None:
    """NumPy's numbers will do; 0, fractions and truth values will not."""
    assert checked_top(np.int64(3)) == 3
    for broken in (0, -1, 2.0, True, "3"):
        with pytest.raises(ConfigurationError, match="top"):
            checked_top(broken)


def test_content_leaves_plain_tables_alone() -> None:
    """A tensor is what it is."""
    table = torch.zeros(2, 3)
    assert content(table) is table
