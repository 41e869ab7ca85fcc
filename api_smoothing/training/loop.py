"""The training loop: bfloat16 autocast, weight averaging, and checkpoints that survive `kill -9`.

Everything random in step k is a function of (seed, k), so a resumed run sees the same images, the same
augmentation and the same noise as one that was never stopped.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from api_smoothing.errors import ConfigurationError, WeightsError
from api_smoothing.training.journal import Journal
from api_smoothing.training.state import MANIFEST, read_whole, under, write_state
from api_smoothing.training.stopping import stop_between_steps

#: (step, its own random generator) → (mean loss over the batch, figures to log).
Loss = Callable[[int, torch.Generator], tuple[Tensor, Mapping[str, float]]]
Progress = Callable[[Mapping[str, Any]], None]

SILENCE: Final = 15.0  # seconds without a word, on a slow machine

#: Where what is random is drawn: on the CPU whatever the device, or on the device.
Draws = Literal["cpu", "device"]


def stream_of(device: str, draws: Draws) -> str:
    """The kind of device whose random numbers a run draws: "cpu", "cuda", …; each has its own stream for a seed."""
    if draws not in ("cpu", "device"):
        raise ConfigurationError(f"draws is {draws!r}; name cpu or device")
    return torch.device(device).type if draws == "device" else "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Learning-rate factor over the run: a linear rise from `start` to 1 at `peak`, then a fall to `end`."""

    start: float = 0.0
    peak: float = 0.05
    end: float = 0.0
    shape: Literal["linear", "cosine"] = "cosine"

    def __call__(self, progress: float) -> float:
        """The factor at `progress` in [0, 1]."""
        if progress < self.peak:
            return self.start + (1 - self.start) * progress / self.peak
        left = min((progress - self.peak) / (1 - self.peak), 1.0)
        fall = left if self.shape == "linear" else (1 - math.cos(math.pi * left)) / 2
        return 1 + (self.end - 1) * fall


class Average:
    """An exponential moving average of a network's parameters and buffers.

    With `pull`, the network itself is set to the average after each update and the decay grows with the
    cube of the progress (lookahead, Zhang et al. 2019, in the form of Jordan 2024); without, the decay
    warms up from 0.1 (so that the start is forgotten) and the network is left alone.
    """

    def __init__(self, net: nn.Module, *, decay: float, every: int = 1, pull: bool = False) -> None:
        self.net, self.decay, self.every, self.pull = net, decay, every, pull
        self.state = {k: v.detach().clone() for k, v in net.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int, progress: float) -> None:
        """Take in the network after step `step` (counted from 0)."""
        if (step + 1) % self.every:
            return
        n = (step + 1) // self.every
        decay = self.decay * progress**3 if self.pull else min(self.decay, (1 + n) / (10 + n))
        for name, value in self.net.state_dict().items():
            mean = self.state[name]
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
                if self.pull:
                    value.copy_(mean)
            else:
                mean.copy_(value)


def generator(seed: int, *path: int, device: str = "cpu") -> torch.Generator:
    """A generator on `device` that depends on (seed, path) alone: SplitMix64 over the numbers.

    What it draws is another stream on another kind of device.
    """
    state = seed & (2**64 - 1)
    for part in (0, *path):
        state = (state + 0x9E3779B97F4A7C15 * (part + 1)) & (2**64 - 1)
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        state ^= state >> 31
    return torch.Generator(device).manual_seed(state >> 1)


