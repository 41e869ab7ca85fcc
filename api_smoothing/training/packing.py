"""Writing a pack: CIFAR-10, or squares of photographs, at the best quality that fits into so many megabytes."""

from __future__ import annotations

import hashlib
import io
import json
import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, features
from safetensors.torch import save

from api_smoothing.errors import ConfigurationError
from api_smoothing.training.data import ImageSet, centre, decoded, load_images, pictures_in
from api_smoothing.training.held_out import archived
from api_smoothing.training.pack import ACROSS, HEADER, HELD_OUT, OWN, SCHEMA
from api_smoothing.training.photographs import load_photographs
from api_smoothing.training.state import replace

#: What is tried, the best first; colour at full resolution, of which WebP is not capable with loss.
_QUALITIES: Final = (97, 95, 92, 90, 87, 85, 82, 80, 77, 75, 70, 65, 60, 50, 40, 30)
_SAMPLE: Final = 6  # sheets or pictures whose sizes foretell the whole, of every quality
_LEAST_OF_A_CLASS: Final = 8  # pictures, of which one or more are kept apart
_TEST_IMAGES: Final = 1000  # the first: all that anything is measured on

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """What was written: `psnr` in dB is of the training images to the originals."""

    file: Path
    images: int
    side: int
    coding: str
    psnr: float
    bytes: int

    def __str__(self) -> str:
        return (
            f"{self.file}: {self.images:,} images of {self.side}×{self.side} pixels, {self.coding}, "
            f"{self.psnr:.1f} dB to the originals, {self.bytes / 1e6:.1f} MB"
        )


def write_pack(
    data: Path,
    file: Path,
    *,
    side: int | None = None,
    archives: Sequence[str] = (),
    megabytes: float | None = None,
) -> Pack:
    """Put the training images in `data` into `file` (.safetensors), of at most `megabytes`.

    CIFAR-10 (20 MB) with its labels, and losslessly its first 1,000 test images; else photographs (60 MB), of `data` or
    of its `archives`, each scaled until its shorter side is `side` (256) pixels, and its middle kept. Photographs that
    denoisers are chosen by go along as they are, where `data` has them. The same images give the same bytes with the
    same Pillow. Raises ConfigurationError.
    """
    if file.suffix != ".safetensors":
        raise ConfigurationError(f"a pack is a .safetensors file; name {file.with_suffix('.safetensors')}")
    if not data.is_dir():
        raise ConfigurationError(f"no folder {data}; give the one with the training images")
    if side is not None and not 8 <= side <= 1024:
        raise ConfigurationError(f"side must be from 8 to 1024 pixels, not {side}")
    cifar = None if side is not None or archives else _cifar(data)
    fixed, labels = _kept_whole(data, cifar)
    limit = (
        1e6 * (megabytes or (20 if cifar else 60))
        - sum(len(f) for _, files in fixed for f in files)
        - 100_000
    )
    if cifar is not None:
        pictures, tiles, side, count = [*_sheets(cifar.images.numpy())], True, 32, len(cifar)
        name = f"{cifar.name}, packed"
    else:
        side = side or 256
        pictures, tiles = [*_squares(data, side, archives)], False
        name, count = f"{' and '.join(archives) or data.name}, packed", len(pictures)
    coded = _coded(pictures, limit)
    sets: list[tuple[dict[str, Any], list[bytes]]] = [
        ({"set": "train", "side": side, "count": count, "tiles": tiles, "name": name}, coded.files),
        *fixed,
    ]
    psnr = _psnr(coded.error / (3 * count * side * side))
    written = _write(file, sets, labels, archives, {"coding": coded.coding, "psnr": round(psnr, 2)})
    return Pack(file=file, images=count, side=side, coding=coded.coding, psnr=psnr, bytes=written)


