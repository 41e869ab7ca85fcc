"""The tables of "Denoised Smoothing" (Salman et al. 2020) repeated with this package, ours beside the published.

    python examples/reproduce_denoised_smoothing.py --data DIR --out OUT [--quick] [--pages accuracy,objectives]

DIR holds `cifar10/` (sheets of images) and `weights/` (ResNet-20, -32, -44 and -56), for the page services also
`photos/`. Every cell of a table is a file in OUT/cells: a run that is killed goes on where it was, and other sizes are
other cells. The sizes are those of the paper; smaller ones are options, and each page names those that were used.

accuracy       certified accuracy against radius at four σ: no denoiser, closeness, surrogates, the target itself
objectives     small denoisers trained for closeness, stability, stability after closeness, classification
surrogates     one surrogate against several, and one that is no ResNet
architectures  U-Net, DnCNN, wide DnCNN and MemNet, trained for closeness
services       the four services' sandboxes at the paper's 120 queries an image: queries and dollars at equal decisions
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from reproduce import asking, inputs, options, plots, trained
from reproduce.cells import Cells
from reproduce.certified import (
    ALPHA,
    LEVELS,
    RADII,
    TARGET,
    Method,
    at_radii,
    certified,
    line_of,
    most,
    single_draws,
)
from reproduce.pages import NOT_RUN, Page, per_cent, published, table

from api_smoothing import denoisers
from api_smoothing.errors import MissingExtraError

PAPER = "denoised-smoothing"
PUBLISHED = tomllib.loads(
    (Path(inputs.__file__).parent / "denoised_smoothing.toml").read_text(encoding="utf-8")
)
AT_RADII = [f"r = {radius:g}" for radius in RADII]

#: Option: the published size, that of --quick, what it is.
SIZES: options.Sizes = {
    "images": (500, 2, "CIFAR-10's test images from the first on"),
    "n": (10_000, 20, "answers an image, α = 0.001"),
    "sigmas": ((0.12, 0.25, 0.5, 1.0), (0.25,), "noise of the page accuracy"),
    "small-sigmas": ((0.12, 0.25, 0.5, 1.0), (0.25,), "noise at which small denoisers are certified"),
    "train-images": (50_000, 16, "CIFAR-10's training images from the first on"),
    "draws": (500, 4, "test images of which single draws of noise are read"),
    "batch": (64, 4, "images a step of training"),
    "steps": (5_000, 2, "steps for closeness, from nothing"),
    "more-steps": (
        2_000,
        2,
        "steps for what a row names, after those for closeness; from nothing twice as many",
    ),
    "tune-steps": (500, 2, "steps for the target, after unet-cifar10; 0: without"),
    "slow-steps": (5_000, 2, "steps of DnCNN, wide DnCNN, MemNet and their U-Net"),
    "channels": ((64, 128, 256), (8, 8), "channels of the small U-Net"),
    "width": (64, 4, "channels of DnCNN and MemNet; the wide DnCNN has twice as many"),
    "depth": (17, 3, "layers of DnCNN"),
    "blocks": (6, 1, "blocks of MemNet, and units in each"),
    "photographs": (100, 1, "photographs asked of each service"),
    "side": (224, 32, "side they are brought to"),
    "services": (("azure", "google", "clarifai", "aws"), ("google",), "services whose sandboxes are asked"),
}


def accuracy(args: argparse.Namespace, cells: Cells) -> Page:
    """Certified accuracy against radius at each σ, by what the denoiser knew of the target."""
    tuned = trained.full_access(args)
    full = tuned.methods(args, cells) if args.tune_steps else []
    methods = [
        Method(row="no denoiser", denoiser=None, name="none"),
        Method(row="closeness alone (`unet-cifar10-mse`)", denoiser="unet-cifar10-mse", name="mse"),
        Method(
            row="query access (`unet-cifar10`, five surrogates)", denoiser="unet-cifar10", name="surrogates"
        ),
        *full,
    ]
    rows, panels = [], []
    for sigma in args.sigmas:
        runs = [(method.row, certified(args, cells, method, sigma)) for method in methods]
        rows += [[f"{sigma:g}", row, *at_radii(run)] for row, run in runs]
        drawn = [line_of(row, run) for row, run in runs if run is not None]
        panels.append((f"σ = {sigma:g}", [*drawn, marks()]))
    left = [f"{sigma:g}" for sigma in SIZES["sigmas"][0] if sigma not in args.sigmas]
    return Page(
        name="accuracy",
        title="Certified accuracy against radius",
        about=f"CIFAR-10's test images 0–{args.images - 1}, ResNet-56, n = {args.n:,}, α = {ALPHA:g}: per cent "
        "certified with the true class (exact 95 % interval).",
        tables=[
            table(["σ", "denoiser", *AT_RADII], rows),
            "The bundled ones on test images 0–499 by the sequential rule, from the cards beside their "
            "weights (in brackets the cap on the answers):",
            table(["σ", "denoiser", *AT_RADII], carded()),
            "Published:",
            table(["", *AT_RADII], [theirs(one) for one in PUBLISHED["accuracy"]]),
        ],
        differs=[
            *ours(args),
            *(
                [f"full access: {args.tune_steps:,} steps of {args.batch} images for the target"]
                if full
                else []
            ),
        ],
        missing=[
            *([] if full else list(tuned.rows.values())),
            *([f"σ = {', '.join(left)} in the first table"] if left else []),
            "a noise-trained classifier (Cohen et al. 2019): no weights of one here",
            "ImageNet; what photographs certify is told in docs/denoisers.md",
        ],
        picture=plots.lines(panels, x="ℓ2 radius", y="certified accuracy, %"),
        caption="Certified accuracy against radius at each σ; crosses are published",
    )


def ours(args: argparse.Namespace) -> list[str]:
    """What differs from the paper on every page of certified accuracy."""
    return [
        f"{args.images} test images (the paper: 500) and n = {args.n:,} (the paper: 10,000), so that at most "
        f"{most(1.0, args.n):.2f} σ can be shown",
        "all n answers choose the class and bound it (the paper: 100 others choose)",
        "the target is ResNet-56 (the paper: ResNet-110)",
        "each row is one σ (the published rows take the best σ at each radius)",
    ]


def theirs(one: Mapping[str, Any]) -> list[str]:
    """A published row."""
    at = one["at"]
    return [f"*{one['row']}*", *(published(at[key]) if (key := f"{r:g}") in at else "" for r in RADII)]


def marks() -> plots.Line:
    """The paper's own rows of CIFAR-10, as marks."""
    ends = [(float(radius), y) for one in PUBLISHED["accuracy"][:3] for radius, y in one["at"].items()]
    x, y = zip(*ends, strict=True)
    return plots.Line(name="published (query, full access, noise-trained)", x=x, y=y, published=True)