@dataclass(slots=True)
class Order:
    """Which rows of a data set each step sees: one permutation an epoch, the last short batch dropped."""

    size: int
    batch: int
    seed: int
    _epoch: int = -1
    _rows: Tensor | None = None

    def __post_init__(self) -> None:
        if self.size < self.batch:
            raise ConfigurationError(
                f"{self.size} images do not fill one batch of {self.batch}; give more images, or a smaller batch"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass."""
        return self.size // self.batch

    def rows(self, step: int) -> tuple[int, Tensor]:
        """(epoch, row numbers) of step `step`."""
        epoch, k = divmod(step, self.steps_per_epoch)
        if self._rows is None or epoch != self._epoch:
            self._epoch, self._rows = (
                epoch,
                torch.randperm(self.size, generator=generator(self.seed, 1, epoch)),
            )
        return epoch, self._rows[k * self.batch : (k + 1) * self.batch]


def _write(
    folder: Path, net: nn.Module, average: Average, optimizer: torch.optim.Optimizer, meta: dict[str, Any]
) -> None:
    tensors = {f"net.{k}": v for k, v in net.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state.items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": v for k, v in slots.items() if isinstance(v, Tensor)}
    write_state(folder, tensors, meta)


def _restore(
    folder: Path, meta: Mapping[str, Any], net: nn.Module, average: Average, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Go on from the state in `folder`, of a run of the same settings as `meta`; returns what it wrote of itself."""
    tensors, found = read_whole(folder)
    drawn, here = (m["settings"].get("draws", "cpu") for m in (found, meta))
    if drawn != here:
        raise ConfigurationError(
            f"{folder} holds a run whose random numbers are those of {drawn}, not of {here}; go on as it began, or "
            "give a fresh --out or --no-resume"
        )
    if any(found[key] != meta[key] for key in ("settings", "seed")):
        raise ConfigurationError(
            f"{folder} holds a run with other settings, images or weights; delete it, or give a fresh --out "
            "or --no-resume"
        )
    try:
        net.load_state_dict(under(tensors, "net"))
    except RuntimeError as error:
        raise WeightsError(f"{folder} is of another network; give a fresh --out, or --no-resume") from error
    for name, value in under(tensors, "average").items():
        average.state[name].copy_(value)
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in under(tensors, "optimizer").items():
        index, name = key.split(".", 1)
        slots.setdefault(int(index), {})[name] = value
    whole = optimizer.state_dict()
    whole["state"] = slots
    optimizer.load_state_dict(whole)
    return found


def fit(
    net: nn.Module,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    *,
    steps: int,
    schedule: Schedule,
    average: Average,
    folder: Path,
    settings: Mapping[str, Any],
    seed: int = 0,
    minutes: float | None = None,
    resume: bool = True,
    clip: float | None = None,
    save_every: float = 60.0,
    log_every: int = 50,
    on_progress: Progress | None = None,
    after: Callable[[int], None] | None = None,
    name: str = "training",
    draws: str = "cpu",
) -> dict[str, Any]:
    """Train `net` in place; afterwards `average.state` holds the weights to ship.

    Stops after `steps` steps or, where `minutes` is given, when that much time is spent, whichever is
    first; the schedule follows the nearer of the two ends, so a run cut by the clock still anneals. The first step,
    which may compile or read files for long, counts for the end and not for the schedule.
    `folder` receives the state (`state.write_state`, at most `save_every` seconds old) and a `Journal`. A run whose
    `settings` differ from the state's is refused with ConfigurationError. A signal to stop waits for the step to end
    and for the state to be kept. `on_progress` gets the figures with the `name` of the run, the seconds that are left
    and the step of the last checkpoint; `after(step)` runs after each step. Returns what is known about the run:
    step, seconds, last figures. Weights, averages or losses that are not finite are a ConfigurationError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    meta: dict[str, Any] = {
        "step": 0,
        "seconds": 0.0,
        "seed": seed,
        "settings": json.loads(json.dumps(settings)),
    }
    bases = [group["lr"] for group in optimizer.param_groups]
    if resume and (folder / MANIFEST).is_file():
        meta = _restore(folder, meta, net, average, optimizer)
    start, before, first = time.monotonic(), float(meta["seconds"]), int(meta["step"])
    saved, told, figures = start, start, dict[str, Any](meta.get("figures", {}))
    kept, slow = first, 0.0
    limit = math.inf if minutes is None else max(minutes * 60, 1e-9)
    net.train()
    step = first
    with Journal(folder, step) as journal, stop_between_steps() as stop:
        while step < steps:
            spent = before + time.monotonic() - start
            if spent >= limit:
                break
            progress = max(step / steps, (spent - slow) / (limit - slow))
            rate = schedule(progress)
            for group, base in zip(optimizer.param_groups, bases, strict=True):
                group["lr"] = base * rate
            value, more = loss(step, generator(seed, 2, step, device=draws))
            optimizer.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            if clip is not None:
                nn.utils.clip_grad_norm_(net.parameters(), clip)
            optimizer.step()
            average.update(step, progress)
            if after is not None:
                after(step)
            step += 1
            now = time.monotonic()
            if step == first + 1:
                slow = min(now - start, limit / 2)
            if step % log_every == 0 or step in (first + 1, steps) or now - told > SILENCE:
                told, seconds = now, before + now - start
                figures = {
                    "step": step,
                    "of": steps,
                    "seconds": round(seconds, 1),
                    "rate": round(rate, 4),
                    "loss": float(value.detach()),
                    **more,
                }
                journal.write(figures)
                if not math.isfinite(figures["loss"]):
                    raise ConfigurationError(
                        f"the loss is {figures['loss']} at step {step}; lower the learning rate"
                    )
                if on_progress is not None:
                    left = min((steps - step) * (now - start) / (step - first), limit - seconds)
                    on_progress({"phase": name, **figures, "left": max(left, 0.0), "checkpoint": kept})
            if stop.asked or now - saved > save_every:
                saved, kept = now, step
                meta |= {"step": step, "seconds": before + saved - start, "figures": figures}
                _write(folder, net, average, optimizer, meta)
            stop.heed()
    meta |= {"step": step, "seconds": before + time.monotonic() - start, "figures": figures, "done": True}
    _write(folder, net, average, optimizer, meta)
    return meta