def write_classes(folder: Path, file: Path, *, side: int = 32, apart: float = 0.15) -> list[str]:
    """Put the pictures in the folders of `folder`, each a class, into the pack `file`; returns the classes' names.

    The middle square of each, brought to `side` pixels, without loss. The share `apart` of each class is its test set.
    The same pictures give the same bytes. Raises ConfigurationError for fewer than two classes or 8 pictures of one,
    and ImageError for a picture that cannot be read.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"no folder {folder}; give one with a folder of pictures for each class")
    found = {each.name: pictures_in(each) for each in sorted(folder.iterdir()) if each.is_dir()}
    found = {name: pictures for name, pictures in found.items() if pictures}
    if len(found) < 2:
        raise ConfigurationError(f"{folder} must hold two or more folders of pictures, one for each class")
    for name, pictures in found.items():
        if len(pictures) < _LEAST_OF_A_CLASS:
            raise ConfigurationError(
                f"{folder / name} holds {len(pictures)} pictures; give {_LEAST_OF_A_CLASS} or more of each class"
            )
    sets, labels = [], {}
    for which in ("train", "test"):
        images, classes = [], []
        for label, pictures in enumerate(found.values()):
            order = np.random.default_rng(0).permutation(len(pictures))
            few = max(1, round(apart * len(pictures)))
            for k in order[:few] if which == "test" else order[few:]:
                images.append(_square(decoded(pictures[k]), side))
                classes.append(label)
        facts = {
            "set": which,
            "side": side,
            "count": len(images),
            "tiles": True,
            "name": f"{OWN}{folder.name}/{which}",
        }
        sets.append((facts, [_encoded(sheet, "PNG") for sheet in _sheets(np.stack(images))]))
        labels[f"labels.{which}"] = torch.tensor(classes, dtype=torch.int16)
    _write(file, sets, labels, (), {"coding": "PNG", "classes": [*found]})
    return [*found]


def _cifar(data: Path) -> ImageSet | None:
    """CIFAR-10 in `data`, None where that holds pictures."""
    found = load_images(data) if any(data.glob("*_*.webp")) or any(data.glob("*_batch*.bin")) else None
    return found if found is not None and found.labels is not None else None


def _kept_whole(
    data: Path, cifar: ImageSet | None
) -> tuple[list[tuple[dict[str, Any], list[bytes]]], dict[str, torch.Tensor]]:
    """(sets that lose nothing, labels by name): what is measured on must be what it was."""
    sets: list[tuple[dict[str, Any], list[bytes]]] = []
    labels: dict[str, torch.Tensor] = {}
    if cifar is not None and cifar.labels is not None:
        labels["labels.train"] = cifar.labels.to(torch.uint8)
        with suppress(ConfigurationError):
            test = load_images(data, "test")
            test = test.pick(torch.arange(min(len(test), _TEST_IMAGES)))
            if test.labels is not None:
                labels["labels.test"] = test.labels.to(torch.uint8)
                files = [_encoded(sheet, "WEBP", lossless=True) for sheet in _sheets(test.images.numpy())]
                facts = {"set": "test", "side": 32, "count": len(test), "tiles": True, "name": test.name}
                sets.append((facts, files))
        return sets, labels
    with suppress(ConfigurationError):
        files, of = archived(data)
        if not files:
            return sets, labels
        width = Image.open(io.BytesIO(files[0])).width
        facts = {"set": HELD_OUT, "side": width, "count": len(files), "tiles": False, "name": "photographs"}
        sets.append((facts, files))
        labels[f"labels.{HELD_OUT}"] = torch.from_numpy(of.astype(np.int16))
    return sets, labels


def _sheets(images: Picture) -> Iterator[Picture]:
    """`images` (N,S,S,3) in sheets of 32 a row; what is empty at the end is black."""
    side, most = images.shape[1], ACROSS * ACROSS
    for first in range(0, len(images), most):
        part = images[first : first + most]
        down = -(-len(part) // ACROSS)
        whole = np.zeros((down * ACROSS, side, side, 3), np.uint8)
        whole[: len(part)] = part
        yield whole.reshape(down, ACROSS, side, side, 3).transpose(0, 2, 1, 3, 4).reshape(down * side, -1, 3)


def _squares(data: Path, side: int, archives: Sequence[str]) -> Iterator[Picture]:
    for image in load_photographs(data, side=side, archives=archives).images:
        yield _square(image.numpy(), side)


def _square(image: Picture, side: int) -> Picture:
    """`image` scaled until its shorter side is `side`, and its middle."""
    height, width = image.shape[:2]
    scale = side / min(height, width)
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    scaled = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    return np.ascontiguousarray(centre(torch.from_numpy(np.array(scaled)), side).numpy())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Coded:
    files: list[bytes]
    coding: str
    error: float  # the squares of all differences, summed


def _coded(pictures: list[Picture], limit: float) -> _Coded:
    """The pictures in the best quality of which all fit into `limit` bytes."""
    kind, more = (
        ("AVIF", {"subsampling": "4:4:4", "speed": 8, "max_threads": 1})
        if features.check("avif")
        else ("JPEG", {"subsampling": 0, "optimize": True})
    )
    sample = pictures[:: -(-len(pictures) // _SAMPLE)]

    def fits(quality: int) -> bool:
        foretold = sum(len(_encoded(picture, kind, quality=quality, **more)) for picture in sample)
        return foretold * len(pictures) / len(sample) <= 0.99 * limit

    for quality in _QUALITIES[bisect_left(_QUALITIES, True, key=fits) :]:  # the lower, the smaller
        files = [_encoded(picture, kind, quality=quality, **more) for picture in pictures]
        if sum(map(len, files)) <= limit:
            error = sum(_error(data, picture) for data, picture in zip(files, pictures, strict=True))
            return _Coded(files=files, coding=f"{kind} at quality {quality}", error=error)
    raise ConfigurationError(
        f"{len(pictures)} pictures do not fit; give more --megabytes, or a smaller --side"
    )


def _error(data: bytes, picture: Picture) -> float:
    seen = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float64)
    return float(np.square(seen - picture).sum())


def _encoded(picture: Picture, kind: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **how)
    return buffer.getvalue()


def _psnr(error: float) -> float:
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def _write(
    file: Path,
    sets: list[tuple[dict[str, Any], list[bytes]]],
    labels: dict[str, torch.Tensor],
    archives: Sequence[str],
    about: dict[str, Any],
) -> int:
    every = [data for _, files in sets for data in files]
    whole = b"".join(every)
    found, first = {}, 0
    for facts, files in sets:
        found[facts["set"]] = {key: value for key, value in facts.items() if key != "set"}
        found[facts["set"]]["files"] = [first, first := first + len(files)]
    head = {
        "schema": SCHEMA,
        "sha256": hashlib.sha256(whole).hexdigest(),
        "archives": [*archives],
        "sets": found,
        **about,
    }
    offsets = np.cumsum([0, *map(len, every)])
    tensors = {
        "data": torch.frombuffer(bytearray(whole), dtype=torch.uint8),
        "offsets": torch.from_numpy(offsets),
    }
    data = save(tensors | labels, metadata={HEADER: json.dumps(head, sort_keys=True)})
    replace(file, data)
    return len(data)
