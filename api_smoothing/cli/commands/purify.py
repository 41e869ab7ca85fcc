"""Purify one image: add noise of standard deviation σ, take it away with a denoiser, and write a PNG.

oneshot asks the denoiser once; ensemble averages what it makes of mirror images; multistep goes down the noise in
steps; vote takes several such paths, has the surrogate label them and keeps one with the label most of them got;
guided holds the path to the input (s) and to the surrogate's answer about it (λ). Nothing is sent anywhere. Purifying
is no certificate.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from api_smoothing.cli.json_output import print_json
from api_smoothing.cli.settings import add_setting_flags, resolve_settings
from api_smoothing.denoisers import samplers
from api_smoothing.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import Tensor

SUMMARY = "take noise and attacks out of an image"
SETTINGS: Final = ("sigma", "denoiser", "seed", "size", "device")

#: The flags each method takes, with their defaults. Here a surrogate counts the votes, not a provider.
METHODS: Final[dict[str, Mapping[str, Any]]] = {
    **samplers.METHODS,
    "vote": {**samplers.METHODS["vote"], "surrogate": "cifar10"},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="an image file")
    parser.add_argument(  # not "method": that is a setting, of certificates
        "--method", dest="how", choices=tuple(METHODS), default="oneshot", help="how (default: oneshot)"
    )
    parser.add_argument("--views", type=int, metavar="V", help="mirror images and turns (1 to 8, default: 4)")
    parser.add_argument("--steps", type=int, metavar="N", help="uses of the denoiser a path (default: 8)")
    parser.add_argument(
        "--eta", type=float, metavar="E", help="chance in a path: 1 is DDPM, 0 is DDIM (default: 1)"
    )
    parser.add_argument("--paths", type=int, metavar="K", help="paths that vote (default: 5)")
    parser.add_argument(
        "--guidance", type=float, metavar="s", help="hold on the input image (default: 40; for ssim try 2)"
    )
    parser.add_argument(
        "--weight", type=float, metavar="λ", help="hold on the surrogate's answer (default: 0)"
    )
    parser.add_argument(
        "--surrogate", metavar="NAME", help="cifar10, a torchvision model, or FOLDER/NAME (default: cifar10)"
    )
    parser.add_argument("--distance", choices=("mse", "ssim"), help="of images, for s (default: mse)")
    add_setting_flags(parser, SETTINGS)
    parser.add_argument(
        "--output", type=Path, metavar="OUT.png", help="the file to write (default: IMAGE-purified.png here)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, and nothing else")


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    options = _options(args)
    output = _output(args)
    settings = resolve_settings(args, SETTINGS)
    from time import perf_counter

    from api_smoothing import images
    from api_smoothing.cli.inputs import find_images
    from api_smoothing.cli.purifier import choose_denoiser, purifier, with_noise
    from api_smoothing.engine import parts

    parts.check(sigma=settings.sigma, alpha=0.001, method="auto", noise="gaussian", budget=None)
    (image, *more) = find_images([args.image])
    if more or image != args.image:
        raise ConfigurationError(f"{args.image} is a folder; purify takes one image")
    loaded = images.load(image, size=settings.size)
    denoiser = choose_denoiser(settings, loaded)
    purify = purifier(args.how, options, denoiser, parts.device(settings.device))
    clean, noisy = with_noise(loaded, settings)
    start = perf_counter()
    found, votes = purify(noisy, clean, settings.sigma)
    seconds = perf_counter() - start
    decibels = _write(output, found, clean)
    facts = {
        "image": image,
        "output": str(output),
        "method": args.how,
        **options,
        "sigma": settings.sigma,
        "denoiser": parts.denoiser_name(denoiser),
        "seed": "secret" if settings.seed is None else f"public:{settings.seed}",
        "height": loaded.size[0],
        "width": loaded.size[1],
        "psnr": decibels,
        "seconds": round(seconds, 3),
        **({} if votes is None else {"votes": votes}),
    }
    if args.json:
        print_json(facts)
    else:
        print(_describe(facts))
    return 0


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """The method's own flags, given or by default. Refuses those of other methods."""
    chosen = METHODS[args.how]
    for name in ("views", "steps", "eta", "paths", "guidance", "weight", "surrogate", "distance"):
        if getattr(args, name) is not None and name not in chosen:
            takers = " or ".join(method for method, flags in METHODS.items() if name in flags)
            raise ConfigurationError(f"--{name} goes with --method {takers}, not {args.how}")
    return {
        name: default if getattr(args, name) is None else getattr(args, name)
        for name, default in chosen.items()
    }


def _output(args: argparse.Namespace) -> Path:
    output: Path = args.output or Path(f"{Path(args.image).stem}-purified.png")
    if output.suffix.lower() != ".png":
        raise ConfigurationError(f"--output {output} must end in .png: other formats change the pixels")
    if output.resolve() == Path(args.image).resolve():
        raise ConfigurationError(f"--output {output} is the image itself; give another name")
    if not output.parent.is_dir():
        raise ConfigurationError(f"--output {output}: no such folder; make it first")
    return output


def _write(output: Path, found: Tensor, clean: Tensor) -> float | None:
    """Write the PNG; returns its PSNR to the input in dB, or None where they are equal."""
    from api_smoothing.denoisers.distances import psnr
    from api_smoothing.images import encode_png

    levels = found[0].float().clamp(0, 1).mul(255).round()
    output.write_bytes(encode_png(levels.byte().permute(1, 2, 0).cpu().contiguous().numpy(), level=6))
    decibels = psnr((levels / 255).cpu(), clean[0].cpu())
    return round(decibels, 2) if math.isfinite(decibels) else None


def _describe(facts: dict[str, Any]) -> str:
    lines = [
        f"{facts['image']} → {facts['output']} ({facts['height']}×{facts['width']})",
        f"  {facts['method']} at sigma {facts['sigma']:g} with {facts['denoiser']}, {facts['seconds']:.2f} s",
        f"  {'equal to' if facts['psnr'] is None else format(facts['psnr'], '.2f') + ' dB PSNR to'} the input",
    ]
    if "votes" in facts:
        counts = ", ".join(f"class {label}: {count}" for label, count in facts["votes"].items())
        lines.append(f"  votes of {facts['surrogate']}: {counts}")
    return "\n".join(lines)
