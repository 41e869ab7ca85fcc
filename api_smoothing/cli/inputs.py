"""From what stands on the command line to images that are known to open."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from api_smoothing.cli.smoothing import complain
from api_smoothing.errors import ImageError

if TYPE_CHECKING:
    from api_smoothing import SmoothedAPI


def find_images(paths: Sequence[str], *, tell: Callable[[str], None] = complain) -> list[str]:
    """The files named, with each folder replaced by the images in it and in its folders, in order of name.

    Of a folder, files are images that end as one does; hidden ones are not, which file systems and other programs
    leave behind. `tell` gets one line for each folder of which something was passed over. Raises ImageError for a
    path that is not there and for a folder without images.
    """
    found: list[str] = []
    if "" in paths:
        raise ImageError("the name of an image is empty: name a file or a folder")
    for path in map(Path, paths):
        if path.is_dir():
            inside, skipped = _sorted_out(path)
            if skipped:
                tell(f"{path}: {_count(skipped)}")
            if not inside:
                raise ImageError(
                    f"{path}: no images in this folder: name one with files such as .png or .jpg"
                )
            found += inside
        elif path.exists():
            found.append(str(path))
        else:
            raise ImageError(f"{path}: no such file")
    return list(dict.fromkeys(found))


def digest_images(api: SmoothedAPI, paths: Sequence[str]) -> dict[str, str]:
    """Each image's sha256 as certificates give it. Decodes every image, so that a bad one costs no query.

    Raises ImageError for the first that does not open.
    """
    return {path: api.digest(path) for path in paths}


def _sorted_out(folder: Path) -> tuple[list[str], Counter[str]]:
    """The images below `folder` in order of name, and how many other files there are of each kind."""
    from api_smoothing.decode import suffixes

    known, images, others = suffixes(), list[str](), Counter[str]()
    for file in _files(folder):
        if file.name.startswith("."):
            others["hidden"] += 1
        elif file.suffix.lower() in known:
            images.append(str(file))
        else:
            others[file.suffix.lower() or "without an ending"] += 1
    return sorted(images), others


def _files(folder: Path) -> Iterator[Path]:
    """Every file below `folder`, but for those in hidden folders; links to folders are not followed."""

    def fail(error: OSError) -> None:
        raise ImageError(f"{error.filename}: cannot be read ({error.strerror}): check its permissions")

    for place, inner, names in os.walk(folder, onerror=fail):
        inner[:] = [name for name in inner if not name.startswith(".") and name != "__MACOSX"]
        yield from (Path(place, name) for name in names)


def _count(skipped: Counter[str]) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(skipped.items()))
    total = skipped.total()
    return f"{total:,} {'file is' if total == 1 else 'files are'} passed over ({kinds})"
