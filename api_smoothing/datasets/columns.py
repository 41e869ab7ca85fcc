"""Which column, or array, holds the images and which the labels: as named, else by the usual names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from api_smoothing.errors import ConfigurationError, nearest

#: Names of columns by their use, the likeliest first; told where they decide.
PATHS: Final = (
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "image_path",
    "image",
    "img",
)
IMAGES: Final = ("images", "image", "imgs", "img", "x_test", "test_images", "x", "data", "arr_0")
LABELS: Final = (
    "label", "labels", "class", "class_name", "target", "targets", "truth", "y", "y_test", "test_labels",
    "label_name", "category", "fine_label", "coarse_label",
)  # fmt: skip


def column(
    names: Sequence[str], given: str | None, usual: Sequence[str], what: str, where: str
) -> str | None:
    """The one of `names` that is `given`; else the first of the `usual` names, in any case, or None.

    Raises ConfigurationError, in one line, for a given name that is not there or is there twice.
    """
    if given is not None:
        if given not in names:
            near = " or ".join(nearest(given, names)) if names else "nothing"
            raise ConfigurationError(f"{where}: no {what} {given!r}; did you mean {near}?")
        return _once(given, names, what, where)
    for name in usual:
        for there in names:
            if there.strip().casefold() == name:
                return _once(there, names, what, where)
    return None


def guessed(names: Sequence[str], images: str, labels: str | None, what: str, where: str) -> str:
    """The sentence that tells which columns are used, and which others were there."""
    others = [name for name in names if name not in (images, labels)]
    taken = f"images from {what} {images!r}, " + (
        f"labels from {labels!r}" if labels is not None else "without labels"
    )
    return f"{where}: {taken}" + (f" (also there: {', '.join(others[:8])})" if others else "")


def _once(name: str, names: Sequence[str], what: str, where: str) -> str:
    if names.count(name) > 1:
        raise ConfigurationError(f"{where}: {what} {name!r} is there twice: rename one")
    return name
