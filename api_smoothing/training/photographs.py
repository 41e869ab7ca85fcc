"""Photographs larger than what a network is trained on: each step sees a fresh crop of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from api_smoothing.errors import ConfigurationError
from api_smoothing.training.data import centre, decoded, pictures_in
from api_smoothing.training.pack import read_set


@dataclass(frozen=True, slots=True, kw_only=True)
class Photographs:
    """Images (H,W,3) uint8 of any sizes, of which crops of `side`×`side` are taken."""

    images: Sequence[Tensor]
    side: int
    name: str

    def __len__(self) -> int:
        return len(self.images)

    def tensors(self) -> dict[str, Tensor]:
        """The images, by number."""
        return {f"{k}": image for k, image in enumerate(self.images)}

    def pick(self, rows: Tensor) -> Photographs:
        """The images of `rows`, in that order."""
        return replace(self, images=[self.images[row] for row in rows.tolist()])

    def to(self, device: str) -> Photographs:
        """The same, the images on `device`."""
        return replace(self, images=[image.to(device) for image in self.images])

    def centres(self, step: int) -> Tensor:
        """The middle of each image (N,side,side,3) uint8, the side cut to a multiple of `step`."""
        return torch.stack([centre(image, self.side - self.side % step) for image in self.images])

    def augmented(self, rows: Tensor, draw: torch.Generator) -> Tensor:
        """One random crop of each of `rows` (n,), half of them mirrored: (n,3,side,side) float32 in [0,1]."""
        places = torch.rand(len(rows), 3, generator=draw, device=draw.device)
        crops = []
        for row, (down, right, mirror) in zip(rows.tolist(), places.tolist(), strict=True):
            image = self.images[row]
            top, left = (
                int(u * (n - self.side + 1)) for u, n in zip((down, right), image.shape[:2], strict=True)
            )
            crop = image[top : top + self.side, left : left + self.side]
            crops.append(crop.flip(1) if mirror < 0.5 else crop)
        return torch.stack(crops).permute(0, 3, 1, 2).float().div(255)


def load_photographs(
    folder: Path, *, side: int, least: int | None = None, archives: Sequence[str] = ()
) -> Photographs:
    """The photographs in `folder` that are at least `least` pixels (`side` by default) wide and high, in memory.

    Pictures in it and below, or, where `archives` names them, `<name>.npz` files of encoded pictures: `data`, the
    files' bytes one after the other, and `offsets`, where each begins and the last ends. Or those in a pack.
    Raises ConfigurationError, and ImageError for a picture that cannot be read.
    """
    if folder.is_file():
        return _packed(folder, side, least or side, archives)
    if not folder.is_dir():
        raise ConfigurationError(f"no folder {folder}; give the one with the training photographs")
    found = _archived(folder, archives) if archives else _files(folder)
    least = least or side
    pictures = (torch.from_numpy(decoded(file, name)) for file, name in found)
    images = [picture for picture in pictures if min(picture.shape[:2]) >= least]
    if not images:
        raise ConfigurationError(f"{folder} holds no photograph of {least}×{least} pixels; give larger ones")
    return Photographs(images=images, side=side, name=" and ".join(archives) or folder.name)


def _packed(file: Path, side: int, least: int, archives: Sequence[str]) -> Photographs:
    found = read_set(file, "train")
    if archives and list(archives) != found.archives:
        there = " and ".join(found.archives) or "no archive's"
        raise ConfigurationError(
            f"{file} holds {there} photographs, and the recipe trains on {' and '.join(archives)}; pack those with "
            "--archives"
        )
    if found.side < least:
        raise ConfigurationError(f"{file} holds no photograph of {least}×{least} pixels; pack larger squares")
    return Photographs(images=[*torch.from_numpy(found.images)], side=side, name=found.name)


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    return ((file, f"{file}") for file in pictures_in(folder))


def _archived(folder: Path, archives: Sequence[str]) -> Iterator[tuple[bytes, str]]:
    for name in archives:
        file = folder / f"{name}.npz"
        if not file.is_file():
            raise ConfigurationError(f"no {file}; the recipe trains on it, give the folder that holds it")
        with np.load(file, allow_pickle=False) as archive:
            data, offsets = archive["data"], archive["offsets"]
        for k, (start, stop) in enumerate(pairwise(offsets.tolist())):
            yield data[start:stop].tobytes(), f"picture {k} of {file}"
