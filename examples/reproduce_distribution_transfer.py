"""The tables and figures of the distribution-transfer paper repeated with this package, ours beside the published.

    python examples/reproduce_distribution_transfer.py --data DIR --out OUT [--quick]
        [--pages attacked,corrupted-cifar10]

DIR holds `cifar10/` and `weights/`, for photographs also `photos/`. Every page is made of CIFAR-10 and, with the
denoisers for photographs, of Imagenette at 224 pixels, which stands in for ImageNet30. Each cell of a table is in
OUT/cells, and so is each answer of a comparison: a run that is killed goes on where it was. The sizes are those of the
paper; smaller ones are options, and each page names those that were used.

attacked    table 1: clean, ℓ∞ 8/255 and ℓ2 128/255 by PGD that knows the classifier
adaptive    table 2: PGD that knows the defence, too
corrupted   table 3: fifteen corruptions at five severities, with and without the defence
budget      accuracy against the size of the perturbation, 0 to 80/255
steps       accuracy against the forward steps, by three readings of the paper's 470
losses      mean loss on clean, corrupted and attacked images, before and behind a defence (equations 2 and 3)
likeness    SSIM, PSNR and LPIPS of what is attacked and what is purified
pictures    original, attacked, purified, and the differences
plane       accuracy, robustness and generalisation in one plot
"""

from __future__ import annotations

import argparse
import statistics
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reproduce import inputs, options, plots
from reproduce.cells import Cells
from reproduce.comparing import Found, by_corruption, defence_of, measured, right, value
from reproduce.comparing import corrupted as corruption
from reproduce.pages import NOT_RUN, Page, plain, published, table
from reproduce.places import BARE, SETS, Place, is_trained
from torch import Tensor

from api_smoothing.attacks import PGD
from api_smoothing.corruptions import NAMES
from api_smoothing.defences.base import purified
from api_smoothing.denoisers import schedule
from api_smoothing.errors import MissingExtraError, WeightsError
from api_smoothing.training.likeness import Likeness, lpips, psnr, ssim

PAPER = "distribution-transfer"
PUBLISHED = tomllib.loads(
    (Path(inputs.__file__).parent / "distribution_transfer.toml").read_text(encoding="utf-8")
)
LINF, L2 = "pgd-linf-8/255", "pgd-l2-128/255"
FORWARD = 470
NO_NUMBERS = "the paper's figure has no numbers to stand beside"

#: Option: the published size, that of --quick, what it is.
SIZES: options.Sizes = {
    "images": (1_000, 2, "CIFAR-10's test images, from the first on"),
    "photographs": (250, 1, "Imagenette's validation photographs, from the first on"),
    "side": (224, 64, "side the photographs are brought to"),
    "attack-steps": (40, 1, "steps of PGD on the classifier"),
    "adaptive-images": (50, 1, "images of the page adaptive"),
    "adaptive-steps": (40, 1, "steps of PGD on classifier and defence"),
    "draws": (4, 1, "draws of the defence's noise a step of it"),
    "corrupted-images": (1_000, 1, "images of the page corrupted"),
    "severities": ((1, 2, 3, 4, 5), (3,), "of the corruptions"),
    "corruptions": (NAMES, ("fog", "jpeg_compression"), "which"),
    "budgets": ((1, 2, 4, 8, 16, 32, 48, 64, 80), (8,), "sizes of the perturbation in 255ths, ℓ∞"),
    "forward": ((50, 100, 200, 300, 400, FORWARD, 600, 800, 999), (FORWARD,), "forward steps"),
    "victims": (
        ("resnet56", "resnet44", "resnet20", "resnet20-at"),
        ("resnet20", "resnet20-at"),
        "classifiers of CIFAR-10",
    ),
    "photographic-victims": (
        ("mobilenet_v2", "squeezenet1_0", "mobilenet_v1_100_224"),
        ("mobilenet_v2",),
        "classifiers of photographs",
    ),
    "at-images": (50_000, 8, "training images of the adversarially trained ResNet-20"),
    "at-steps": (20_000, 1, "its steps"),
    "at-inner": (7, 1, "steps of PGD in each of them"),
    "at-batch": (128, 4, "images a step"),
}