def carded() -> list[list[str]]:
    """What stands on the cards of the bundled denoisers."""
    rows = []
    for name in ("unet-cifar10-mse", "unet-cifar10"):
        card = (denoisers.registry.WEIGHTS / f"{name}.json").read_text(encoding="utf-8")
        for sigma, at in json.loads(card)["quality"].items():
            ends = [f"{TARGET}_at_{radius:g}" for radius in RADII]
            told = [(at.get(f"certified_{end}"), at.get(f"cap_{end}")) for end in ends]
            if any(share is not None for share, _ in told):
                found = ["" if share is None else f"{100 * share:.1f} ({cap:,})" for share, cap in told]
                rows.append([sigma, f"`{name}`", *found])
    return rows


def objectives(args: argparse.Namespace, cells: Cells) -> Page:
    """What a denoiser is trained for."""
    return compared(
        args,
        cells,
        trained.small(args),
        ["small-mse", "stability-alone", "small-many", "class-alone", "small-class", "small-full"],
        name="objectives",
        title="Objective: closeness, stability, classification",
        about="Small denoisers that differ in what they were trained for.",
        differs=training(args),
    )


def surrogates(args: argparse.Namespace, cells: Cells) -> Page:
    """Whose answers a denoiser is trained to keep."""
    return compared(
        args,
        cells,
        trained.small(args)[:1],
        ["small-mse", "small-one", "small-other", "small-many"],
        name="surrogates",
        title="One surrogate against several",
        about="Small denoisers trained for stability after closeness, that differ in whose answers they "
        "learnt to keep.",
        differs=training(args),
    )


def architectures(args: argparse.Namespace, cells: Cells) -> Page:
    """Which network denoises."""
    found = trained.architectures(args)
    return compared(
        argparse.Namespace(**{**vars(args), "small_sigmas": (0.25,)}),
        cells,
        found,
        [name for one in found for name in one.rows],
        name="architectures",
        title="Architecture: U-Net, DnCNN, wide DnCNN, MemNet",
        about=f"Each trained for closeness at σ = 0.25 alone, {args.slow_steps:,} steps of {args.batch} images.",
        differs=[
            f"{args.train_images:,} images, {args.slow_steps:,} steps (the paper: 90 epochs, 35,100 steps of 128)"
        ],
    )


def training(args: argparse.Namespace) -> list[str]:
    """How small the small trainings are."""
    channels = "/".join(map(str, args.channels))
    return [
        f"one U-Net of {channels} channels told σ (the paper: a DnCNN for each σ), trained on "
        f"{args.train_images:,} images in {args.steps:,} steps of {args.batch} for closeness and "
        f"{args.more_steps:,} more for what the row names, from nothing in {2 * args.more_steps:,} (the paper: "
        "90 epochs, 35,100 steps of 128)",
        "four surrogates, of which three are ResNets like the target (the paper: fourteen)",
    ]


