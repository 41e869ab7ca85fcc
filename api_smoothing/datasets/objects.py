"""Data sets that are Python objects: iterables of images or of (image, label), and MAITE's protocol, by structure.

MAITE's data sets have a length and give (image (C, H, W), scores of the classes, metadata with "id") for an index;
their `metadata` may name the classes in `index2label`. Its field-wise ones give the parts alone, so that no image is
read for a label.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from api_smoothing.datasets.base import DataSet, Example, assembled
from api_smoothing.datasets.folders import plain
from api_smoothing.datasets.labels import Names, names_in, truth_of
from api_smoothing.decode import is_open_file
from api_smoothing.errors import ApiSmoothError, ConfigurationError, ImageError
from api_smoothing.images import ImageLike

_ONE_IMAGE = (bytes, bytearray, memoryview, Image.Image)


def read_objects(source: Any, numbered: Names, *, limit: int | None) -> DataSet:
    """The examples of an object: at most the first `limit`. Ids are paths, MAITE's, or numbers from 0 on.

    What has a length and takes an index is read once for its labels and again for each image, when that is asked
    for; of anything else what comes is kept. Numbers are named by `numbered`, else by the object's own `classes`.
    Raises ConfigurationError for what is no data set.
    """
    name = type(source).__name__
    if isinstance(source, _ONE_IMAGE) or is_open_file(source) or getattr(source, "ndim", 4) < 4:
        raise ConfigurationError(f"{name}: one image, not a data set: pass a list of them")
    if isinstance(source, Mapping):
        raise ConfigurationError(f"{name}: pass its pairs of image and label, not a mapping")
    pair = isinstance(source, tuple) and len(source) == 2
    if pair and all(getattr(part, "ndim", 0) == 4 for part in source[:1]):
        raise ConfigurationError("images and labels are apart: pass zip(images, labels)")
    numbered = numbered or _own_names(source)
    if _is_indexed(source):
        if _is_maite(source):
            return _read_maite(source, numbered, name, limit)
        items: Sequence[Any] | _Indexed = _Indexed(source, name, limit)
    elif isinstance(source, Iterable):
        items = list(islice(source, limit))
    else:
        raise ConfigurationError(
            f"{name}: no data set: pass a folder, a file, pairs of image and label, or MAITE's protocol"
        )
    return _read_pairs(items, numbered, name)


class _Indexed:
    """What takes an index: an item that fails is an error of that item alone."""

    def __init__(self, source: Any, name: str, limit: int | None) -> None:
        self._source, self._name = source, name
        self._count = len(source) if limit is None else min(limit, len(source))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Any:
        """The item. Raises ImageError where the object raises anything."""
        if number >= self._count:
            raise IndexError(number)
        return _given(partial(self._source.__getitem__, number), f"{self._name}: item {number}")


def _read_pairs(items: Sequence[Any] | _Indexed, numbered: Names, name: str) -> DataSet:
    examples, broken, twice = dict[str, Example](), list[str](), 0
    for number in range(len(items)):
        where, path = f"{name}: item {number}", None
        try:
            image, label = _parts(items[number])
        except ImageError as error:
            image, label = None, None
            broken.append(str(error))
        if isinstance(image, str | os.PathLike):
            path = os.fspath(image)
        again = cast("Callable[[], ImageLike]", partial(_image_again, items, number))
        held = isinstance(items, list) and image is not None
        example = Example(
            id=str(number) if path is None else plain(path),
            image=path or (image if held else again),
            path=path,
            truth=truth_of(label, numbered, where),
        )
        before = examples.setdefault(example.id, example)
        if before.truth != example.truth:
            raise ConfigurationError(
                f"{where}: {path} has two labels, {before.truth} and {example.truth}: keep one"
            )
        twice += before is not example
    told = []
    if broken and len(broken) == len(items):
        raise ConfigurationError(f"{name}: no item can be read; the first: {broken[0]}")
    if broken:
        told.append(f"{name}: {len(broken):,} {'item' if len(broken) == 1 else 'items'} cannot be read")
    if twice:
        told.append(
            f"{name}: {twice:,} {'item names' if twice == 1 else 'items name'} an image again; passed over"
        )
    return assembled(name, list(examples.values()), classes=tuple(numbered.values()), told=told)


def _parts(item: Any) -> tuple[Any, Any]:
    """The image of an item, and its label or None."""
    if isinstance(item, tuple | list):
        if len(item) != 2:
            raise ConfigurationError(
                f"an item of {len(item)} parts: pass images, or pairs of image and label"
            )
        return item[0], item[1]
    if isinstance(item, Mapping):
        raise ConfigurationError("an item is a mapping: pass images, or pairs of image and label")
    return item, None


def _image_again(items: Any, number: int) -> Any:
    return _parts(items[number])[0]


def _read_maite(source: Any, numbered: Names, name: str, limit: int | None) -> DataSet:
    items = _Indexed(source, name, limit)
    fieldwise = all(hasattr(source, part) for part in ("get_input", "get_target", "get_metadata"))
    examples = []
    for number in range(len(items)):
        where = f"{name}: item {number}"
        if fieldwise:
            target = _given(partial(source.get_target, number), where)
            metadata = _given(partial(source.get_metadata, number), where)
            image = partial(_maite_image, partial(source.get_input, number), where)
        else:
            _, target, metadata = items[number]
            image = partial(_maite_image, partial(_first, items, number), where)
        key = metadata.get("id") if isinstance(metadata, Mapping) else None
        if key is None:
            raise ConfigurationError(f"{where}: its metadata has no id: MAITE's protocol asks for one")
        truth = truth_of(_class_number(target, where), numbered, where)
        examples.append(Example(id=str(key), image=image, truth=truth))
    return assembled(name, examples, classes=tuple(numbered.values()))


def _class_number(target: Any, where: str) -> Any:
    """The class a target means: itself, or the index of the highest of its scores, which must be one alone."""
    values = np.asarray(target.detach().cpu() if hasattr(target, "detach") else target)
    if values.ndim == 0:
        return values.item()
    if values.ndim != 1 or values.size < 2 or values.dtype.kind not in "iufb":
        raise ConfigurationError(
            f"{where}: a target of shape {values.shape} is no class: give scores of the classes"
        )
    best = np.flatnonzero(values == values.max())
    if best.size != 1:
        raise ConfigurationError(
            f"{where}: {best.size} classes have the highest score of its target: it names none"
        )
    return int(best[0])


def _first(items: _Indexed, number: int) -> Any:
    return items[number][0]


def _maite_image(read: Callable[[], Any], where: str) -> ImageLike:
    """(C, H, W) → (H, W, C), for `images.load`."""
    image = _given(read, where)
    values = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
    if values.ndim != 3 or values.shape[0] not in (1, 3):
        raise ImageError(f"{where}: an image of shape {values.shape}: MAITE's are (C, H, W)")
    return values.transpose(1, 2, 0)


def _is_indexed(source: Any) -> bool:
    return (
        not isinstance(source, list | tuple) and hasattr(source, "__len__") and hasattr(source, "__getitem__")
    )


def _is_maite(source: Any) -> bool:
    if len(source) == 0:
        return False
    try:
        first = source[0]
    except Exception:
        return False
    return isinstance(first, tuple) and len(first) == 3 and isinstance(first[2], Mapping)


def _own_names(source: Any) -> Names:
    """The class names an object has: MAITE's `index2label`, torchvision's `classes`."""
    metadata = getattr(source, "metadata", None)
    if isinstance(metadata, Mapping) and isinstance(metadata.get("index2label"), Mapping):
        return names_in(metadata["index2label"])
    classes = getattr(source, "classes", None)
    if isinstance(classes, list | tuple) and classes and all(isinstance(one, str) for one in classes):
        return names_in(classes)
    return {}


def _given(read: Callable[[], Any], where: str) -> Any:
    try:
        return read()
    except ApiSmoothError:
        raise
    except Exception as error:  # the object is somebody else's
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise ImageError(f"{where} cannot be read ({reason})") from None


def as_path(source: object) -> Path | None:
    """The path that `source` is, or None."""
    return Path(source) if isinstance(source, str | os.PathLike) else None
