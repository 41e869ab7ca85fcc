"""From what stands on the command line to images that are known to open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
            from api_smoothing.datasets.folders import images_below, passed_over

            inside, skipped = images_below(path)
            if skipped:
                tell(f"{path}: {passed_over(skipped)}")
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