def attacked(args: argparse.Namespace, cells: Cells, place: Place) -> Page:
    """Table 1."""
    rows, drawn = [], []
    for victim in place.victims:
        shown = place.before(victim)
        made = measured(args, cells, place, victim, (BARE, LINF, L2), shown, images=place.images)
        for defence in shown:
            cell = [one.get(defence) for one in made]
            rows.append([victim, place.row(victim, defence), *map(right, cell)])
            drawn.append((plain(f"{victim}: {place.row(victim, defence)}"), [*map(value, cell)]))
    heads = ["clean", "ℓ∞ 8/255", "ℓ2 128/255"]
    return Page(
        name=f"attacked-{place.name}",
        title=f"Table 1: attacks that know the classifier ({place.title})",
        about=f"{place.title}, images 0–{place.images - 1}, PGD of {args.attack_steps} steps with "
        "cross-entropy and margin: per cent right (exact 95 % interval).",
        tables=[table(["classifier", "defence", *heads], rows), *theirs_attacked(place, heads)],
        differs=[
            f"{place.images} images, PGD of {args.attack_steps} steps (the paper: 40), rounded to 8 bits",
            *trained(args, place),
            *place.differs,
        ],
        missing=place.missing,
        picture=plots.bars([name for name, _ in drawn], columns(heads, drawn), x="right, %"),
    )


def theirs_attacked(place: Place, heads: Sequence[str]) -> list[str]:
    """What table 1 and the abstract print."""
    abstract = "The abstract gives *83.5* (ℓ∞) and *82.5* (ℓ2) on ImageNet30, above every figure of table 2."
    if place.name != "cifar10":
        return [f"Published: table 1 has CIFAR-10 alone. {abstract}"]
    rows = [
        [
            f"*{one['row']}*",
            *(published(x) for k in ("resnet18", "wrn") for x in one.get(k, ["–"] * 3)),
        ]
        for one in PUBLISHED["attacked"]
    ]
    names = [f"{victim}, {head}" for victim in ("ResNet-18", "WRN-28-10") for head in heads]
    return [
        "Published, CIFAR-10:",
        table(["method", *names], rows),
        "As printed: in three rows ℓ2 leaves more than clean, and on WRN-28-10 the method is behind AT. "
        + abstract,
    ]


def trained(args: argparse.Namespace, place: Place) -> list[str]:
    """How the adversarially trained classifier was made."""
    if not place.has_trained:
        return []
    return [
        f"AT: ResNet-20 tuned from pretrained weights in {args.at_steps:,} steps of {args.at_batch} on "
        f"{args.at_images:,} images, PGD of {args.at_inner} steps within (usual: some 200 epochs, 7 or 10 "
        "steps)"
    ]


def columns(
    heads: Sequence[str], rows: Sequence[tuple[str, Sequence[float | None]]]
) -> list[tuple[str, list[float | None]]]:
    """A series of bars for each head, from (name, a value a head) a row."""
    return [(head, [values[k] for _, values in rows]) for k, head in enumerate(heads)]


def adaptive(args: argparse.Namespace, cells: Cells, place: Place) -> Page:
    """Table 2."""
    count, rows, drawn = min(args.adaptive_images, place.images), [], []
    for victim in [one for one in place.victims if not is_trained(one)]:
        for defence in (BARE, "denoised", place.method):
            (bare,) = measured(args, cells, place, victim, [BARE], [defence], images=count)
            (known,) = measured(args, cells, place, victim, [LINF], [defence], images=count, adaptive=True)
            pair = [bare.get(defence), known.get(defence)]
            rows.append([victim, place.defences[defence], *map(right, pair)])
            drawn.append((plain(f"{victim}: {place.defences[defence]}"), [*map(value, pair)]))
    theirs = [
        [f"*{one['row']}*", *(published(x) for k in ("cifar10", "imagenet30") for x in one.get(k, ["–"] * 2))]
        for one in PUBLISHED["adaptive"]
    ]
    return Page(
        name=f"adaptive-{place.name}",
        title=f"Table 2: attacks that know the defence ({place.title})",
        about=f"{place.title}, images 0–{count - 1}, PGD in the ℓ∞ ball of 8/255 on classifier and defence "
        f"together, {args.adaptive_steps} steps, {args.draws} draws of the noise a step: per cent right (exact "
        "95 % interval). Gradients go through every step of a defence.",
        tables=[
            table(["classifier", "defence", "clean", "attacked"], rows),
            "Published:",
            table(["victim", "CIFAR-10, clean", "attacked", "ImageNet30, clean", "attacked"], theirs),
            "The norm is not legible. Of ResNet-18 *82.5* is more than plain PGD leaves in table 1, *78.1*: "
            "there the adaptive attack is the weaker one.",
        ],
        differs=[f"{count} images, {args.adaptive_steps} steps, ℓ∞ 8/255", *place.differs],
        missing=place.missing[:1],
        picture=plots.bars(
            [name for name, _ in drawn], columns(("clean", "attacked adaptively"), drawn), x="right, %"
        ),
    )


