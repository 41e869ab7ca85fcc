"""Tables of paths and labels: what is guessed is told, and what is wrong names the line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from api_smoothing.datasets import DataSet, open_dataset
from api_smoothing.errors import ConfigurationError
from api_smoothing.images import load

Fill = Callable[..., Path]


@pytest.fixture
def table(fill: Fill) -> Callable[..., Path]:
    """Writes a table beside three pictures."""
    folder = fill("a.png", "b.png", "sub/c.png")

    def write(text: str | bytes, name: str = "table.csv") -> Path:
        path = folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def rows(data: DataSet) -> list[tuple[str, str | None]]:
    return [(example.id, example.truth) for example in data]


def test_columns_are_guessed_and_told(table: Callable[..., Path]) -> None:
    """Paths start at the table's folder, and the order is the table's."""
    path = table("split,Label,File\nv,dog,b.png\nv,cat,sub/c.png\n\nv,cat,a.png\n")
    data = open_dataset(path)
    assert rows(data) == [("b.png", "dog"), ("sub/c.png", "cat"), ("a.png", "cat")]
    assert data.told == (f"{path}: images from column 'File', labels from 'Label' (also there: split)",)
    assert load(data[1].read()).digest == load(path.parent / "sub/c.png").digest


def test_columns_that_are_named_need_no_telling(table: Callable[..., Path]) -> None:
    """Names are taken exactly; a wrong one is told with the nearest."""
    path = table("where,what\na.png,dog\n")
    data = open_dataset(path, column_path="where", column_label="what")
    assert (rows(data), data.told) == ([("a.png", "dog")], ())
    with pytest.raises(ConfigurationError, match="no column 'wear'; did you mean where"):
        open_dataset(path, column_path="wear")
    with pytest.raises(
        ConfigurationError, match=r"no column of paths among where, what: name it with column_path"
    ):
        open_dataset(path)


@pytest.mark.parametrize(
    ("text", "name", "told"),
    [
        (
            "a.png,dog\nb.png,cat\n",
            "t.csv",
            "no line of column names; paths in the first column, labels in the second",
        ),
        ("path;label\na.png;dog\nb.png;cat\n", "t.csv", "columns are separated by semicolons"),
        ("path\tlabel\na.png\tdog\nb.png\tcat\n", "t.tsv", "columns are separated by tabs"),
        (
            "\ufeffpath,label\r\na.png,dog\r\nb.png,cat\r\n",
            "t.csv",
            "images from column 'path', labels from 'label'",
        ),
    ],
)
def test_tables_as_programs_write_them(table: Callable[..., Path], text: str, name: str, told: str) -> None:
    """Without a line of names, with semicolons or tabs, with a byte-order mark: the same examples."""
    data = open_dataset(table(text, name))
    assert rows(data) == [("a.png", "dog"), ("b.png", "cat")]
    assert any(told in line for line in data.told)


def test_numbers_are_labels_and_get_names(table: Callable[..., Path], tmp_path: Path) -> None:
    """Numbers stay as they are; with class names, from a list or a file, they are those; −1 and nothing are none."""
    path = table("path,label\na.png,1\nb.png,-1\nsub/c.png,\n")
    assert [truth for _, truth in rows(open_dataset(path))] == ["1", None, None]
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    for classes in (["cat", "dog"], tmp_path / "classes.txt"):
        data = open_dataset(path, classes=classes)
        assert data[0].truth == "dog"
        assert data.classes == ("cat", "dog")
    with pytest.raises(ConfigurationError, match=r"line 2: label 1 has no name: there are those of 0 to 0"):
        open_dataset(path, classes=["cat"])


def test_duplicates_are_passed_over_unless_they_contradict(table: Callable[..., Path]) -> None:
    """The same image with the same label counts once; two labels for one image name both lines."""
    data = open_dataset(table("path,label\na.png,cat\n./a.png,cat\nb.png,dog\n"))
    assert rows(data) == [("a.png", "cat"), ("b.png", "dog")]
    assert any("1 row names an image again and is passed over" in line for line in data.told)
    with pytest.raises(ConfigurationError, match=r"line 3 gives a\.png the label dog, line 2 cat: keep one"):
        open_dataset(table("path,label\na.png,cat\na.png,dog\n"))


def test_a_missing_file_is_told_and_stays(table: Callable[..., Path]) -> None:
    """It is an image that cannot be read; a table of which no file is there starts at the wrong folder."""
    data = open_dataset(table("path,label\na.png,cat\ngone.png,dog\n"))
    assert [id for id, _ in rows(data)] == ["a.png", "gone.png"]
    assert any("1 row names a file that is not there (gone.png)" in line for line in data.told)
    with pytest.raises(
        ConfigurationError, match=r"none of its files is there, as x\.png: paths start at its folder"
    ):
        open_dataset(table("path,label\nx.png,cat\ny.png,dog\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"path,label\na.png,cat\nb.png,\xe9t\xe9\n", "line 3 is not UTF-8 text"),
        ("path,label\na.png,cat\nb.png\n", "line 3 has 1 of the columns"),
        ("path,label\na.png,cat\n,dog\n", "line 3 names no image"),
        ("path,label\n", "no rows below"),
        ("", "an empty table"),
        ("path,path,label\na.png,b.png,x\n", "column 'path' is there twice"),
        ('path,label\n"a.png,cat\n', "not a table that can be read"),
        ("path,label\na.png,cat\n" + "x" * 200_000 + ",dog\n", "not a table that can be read"),
    ],
)
def test_a_bad_table_is_one_line(table: Callable[..., Path], text: str | bytes, message: str) -> None:
    """Each names the file, the line where there is one, and what is wrong."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        open_dataset(table(text))
    assert "\n" not in str(caught.value)
    assert "table.csv" in str(caught.value)


def test_a_table_without_labels(table: Callable[..., Path]) -> None:
    """Paths alone are a data set without truth, and that is told."""
    data = open_dataset(table("path\na.png\n"))
    assert rows(data) == [("a.png", None)]
    assert data.told[0].endswith("images from column 'path', without labels")
