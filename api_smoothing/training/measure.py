"""What goes on a denoiser's card: how close, how useful and how fast it is."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from api_smoothing.denoisers.base import Denoiser, DenoiserCard
from api_smoothing.denoisers.dncnn import DnCNN
from api_smoothing.denoisers.noise_blind import BlindDenoiser
from api_smoothing.errors import WeightsError
from api_smoothing.precision import compute_type
from api_smoothing.training.held_out import JUDGES, HeldOut, held_out
from api_smoothing.training.likeness import Likeness, psnr
from api_smoothing.training.loop import generator
from api_smoothing.training.losses import reduced
from api_smoothing.training.networks import estimate, multiple
from api_smoothing.training.objectives import add_noise, on_grid
from api_smoothing.training.surrogates import load_surrogate
from api_smoothing.training.target import TARGET

LEVELS = (0.12, 0.25, 0.5, 1.0)

Judge = Callable[[Tensor], Tensor]
Judges = Mapping[str, Judge]

_DIGITS = {"psnr": 2}  # of the figures that are written; 4 of the others


def quality(
    net: nn.Module,
    data: Path,
    folders: list[Path],
    *,
    levels: Sequence[float] = LEVELS,
    own: HeldOut | None = None,
    target: Judge | None = None,
) -> dict[str, dict[str, float]]:
    """PSNR in dB and accuracy of the judges at hand, for each σ of `levels`, on the held-out images in `data`.

    With a `target`, the only judge is this, and the figure its agreement with its own answers to the clean images.
    `net` runs in bfloat16 where a step of training does. {} where `data` has no held-out images, and there are no
    `own`, which go before. Photographs and own pictures have no other judge here.
    """
    held = own or held_out(data)
    if held is None:
        return {}
    net = net.to(memory_format=torch.channels_last).eval()

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        with reduced(x):
            return estimate(net, x, sigma)

    judges: Judges = find_judges(folders, held.judges) if held.side == 32 and held.questions else {}
    if target is not None:
        held, judges = answered(held, target), {TARGET: target}
    return measure(denoise, held, judges, levels=levels, likenesses={"psnr": psnr})


def find_judges(folders: list[Path], names: Sequence[str] = JUDGES) -> dict[str, nn.Module]:
    """Those of `names` that are at hand: bundled, or in one of `folders`."""
    judges = {}
    for name in names:
        with suppress(WeightsError, ImportError):
            judges[name] = load_surrogate(name, [] if name == "cifar10" else folders)
    return judges


@torch.no_grad()
def measure(
    denoise: Callable[[Tensor, Tensor], Tensor],
    held: HeldOut,
    judges: Judges,
    *,
    levels: Sequence[float],
    likenesses: Mapping[str, Likeness],
) -> dict[str, dict[str, float]]:
    """{σ: {figure: value}} of D(x, σ) for each σ of `levels`, which are among `LEVELS`.

    The figures are the mean over the images of each of `likenesses` to the clean image, and "accuracy_" (another
    `held.figure`: that) + judge + question: the share of the images whose label survives. One draw of noise an image,
    the same for every denoiser; the output is clipped and rounded to 8 bits, as whoever is asked gets it.
    """
    table = {}
    for level in levels:
        sums = dict.fromkeys(likenesses, 0.0)
        for k, rows in enumerate(_portions(held)):
            clean, sigma = held.floats(rows), torch.full((len(rows),), level)
            noisy = add_noise(clean, sigma, generator(0, 4, LEVELS.index(level), k))
            seen = on_grid(denoise(noisy, sigma))
            for name, likeness in likenesses.items():
                sums[name] += float(likeness(seen, clean).sum())
            for name, count in _right(judges, held, seen, rows).items():
                sums[name] = sums.get(name, 0) + count
        table[f"{level:g}"] = {
            name: round(total / len(held), _DIGITS.get(name, 4)) for name, total in sums.items()
        }
    return table


@torch.no_grad()
def clean_accuracy(held: HeldOut, judges: Judges) -> dict[str, float]:
    """The judges' accuracies on the images as they are: what no denoiser can be expected to beat."""
    sums: dict[str, int] = {}
    for rows in _portions(held):
        for name, count in _right(judges, held, held.floats(rows), rows).items():
            sums[name] = sums.get(name, 0) + count
    return {name: round(total / len(held), 4) for name, total in sums.items()}


