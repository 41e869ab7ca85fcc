"""A training's state on disk: whole, or the one before; what is damaged or edited is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from api_smoothing.errors import ConfigurationError, WeightsError
from api_smoothing.training import state
from api_smoothing.training.state import claimed, read_state, read_whole, write_state

TENSORS = {"net.a": torch.arange(600.0), "net.b": torch.tensor(3), "average.a": torch.ones(2, 3)}


def test_a_state_comes_back_from_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts are no larger than the limit, and those of the state before are taken away."""
    monkeypatch.setattr(state, "PART", 1000)
    write_state(tmp_path, TENSORS, {"step": 1})
    write_state(tmp_path, TENSORS | {"net.b": torch.tensor(4)}, {"step": 2})
    parts = sorted(tmp_path.glob("state-*"))
    assert len(parts) == 3
    assert max(part.stat().st_size for part in parts) == 1000
    tensors, meta = read_whole(tmp_path)
    assert meta == {"step": 2}
    assert torch.equal(tensors["net.a"], TENSORS["net.a"])
    assert read_state(tmp_path, "average")[0].keys() == {"a"}
    assert state.PART <= 16_000_000


def _edit(**changes: Any) -> Any:
    def edit(folder: Path) -> None:
        file = folder / "state.json"
        facts = json.loads(file.read_text())
        file.write_text(json.dumps(facts | changes))

    return edit


def _flip(folder: Path) -> None:
    (part,) = folder.glob("state-*")
    data = bytearray(part.read_bytes())
    data[-1] ^= 1
    part.write_bytes(data)


@pytest.mark.parametrize(
    "harm",
    [
        _flip,
        lambda folder: next(folder.glob("state-*")).unlink(),
        lambda folder: (folder / "state.json").write_text("[" * 100_000),
        lambda folder: (folder / "state.json").write_text("[]"),
        _edit(state={"step": 9}),
        _edit(parts=[{"file": "../../secret", "bytes": 1, "sha256": ""}]),
        _edit(digest=1),
    ],
)
def test_what_is_not_as_it_was_written_is_refused(tmp_path: Path, harm: Any) -> None:
    """One changed bit, a part that is gone, an edited step: the digests tell."""
    write_state(tmp_path, TENSORS, {"step": 1})
    harm(tmp_path)
    with pytest.raises(WeightsError, match=r"damaged; delete it"):
        read_whole(tmp_path)


def test_numbers_that_are_not_finite_are_neither_kept_nor_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state before stays; one that got there all the same is damaged."""
    write_state(tmp_path, TENSORS, {"step": 1})
    spoilt = TENSORS | {"average.a": torch.tensor([1.0, torch.inf])}
    with pytest.raises(ConfigurationError, match=r"average\.a is not finite"):
        write_state(tmp_path, spoilt, {"step": 2})
    assert read_whole(tmp_path)[1] == {"step": 1}
    with monkeypatch.context() as patch:
        patch.setattr(state, "not_finite", lambda tensors: None)
        write_state(tmp_path, spoilt, {"step": 2})
    with pytest.raises(WeightsError, match="damaged"):
        read_whole(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is Linux's")
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """The old state stays, and the message says what to do."""
    write_state(tmp_path, TENSORS, {"step": 1})
    os.symlink("/dev/full", tmp_path / "state.json.part")
    with pytest.raises(ConfigurationError, match=r"No space left on device.*make room"):
        write_state(tmp_path, TENSORS, {"step": 2})
    assert read_whole(tmp_path)[1] == {"step": 1}


def test_two_trainings_do_not_share_a_folder(tmp_path: Path) -> None:
    """The second is refused while the first is there, and not after."""
    with claimed(tmp_path), pytest.raises(ConfigurationError, match="another training is writing"):  # noqa: SIM117
        with claimed(tmp_path):
            raise AssertionError
    with claimed(tmp_path):
        pass
