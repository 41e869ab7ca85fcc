"""A recogniser of one's own classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from api_smoothing import denoisers
from api_smoothing.cli import main
from api_smoothing.errors import ConfigurationError, ImageError
from api_smoothing.training import train_recogniser
from api_smoothing.training.held_out import held_out
from api_smoothing.training.pack import read_set
from api_smoothing.training.packing import write_classes

_TINY: dict[str, Any] = {
    **{name: {"widths": [8, 8, 8], "steps": 2} for name in ("own-a", "own-b", "own-judge", "own-reader")},
    "own-recogniser": {"channels": [16, 16], "blocks": [1, 1], "width": 16, "steps": 2},
}


def classes(folder: Path, *counts: int) -> Path:
    """A folder of as many pictures for each class, of another colour each and of different sides."""
    draw = np.random.default_rng(0)
    for label, count in enumerate(counts):
        place = folder / f"class {label}"
        place.mkdir(parents=True)
        for k in range(count):
            pixels = draw.integers(0, 60, (30 + k, 40, 3), dtype=np.uint8)
            pixels[..., label % 3] += 150
            Image.fromarray(pixels).save(place / f"{k:02d}.png")
    return folder


def test_a_folder_of_classes_becomes_a_recogniser(tmp_path: Path) -> None:
    """Any number of classes; the card names them, and judges by a classifier nothing was tuned for."""
    out = tmp_path / "out"
    data = classes(tmp_path / "animals", 20, 12, 16)
    file = train_recogniser(data, out, sizes=_TINY)
    card = json.loads(file.with_suffix(".json").read_text())
    assert card["classes"] == ["class 0", "class 1", "class 2"]
    assert set(card["quality"]["0.25"]) == {"psnr", "accuracy_own-judge"}
    assert card["training"]["phases"][0]["surrogates"] == ["own-a", "own-b"]
    denoiser = denoisers.load(file, dtype="fp32")
    assert denoiser.card.classes == ("class 0", "class 1", "class 2")
    assert denoiser(torch.rand(2, 3, 32, 32), 0.25).shape == (2, 3, 32, 32)
    reader = json.loads((out / "own-reader.json").read_text())
    assert reader["classes"] == card["classes"]
    assert "denoised at sigma 0.25" in next(iter(reader["accuracy"].values()))
    first = file.read_bytes()
    assert train_recogniser(data, out, sizes=_TINY).read_bytes() == first  # every part goes on from its end


def test_pictures_apart_are_of_every_class_and_never_trained_on(tmp_path: Path) -> None:
    """The pack holds each picture once, whole and without loss; what is measured on is its test set."""
    pack = tmp_path / "pack.safetensors"
    assert write_classes(classes(tmp_path / "data", 20, 12), pack) == ["class 0", "class 1"]
    train, test = (read_set(pack, name) for name in ("train", "test"))
    assert train.labels is not None
    assert test.labels is not None
    assert np.bincount(train.labels).tolist() == [17, 10]
    assert np.bincount(test.labels).tolist() == [3, 2]
    seen = {image.tobytes() for image in train.images}
    assert len(seen) == 27
    assert not seen & {image.tobytes() for image in test.images}
    held = held_out(pack)
    assert held is not None
    assert held.judges == ("own-judge",)
    assert len(held) == 5
    before = pack.read_bytes()
    write_classes(tmp_path / "data", pack)
    assert pack.read_bytes() == before


@pytest.mark.parametrize(("counts", "told"), [((9,), "two or more folders"), ((9, 3), "holds 3 pictures")])
def test_too_little_is_told_before_the_first_step(tmp_path: Path, counts: tuple[int, ...], told: str) -> None:
    """Nothing is trained."""
    with pytest.raises(ConfigurationError, match=told):
        train_recogniser(classes(tmp_path / "data", *counts), tmp_path / "out", sizes=_TINY)
    assert not [*(tmp_path / "out").glob("own-*")]


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """In one line, before the first step."""
    data = classes(tmp_path / "data", 9, 9)
    (data / "class 1" / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"bad\.png"):
        train_recogniser(data, tmp_path / "out", sizes=_TINY)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It ends by the clock, each part getting its share, and prints what was reached."""
    data = classes(tmp_path / "data", 10, 10)
    line = f"train recogniser --data {data} --out {tmp_path / 'out'} --minutes 0.001"
    assert main(line.split()) == 0
    told = capsys.readouterr()
    assert told.out.strip().endswith("own-recogniser.safetensors")
    assert "accuracy_own-judge" in told.err
    assert main(f"train recogniser --data {tmp_path / 'none'} --out {tmp_path}".split()) == 2
