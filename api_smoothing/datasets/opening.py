"""From whatever a user has to a data set."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from api_smoothing.datasets import arrays, cifar, folders, hugging_face, objects, tables
from api_smoothing.datasets.base import DataSet, Example, assembled, at_least_one
from api_smoothing.datasets.labels import Names, names_in
from api_smoothing.datasets.remote import read_remote
from api_smoothing.decode import suffixes
from api_smoothing.errors import ConfigurationError, ImageError
from api_smoothing.remote import Remote, is_remote


def open_dataset(
    source: Any,
    *,
    limit: int | None = None,
    sample: int | None = None,
    sample_seed: int | None = None,
    column_path: str | None = None,
    column_label: str | None = None,
    classes: Sequence[str] | Mapping[int, str] | str | Path | None = None,
) -> DataSet:
    """Open `source` without reading its images.

    `source` is the path of a folder of classes, a folder of images, a .csv or .tsv of paths and labels, an .npz,
    CIFAR-10's binary version (a .bin file or its folder), or a folder written by `save_to_disk` of Hugging Face's
    `datasets`; the URL (s3://, gs://, az://, https://) of an image, a folder, a table or an .npz; or an object: images,
    pairs of image and label, a `datasets.Dataset`, anything with MAITE's protocol, a DataSet. `limit` keeps the first
    ones; `sample` draws that many with `sample_seed` (0 where it is not given), without replacement; a `sample_seed`
    alone shuffles the whole, see `DataSet.sampled`. `column_path` and
    `column_label` name the columns, or the arrays of an .npz, that are otherwise guessed and told. `classes` names
    labels that are numbers: a list in order, or a file with one name a line.

    Raises ConfigurationError or ImageError in one line for what is no data set, and MissingExtraError without the
    package that a Hugging Face folder needs. An image that cannot be read is found when it is read.
    """
    if limit is not None:
        at_least_one("limit", limit)
        if sample is not None:
            raise ConfigurationError("limit takes the first images and sample random ones: give one of them")
    if isinstance(source, str) and not source:
        raise ImageError("the name of the data set is empty: name a file or a folder")
    place = Remote(source) if is_remote(source) else None
    numbered, path = names_in(classes), objects.as_path(place.name if place is not None else source)
    for option, value in (("column_path", column_path), ("column_label", column_label)):
        if value is not None and not _has_columns(source, path):
            raise ConfigurationError(
                f"{option} names a column of a table or an archive; this data set has none"
            )
    if isinstance(source, DataSet):
        data = source
    elif place is not None:
        data = read_remote(place, numbered, path=column_path, label=column_label)
    elif path is not None:
        data = _opened(path, numbered, column_path, column_label)
    elif hugging_face.is_object(source):
        data = hugging_face.read_object(
            source, numbered, images=column_path, labels=column_label, where=type(source).__name__
        )
    else:
        drawn = sample_seed is not None or sample is not None
        data = objects.read_objects(source, numbered, limit=None if drawn else limit)
    if sample is not None or sample_seed is not None:
        data = data.sampled(sample, 0 if sample_seed is None else sample_seed)
    return data if limit is None else data.first(limit)


def _has_columns(source: Any, path: Path | None) -> bool:
    if path is None:
        return hugging_face.is_object(source)
    return path.suffix.lower() in (".csv", ".tsv", ".npz") or hugging_face.is_saved(path)


def _opened(path: Path, numbered: Names, column_path: str | None, column_label: str | None) -> DataSet:
    named = {"path": column_path, "label": column_label}
    arrays_named = {"images": column_path, "labels": column_label}
    ending = path.suffix.lower()
    try:
        if not os.path.lexists(path):
            raise ImageError(f"{path}: no such file or folder: check the path")
        if path.is_dir():
            if hugging_face.is_saved(path):
                return hugging_face.read_saved(path, numbered, **arrays_named)
            if cifar.is_cifar(path):
                return cifar.read_cifar(path, numbered)
            return folders.read_folder(path, numbered)
        if not path.is_file():
            raise ImageError(f"{path}: neither a file nor a folder: check where it leads")
        if ending in (".csv", ".tsv"):
            return tables.read_table(path, numbered, **named)
        if ending == ".npz":
            return arrays.read_arrays(path, numbered, **arrays_named)
        if ending == ".bin":
            return cifar.read_cifar(path, numbered)
        if ending in suffixes():
            return assembled(
                str(path), [Example(id=folders.plain(path.name), image=str(path), path=str(path))]
            )
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or "not a valid path"
        raise ImageError(f"{path}: cannot be read ({reason}): check path and permissions") from None
    raise ConfigurationError(
        f"{path}: no data set: name a folder, a .csv or .tsv, an .npz, CIFAR-10's .bin, or a data set's folder"
    )
