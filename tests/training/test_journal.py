"""The log of a training: lines, and curves that TensorBoard reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from api_smoothing.training.journal import Journal


def test_tensorboard_reads_a_training_that_was_taken_up_again(tmp_path: Path) -> None:
    """Each figure is a curve over the steps; what was computed twice after a kill is in it once."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for begun, steps, offset in ((0, (10, 20, 30), 0.0), (20, (30, 40), 0.5)):
        with Journal(tmp_path, begun) as journal:
            for step in steps:
                journal.write({"step": step, "of": 40, "loss": step + offset, "rate": 0.5})
    read = accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert sorted(read.Tags()["scalars"]) == ["loss", "rate"]
    assert [(e.step, e.value) for e in read.Scalars("loss")] == [(10, 10), (20, 20), (30, 30.5), (40, 40.5)]
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [
        10, 20, 30, 30, 40,
    ]  # fmt: skip


def test_a_training_that_starts_over_has_one_curve(tmp_path: Path) -> None:
    """Killed before its first checkpoint, or started over, a run takes back all that was noted before."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for offset in (0.0, 0.5):
        with Journal(tmp_path, 0) as journal:
            for step in (10, 20):
                journal.write({"step": step, "of": 40, "loss": step + offset})
    read = accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in read.Scalars("loss")] == [(10, 10.5), (20, 20.5)]


def test_a_training_is_logged_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where TensorBoard is not installed there are the lines, and no events."""
    monkeypatch.setattr("api_smoothing.training.journal.find_spec", lambda name: None)
    with Journal(tmp_path, 0) as journal:
        journal.write({"step": 1, "loss": 0.5})
    assert [file.name for file in tmp_path.iterdir()] == ["log.jsonl"]