def corrupted(args: argparse.Namespace, cells: Cells, place: Place) -> Page:
    """Table 3."""
    count = min(args.corrupted_images, place.images)
    rows, drawn, tell = [], [], []
    for victim in place.victims:
        sums = by_corruption(args, cells, place, victim)
        bare, last = sums[BARE], sums.get(place.method, {})
        for name in args.corruptions:
            pair = [per_hundred(one.get(name)) for one in (bare, last)]
            cell = [NOT_RUN if x is None else f"{x:.1f}" for x in pair]
            rows.append([victim, name, cell[0], "" if is_trained(victim) else cell[1]])
            if victim == place.main:
                drawn.append((name, pair))
        if len(last) == len(args.corruptions):
            means = [statistics.fmean(100 * k / n for k, n in one.values()) for one in (bare, last)]
            rows.append([f"**{victim}**", "**mean**", *(f"**{mean:.1f}**" for mean in means)])
            worse = sum(last[name][0] < bare[name][0] for name in last)
            tell.append(
                f"{victim} {means[1] - means[0]:+.1f} points on average, lower in {worse} of {len(last)}"
            )
    return Page(
        name=f"corrupted-{place.name}",
        title=f"Table 3: corruptions ({place.title})",
        about=f"{place.title}, images 0–{count - 1} under each corruption at {severities(args)} together: per "
        "cent right. Without an interval: the severities are of the same images.",
        tables=[
            table(["classifier", "corruption", "no defence", "distribution transfer"], rows),
            *([f"With the defence against without: {'; '.join(tell)}."] if tell else []),
            *theirs_corrupted(),
        ],
        differs=[
            f"{count} images (CIFAR-10-C: 10,000), corruptions made here with CIFAR-10-C's parameters",
            *trained(args, place),
            *place.differs,
        ],
        missing=[*place.missing, *([] if len(args.corruptions) == len(NAMES) else ["the other corruptions"])],
        picture=plots.bars(
            [name for name, _ in drawn],
            columns(("no defence", "distribution transfer"), drawn),
            x=f"{place.main}: right, %",
        ),
    )


def per_hundred(pair: tuple[int, int] | None) -> float | None:
    return None if pair is None else 100 * pair[0] / pair[1]


def severities(args: argparse.Namespace) -> str:
    return f"severities {', '.join(map(str, args.severities))}"


def theirs_corrupted() -> list[str]:
    """What table 3 prints, as far as it is legible."""
    rows = []
    for one in PUBLISHED["corrupted"]:
        pairs = zip(one["with"], one.get("without", [None] * 5), strict=True)
        rows.append(
            [f"*{one['row']}*", *(f"*{a:g}*" if b is None else f"*{a:g}* / *{b:g}*" for a, b in pairs)]
        )
    return [
        "Published, CIFAR-10-C, with / without the defence (from AT on: no purification):",
        table(["", "Gaussian", "glass blur", "impulse", "JPEG", "shot"], rows),
        "Over five networks the printed columns give *+15.4* on average, of ShuffleNetV2 *+12.7*; the text "
        "says *12.7*.",
    ]


