"""A data set through a provider's SDK, killed in the middle and gone on with, beside the same undisturbed.

    python benchmarks/evaluations.py --data DIR [--kind cifar10|photographs] [--images 200] [--providers google,aws]
                                     [--size 224] [--radii 0,0.1,0.25] [-n 100] [--budget-usd 25] [--kills 2]
                                     [--out FOLDER]

Each provider is a sandbox server in this process, whose meter counts what arrives. `api-smooth evaluate` runs in
processes of their own: once undisturbed, and once with `kill -9` at random moments and a restart after each. Printed
are the two tables, whether they are the same to the last digit but for what was paid and when, what the meter says
beside the budget, whether `verify` passes, and whether ten independent lines recompute the table from the file.

Images are CIFAR-10's test images, 32 pixels, or the reporting half of Imagenette's photographs (0 to 249), in DIR, in
folders by their WordNet id.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from certified_accuracy import PHOTOGRAPHS, loader
from PIL import Image
from processes import environment

import api_smoothing.evidence.verify as verifier
from api_smoothing.sandbox import Sandbox

CIFAR10: Final = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
WORDNET: Final = {
    0: "n01440764", 217: "n02102040", 482: "n02979186", 491: "n03000684", 497: "n03028079", 566: "n03394916",
    569: "n03417042", 571: "n03425413", 574: "n03445777", 701: "n03888257",
}  # fmt: skip
#: Of a summary, what a run that was killed has spent otherwise.
SPENT: Final = ("queries", "cached", "usd", "seconds", "name", "gates")


def write_images(folder: Path, data: Path, kind: str, count: int) -> None:
    """A folder of classes."""
    load = loader(data)
    if kind == "cifar10":
        pixels, labels = load.cifar10("test", count)
        pairs = [
            (CIFAR10[label], Image.fromarray(image)) for image, label in zip(pixels, labels, strict=True)
        ]
    else:
        shown = list(load.photos(PHOTOGRAPHS))
        shown = shown[:: max(1, len(shown) // 2 // count)][:count]  # of all classes
        pairs = [(WORDNET[label], image) for _, label, image in shown]
    for number, (name, image) in enumerate(pairs):
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        image.save(place / f"{number:04d}.png")


def command(
    args: argparse.Namespace, provider: str, images: Path, out: Path, reach: dict[str, Any]
) -> list[str]:
    """What a user would type; `reach` are the provider's options for the server here."""
    small = args.kind == "cifar10"
    side = ["--labels", "cifar10" if small else "imagenette", "--size", str(32 if small else args.size)]
    words = [
        "evaluate",
        str(images),
        "--provider",
        provider,
        *side,
        "--radii",
        args.radii,
        "--output",
        str(out),
    ]
    return [
        *(sys.executable, "-m", "api_smoothing"),
        *words,
        *("--options", ",".join(f"{name}={value}" for name, value in reach.items())),
        *(
            "-n",
            str(args.n),
            "--seed",
            "1",
            "--rate",
            "10000",
            "--budget-usd",
            str(args.budget_usd),
            "--yes",
            "--json",
        ),
    ]


def finished(
    words: list[str], surroundings: dict[str, str], kills: int, chance: random.Random, mean: float
) -> tuple[dict[str, Any], int]:
    """The summary that the command prints in the end, after `kills` kills at random moments, and how many fell."""
    fell = 0
    while True:
        process = subprocess.Popen(
            words, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            out, error = process.communicate(
                timeout=chance.uniform(0.5, 1.5) * mean if fell < kills else None
            )
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            fell += 1
            continue
        if process.returncode:
            raise SystemExit(f"exit code {process.returncode}: {error}")
        return json.loads(out), fell


def recomputed(path: Path) -> list[tuple[float, int, int]]:
    """The table from the file alone: radius, images that are certified and right, images."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    last = {one["item"]["id"]: one for one in lines if one["schema"].startswith("api-smooth/certificate")}
    lost = {one["item"] for one in lines if one["schema"] == "api-smooth/unreadable/1"}
    found = []
    for r in lines[0]["settings"]["radii"]:
        right = 0
        for one in last.values():
            read = [x["label"] for x in one["radii"] if x["radius"] >= r and x["reached"]]
            label = read[0] if read else one["label"] if one["radius"] >= r else None
            right += label is not None and label == one["item"]["truth"]
        found.append((r, right, len(last) + len(lost)))
    return found


def rehearse(args: argparse.Namespace, provider: str, images: Path, folder: Path) -> bool:
    """Both runs at one provider; whether all holds."""
    chance, summaries, holds = random.Random(args.seed), [], True
    seconds = 0.0
    for name, kills in (("undisturbed", 0), ("killed", args.kills)):
        out, home = folder / f"{provider}-{name}.jsonl", folder / f"{provider}-{name}-home"
        with Sandbox(provider) as server:
            surroundings = environment(home) | server.environment()
            began = time.monotonic()
            mean = seconds / (kills + 1) if kills else 0.0
            summary, fell = finished(
                command(args, provider, images, out, server.options()), surroundings, kills, chance, mean
            )
            seconds = time.monotonic() - began
            billed, usd = server.meter.billed, server.meter.micro_usd / 1e6
        if summary is None or not summary:
            raise SystemExit(
                "the run ended before it was killed as often as was asked: more images, or fewer --kills"
            )
        checked = verifier.check(str(out))
        table = [(at["radius"], at["certified"]["k"], at["certified"]["n"]) for at in summary["radii"]]
        again = recomputed(out)
        summaries.append(summary)
        right = checked["verified"] and table == again and usd <= args.budget_usd
        holds &= bool(right)
        print(
            f"{provider:<9} {name:<12} {fell} kills  {seconds:6.0f} s  "
            + "  ".join(f"r={r:g}: {k}/{n}" for r, k, n in table)
            + f"  meter {billed:,} queries ${usd:.3f} of ${args.budget_usd:g}, told {summary['queries']:,}"
            + f"  verified {checked['verified']}  recomputed {table == again}",
            flush=True,
        )
    same = [{k: v for k, v in one.items() if k not in SPENT} for one in summaries]
    print(f"{provider:<9} the same table: {same[0] == same[1]}", flush=True)
    return holds and same[0] == same[1]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kind", choices=("cifar10", "photographs"), default="cifar10")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument(
        "--size", type=int, default=224, help="side of the photographs as they enter the noise"
    )
    parser.add_argument("--providers", default="google,aws")
    parser.add_argument("--radii", default="0,0.1,0.25")
    parser.add_argument("-n", type=int, default=100)
    parser.add_argument("--budget-usd", type=float, default=50.0)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        images = folder / "images"
        shutil.rmtree(images, ignore_errors=True)
        write_images(images, args.data, args.kind, args.images)
        holds = [rehearse(args, provider, images, folder) for provider in args.providers.split(",")]
    return 0 if all(holds) else 1


if __name__ == "__main__":
    sys.exit(main())
