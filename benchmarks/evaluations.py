"""A data set through a provider's SDK, killed in the middle and resumed, beside the same undisturbed.

    python benchmarks/evaluations.py --data DIR [--kind cifar10|photographs] [--images 200] [--providers google,aws]
                                     [--size 224] [--radii 0,0.1,0.25] [-n 100] [--budget-usd 50] [--kills 2]
                                     [--once] [--out FOLDER]

Each provider is a sandbox server in this process, whose meter counts what arrives. `api-smooth evaluate` runs in
processes of their own: once with `kill -9` a moment after so many images, drawn at random, and `--resume` after each,
and once undisturbed. Printed are the two tables, whether they are the same to the last digit but for what was paid and
when, what the meter says beside the budget, whether `verify` passes, and whether ten independent lines recompute the
table from the file. A report of both lies in --out. With --once the four runs share denoised copies, and the servers
what they saw: that saves time and changes nothing else.

Images are CIFAR-10's test images, 32 pixels, or the reporting half of Imagenette's photographs (0 to 249), in DIR, in
folders by their WordNet id.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from certified_accuracy import PHOTOGRAPHS, loader
from first_line import remembering
from PIL import Image
from processes import environment

import api_smoothing.evidence.verify as verifier
from api_smoothing.sandbox import Sandbox, classifier

HERE: Final = Path(__file__).parent
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
    args: argparse.Namespace, provider: str, images: Path, out: Path, reach: dict[str, Any], once: Path | None
) -> list[str]:
    """What a user would type; `reach` are the provider's options for the server here."""
    small = args.kind == "cifar10"
    program = ["-m", "api_smoothing"] if once is None else [str(HERE / "denoised_once.py"), str(once)]
    return [
        *(sys.executable, *program, "evaluate", str(images), "--provider", provider),
        *("--labels", "cifar10" if small else "imagenette", "--size", str(32 if small else args.size)),
        *("--radii", args.radii, "--output", str(out), "--seed", "1", "--rate", "10000"),
        *("--options", ",".join(f"{name}={value}" for name, value in reach.items())),
        *(() if args.n == "auto" else ("-n", args.n)),
        *("--budget-usd", str(args.budget_usd), "--yes", "--json"),
    ]


def decided(out: Path) -> int:
    """The images in a run file that may end in the middle of a line."""
    return out.read_bytes().count(b'"api-smooth/certificate') if out.exists() else 0


def finished(
    words: list[str], surroundings: dict[str, str], out: Path, ends: list[int], chance: random.Random
) -> dict[str, Any]:
    """The summary that the command prints in the end; it is killed a moment after `ends` images have been decided.

    Then it goes on by `--resume`: where the server listens, and what denoises, is said again, and nothing else.
    """
    for end in ends:
        with subprocess.Popen(
            words, env=surroundings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            while decided(out) < end and process.poll() is None:
                time.sleep(0.2)
            time.sleep(chance.random())
            process.kill()
            if process.wait() != -signal.SIGKILL:
                raise SystemExit("the run ended before it was killed as often as was asked: fewer --kills")
        first, options = words.index("evaluate"), words.index("--options")
        words = [*words[: first + 1], "--resume", str(out), *words[options : options + 2]]
    process = subprocess.run(words, env=surroundings, capture_output=True, text=True, check=False)
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}: {process.stderr}")
    return json.loads(process.stdout)


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
    ends = sorted(chance.sample(range(args.images // 10, args.images * 9 // 10), args.kills))
    once = folder / "denoised" if args.once else None
    paths = {name: folder / f"{provider}-{name}.jsonl" for name in ("killed", "undisturbed")}
    for name, out in paths.items():
        with Sandbox(provider) as server:
            surroundings = environment(folder / f"{provider}-{name}-home") | server.environment()
            words = command(args, provider, images, out, server.options(), once)
            began = time.monotonic()
            kills = ends if name == "killed" else []
            summary = finished(words, surroundings, out, kills, chance)
            seconds = time.monotonic() - began
            billed, usd = server.meter.billed, server.meter.micro_usd / 1e6
        checked = verifier.check(str(out))
        table = [(at["radius"], at["certified"]["k"], at["certified"]["n"]) for at in summary["radii"]]
        again = recomputed(out)
        summaries.append(summary)
        right = checked["verified"] and table == again and usd <= args.budget_usd
        holds &= bool(right)
        print(
            f"{provider:<9} {name:<12} killed after {kills} images  {seconds:6.0f} s  "
            + "  ".join(f"r={r:g}: {k}/{n}" for r, k, n in table)
            + f"  clean {summary['clean']['k']}  meter {billed:,} queries ${usd:.3f} of ${args.budget_usd:g}"
            + f", told {summary['queries']:,}  verified {checked['verified']}  recomputed {table == again}",
            flush=True,
        )
    same = [{k: v for k, v in one.items() if k not in SPENT} for one in summaries]
    page = folder / f"{provider}.html"
    told = [sys.executable, "-m", "api_smoothing", "report", *map(str, paths.values()), "-o", str(page)]
    subprocess.run(told, env=environment(folder / "home"), check=True, stdout=subprocess.DEVNULL)
    print(
        f"{provider:<9} the same table: {same[0] == same[1]}  report {page.stat().st_size / 1e6:.2f} MB",
        flush=True,
    )
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
    parser.add_argument("-n", default="100", help="answers an image, or auto: until all radii are decided")
    parser.add_argument("--budget-usd", type=float, default=50.0)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--once", action="store_true", help="denoise a noisy copy once for all runs (see denoised_once.py)"
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        classifier._scores = remembering(classifier._scores, {})  # the four runs send the same pictures
        images = folder / "images"
        shutil.rmtree(images, ignore_errors=True)
        write_images(images, args.data, args.kind, args.images)
        holds = [rehearse(args, provider, images, folder) for provider in args.providers.split(",")]
    return 0 if all(holds) else 1


if __name__ == "__main__":
    sys.exit(main())
