"""Attacked images are made once, and never taken for those of another question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from toy_defences import NAMES, Darker, Toy, pictures

from api_smoothing import compare
from api_smoothing.defences.attacked import Attacked

QUICK: dict[str, Any] = {
    "attacks": ["pgd-linf-12/255"],
    "class_names": NAMES,
    "steps": 4,
    "batch": 3,
}
LIKE = torch.zeros(2, 3, 4, 5)


def grid() -> torch.Tensor:
    return torch.randint(0, 256, LIKE.shape, generator=torch.Generator().manual_seed(1)) / 255


def test_what_was_kept_is_what_was_made(tmp_path: Path) -> None:
    """To the bit; of another key, setting or shape there is nothing."""
    images = grid()
    Attacked(tmp_path, {"steps": 4}).write(["pgd", [1, 2]], images)
    found = Attacked(tmp_path, {"steps": 4}).read(["pgd", [1, 2]], LIKE)
    assert found is not None
    assert torch.equal(found, images)
    assert Attacked(tmp_path, {"steps": 5}).read(["pgd", [1, 2]], LIKE) is None
    assert Attacked(tmp_path, {"steps": 4}).read(["pgd", [2, 1]], LIKE) is None
    assert Attacked(tmp_path, {"steps": 4}).read(["pgd", [1, 2]], LIKE[:1]) is None


def test_what_is_damaged_is_made_again(tmp_path: Path) -> None:
    """Cut off, emptied, or something else altogether."""
    kept = Attacked(tmp_path, {})
    kept.write([1], grid())
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for spoilt in (whole[:-7], b"", b"no array", whole[:60]):
        file.write_bytes(spoilt)
        assert kept.read([1], LIKE) is None
    file.write_bytes(whole)
    assert kept.read([1], LIKE) is not None


@pytest.mark.parametrize("folder", [True, False])
def test_what_is_off_the_grid_is_not_kept(folder: bool, tmp_path: Path) -> None:
    """It would come back as something else."""
    kept = Attacked(tmp_path if folder else None, {})
    kept.write([1], grid() + 1e-3)
    assert kept.read([1], LIKE) is None
    assert not list(tmp_path.iterdir())


def test_a_defence_that_is_added_meets_the_images_attacked_before(tmp_path: Path) -> None:
    """The classifier sees purified images alone, and says what it says in one run; other steps attack anew."""
    file, net = tmp_path / "run.jsonl", Toy()
    compare(pictures(4), net, ["none"], output=file, **QUICK)
    before = net.seen
    found = compare(pictures(4), net, ["none", Darker()], output=file, **QUICK)
    assert net.seen - before <= 4 * 4, "no steps of an attack"
    once = compare(pictures(4), Toy(), ["none", Darker()], **QUICK)
    assert [row.label for row in found.rows] == [row.label for row in once.rows]
    assert [row.mse for row in found.rows] == [row.mse for row in once.rows]
    file.unlink()
    before = net.seen
    compare(pictures(4), net, ["none"], output=file, **{**QUICK, "steps": 5})
    assert net.seen - before > 4 * 4
