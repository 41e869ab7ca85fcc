"""Whether who follows the hint of an abstention certifies: the share of photographs that then do.

    python benchmarks/hints.py --data DIR [--what cifar|photographs] [--by votes|rehearsal] [--images 50] [--sigma 1]
                               [--radius R] [-n 20] [--size 224] [--out FILE]

CIFAR-10 test images (from 200 on) or photographs (the reporting half of `photos/imagenette_ilsvrcval500.npz` in DIR,
and ImageNet's others in `sample1000_256.npz`) are certified at a setting where many abstain, by the sandbox's
classifiers behind the bundled denoisers. Of each that abstains the hint is followed: by `votes` that of the certificate
alone, as Python users have it; by `rehearsal`, what the command prints, which tries other σ on this machine
(`stand_in.suggest`) where more answers at the same one are unlikely to do. Rehearsal and certificate draw different
noise. The goal is 80 % of those that abstain.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_PROXY", "127.0.0.1,localhost")

from certified_accuracy import PHOTOGRAPHS, loader

from api_smoothing import Certificate, SmoothedAPI, adapters
from api_smoothing.stand_in import answers, suggest

SEED = 0


def pictures(data: Path, what: str) -> Iterator[tuple[str, Any]]:
    """(name, picture); of photographs those of ten classes first."""
    module = loader(data)
    if what == "cifar":
        yield from (
            (str(number), picture) for number, picture in enumerate(module.cifar10("test")[0][200:], 200)
        )
        return
    yield from ((name, picture) for name, _, picture in [*module.photos(PHOTOGRAPHS)][:250])
    yield from ((name, picture) for name, _, picture in module.photos("sample1000_256"))


def asking(sigma: float, size: int) -> SmoothedAPI:
    """The sandbox's classifier of that size, behind the denoiser that a service would have."""
    return SmoothedAPI(answers, sigma=sigma, size=size, store="memory", seed=SEED)


def followed(api: SmoothedAPI, picture: Any, done: Certificate, size: int, by: str) -> dict[str, Any]:
    """What was suggested of an abstention, and what came of it: of the same votes it is a second question."""
    question = dict(done.extra.get("hint", {}))
    if by == "rehearsal" and "n" not in question:
        cloud = adapters.load("google", key="unused")
        found = suggest(picture, done, adapter=cloud, size=size, denoiser="auto")
        if found is not None:  # otherwise the certificate's own, which the command prints as well
            question = {"sigma": found.share.sigma, "n": found.n, "radius": found.radius}
    if not question:
        return {"hint": None, "certified": False}
    settings = {name: value for name, value in question.items() if name not in ("sigma", "size")}
    if len(settings) < len(question):
        with asking(question.get("sigma", done.sigma), question.get("size", size)) as other:
            then = other.certify(picture, **settings)
    else:
        then = api.certify(picture, **settings)
    sure = then.reached if then.target_radius is not None else then.label is not None
    return {"hint": question, "certified": bool(sure), "n": then.n, "looks": then.looks}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--what", choices=("cifar", "photographs"), default="photographs")
    parser.add_argument("--by", choices=("votes", "rehearsal"), default="rehearsal")
    parser.add_argument("--images", type=int, default=50, help="how many that abstain")
    parser.add_argument("--sigma", type=float, default=1.0)
    parser.add_argument("--radius", type=float)
    parser.add_argument("--size", type=int, help="above 64 the classifier of photographs answers (32 or 224)")
    parser.add_argument("-n", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("hints.jsonl"))
    args = parser.parse_args()
    args.size = args.size or (32 if args.what == "cifar" else 224)
    lines = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    known = {line["image"] for line in lines}
    for name, picture in pictures(args.data, args.what):
        if sum(not line["first"] for line in lines) >= args.images:
            break
        if name in known:
            continue
        began = time.perf_counter()
        with asking(args.sigma, args.size) as api:
            done = api.certify(picture, radius=args.radius, n=args.n)
            first = done.label is not None if args.radius is None else bool(done.reached)
            line = {"image": name, "first": first, "votes": done.votes, "of": done.n}
            if not first:
                line |= followed(api, picture, done, args.size, args.by)
        line["seconds"] = round(time.perf_counter() - began, 1)
        lines.append(line)
        with args.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
    abstained = [line for line in lines if not line["first"]]
    told = [line for line in abstained if line["hint"] is not None]
    good = sum(line["certified"] for line in abstained)
    print(f"{len(lines)} images, {len(abstained)} abstained at σ={args.sigma:g}, {len(told)} got settings")
    if abstained:
        print(
            f"{good} of {len(abstained)} certify when it is followed: {good / len(abstained):.0%}; the goal is 80 %"
        )


if __name__ == "__main__":
    main()