def budget(args: argparse.Namespace, cells: Cells, place: Place) -> Page:
    """Accuracy against the size of the perturbation."""
    shown, sizes = [BARE, "denoised", place.method], [0, *args.budgets]
    at = [BARE, *(f"pgd-linf-{k}/255" for k in args.budgets)]
    made = [
        one for c in at for one in measured(args, cells, place, place.main, [c], shown, images=place.images)
    ]
    rows = [[place.defences[one], *(right(cell.get(one)) for cell in made)] for one in shown]
    found = [line(plain(place.defences[one]), sizes, [cell.get(one) for cell in made]) for one in shown]
    return Page(
        name=f"budget-{place.name}",
        title=f"Accuracy against the perturbation ({place.title})",
        about=f"{place.main}, images 0–{place.images - 1}, PGD of {args.attack_steps} steps in ℓ∞ that knows "
        "the classifier: per cent right (exact 95 % interval).",
        tables=[table(["defence", *(f"{k}/255" for k in sizes)], rows)],
        differs=[f"{place.images} images (the paper: 1,000)", NO_NUMBERS, *place.differs],
        picture=plots.lines([("", found)], x="ℓ∞ perturbation, 255ths", y="right, %"),
    )


def line(name: str, x: Sequence[float], made: Sequence[Mapping[str, Any] | None]) -> plots.Line:
    """The cells that were run, with their intervals."""
    there = [(at, cell) for at, cell in zip(x, made, strict=True) if cell is not None]
    return plots.Line(
        name=name,
        x=[at for at, _ in there],
        y=[100 * cell["k"] / cell["n"] for _, cell in there],
        low=[100 * cell["low"] for _, cell in there],
        high=[100 * cell["high"] for _, cell in there],
    )


def readings() -> dict[str, schedule.Schedule]:
    """The schedules that 470 forward steps may be of."""
    return {
        "linear, T = 1000": schedule.linear(1000),
        "cosine, T = 1000": schedule.cosine(1000),
        "cosine, T = 4000": schedule.cosine(4000),
    }


def steps(args: argparse.Namespace, cells: Cells, place: Place) -> Page:
    """Accuracy against the number of forward steps."""
    noises = {name: [noise_at(reading, t) for t in args.forward] for name, reading in readings().items()}
    low, high = place.noise
    inside = sorted({sigma for found in noises.values() for sigma in found if low <= sigma <= high})
    ways = {sigma: with_noise(place.method, sigma) for sigma in inside}
    made = measured(args, cells, place, place.main, (BARE, LINF), list(ways.values()), images=place.images)
    rows, panels, beyond = [], [], []
    for name, found in noises.items():
        pairs = [[one.get(ways.get(sigma, "")) for one in made] for sigma in found]
        for t, sigma, pair in zip(args.forward, found, pairs, strict=True):
            told = map(right, pair) if sigma in ways else ["–", "–"]
            rows.append([name, f"{t}", f"{sigma:g}", *told])
            beyond += [] if sigma in ways else [f"{name}, t = {t} (σ = {sigma:g})"]
        clean, under = zip(*pairs, strict=True)
        panels.append(
            (name, [line("clean", args.forward, clean), line("attacked, ℓ∞ 8/255", args.forward, under)])
        )
    return Page(
        name=f"steps-{place.name}",
        title=f"Accuracy against the forward steps ({place.title})",
        about=f"{place.main} behind distribution transfer, images 0–{place.images - 1}, attacked by PGD of "
        f"{args.attack_steps} steps that knows the classifier: per cent right (exact 95 % interval). The "
        f"paper's {FORWARD} steps are of a schedule it does not state; step t has the noise σ of each reading, "
        "in [0,1] units.",
        tables=[table(["schedule", "t", "σ", "clean", "attacked"], rows)],
        differs=[
            f"{place.images} images",
            "the way back takes 8 steps, whatever t",
            NO_NUMBERS,
            *place.differs,
        ],
        missing=[f"noise that the denoiser was not trained for: {', '.join(beyond)}"] if beyond else [],
        picture=plots.lines(panels, x="forward steps t", y="right, %"),
    )


def noise_at(reading: schedule.Schedule, t: int) -> float:
    """The noise of step t, counted from 1, in [0,1] units."""
    return round(float(reading.sigmas[t - 1]) / 2, 3)


def with_noise(method: str, sigma: float) -> str:
    """The method with noise of standard deviation `sigma`, as `defences.load` takes it."""
    family, _, words = method.partition("?")
    return f"{family}?{'&'.join(filter(None, [words, f'sigma={sigma:g}']))}"


