"""Corrupted copies of a data set as files that are a data set again."""

from __future__ import annotations

import csv
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from api_smoothing.corruptions.corrupt import apply, check
from api_smoothing.datasets.base import DataSet, Example
from api_smoothing.decode import suffixes
from api_smoothing.errors import ConfigurationError, ImageError
from api_smoothing.images import encode_png, load

_SECONDS: Final = 10.0  # between two lines about how far it is


def write(
    dataset: DataSet,
    names: Sequence[str],
    severities: Sequence[int],
    folder: Path,
    *,
    seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, str]:
    """Write every copy to folder/NAME/SEVERITY/ID.png; return why images could not be read, by id.

    Labels that are not the name of the image's folder there are in labels.csv beside the images. `tell` gets a line
    for each image that cannot be read, and now and then how far it is. Raises ConfigurationError for an unknown
    corruption or severity, and before an image of the set would be written over.
    """
    for name in names:
        for severity in severities:
            check(name, severity)
    files, failed, told = file_names(dataset), dict[str, str](), time.monotonic()
    _refuse_the_data_set(dataset, folder)
    places = [(name, severity, folder / name / str(severity)) for name in names for severity in severities]
    for number, example in enumerate(dataset):
        try:
            image = load(example.read())
        except ImageError as error:
            failed[example.id] = str(error)
            tell(str(error))
            continue
        for name, severity, place in places:
            path = place / files[example.id]
            _refuse_the_source(path, example)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(apply(image, name, severity, seed=seed), level=6))
        if time.monotonic() - told > _SECONDS:
            told = time.monotonic()
            tell(f"{number + 1:,} of {len(dataset):,} images are done")
    kept = [example for example in dataset if example.id not in failed]
    if any(e.truth is not None and not files[e.id].startswith(f"{e.truth}/") for e in kept):
        for _, _, place in places:
            _write_labels(kept, files, place / "labels.csv")
    return failed


def file_names(dataset: DataSet) -> dict[str, str]:
    """The PNG of each image, by id: inside the folder whatever the id says, and each one a file of its own."""
    whole = {example.id: _inside(example.id) for example in dataset}
    short = {key: _without_ending(name) for key, name in whole.items()}
    there = Counter(name.casefold() for name in short.values())
    names = {key: short[key] if there[short[key].casefold()] == 1 else whole[key] for key in whole}
    if len({name.casefold() for name in names.values()}) < len(names):  # as "../a" beside "a"
        names = {key: str(number) for number, key in enumerate(names)}
    return {key: f"{name}.png" for key, name in names.items()}


def _inside(name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or "image"


def _without_ending(name: str) -> str:
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in suffixes() else name


def _refuse_the_data_set(dataset: DataSet, folder: Path) -> None:
    """A folder of images would hold its own copies, as images of a class called after the corruption."""
    root = Path(dataset.name)
    if root.is_dir() and folder.resolve().is_relative_to(root.resolve()):
        raise ConfigurationError(
            f"{folder} lies in the data set {root}, which would then have the copies as well: write beside it"
        )


def _refuse_the_source(path: Path, example: Example) -> None:
    if example.path is not None and path.resolve() == Path(example.path).resolve():
        raise ConfigurationError(f"{path} is an image of the data set itself: write to another folder")


def _write_labels(examples: Sequence[Example], files: Mapping[str, str], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["path", "label"])
        writer.writerows([files[example.id], example.truth or ""] for example in examples)
