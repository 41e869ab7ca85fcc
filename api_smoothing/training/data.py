"""Training images: CIFAR-10 in two layouts, or any folder of pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from api_smoothing.decode import decode, suffixes
from api_smoothing.errors import ConfigurationError, ImageError
from api_smoothing.training.pack import read_set

_RECORD = 1 + 3 * 32 * 32  # one record of the binary distribution: label, then R, G, B planes


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSet:
    """Images (N,H,W,3) uint8 and, where known, labels (N,) int64."""

    images: Tensor
    labels: Tensor | None
    name: str

    def __len__(self) -> int:
        return len(self.images)

    def tensors(self) -> dict[str, Tensor]:
        """Images and labels, by name."""
        return {"images": self.images} | ({} if self.labels is None else {"labels": self.labels})

    def pick(self, rows: Tensor) -> ImageSet:
        """The images of `rows`, in that order."""
        labels = None if self.labels is None else self.labels[rows]
        return ImageSet(images=self.images[rows], labels=labels, name=self.name)

    def floats(self, rows: Tensor | slice) -> Tensor:
        """Those images as float32 (n,3,H,W) in [0,1], channels-last in memory."""
        return self.images[rows].permute(0, 3, 1, 2).float().div(255)

    def augmented(self, rows: Tensor, draw: torch.Generator) -> Tensor:
        """The images of `rows` (n,) as `floats` gives them, half of them mirrored; all on the device of `draw`."""
        clean = self.floats(rows.to(self.images.device))
        flip = torch.rand(len(rows), generator=draw, device=draw.device) < 0.5
        return torch.where(flip[:, None, None, None], clean.flip(3), clean)

    def to(self, device: str) -> ImageSet:
        """The same, the images on `device`."""
        return replace(self, images=self.images.to(device))

    def centres(self, step: int) -> Tensor:
        """The images (N,H,W,3) uint8, their sides cut to multiples of `step`."""
        return centre(self.images, 32 - 32 % step)


def load_images(folder: Path, split: str = "train", *, side: int = 32, seed: int = 0) -> ImageSet:
    """The images of `folder`, recognised by what lies in it.

    Either lossless WebP sheets `<split>_00.webp` … of side×side tiles with `labels.npz` beside them; or
    CIFAR-10's binary distribution (`data_batch_1.bin` …, `test_batch.bin`); or any pictures, of which one
    random `side`×`side` crop each is taken (no labels; `split` is ignored). Or all of that in a pack (`pack.read_set`).
    Raises ConfigurationError.
    """
    if folder.is_file():
        return _packed(folder, split, side, seed)
    if not folder.is_dir():
        raise ConfigurationError(f"no folder {folder}; give the one with the training images")
    if sheets := sorted(folder.glob(f"{split}_*.webp")):
        return _sheets(folder, sheets, split)
    if records := sorted(folder.glob(f"{'data' if split == 'train' else split}_batch*.bin")):
        return _binary(records)
    if below := sorted(f.parent for f in folder.rglob("labels.npz") if any(f.parent.glob(f"{split}_*.webp"))):
        raise ConfigurationError(f"{folder} holds sheets of {split} images below it; give {below[0]}")
    if pictures := pictures_in(folder):
        return _crops(folder, map(decoded, pictures), side, seed)
    raise ConfigurationError(
        f"{folder} holds no {split} images; expected CIFAR-10 batches, sheets or pictures"
    )


def _sheets(folder: Path, sheets: list[Path], split: str) -> ImageSet:
    tiles = []
    for sheet in sheets:
        a = decoded(sheet)
        h, w, _ = a.shape
        tiles.append(a.reshape(h // 32, 32, w // 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3))
    with np.load(folder / "labels.npz", allow_pickle=False) as archive:
        labels = archive[split].astype(np.int64)
    images = np.concatenate(tiles)[: len(labels)]
    return ImageSet(
        images=torch.from_numpy(images),
        labels=torch.from_numpy(labels[: len(images)]),
        name=f"cifar10/{split}",
    )


def _binary(records: list[Path]) -> ImageSet:
    raw = np.concatenate([np.fromfile(file, dtype=np.uint8) for file in records])
    if raw.size % _RECORD:
        raise ConfigurationError(
            f"{records[0].parent} holds a cut-off CIFAR-10 batch; fetch the archive again"
        )
    rows = raw.reshape(-1, _RECORD)
    images = np.ascontiguousarray(rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    split = "test" if records[0].name.startswith("test") else "train"
    return ImageSet(
        images=torch.from_numpy(images),
        labels=torch.from_numpy(rows[:, 0].astype(np.int64)),
        name=f"cifar10/{split}",
    )


def pictures_in(folder: Path) -> list[Path]:
    """The image files in `folder` and below, in order of name; hidden ones are other programs' leavings."""
    known = suffixes()
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in known
        and not any(part.startswith(".") or part == "__MACOSX" for part in file.relative_to(folder).parts)
    )


def decoded(file: Path | bytes, name: str = "") -> np.ndarray:
    """The picture in `file` (H,W,3) uint8, upright and on white, as `decode` reads all. Raises ImageError.

    16 bits are rounded to 8. The error names the picture, or says `name`.
    """
    try:
        pixels = decode(file)
    except ImageError as error:
        called = name or str(file)
        why = str(error).removeprefix("<bytes>: ").removeprefix(f"{called}: ")
        raise ImageError(f"{called} cannot be read ({why}); repair it or take it away") from error
    if pixels.peak == 255:
        return np.ascontiguousarray(pixels.values)
    return np.rint(pixels.values * (255 / pixels.peak)).astype(np.uint8)


def _packed(file: Path, split: str, side: int, seed: int) -> ImageSet:
    found = read_set(file, split)
    if found.labels is None:
        return _crops(file, found.images, side, seed)
    labels = torch.from_numpy(found.labels.astype(np.int64))
    return ImageSet(images=torch.from_numpy(found.images), labels=labels, name=found.name)


def _crops(folder: Path, pictures: Iterable[np.ndarray], side: int, seed: int) -> ImageSet:
    draw = np.random.default_rng(seed)
    crops = []
    for a in pictures:
        if min(a.shape[:2]) < side:
            continue
        top, left = (int(draw.integers(0, n - side + 1)) for n in a.shape[:2])
        crops.append(a[top : top + side, left : left + side])
    if not crops:
        raise ConfigurationError(f"no picture in {folder} is {side} pixels wide and high; give larger ones")
    return ImageSet(images=torch.from_numpy(np.stack(crops)), labels=None, name=folder.name)


def centre(image: Tensor, side: int) -> Tensor:
    """The side×side pixels in the middle of `image` (…,H,W,3)."""
    top, left = ((n - side) // 2 for n in image.shape[-3:-1])
    return image[..., top : top + side, left : left + side, :]


def split_off(data: ImageSet, count: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """(the rest, the held-out `count`): the last `count` of a permutation drawn from `seed` alone."""
    if not 0 <= count < len(data):
        raise ConfigurationError(f"{count} of {len(data)} images cannot be held out; leave some to train on")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    return data.pick(order[: len(data) - count]), data.pick(order[len(data) - count :])
