"""What goes on a denoiser's card: how close, how useful and how fast it is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from api_smoothing.errors import ConfigurationError, WeightsError
from api_smoothing.training.data import load_images
from api_smoothing.training.loop import generator
from api_smoothing.training.networks import estimate
from api_smoothing.training.objectives import add_noise, on_grid
from api_smoothing.training.surrogates import load_surrogate

LEVELS = (0.12, 0.25, 0.5, 1.0)

#: Classifiers that judge a denoiser; neither is ever a surrogate.
JUDGES = ("cifar10", "resnet56")


@torch.no_grad()
def quality(
    net: nn.Module, data: Path, folders: list[Path], *, levels: Sequence[float] = LEVELS
) -> dict[str, dict[str, float]]:
    """PSNR in dB and single-draw accuracy of the judges at hand, on test images 500 to 999, for each σ of `levels`.

    One draw of noise an image, in bfloat16; the output clipped and rounded to 8 bits, as the judge gets it.
    The PSNR is the mean over the images. {} without so many test images.
    """
    try:
        test = load_images(data, "test")
    except ConfigurationError:
        return {}
    rows = torch.arange(500, min(1000, len(test)))
    if not len(rows):
        return {}
    judges: dict[str, nn.Module] = {}
    for name in JUDGES:
        with suppress(WeightsError):  # a judge that is not at hand is left out of the card
            judges[name] = load_surrogate(name, folders)
    net = net.to(memory_format=torch.channels_last).eval()
    table: dict[str, dict[str, float]] = {}
    for level in levels:
        decibels, right = 0.0, dict.fromkeys(judges, 0)
        for k, part in enumerate(torch.split(rows, 100)):
            clean, sigma = test.floats(part), torch.full((len(part),), level)
            noisy = add_noise(clean, sigma, generator(0, 4, LEVELS.index(level), k))
            with torch.autocast("cpu", torch.bfloat16):
                seen = on_grid(estimate(net, noisy, sigma))
                for name, judge in judges.items():
                    if test.labels is not None:
                        right[name] += int((judge(seen).argmax(1) == test.labels[part]).sum())
            decibels -= 10 * float((seen - clean).square().mean((1, 2, 3)).log10().sum())
        shares = {f"accuracy_{name}": n / len(rows) for name, n in right.items()}
        table[f"{level:g}"] = {"psnr": round(decibels / len(rows), 2), **shares}
    return table


@torch.no_grad()
def images_per_second(net: nn.Module, *, batch: int = 64, repeats: int = 8) -> dict[str, float]:
    """Best of `repeats` passes over a batch of 32×32 images on this processor, in bfloat16."""
    x, sigma = (
        torch.rand(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last),
        torch.full((batch,), 0.25),
    )
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16):
            estimate(net, x, sigma)
        best = min(best, time.perf_counter() - start)
    return {"images_per_second": round(batch / best), "batch": batch, "threads": torch.get_num_threads()}
