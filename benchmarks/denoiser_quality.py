"""The quality table of a denoiser's card: closeness, likeness, use and speed, at each σ the card serves.

    python benchmarks/denoiser_quality.py --denoiser unet-cifar10 --data DIR [--levels 0.12,0.25,0.5,1] [--write]

Figures are means over images held out for choosing: CIFAR-10's test images 500-999, or photographs 250-499; those
that results are reported on are not among them. One draw of noise an image. PSNR and SSIM are to the clean image, and
so is LPIPS, which is left out where the network it looks through is not in torch hub's cache. Accuracy is of
classifiers that are never surrogates. Speed is a ratio to DnCNN 17/64, in turns in this process.

DIR holds `cifar10/` or `photos/`, and `weights/`; for photographs also the loader `load.py`, which knows MobileNetV2.
--write puts the figures on the card beside a weights file that is named by its path; the weights stay as they are.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from cards import own_card, rewrite

from api_smoothing import denoisers
from api_smoothing.denoisers import Denoiser
from api_smoothing.errors import ApiSmoothError, ConfigurationError, MissingExtraError, WeightsError
from api_smoothing.training.held_out import HeldOut, cifar10, photographs
from api_smoothing.training.likeness import Likeness, lpips, psnr, ssim
from api_smoothing.training.measure import (
    LEVELS,
    Judges,
    beside_dncnn,
    clean_accuracy,
    find_judges,
    measure,
)

BATCH = {32: 64, 224: 8}  # images a call, when speed is measured


def images_for(denoiser: Denoiser, data: Path) -> HeldOut:
    """The held-out images of the side the denoiser is made for: photographs where it takes any."""
    sizes = denoiser.card.sizes
    return photographs(data / "photos") if not sizes or 224 in sizes else cifar10(data / "cifar10")


def judges_for(held: HeldOut, data: Path) -> Judges:
    """Who judges `held`; a judge that is not at hand is left out."""
    if held.side == 32:
        return find_judges([data / "weights"])
    spec = importlib.util.spec_from_file_location("reference_data", data / "load.py")
    if spec is None or spec.loader is None or not (data / "load.py").is_file():
        return {}
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        return {"mobilenet_v2": module.imagenet("mobilenet_v2")}
    except ImportError:
        raise MissingExtraError(
            "MobileNetV2 needs torchvision; run: pip install 'api-smooth[torchvision]'"
        ) from None


def levels_in(denoiser: Denoiser, wanted: list[float]) -> list[float]:
    """Those of `wanted` the denoiser serves. Raises ConfigurationError where there are none."""
    low, high = denoiser.card.sigma_range
    if unknown := [level for level in wanted if level not in LEVELS]:
        raise ConfigurationError(f"no σ {unknown[0]:g} in the table; choose from {LEVELS}")
    served = [level for level in wanted if low <= level <= high]
    if not served:
        raise ConfigurationError(f"{denoiser.card.id} serves σ from {low:g} to {high:g}, none of these")
    return served


def print_table(quality: Mapping[str, Mapping[str, float]], clean: Mapping[str, float]) -> None:
    names = list(dict.fromkeys(name for figures in quality.values() for name in figures))
    print("".join(f"{name:>{max(len(name), 8) + 2}}" for name in ["sigma", *names]))
    for sigma, figures in [("clean", clean), *quality.items()]:
        cells = [sigma, *(f"{figures[name]:g}" if name in figures else "" for name in names)]
        widths = (max(len(name), 8) + 2 for name in ["sigma", *names])
        print("".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)), flush=True)


def run(args: argparse.Namespace) -> None:
    file = own_card(args.denoiser) if args.write else None
    denoiser = denoisers.load(args.denoiser, dtype=args.dtype)
    levels = levels_in(denoiser, [float(level) for level in args.levels.split(",")])
    held = images_for(denoiser, args.data)
    likenesses: dict[str, Likeness] = {"psnr": psnr, "ssim": ssim}
    try:
        name, measured = lpips()
        likenesses[name] = measured
    except (MissingExtraError, WeightsError) as error:
        print(f"LPIPS is left out: {error}", file=sys.stderr)
    judges = judges_for(held, args.data)
    compute = getattr(denoiser, "compute", "") or "its own type"
    print(
        f"{denoiser.card.id} ({denoiser.card.sha256[:12]}) in {compute} on {held.name}, {len(held)} images",
        flush=True,
    )
    quality = measure(denoiser, held, judges, levels=levels, likenesses=likenesses)
    print_table(quality, clean_accuracy(held, judges))
    speed = beside_dncnn(denoiser, side=held.side, batch=BATCH[held.side], rounds=args.rounds)
    print(
        f"{speed['images_per_second']} images/s at {held.side}×{held.side}, {speed['times_dncnn']} times DnCNN 17/64's "
        f"({speed['dtype']}, {speed['threads']} threads, batches of {speed['batch']})"
    )
    if file is not None:
        rewrite(file, quality, speed=dict(speed))
        print(f"written to {file.with_suffix('.json')}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--denoiser", required=True, help="a name or a file, as `denoisers.load` takes them")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--levels", default=",".join(f"{level:g}" for level in LEVELS))
    parser.add_argument("--rounds", type=int, default=7, help="turns, when speed is measured")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dtype", default="auto", help="auto, fp32, bf16 or fp16")
    parser.add_argument("--write", action="store_true", help="put the figures on the card")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    try:
        run(args)
    except ApiSmoothError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
