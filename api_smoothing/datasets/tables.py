"""A table of paths and labels: .csv or .tsv, separated by commas, semicolons or tabs."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from api_smoothing.datasets.base import DataSet, Example, assembled
from api_smoothing.datasets.columns import LABELS, PATHS, column, guessed
from api_smoothing.datasets.folders import plain
from api_smoothing.datasets.labels import Names, truth_of
from api_smoothing.decode import suffixes
from api_smoothing.errors import ConfigurationError
from api_smoothing.images import ImageLike
from api_smoothing.remote import Remote

_SEPARATORS: Final = {",": "commas", ";": "semicolons", "\t": "tabs"}
Row = tuple[int, list[str]]


def read_table(file: Path | Remote, numbered: Names, *, path: str | None, label: str | None) -> DataSet:
    """The images that a table names, by paths as seen from its folder, in its order. Opens no image.

    `path` and `label` name the columns, which are guessed, and told, where they are None. A row that names an image
    again with the same label is passed over; one with another label, and one that is cut short, is an error.
    A file that is not there is told, and stays: it is an image that cannot be read.
    """
    separator, rows = _rows(file)
    told = [] if separator == "," else [f"{file}: columns are separated by {_SEPARATORS[separator]}"]
    place, named, lines, about = _columns(file, rows, path, label)
    examples, twice = list[Example](), 0
    lines_of = dict[str, tuple[int, str | None]]()
    for line, row in lines:
        if len(row) <= max(place, named or 0):
            raise ConfigurationError(f"{file}: line {line} has {len(row)} of the columns: complete it")
        name, where = row[place].strip(), f"{file}: line {line}"
        if not name or "\0" in name:
            raise ConfigurationError(f"{where} names no image: complete it, or take it out")
        truth = None if named is None else truth_of(row[named], numbered, where)
        before = lines_of.setdefault(os.path.normpath(name), (line, truth))
        if before[1] != truth:
            raise ConfigurationError(
                f"{where} gives {name} the label {truth}, line {before[0]} {before[1]}: keep one"
            )
        if before[0] != line:
            twice += 1
            continue
        image, lies = _beside(file, name)
        examples.append(Example(id=plain(name), image=image, path=lies, truth=truth))
    if twice:
        told.append(
            f"{file}: {_rows_of(twice)} an image again and {'is' if twice == 1 else 'are'} passed over"
        )
    there = isinstance(file, Remote)  # as far as one knows without asking for each
    missing = [example.id for example in examples if not (there or os.path.exists(example.path or ""))]
    if missing and len(missing) == len(examples):
        raise ConfigurationError(
            f"{file}: none of its files is there, as {missing[0]}: paths start at its folder"
        )
    if missing:
        told.append(f"{file}: {_rows_of(len(missing))} a file that is not there ({', '.join(missing[:3])})")
    return assembled(str(file), examples, classes=tuple(numbered.values()), told=[*about, *told])


def _beside(file: Path | Remote, name: str) -> tuple[ImageLike | Callable[[], ImageLike], str]:
    """The image that a row names, and where it lies. At a URL it must lie in the table's folder."""
    if isinstance(file, Remote):
        found = file.beside(name)
        return found.read_bytes, str(found)
    path = os.path.join(file.parent, name)
    return path, path


def _columns(
    file: Path | Remote, rows: list[Row], path: str | None, label: str | None
) -> tuple[int, int | None, list[Row], list[str]]:
    """Where the paths and the labels stand, the rows that hold them, and what was guessed."""
    head = rows[0][1]
    place = column(head, path, PATHS, "column", str(file))
    if place is None:
        ending = os.path.splitext(head[0].strip())[1].lower()
        if label is None and ending in suffixes():
            second = 1 if len(head) > 1 else None
            taken = "labels in the second" if second else "without labels"
            return 0, second, rows, [f"{file}: no line of column names; paths in the first column, {taken}"]
        raise ConfigurationError(
            f"{file}: no column of paths among {', '.join(head[:8])}: name it with column_path (--column-path)"
        )
    named = column(head, label, LABELS, "column", str(file))
    about = [guessed(head, place, named, "column", str(file))] if path is None or label is None else []
    if len(rows) == 1:
        raise ConfigurationError(f"{file}: no rows below the names of the columns")
    return head.index(place), None if named is None else head.index(named), rows[1:], about


def _rows(file: Path | Remote) -> tuple[str, list[Row]]:
    """The separator, and the rows with the number of the line each ends in."""
    text = _text(file)
    head = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(_SEPARATORS, key=head.count)
    try:
        rows = list(_numbered(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)))
    except csv.Error as error:
        raise ConfigurationError(f"{file}: not a table that can be read ({error})") from None
    if not rows:
        raise ConfigurationError(f"{file}: an empty table: give it a line of column names, and rows")
    return separator, rows


def _numbered(reader: Iterator[list[str]]) -> Iterator[Row]:
    for row in reader:
        if any(cell.strip() for cell in row):
            yield reader.line_num, row  # type: ignore[attr-defined]


def _text(file: Path | Remote) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{file}: cannot be read ({error.strerror}): check path and permissions"
        ) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{file}: line {line} is not UTF-8 text: save the table as UTF-8") from None


def _rows_of(count: int) -> str:
    return f"{count:,} {'row names' if count == 1 else 'rows name'}"
