"""Purify one image: add noise of standard deviation σ, take it away with a denoiser, and write a PNG.

oneshot asks the denoiser once; ensemble averages what it makes of mirror images; multistep goes down the noise in
steps; vote takes several such paths, has the surrogate label them and keeps one with the label most of them got;
guided holds the path to the input (s) and to the surrogate's answer about it (λ). Nothing is sent anywhere. Purifying
is no certificate.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from api_smoothing.cli.json_output import print_json
from api_smoothing.cli.refusals import refuse_unknown_denoiser
from api_smoothing.cli.settings import add_setting_flags, resolve_settings
from api_smoothing.errors import ConfigurationError
from api_smoothing.purification import METHODS, method_options
from api_smoothing.shown import shown

SUMMARY = "take noise and attacks out of an image"
EXAMPLE = "api-smooth purify cat.png --sigma 0.25 --output clean.png"
SETTINGS: Final = ("sigma", "denoiser", "seed", "size", "device")
OPTIONS: Final = ("views", "steps", "eta", "paths", "guidance", "weight", "surrogate", "distance")


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
    given = {name: getattr(args, name) for name in OPTIONS if getattr(args, name) is not None}
    method_options(args.how, given, spell="--{} ".format)
    output = _output(args)
    settings = resolve_settings(args, SETTINGS)
    if settings.denoiser is not None:
        refuse_unknown_denoiser(settings.denoiser)
    from api_smoothing.cli.inputs import find_images
    from api_smoothing.images import encode_png
    from api_smoothing.purification import purify_and_measure

    (image, *more) = find_images([args.image])
    if more or image != args.image:
        raise ConfigurationError(f"{args.image} is a folder; purify takes one image")
    done = purify_and_measure(
        image,
        denoiser=settings.denoiser,
        sigma=settings.sigma,
        method=args.how,
        seed=settings.seed,
        size=settings.size,
        device=settings.device,
        **given,
    )
    output.write_bytes(encode_png(done.pixels, level=6))
    facts = {
        "image": image,
        "output": str(output),
        "method": done.method,
        **done.options,
        "sigma": done.sigma,
        "denoiser": done.denoiser,
        "seed": "secret" if settings.seed is None else done.seed,
        "height": done.pixels.shape[0],
        "width": done.pixels.shape[1],
        "psnr": None if done.psnr is None else round(done.psnr, 2),
        "seconds": round(done.seconds, 3),
        **({} if done.votes is None else {"votes": done.votes}),
    }
    if args.json:
        print_json(facts)
    else:
        print(_describe(facts))
    return 0


def _output(args: argparse.Namespace) -> Path:
    output: Path = args.output or Path(f"{Path(args.image).stem}-purified.png")
    if output.suffix.lower() != ".png":
        raise ConfigurationError(f"--output {output} must end in .png: other formats change the pixels")
    if output.resolve() == Path(args.image).resolve():
        raise ConfigurationError(f"--output {output} is the image itself; give another name")
    if not output.parent.is_dir():
        raise ConfigurationError(f"--output {output}: no such folder; make it first")
    return output


def _describe(facts: dict[str, Any]) -> str:
    denoiser = shown(str(facts["denoiser"]))
    lines = [
        f"{shown(facts['image'])} → {shown(facts['output'])} ({facts['height']}×{facts['width']})",
        f"  {facts['method']} at sigma {facts['sigma']:g} with {denoiser}, {facts['seconds']:.2f} s",
        f"  {'equal to' if facts['psnr'] is None else format(facts['psnr'], '.2f') + ' dB PSNR to'} the input",
    ]
    if "votes" in facts:
        counts = ", ".join(f"class {label}: {count}" for label, count in facts["votes"].items())
        lines.append(f"  votes of {facts['surrogate']}: {counts}")
    return "\n".join(lines)
