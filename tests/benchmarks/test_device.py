"""The benchmark of devices, rehearsed on the processor."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

from api_smoothing import device_noise
from api_smoothing.adapters.local import batches

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/device.py."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "device", raising=False)
    return import_module("device")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_it_is_not_run(device: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """It says so, and no table looks as if it had been."""
    assert device.main([]) == 2
    told = capsys.readouterr()
    assert "not run" in told.err
    assert told.out == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_the_one_command_knows_it() -> None:
    """By its name and with its own flags; without a card it is not run there either."""
    command = [sys.executable, "-m", "benchmarks", "device", "--seconds", "1"]
    done = subprocess.run(command, cwd=BENCHMARKS.parent, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "not run" in done.stderr


def test_noise_of_another_bit_is_noticed(device: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """One round less of Philox, and the checks of noise and copies do not hold."""
    assert device.noise_is_equal("cpu", True).met
    assert device.copies_are_equal("cpu").met
    monkeypatch.setattr(device_noise, "_ROUNDS", 9)
    assert not device.noise_is_equal("cpu", True).met
    assert not device.copies_are_equal("cpu").met


@pytest.mark.slow
def test_a_batch_that_changes_a_copy_is_noticed(device: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are independent here; they are not where what a network is given depends on its neighbours."""
    assert all(row.met for row in device.rows_are_independent("cpu", True))
    run = batches.run_in_micro_batches

    def mixing(function: object, x: torch.Tensor, *rest: object, **more: object) -> torch.Tensor:
        return run(lambda part: function(part + part.mean() / 9), x, *rest, **more)  # type: ignore[operator,arg-type]

    monkeypatch.setattr("api_smoothing.engine.sending.pixels.run_in_micro_batches", mixing)
    rows = {row.name: row.met for row in device.rows_are_independent("cpu", True)}
    assert not rows["the same bits in other batches"]
    assert not rows["the same bits in another order"]
    assert rows["the same bits again"]


@pytest.mark.slow
def test_a_rehearsal_names_the_processor(device: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole table comes, every check holds, and nobody can take it for a card's."""
    assert device.main(["--device", "cpu", "--quick", "--seconds", "1"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("| on the processor, a rehearsal")
    assert "**no**" not in told
    for row in ("bit-equal", "bare networks", "certify, n = ", "certify, radius"):
        assert row in told
