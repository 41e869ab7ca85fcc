"""Training images: CIFAR-10 in two layouts, or any folder of pictures."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from api_smoothing.errors import ConfigurationError, ImageError

#: What the names of pictures end in.
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
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
        """The images of `rows` (n,) as `floats` gives them, half of them mirrored."""
        clean = self.floats(rows)
        flip = torch.rand(len(rows), generator=draw) < 0.5
        return torch.where(flip[:, None, None, None], clean.flip(3), clean)


def load_images(folder: Path, split: str = "train", *, side: int = 32, seed: int = 0) -> ImageSet:
    """The images of `folder`, recognised by what lies in it.

    Either lossless WebP sheets `<split>_00.webp` … of side×side tiles with `labels.npz` beside them; or
    CIFAR-10's binary distribution (`data_batch_1.bin` …, `test_batch.bin`); or any pictures, of which one
    random `side`×`side` crop each is taken (no labels; `split` is ignored). Raises ConfigurationError.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"no folder {folder}; give the one with the training images")
    if sheets := sorted(folder.glob(f"{split}_*.webp")):
        return _sheets(folder, sheets, split)
    if records := sorted(folder.glob(f"{'data' if split == 'train' else split}_batch*.bin")):
        return _binary(records)
    if below := sorted(f.parent for f in folder.rglob("labels.npz") if any(f.parent.glob(f"{split}_*.webp"))):
        raise ConfigurationError(f"{folder} holds sheets of {split} images below it; give {below[0]}")
    if pictures := sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES):
        return _crops(folder, pictures, side, seed)
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


def decoded(file: Path | io.BytesIO, name: str = "") -> np.ndarray:
    """The picture in `file` (H,W,3) uint8. Raises ImageError, naming it, or `name`, where it cannot be read."""
    try:
        return np.array(Image.open(file).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"{name or file} cannot be read ({error}); repair it or take it away") from error


def _crops(folder: Path, pictures: list[Path], side: int, seed: int) -> ImageSet:
    draw = np.random.default_rng(seed)
    crops = []
    for file in pictures:
        a = decoded(file)
        if min(a.shape[:2]) < side:
            continue
        top, left = (int(draw.integers(0, n - side + 1)) for n in a.shape[:2])
        crops.append(a[top : top + side, left : left + side])
    if not crops:
        raise ConfigurationError(f"no picture in {folder} is {side} pixels wide and high; give larger ones")
    return ImageSet(images=torch.from_numpy(np.stack(crops)), labels=None, name=folder.name)


def split_off(data: ImageSet, count: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """(the rest, the held-out `count`): the last `count` of a permutation drawn from `seed` alone."""
    if not 0 <= count < len(data):
        raise ConfigurationError(f"{count} of {len(data)} images cannot be held out; leave some to train on")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    return data.pick(order[: len(data) - count]), data.pick(order[len(data) - count :])
