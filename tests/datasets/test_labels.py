"""Labels as data sets write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from api_smoothing.datasets.labels import names_in, truth_of
from api_smoothing.errors import ConfigurationError

NAMES = {0: "cat", 1: "dog"}


@pytest.mark.parametrize(
    ("value", "named", "bare"),
    [
        ("cat", "cat", "cat"),
        (" cat ", "cat", "cat"),
        ("wolf", "wolf", "wolf"),
        (1, "dog", "1"),
        ("1", "dog", "1"),
        (np.uint8(0), "cat", "0"),
        (np.array([1]), "dog", "1"),
        (torch.tensor(1), "dog", "1"),
        (b"cat", "cat", "cat"),
        (None, None, None),
        ("", None, None),
        (-1, None, None),
        ("-1", None, None),
    ],
)
def test_a_label_is_a_name(value: Any, named: str | None, bare: str | None) -> None:
    """Numbers have the names of their classes where there are some; nothing and −1 are no label."""
    assert truth_of(value, NAMES, "here") == named
    assert truth_of(value, {}, "here") == bare


@pytest.mark.parametrize("value", [2, "2", -2, 0.5, np.eye(2), object()])
def test_what_is_no_label(value: Any) -> None:
    """A number without a name, fractions and other things are refused by name of the place."""
    with pytest.raises(ConfigurationError, match=r"^here: "):
        truth_of(value, NAMES, "here")


def test_classes_that_are_called_as_numbers_are_those() -> None:
    """In a set whose classes are called 1 and 0, the text "1" is the name; the number 1 is the second class."""
    names = names_in(["1", "0"])
    assert (truth_of("1", names, "here"), truth_of(1, names, "here")) == ("1", "0")


@pytest.mark.parametrize("given", [["cat", ""], ["cat", 3], ["cat", "cat"], {"one": "cat"}])
def test_names_of_classes_are_text_of_their_own(given: Any) -> None:
    """Empty names, other things than names, and names that are there twice are refused; so is what is no number."""
    with pytest.raises(ConfigurationError, match="class"):
        names_in(given)


def test_a_file_of_classes(tmp_path: Path) -> None:
    """One a line, in UTF-8; a file that is not there, or is something else, is one line."""
    (tmp_path / "names.txt").write_text("Käfer\ndog\n", "utf-8")
    assert names_in(tmp_path / "names.txt") == {0: "Käfer", 1: "dog"}
    (tmp_path / "names.txt").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        names_in(tmp_path / "names.txt")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        names_in(tmp_path / "gone.txt")
