"""The images a denoiser is chosen by: nobody trained on them, and results are reported on others.

Of CIFAR-10 these are the test images 500 to 999, of the photographs in `imagenette_ilsvrcval500.npz` (of ImageNet's
validation set, ten classes) those from 250 on. The first halves are for reporting, and are not looked at here.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from api_smoothing.errors import ConfigurationError
from api_smoothing.training.data import decoded, load_images
from api_smoothing.training.pack import HELD_OUT, OWN, read_set

PHOTOGRAPHS: Final = "imagenette_ilsvrcval500"

#: ImageNet's indices of the ten classes of Imagenette.
IMAGENETTE: Final = (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)

#: Classifiers that judge a denoiser of 32×32 images; neither is ever a surrogate.
JUDGES: Final = ("cifar10", "resnet56")

_FIRST_IMAGE, _LAST_IMAGE = 500, 1000
_FIRST_PHOTOGRAPH = 250


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """Images (N,H,W,3) uint8, their true labels (N,) int64, and the questions put to a classifier.

    `questions` maps the end of a figure's name to the classes that are to choose from; None: all there are.
    """

    name: str
    images: Tensor
    labels: Tensor
    questions: Mapping[str, tuple[int, ...] | None]
    figure: str = "accuracy"  # what the share of labels that survive is called
    judges: tuple[str, ...] = JUDGES

    def __len__(self) -> int:
        return len(self.images)

    @property
    def side(self) -> int:
        """Pixels of height and width."""
        return int(self.images.shape[1])

    def floats(self, rows: Tensor) -> Tensor:
        """The images of `rows` (n,) as float32 (n,3,H,W) in [0,1], channels-last in memory."""
        return self.images[rows].permute(0, 3, 1, 2).float().div(255)

    def right(self, logits: Tensor, rows: Tensor) -> dict[str, int]:
        """For each question, how many of `rows` (n,) the scores `logits` (n, classes) answer truly."""
        found = {}
        for end, classes in self.questions.items():
            columns = torch.arange(logits.shape[1]) if classes is None else torch.tensor(classes)
            found[end] = int((columns[logits[:, columns].argmax(1)] == self.labels[rows]).sum())
        return found


def held_out(folder: Path) -> HeldOut | None:
    """The held-out images in `folder`: photographs, a pack's of one's own classes, or CIFAR-10's; or None."""
    for read in (photographs, own_classes, cifar10):
        with suppress(ConfigurationError):
            return read(folder)
    return None


def own_pictures(images: Tensor, name: str) -> HeldOut:
    """`images` (N,H,W,3) uint8 without labels, kept apart from those of `name`: closeness is all they tell."""
    return HeldOut(
        name=f"{len(images)} of {name}",
        images=images,
        labels=torch.zeros(len(images), dtype=torch.int64),
        questions={},
    )


def own_classes(folder: Path) -> HeldOut:
    """The test images of a pack that `packing.write_classes` wrote. Raises ConfigurationError."""
    test = load_images(folder, "test")
    if test.labels is None or not test.name.startswith(OWN):
        raise ConfigurationError(f"{folder} is no pack of own classes")
    return HeldOut(
        name=test.name, images=test.images, labels=test.labels, questions={"": None}, judges=("own-judge",)
    )


def cifar10(folder: Path) -> HeldOut:
    """Test images 500 to 999 of CIFAR-10 in `folder`, in either layout. Raises ConfigurationError."""
    test = load_images(folder, "test")
    images = test.images[_FIRST_IMAGE:_LAST_IMAGE]
    if test.labels is None or not len(images):  # without labels these are loose pictures, to train on
        raise ConfigurationError(
            f"{folder} does not hold CIFAR-10's test images from {_FIRST_IMAGE} on; give the folder that does"
        )
    labels = test.labels[_FIRST_IMAGE:_LAST_IMAGE]
    return HeldOut(name="cifar10/test 500-999", images=images, labels=labels, questions={"": None})


def photographs(folder: Path) -> HeldOut:
    """Photographs 250 on, of the archive in `folder` or of a pack, all of one square size. Raises ConfigurationError.

    A classifier is asked for one of the ten classes that occur, and for one of ImageNet's thousand.
    """
    if folder.is_file():
        found = read_set(folder, HELD_OUT)
        if found.labels is None:
            raise ConfigurationError(f"{folder} holds no held-out photographs with labels")
        images, labels = [*found.images], found.labels
    else:
        files, labels = archived(folder)
        images = [decoded(file) for file in files]
    if not images or len({image.shape for image in images}) > 1:
        raise ConfigurationError(f"{folder} must hold over {_FIRST_PHOTOGRAPH} photographs of one size")
    return HeldOut(
        name=f"{PHOTOGRAPHS} {_FIRST_PHOTOGRAPH}-{_FIRST_PHOTOGRAPH + len(labels) - 1}",
        images=torch.from_numpy(np.stack(images)),
        labels=torch.from_numpy(labels.astype(np.int64)),
        questions={"_of10": IMAGENETTE, "_of1000": None},
    )


def archived(folder: Path) -> tuple[list[bytes], np.ndarray[Any, Any]]:
    """(files, labels (N,)) of the photographs from 250 on in the archive in `folder`. Raises ConfigurationError."""
    file = folder / f"{PHOTOGRAPHS}.npz"
    if not file.is_file():
        raise ConfigurationError(f"no {file}; give the folder with the validation photographs")
    try:
        with np.load(file, allow_pickle=False) as archive:
            data, offsets, labels = archive["data"], archive["offsets"], archive["labels"]
    except (KeyError, ValueError) as error:
        raise ConfigurationError(f"{file} lacks photographs or labels ({error}); give a whole one") from error
    rows = range(_FIRST_PHOTOGRAPH, len(labels))
    return [data[offsets[row] : offsets[row + 1]].tobytes() for row in rows], labels[_FIRST_PHOTOGRAPH:]
