"""Data sets at a URL: an image, a folder of classes, a table of paths, an archive. Images are read one at a time."""

from __future__ import annotations

import atexit
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from api_smoothing.datasets import arrays, tables
from api_smoothing.datasets.arrays import MAX_BYTES
from api_smoothing.datasets.base import DataSet, Example, assembled
from api_smoothing.datasets.folders import no_images
from api_smoothing.datasets.labels import Names, truth_of
from api_smoothing.decode import suffixes
from api_smoothing.remote import Remote

_TABLES: Final = (".csv", ".tsv")


def read_remote(place: Remote, numbered: Names, *, path: str | None, label: str | None) -> DataSet:
    """The data set at `place`. A table and the list of a folder are read at once, an archive when it is first needed.

    Raises ConfigurationError or ImageError, one line, for what is none.
    """
    if place.suffix in _TABLES:
        return tables.read_table(place, numbered, path=path, label=label)
    if place.suffix == ".npz":
        return replace(arrays.read_arrays(_copy(place), numbered, images=path, labels=label), name=str(place))
    if place.suffix in suffixes():
        return assembled(str(place), [_example(place, place.name, None)])
    return _folder(place, numbered)


def _folder(folder: Remote, numbered: Names) -> DataSet:
    known = suffixes()
    names = [
        name
        for name in folder.files()
        if Remote(name).suffix in known and not any(part.startswith(".") for part in name.split("/"))
    ]
    if not names:
        raise no_images(str(folder), [])
    examples = [
        _example(
            folder.below(name),
            name,
            truth_of(name.partition("/")[0], numbered, str(folder.below(name))) if "/" in name else None,
        )
        for name in names
    ]
    return assembled(str(folder), examples, classes=tuple(numbered.values()))


def _example(place: Remote, name: str, truth: str | None) -> Example:
    return Example(id=name, image=place.read_bytes, path=str(place), truth=truth)


def _copy(place: Remote) -> Path:
    """A copy on this disk that goes when the process does."""
    with tempfile.NamedTemporaryFile(prefix="api-smooth-", suffix=f"-{place.name}", delete=False) as file:
        atexit.register(Path(file.name).unlink, missing_ok=True)
        place.copy_to(file, MAX_BYTES)
    return Path(file.name)
