"""From what stands on the command line to images that are known to open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from api_smoothing.errors import ImageError

if TYPE_CHECKING:
    from api_smoothing import SmoothedAPI

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})


def find_images(paths: Sequence[str]) -> list[str]:
    """The files named, with each folder replaced by its images in order of name (not those of its folders).

    Raises ImageError for a path that is not there and for a folder without images.
    """
    found: list[str] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(str(file) for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
            if not inside:
                raise ImageError(f"{path}: no images in this folder ({', '.join(sorted(SUFFIXES))})")
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