def losses(args: argparse.Namespace, cells: Cells, place: Place) -> Page:
    """Equations 2 and 3."""
    shown, count = [BARE, place.method], min(args.corrupted_images, place.images)
    clean, under, _ = measured(
        args, cells, place, place.main, (BARE, LINF, L2), list(place.defences), images=place.images
    )
    worn = [one for name in args.corruptions for one in corruption(args, cells, place, place.main, name)]
    heads, drawn = ("clean", "corrupted", "attacked, ℓ∞ 8/255"), []
    for defence in shown:
        means = [mean_loss(found, defence) for found in ([clean], worn, [under])]
        drawn.append((plain(place.defences[defence]), means))
    rows = [[name, *(NOT_RUN if x is None else f"{x:.3f}" for x in means)] for name, means in drawn]
    return Page(
        name=f"losses-{place.name}",
        title=f"Equations 2 and 3: mean loss ({place.title})",
        about=f"{place.main}, mean of −log p of the true class in nats on images 0–{place.images - 1}; "
        f"corrupted: {len(args.corruptions)} corruptions at {severities(args)} on images 0–{count - 1}; "
        f"attacked: PGD of {args.attack_steps} steps that knows the classifier.",
        tables=[table(["", *heads], rows)],
        differs=["the paper states that the loss grows from left to right and is lowered, and prints no numbers",
                 *place.differs],
        picture=plots.bars(heads, drawn, x="mean loss, nats", top=None),
    )  # fmt: skip


def mean_loss(found: Sequence[Found], defence: str) -> float | None:
    """The mean loss behind a defence over several conditions; None where one of them was not run."""
    there = [one[defence]["loss_after"] for one in found if defence in one]
    return statistics.fmean(there) if len(there) == len(found) else None


