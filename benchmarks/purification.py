"""Purifying attacked images: accuracy, likeness and time of each method beside the undefended classifier.

    python benchmarks/purification.py --data DIR --denoiser NAME|FILE [--images 200] [--sigma 0.17]
        [--methods none,oneshot,multistep,vote,guided] [--json OUT.jsonl]

The images are the first of CIFAR-10's test images, which are for reporting (choose settings on --first 500), the
classifier is the ResNet-56 in DIR/weights. PGD in the ℓ∞ ball of 8/255 and the ℓ2 ball of 128/255 attacks the bare
classifier; each method then adds noise of standard deviation σ and takes it away as `api-smooth purify` does. The
noise of an image is the same for all methods and attacks. With "vote" the label is the one the classifier gives to
most of K paths, and the image that is compared the middle one of those. PSNR, SSIM and LPIPS (where its network is
at hand) are of purified clean images to the clean ones. No figure here is a certificate, and an attack that knows
the defence will do better: `defences.Attack` is where one is put in.

--json gets a line a batch; a run that is broken off goes on from there, and its figures are those of an unbroken one.
The default σ is that of step t* = 0.1 of DiffPure (Nie et al. 2022) for the ℓ∞ ball.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from defences import METHODS, Attack, Options, Purify, defended, purified, purifier
from torch import nn

from api_smoothing import denoisers
from api_smoothing.attacks import PGD
from api_smoothing.attacks.ball import Norm
from api_smoothing.errors import ApiSmoothError, ConfigurationError, MissingExtraError, WeightsError
from api_smoothing.purification import load_classifier
from api_smoothing.training.data import ImageSet, load_images
from api_smoothing.training.likeness import Likeness, lpips, psnr, ssim
from api_smoothing.training.loop import generator

Row = dict[str, Any]

BALLS: tuple[tuple[Norm, float], ...] = (("linf", 8 / 255), ("l2", 128 / 255))


def sees_defence(attack: Attack) -> bool:
    """Whether it is given the defended model."""
    return bool(getattr(attack, "sees_defence", False))


def evaluate(
    batch: ImageSet,
    first: int,
    classifier: nn.Module,
    methods: Mapping[str, Purify | None],
    attacks: Sequence[Attack],
    likenesses: Mapping[str, Likeness],
    o: Options,
) -> Row:
    """One line: for each method whether each image is answered truly, clean and attacked, and how like it stays.

    Image k of `batch` is number `first` + k; its noise depends on that number and the seed.
    """
    clean, labels = batch.floats(slice(None)).contiguous(), batch.labels
    assert labels is not None
    known = {attack.name: attack(clean, labels, classifier) for attack in attacks if not sees_defence(attack)}
    figures: dict[str, dict[str, Any]] = {}
    for name, purify in methods.items():
        cases = {"clean": clean, **known}
        model = classifier if purify is None else defended(purify, classifier, o)
        cases |= {attack.name: attack(clean, labels, model) for attack in attacks if sees_defence(attack)}
        found: dict[str, Any] = {}
        for case, images in cases.items():
            draws = [generator(o.seed, 5, first + k) for k in range(len(images))]
            began = time.perf_counter()
            seen = images if purify is None else purified(purify, images, o.sigma, draws)
            spent = time.perf_counter() - began
            with torch.no_grad():
                found[case] = (classifier(seen).argmax(1) == labels).int().tolist()
            if case == "clean" and purify is not None:
                found |= {key: measured(seen, clean).tolist() for key, measured in likenesses.items()}
                found["seconds"] = [spent / len(images)] * len(images)
        figures[name] = found
    return {"first": first, "count": len(batch), "methods": figures}


def read_rows(file: Path, settings: Mapping[str, Any]) -> dict[int, Row]:
    """The rows of an earlier run with the same `settings`, by first image; its torn last line is cut off.

    Raises ConfigurationError where the file is of other settings. A new file gets the settings as its first line.
    """
    if not file.parent.is_dir():
        raise ConfigurationError(f"--json {file}: no such folder; make it first")
    whole = file.read_bytes() if file.is_file() else b""
    kept = whole[: whole.rfind(b"\n") + 1]
    lines = []
    with suppress(ValueError):
        lines = [json.loads(line) for line in kept.splitlines()]
    if kept and (not lines or lines[0] != json.loads(json.dumps({"settings": settings}))):
        raise ConfigurationError(f"{file} is of other settings or no such run; give another --json")
    if not kept:
        kept = (json.dumps({"settings": settings}) + "\n").encode()
    if kept != whole:
        file.write_bytes(kept)
    return {row["first"]: row for row in lines[1:]}


def run(
    images: ImageSet,
    first: int,
    classifier: nn.Module,
    methods: Mapping[str, Purify | None],
    attacks: Sequence[Attack],
    likenesses: Mapping[str, Likeness],
    o: Options,
    *,
    batch: int,
    file: Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[Row]:
    """The rows of all batches of `images`; those already in `file` are not computed again."""
    done = read_rows(file, settings or {}) if file is not None else {}
    rows = []
    for start in range(0, len(images), batch):
        part = images.pick(torch.arange(start, min(start + batch, len(images))))
        row = done.get(first + start)
        if row is None or row["count"] != len(part):
            row = evaluate(part, first + start, classifier, methods, attacks, likenesses, o)
            if file is not None:
                with file.open("a", encoding="utf-8") as out:
                    out.write(json.dumps(row) + "\n")
        rows.append(row)
        print(f"{start + len(part)} of {len(images)} images", file=sys.stderr, flush=True)
    return rows


def summary(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """{method: {figure: mean over the images}}."""
    return {
        name: {
            key: statistics.fmean(value for row in rows for value in row["methods"][name][key])
            for key in rows[0]["methods"][name]
        }
        for name in rows[0]["methods"]
    }


def print_table(means: Mapping[str, Mapping[str, float]], count: int) -> None:
    keys = list(dict.fromkeys(key for figures in means.values() for key in figures))
    print(f"{'method':<10}" + "".join(f"{key:>14}" for key in keys))
    for name, figures in means.items():
        cells = (f"{figures[key]:.4g}" if key in figures else "" for key in keys)
        print(f"{name:<10}" + "".join(f"{cell:>14}" for cell in cells))
    print(f"{count} images: the standard error of an accuracy is up to {0.5 / count**0.5:.3f}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--denoiser", required=True, help="a name or a file, as `denoisers.load` takes them")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first test image")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--attack-steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="where to keep a line a batch, and to go on from")
    default = Options()
    for name in Options.__dataclass_fields__:
        value = getattr(default, name)
        parser.add_argument(f"--{name}", type=type(value), default=value, help=f"(default: {value})")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    try:
        rows = start(args, Options(**{name: getattr(args, name) for name in Options.__dataclass_fields__}))
    except ApiSmoothError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print_table(summary(rows), sum(row["count"] for row in rows))
    return 0


def start(args: argparse.Namespace, o: Options) -> list[Row]:
    """Load what `args` names, and run."""
    test = load_images(args.data / "cifar10", "test")
    images = test.pick(torch.arange(len(test))[args.first : args.first + args.images])
    if not len(images):
        raise ConfigurationError(f"no images from {args.first} on; there are {len(test)}")
    denoiser = denoisers.load(args.denoiser)
    classifier = load_classifier(str(args.data / "weights" / "resnet56"), "cpu")
    names = args.methods.split(",")
    methods = {name: purifier(name, denoiser, classifier, o) for name in names}
    attacks = [
        PGD(
            norm=norm,
            radius=radius,
            steps=args.attack_steps,
            seed=o.seed,
            losses=("cross-entropy",),
            rounded=False,
        )
        for norm, radius in BALLS
    ]
    likenesses: dict[str, Likeness] = {"psnr": psnr, "ssim": ssim}
    try:
        key, measured = lpips()
        likenesses[key] = measured
    except (MissingExtraError, WeightsError) as error:
        print(f"LPIPS is left out: {error}", file=sys.stderr)
    settings = {
        "options": {name: getattr(o, name) for name in Options.__dataclass_fields__},
        "denoiser": [denoiser.card.id, denoiser.card.sha256, getattr(denoiser, "compute", "")],
        "methods": names,
        "classifier": "resnet56",
        "likenesses": list(likenesses),
        "attacks": [[attack.name, attack.radius, attack.steps] for attack in attacks],
    }
    return run(
        images,
        args.first,
        classifier,
        methods,
        attacks,
        likenesses,
        o,
        batch=args.batch,
        file=args.json,
        settings=settings,
    )


if __name__ == "__main__":
    raise SystemExit(main())