@torch.no_grad()
def answered(held: HeldOut, judge: Judge) -> HeldOut:
    """The same images, labelled as `judge` labels them clean: does it go on saying so?"""
    said = []
    for rows in _portions(held):
        clean = held.floats(rows)
        with reduced(clean):
            said.append(judge(clean).argmax(1))
    return replace(held, labels=torch.cat(said), questions={"": None}, figure="agreement")


def _portions(held: HeldOut) -> tuple[Tensor, ...]:
    """Rows (n,) of one batch after the other; the noise depends on where they end."""
    return torch.split(torch.arange(len(held)), 100 if held.side <= 32 else 25)


def _right(judges: Judges, held: HeldOut, seen: Tensor, rows: Tensor) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, judge in judges.items():
        with reduced(seen):
            logits = judge(seen)
        found |= {f"{held.figure}_{name}{end}": n for end, n in held.right(logits, rows).items()}
    return found


@torch.no_grad()
def images_per_second(net: nn.Module, *, batch: int = 64, repeats: int = 8) -> dict[str, float]:
    """Best of `repeats` passes over a batch of images of the least side that fits, 32 or more, in bfloat16 here."""
    side = max(32, multiple(net))
    x, sigma = (
        torch.rand(batch, 3, side, side).contiguous(memory_format=torch.channels_last),
        torch.full((batch,), 0.25),
    )
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        with reduced(x):
            estimate(net, x, sigma)
        best = min(best, time.perf_counter() - start)
    speed = round(batch / best)
    return {"images_per_second": speed, "side": side, "batch": batch, "threads": torch.get_num_threads()}


def beside_dncnn(denoiser: Denoiser, *, side: int, batch: int, rounds: int = 7) -> dict[str, float | str]:
    """Images a second on this processor, and how many times a DnCNN's of 17 layers and 64 channels that is.

    The two take turns on the same batch of side×side images, computing in the same type: machines are noisy, so
    the ratio is the median of those of single rounds. The least σ of the card; speed does not depend on it.
    """
    compute = str(getattr(denoiser, "compute", "")) or compute_type("cpu", "auto")
    rival, sigma = _dncnn(compute), denoiser.card.sigma_range[0]
    x = torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(0))
    for each in (rival, denoiser):
        _seconds(each, x, sigma)
    times = [(_seconds(rival, x, sigma), _seconds(denoiser, x, sigma)) for _ in range(rounds)]
    return {
        "images_per_second": round(batch / statistics.median(ours for _, ours in times), 1),
        "times_dncnn": round(statistics.median(theirs / ours for theirs, ours in times), 2),
        "side": side,
        "batch": batch,
        "threads": torch.get_num_threads(),
        "dtype": compute,
    }


def _dncnn(compute: str) -> Denoiser:
    net = DnCNN(64, 17, norm=False)
    for p in (
        net.parameters()
    ):  # weights that keep the signal's scale: subnormal numbers would run at another speed
        nn.init.kaiming_normal_(p, nonlinearity="relu") if p.ndim == 4 else nn.init.constant_(p, 0.01)
    card = DenoiserCard(id="dncnn-17-64", sha256="0" * 64, sigma_range=(0.0, 10.0))
    return BlindDenoiser(net, card, compute=compute)


def _seconds(denoiser: Denoiser, x: Tensor, sigma: float) -> float:
    began = time.perf_counter()
    denoiser(x, sigma)
    return time.perf_counter() - began