def shown_images(
    args: argparse.Namespace, place: Place, count: int
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """(clean (N,3,H,W), attacked, and by defence what it makes of both, (2N,3,H,W))."""
    pairs = place.pairs(count)
    levels = np.stack([inputs.resized(pixels, place.size) for pixels, _ in pairs])
    clean = torch.from_numpy(levels).permute(0, 3, 1, 2).float().div(255)
    labels = torch.tensor([list(place.classes).index(name) for _, name in pairs])
    attack = PGD(norm="linf", radius=8 / 255, steps=args.attack_steps, seed=args.seed)
    dirty = attack(clean, labels, place.network(place.main)).detach()
    both = torch.cat((clean, dirty))
    ways = ("denoised", place.method)
    return clean, dirty, {name: purified(defence_of(name), both, args.seed)[:, 0] for name in ways}


def likeness(args: argparse.Namespace, cells: Cells, place: Place) -> Page:
    """How like the original what is attacked and what is purified are."""
    measures: dict[str, Likeness] = {"PSNR, dB": psnr, "SSIM": ssim}
    missing = []
    try:
        name, apart = lpips()
        measures[name] = apart
    except (MissingExtraError, WeightsError) as error:
        missing.append(f"LPIPS, the perceptual distance of this package ({error})")

    def look() -> dict[str, dict[str, float]]:
        clean, dirty, ways = shown_images(args, place, place.images)
        pairs = {"attacked to original": (dirty, clean)}
        for way, both in ways.items():
            of_clean, of_dirty = both.chunk(2)
            word = place.defences[way].replace("*", "")
            pairs[f"original behind {word} to original"] = (of_clean, clean)
            pairs[f"attacked behind {word} to original"] = (of_dirty, clean)
        return {
            row: {key: float(one(*pair).double().mean()) for key, one in measures.items()}
            for row, pair in pairs.items()
        }

    told = {"set": place.name, "size": place.size, "images": place.images, "victim": place.main}
    told |= {"steps": args.attack_steps, "seed": args.seed, "measures": list(measures)}
    made = cells.get(f"likeness-{place.name}", told, look) or {}
    rows = [[row, *(f"{at[key]:.3f}" for key in measures)] for row, at in made.items()] or [[NOT_RUN]]
    return Page(
        name=f"likeness-{place.name}",
        title=f"Likeness ({place.title})",
        about=f"Images 0–{place.images - 1}, attacked by PGD in ℓ∞ 8/255 on {place.main} ({args.attack_steps} "
        "steps): means over the images.",
        tables=[table(["", *measures], rows)],
        differs=["which images the paper's figures are of is not stated", *place.differs],
        missing=missing,
        picture=plots.bars(
            [plain(row) for row in made], [("SSIM", [at["SSIM"] for at in made.values()])], x="SSIM", top=1
        ),
    )


def pictures(args: argparse.Namespace, cells: Cells, place: Place) -> Page:
    """Original, attacked, purified, and the differences enlarged."""
    count = min(4, place.images)
    clean, dirty, ways = shown_images(args, place, count)
    back = ways[place.method].chunk(2)[1]
    heads = ["original", "attacked", "purified", "perturbation ×8", "purified − attacked ×3"]
    made = [clean, dirty, back, 0.5 + 8 * (dirty - clean), 0.5 + 3 * (back - dirty)]
    grid = [[eight_bits(column[k]) for column in made] for k in range(count)]
    return Page(
        name=f"pictures-{place.name}",
        title=f"Original, attacked, purified ({place.title})",
        about=f"Images 0–{count - 1}, attacked by PGD in ℓ∞ 8/255 on {place.main} ({args.attack_steps} steps), "
        "purified by distribution transfer. Differences are enlarged about grey.",
        differs=list(place.differs),
        picture=plots.pictures(grid, heads, [name for _, name in place.pairs(count)]),
        caption="Original, attacked, purified image; perturbation and what purifying changed, enlarged",
    )


def eight_bits(image: Tensor) -> np.ndarray:
    """(H,W,3) uint8 of (3,H,W) in [0,1]."""
    return (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def plane(args: argparse.Namespace, cells: Cells, place: Place) -> Page:
    """Accuracy, robustness and generalisation in one plot."""
    count = min(args.corrupted_images, place.images)
    rows, points = [], []
    for victim in place.victims:
        worn = by_corruption(args, cells, place, victim)
        clean, under, _ = measured(
            args, cells, place, victim, (BARE, LINF, L2), place.before(victim), images=place.images
        )
        for defence, sums in worn.items():
            whole = len(sums) == len(args.corruptions)
            mean = statistics.fmean(100 * k / n for k, n in sums.values()) if whole else None
            name = f"{victim}: {place.row(victim, defence)}"
            pair = [clean.get(defence), under.get(defence)]
            rows.append([name, *map(right, pair), NOT_RUN if mean is None else f"{mean:.1f}"])
            at, up = map(value, pair)
            if at is not None and up is not None and mean is not None:
                points.append((plain(name), at, up, mean))
    return Page(
        name=f"plane-{place.name}",
        title=f"Accuracy, robustness, generalisation ({place.title})",
        about=f"Clean and attacked (ℓ∞ 8/255, PGD of {args.attack_steps} steps that knows the classifier) on "
        f"images 0–{place.images - 1}, mean over {len(args.corruptions)} corruptions at {severities(args)} on "
        f"images 0–{count - 1}: per cent right.",
        tables=[table(["", "clean", "attacked", "corrupted"], rows)],
        differs=[NO_NUMBERS, *trained(args, place), *place.differs],
        missing=place.missing,
        picture=plots.points(points, x="clean: right, %", y="attacked: right, %", size="corrupted: right, %"),
    )


PAGES = (attacked, adaptive, corrupted, budget, steps, losses, likeness, pictures, plane)


def on(place: str, make: Callable[[argparse.Namespace, Cells, Place], Page]) -> options.Make:
    """The page for one set of images."""
    return lambda args, cells: make(args, cells, SETS[place](args, cells))


if __name__ == "__main__":
    raise SystemExit(
        options.run(
            __doc__,
            SIZES,
            {f"{make.__name__}-{place}": on(place, make) for make in PAGES for place in SETS},
            paper=PAPER,
            title="Distribution transfer, repeated",
            lead="The paper that takes adversarial samples for out-of-distribution samples and brings them "
            "back by a diffusion model. Figures in italics are published, with their contradictions; every "
            "other one was measured by `python examples/reproduce_distribution_transfer.py`, on the sizes "
            "that its table names. None of them is a certificate: see [what of the paper's radius is "
            "one](papers.md#what-of-the-radius-is-a-certificate).",
        )
    )
