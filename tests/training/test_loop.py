"""The loop: its order, its schedule, and a run that is taken up where it was left."""

from __future__ import annotations

import itertools
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load
from torch import nn

from api_smoothing.errors import ConfigurationError
from api_smoothing.training.loop import Average, Order, Schedule, fit, generator, stream_of
from api_smoothing.training.state import read_state


def test_an_epoch_is_a_permutation() -> None:
    """Within an epoch no row comes twice; the next epoch has another order; the order is a function of the seed."""
    order = Order(20, 5, seed=1)
    epochs = [torch.cat([order.rows(4 * e + k)[1] for k in range(4)]) for e in range(2)]
    assert sorted(epochs[0].tolist()) == list(range(20))
    assert not torch.equal(*epochs)
    assert torch.equal(Order(20, 5, seed=1).rows(5)[1], epochs[1][5:10])


def test_too_few_images_for_a_batch_are_refused() -> None:
    """Fewer images than a batch is a ConfigurationError, not an endless or empty epoch."""
    with pytest.raises(ConfigurationError, match="do not fill one batch"):
        Order(3, 4, seed=0)


def test_steps_draw_independently() -> None:
    """Generators of different (seed, path) give different streams, the same ones the same."""
    draws = {
        tuple(torch.rand(3, generator=generator(*key)).tolist())
        for key in ((0, 2, 0), (0, 2, 1), (1, 2, 0), (0, 3, 0))
    }
    assert len(draws) == 4
    assert torch.equal(
        torch.rand(3, generator=generator(5, 2, 7)), torch.rand(3, generator=generator(5, 2, 7))
    )


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_schedule_meets_its_ends(shape: Any) -> None:
    """The factor starts at `start`, is 1 at `peak`, ends at `end`, and never leaves that range."""
    schedule = Schedule(start=0.2, peak=0.25, end=0.1, shape=shape)
    assert [schedule(p) for p in (0.0, 0.25, 1.0)] == pytest.approx([0.2, 1.0, 0.1])
    assert all(0.1 - 1e-9 <= schedule(k / 50) <= 1 + 1e-9 for k in range(51))


def _run(
    folder: Path, steps: int, *, stop: int | None = None, spoil: int = -1, **more: Any
) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 1))
    average = Average(net, decay=0.9)

    def loss(step: int, draw: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        if step == stop:
            raise KeyboardInterrupt
        if step == spoil:
            average.state["0.weight"][0, 0] = torch.nan
        return net(torch.randn((16, 3), generator=draw)).square().mean(), {}

    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    fit(
        net,
        loss,
        optimizer,
        steps=steps,
        schedule=Schedule(),
        average=average,
        folder=folder,
        **{"settings": {"a": 1}, "save_every": 0.0, **more},
    )
    return {**{f"net.{k}": v for k, v in net.state_dict().items()}, **average.state}


def test_an_interrupted_run_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    """Killed after any step and resumed, training gives bitwise the same weights and averages."""
    whole = _run(tmp_path / "whole", 9)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "broken", 9, stop=5)
    resumed = _run(tmp_path / "broken", 9)
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_checkpoints_are_safetensors_and_guard_their_settings(tmp_path: Path) -> None:
    """A checkpoint opens without pickle, and a run with other settings is refused."""
    _run(tmp_path, 3)
    assert any(key.startswith("optimizer.") for key in load(next(tmp_path.glob("state-*")).read_bytes()))
    with pytest.raises(ConfigurationError, match="other settings"):
        _run(tmp_path, 3, seed=1)


def test_the_clock_ends_a_run_annealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped by the time that is spent, not by its steps, it has come down to the end of its schedule."""
    _run(tmp_path / "none", 3, minutes=0.0)
    assert (tmp_path / "none" / "log.jsonl").read_text() == ""
    seconds = itertools.count(step=1.5)  # a clock that is asked a few times a step
    monkeypatch.setattr("api_smoothing.training.loop.time.monotonic", lambda: next(seconds))
    _run(tmp_path / "some", 10_000, minutes=2.0, log_every=1)
    rates = [json.loads(line)["rate"] for line in (tmp_path / "some" / "log.jsonl").read_text().splitlines()]
    assert 10 < len(rates) < 100
    assert max(rates) > 0.99
    assert rates[-1] < 0.02


def test_a_slow_first_step_does_not_eat_the_rise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate still begins low: a step that compiles for a third of the minutes is not a third of the schedule."""
    seconds = itertools.chain([0.0] * 2, itertools.count(40.0, step=0.5))
    monkeypatch.setattr("api_smoothing.training.loop.time.monotonic", lambda: next(seconds))
    _run(tmp_path, 10_000, minutes=2.0, log_every=1)
    rates = [json.loads(line)["rate"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rates[1] < 0.5
    assert max(rates) > 0.95
    assert rates[-1] < 0.05


def test_a_signal_waits_for_the_step_and_the_checkpoint(tmp_path: Path) -> None:
    """Ctrl-C amid a step: what was computed is kept, and the run ends where an unbroken one does; twice, it stops."""
    whole = _run(tmp_path / "whole", 9)

    def interrupt(step: int) -> None:
        if step == 4:
            signal.raise_signal(signal.SIGINT)

    def insist(step: int) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "broken", 9, save_every=1e9, after=interrupt)
    assert read_state(tmp_path / "broken", "net")[1]["step"] == 5
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "broken", 9, save_every=1e9, after=insist)
    assert read_state(tmp_path / "broken", "net")[1]["step"] == 5
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = _run(tmp_path / "broken", 9)
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_weights_that_are_not_finite_are_not_kept(tmp_path: Path) -> None:
    """Neither in the network nor in its average: the checkpoint before them stays, and the run ends in one line."""
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, 9, stop=3)
    with pytest.raises(ConfigurationError, match="not finite any more"):
        _run(tmp_path, 9, spoil=5)
    assert read_state(tmp_path, "net")[1]["step"] == 5
    assert (tmp_path / "state.json").is_file()


def test_progress_tells_phase_time_and_checkpoint(tmp_path: Path) -> None:
    """Each word of it says which run it is, how long it takes still, and what a kill would leave."""
    said: list[Any] = []
    _run(tmp_path, 4, log_every=1, on_progress=said.append, name="mse (2 of 4)")
    assert [figures["step"] for figures in said] == [1, 2, 3, 4]
    assert {figures["phase"] for figures in said} == {"mse (2 of 4)"}
    assert [figures["checkpoint"] for figures in said] == [0, 1, 2, 3]
    assert said[0]["left"] > 0
    assert said[-1]["left"] == 0


def test_a_run_is_not_taken_up_with_another_stream(tmp_path: Path) -> None:
    """Random numbers of a GPU are others for the same seed; a run of theirs goes on with them only."""
    _run(tmp_path, 3, settings={"a": 1, "draws": "cuda"})
    with pytest.raises(ConfigurationError, match="those of cuda, not of cpu"):
        _run(tmp_path, 5, settings={"a": 1, "draws": "cpu"})
    assert [stream_of("cpu", "device"), stream_of("cuda:1", "cpu"), stream_of("cuda:1", "device")] == [
        "cpu",
        "cpu",
        "cuda",
    ]
    with pytest.raises(ConfigurationError, match="name cpu or device"):
        stream_of("cpu", "gpu")  # type: ignore[arg-type]