def compared(
    args: argparse.Namespace,
    cells: Cells,
    trainings: Sequence[trained.Training],
    names: Sequence[str],
    *,
    name: str,
    title: str,
    about: str,
    differs: Sequence[str],
) -> Page:
    """Those of the denoisers trained here that are named, beside one another: single draws, and certified."""
    there = {method.name: method for one in trainings for method in one.methods(args, cells)}
    methods = [there[one] for one in names if one in there]
    drawn = [[method.row, *single_draws(args, cells, method)] for method in methods]
    rows, panels = [], []
    for sigma in args.small_sigmas:
        runs = [(method.row, certified(args, cells, method, sigma)) for method in methods]
        rows += [[f"{sigma:g}", row, *at_radii(run)] for row, run in runs]
        panels.append((f"σ = {sigma:g}", [line_of(row, run) for row, run in runs if run is not None]))
    words = {key: row for one in trainings for key, row in one.rows.items()}
    return Page(
        name=name,
        title=title,
        about=f"{about} Certified on CIFAR-10's test images 0–{args.images - 1}, ResNet-56, n = {args.n:,}, α "
        f"= {ALPHA:g}, in per cent (exact 95 % interval).",
        tables=[
            table(["σ", "trained for", *AT_RADII], rows),
            f"One draw of noise an image on test images 0–{args.draws - 1}: per cent that ResNet-56 reads "
            "truly, without vote or certificate, and closeness to the clean image:",
            table(["trained for", *(f"σ = {level:g}" for level in LEVELS)], drawn),
        ],
        differs=[*ours(args), *differs],
        missing=[words[one] for one in names if one not in there],
        picture=plots.lines(panels, x="ℓ2 radius", y="certified accuracy, %"),
    )


def services(args: argparse.Namespace, cells: Cells) -> Page:
    """The four services' sandboxes: queries and dollars at equal decisions, at the paper's sizes."""
    rows, missing, drawn = [], [], []
    for setting in PUBLISHED["services"]:
        at = setting["sigma"], setting["radius"]
        for service in args.services:
            told = {"images": args.photographs, "side": args.side, "seed": args.seed, "at": list(at)}
            try:
                ask = partial(asking.decided, args, service, *at, ALPHA)
                found = cells.get(f"{service}-{at[0]:g}", told, ask)
            except MissingExtraError as error:
                missing.append(f"{service} ({error})")
                continue
            head, last = [f"{at[0]:g}", f"{at[1]:g}", service], published(setting["at"][service])
            if found is None:
                rows.append([*head, *[NOT_RUN] * 5, last])
                continue
            n, rules = found["images"], [found["fixed"], found["sequential"]]
            each = [
                (per_cent(one["certified"], n), f"{one['queries']:,} ($ {one['usd']:.2f})") for one in rules
            ]
            rows.append([*head, *each[0], *each[1], f"{found['same']} of {n}", last])
            drawn.append((f"{service}, σ = {at[0]:g}", [one["queries"] / n for one in rules]))
    return Page(
        name="services",
        title="Four services, 120 queries an image",
        about=f"{args.photographs} of Imagenette's validation photographs at {args.side} pixels through the "
        "services' own SDKs to the sandboxes on this machine; truth is the service's own answer to the clean "
        f"image, α = {ALPHA:g}. The paper's protocol (20 queries choose, 100 bound) beside the sequential rule "
        "with the same cap. What compares is queries and dollars at equal decisions; the last column is of "
        "the real services in 2020, with other images, and says nothing beside ours.",
        tables=[
            table(
                [
                    *("σ", "r", "service", "fixed: certified, %", "queries (list price)"),
                    *("sequential: certified, %", "queries (list price)", "same decision", "published share"),
                ],
                rows,
            )
        ],
        differs=[
            "sandboxes with a small classifier of Imagenette's ten classes, not the services",
            f"{args.photographs} photographs (the paper: 100) at {args.side} pixels (the paper: 224)",
            "one denoiser, `unet-natural` (the paper: the best of several for each service)",
        ],
        missing=missing,
        picture=plots.bars(
            [name for name, _ in drawn],
            [
                (word, [values[k] for _, values in drawn])
                for k, word in enumerate(("20 + 100 queries, fixed", "sequential, at most 120"))
            ],
            x="queries an image",
            top=None,
        ),
    )


PAGES = (accuracy, objectives, surrogates, architectures, services)


if __name__ == "__main__":
    raise SystemExit(
        options.run(
            __doc__,
            SIZES,
            {make.__name__: make for make in PAGES},
            paper=PAPER,
            title="Denoised smoothing, repeated",
            lead="Salman, Sun, Yang, Kapoor and Kolter: *Denoised Smoothing: A Provable Defense for "
            "Pretrained Classifiers*, NeurIPS 2020. Figures in italics are published; every other one was "
            "measured by `python examples/reproduce_denoised_smoothing.py`, on the sizes that its table names.",
        )
    )
