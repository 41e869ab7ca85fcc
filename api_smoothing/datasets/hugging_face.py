"""A folder that `save_to_disk` of Hugging Face's `datasets` wrote, or one of its objects."""

from __future__ import annotations

import json
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from api_smoothing.datasets.base import DataSet, Example, assembled
from api_smoothing.datasets.columns import LABELS, column, guessed
from api_smoothing.datasets.labels import Names, names_in, truth_of
from api_smoothing.errors import ConfigurationError, ImageError, MissingExtraError
from api_smoothing.images import ImageLike


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote this folder."""
    return (folder / "dataset_dict.json").is_file() or (
        (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    )


def is_object(source: object) -> bool:
    """Whether `source` is a data set of that package; told without importing it."""
    return hasattr(source, "cast_column") and isinstance(getattr(source, "features", None), dict)


def read_saved(folder: Path, numbered: Names, *, images: str | None, labels: str | None) -> DataSet:
    """The data set in `folder`; nothing in it is run. Raises MissingExtraError without the package, and
    ConfigurationError for a folder of splits, or one that the package does not read.
    """
    if (folder / "dataset_dict.json").is_file():
        raise ConfigurationError(f"{folder}: holds splits: name one, as {folder}/{_a_split(folder)}")
    try:
        loaded = _package().load_from_disk(str(folder))
    except MissingExtraError:
        raise
    except Exception as error:  # whatever Arrow says of a damaged file
        raise ConfigurationError(f"{folder}: no data set that can be read ({_reason(error)})") from None
    return read_object(loaded, numbered, images=images, labels=labels, where=str(folder))


def read_object(
    source: Any, numbered: Names, *, images: str | None, labels: str | None, where: str
) -> DataSet:
    """The rows of a `datasets.Dataset`; ids are row numbers. Images stay encoded until they are asked for.

    Columns are taken by their type, else by name, and told where they are not given.
    """
    source, features, package = source.with_format(None), source.features, _package()
    pictures = [name for name, kind in features.items() if isinstance(kind, package.Image)]
    of_images = column(list(features), images, [name.casefold() for name in pictures], "column", where)
    if of_images is None:
        raise ConfigurationError(f"{where}: no column of images among {', '.join(features)}")
    classes = [name for name, kind in features.items() if isinstance(kind, package.ClassLabel)]
    usual = [*(name.casefold() for name in classes), *LABELS]
    of_labels = column(list(features), labels, usual, "column", where)
    told = []
    if (images is None or labels is None) and set(features) != {of_images, of_labels}:
        told.append(guessed(list(features), of_images, of_labels, "column", where))
    kind = features[of_labels] if of_labels is not None else None
    names = numbered or (names_in(kind.names) if isinstance(kind, package.ClassLabel) else {})
    values = [None] * len(source) if of_labels is None else list(source[of_labels])
    truths = [truth_of(value, names, f"{where}: row {row}") for row, value in enumerate(values)]
    encoded = source.select_columns(of_images)
    if isinstance(features[of_images], package.Image):
        encoded = encoded.cast_column(of_images, package.Image(decode=False))
    examples = [
        Example(id=str(row), image=partial(_image, encoded, of_images, row, where), truth=truth)
        for row, truth in enumerate(truths)
    ]
    return assembled(where, examples, classes=tuple(names.values()), told=told)


def _image(encoded: Any, name: str, row: int, where: str) -> ImageLike:
    try:
        value = encoded[row][name]
    except Exception as error:  # whatever Arrow says of a damaged file
        raise ImageError(f"{where}: row {row} cannot be read ({_reason(error)})") from None
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if value is None:
        raise ImageError(f"{where}: row {row} has no image")
    return value  # type: ignore[no-any-return]


def _package() -> Any:
    try:
        return import_module("datasets")
    except ImportError:
        raise MissingExtraError(
            "datasets is not installed; run: pip install 'api-smooth[datasets]'"
        ) from None


def _a_split(folder: Path) -> str:
    try:
        splits = json.loads((folder / "dataset_dict.json").read_text("utf-8"))["splits"]
        return str(splits[-1])
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return "test"


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:100] or type(error).__name__
