"""Images below a folder: all of them in order of name, and a label where they lie in folders of classes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from api_smoothing.datasets.base import DataSet, Example, assembled
from api_smoothing.datasets.labels import Names, truth_of
from api_smoothing.decode import suffixes
from api_smoothing.errors import ConfigurationError, ImageError

_LINK: Final = "link to a folder"
_SPLITS: Final = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev"})


def read_folder(folder: Path, numbered: Names) -> DataSet:
    """A folder with a folder for each class, or with images alone. Opens no image.

    The label is the name of the folder directly below `folder`, however deep the image lies in it; images beside
    those folders have none. Raises ConfigurationError where the folders are splits; ImageError where no image is.
    """
    paths, skipped = images_below(folder)
    told = [f"{folder}: {passed_over(skipped)}"] if skipped else []
    if not paths:
        raise no_images(folder, told)
    cut = len(os.path.join(folder, ""))
    parts = [path[cut:].split(os.sep) for path in paths]
    tops = sorted({part[0] for part in parts if len(part) > 1})
    if tops and {top.casefold() for top in tops} <= _SPLITS:
        raise ConfigurationError(
            f"{folder}: its folders are splits, not classes ({', '.join(tops)}): name one, as {folder}/{tops[-1]}"
        )
    if any(len(part) > 2 for part in parts):
        told.append(f"{folder}: images lie deeper than one folder; their label is the first one's name")
    examples = [
        Example(
            id=plain("/".join(part)),
            image=path,
            path=path,
            truth=truth_of(plain(part[0]), numbered, path) if len(part) > 1 else None,
        )
        for path, part in zip(paths, parts, strict=True)
    ]
    return assembled(str(folder), examples, classes=tuple(numbered.values()), told=told)


def no_images(folder: str | Path, told: list[str]) -> ImageError:
    """The error of a folder in which there is none; with what else is there."""
    there = "".join(f" ({line.removeprefix(f'{folder}: ')})" for line in told)
    return ImageError(f"{folder}: no images in this folder{there}: name one with files such as .png or .jpg")


def images_below(folder: str | Path) -> tuple[list[str], Counter[str]]:
    """The images below `folder` in order of name, and how many other files there are of each kind.

    Files are images that end as one does; hidden ones are not, which file systems and other programs leave behind.
    Links to images are followed, links to folders are not. Raises ImageError where a folder cannot be listed.
    """
    known, images, others = suffixes(), list[str](), Counter[str]()
    for place, name in _files(folder, others):
        ending = os.path.splitext(name)[1].lower()
        if name.startswith("."):
            others["hidden"] += 1
        elif ending in known:
            images.append(os.path.join(place, name))
        else:
            others[ending or "without an ending"] += 1
    return sorted(images), others


def passed_over(skipped: Counter[str]) -> str:
    """What `images_below` left out, as one sentence."""
    plural = {_LINK: "links to folders"}
    kinds = ", ".join(
        f"{count} {kind if count == 1 else plural.get(kind, kind)}" for kind, count in sorted(skipped.items())
    )
    total = skipped.total()
    return f"{total:,} {'file is' if total == 1 else 'files are'} passed over ({kinds})"


def plain(name: str) -> str:
    """A file's name as text that any file takes; bytes that are not UTF-8 are written as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _files(folder: str | Path, others: Counter[str]) -> Iterator[tuple[str, str]]:
    """(folder, name) of every file below `folder`, but for those in hidden folders."""

    def fail(error: OSError) -> None:
        raise ImageError(f"{error.filename}: cannot be read ({error.strerror}): check its permissions")

    for place, inner, names in os.walk(folder, onerror=fail):
        inner[:] = [name for name in inner if not name.startswith(".") and name != "__MACOSX"]
        links = [name for name in inner if os.path.islink(os.path.join(place, name))]
        if links:
            others[_LINK] += len(links)
        yield from ((place, name) for name in names)
