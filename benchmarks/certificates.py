"""Certificates with a public seed, of the local model and of every sandbox, as JSON lines: what a change must not move.

`python benchmarks/certificates.py > before.jsonl` at one commit, `… --against before.jsonl` at another: every field
that both have is compared, but for the time of writing. Fields that are new are named, and no difference.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_PROXY", "127.0.0.1,localhost")

import numpy as np

SEED = 5
LABELS = {"Cat": 0.5, "Animal": 0.3, "cat": 0.5}
MOVES = {"created"}
PROVIDERS = ("aws", "azure", "clarifai", "google", "http")


def pictures() -> list[np.ndarray]:
    """uint8 (32,32,3): the cat of scikit-image, and two pieces of it."""
    from PIL import Image
    from skimage.data import chelsea

    cat = Image.fromarray(chelsea())
    boxes = [(75, 0, 375, 300), (120, 60, 320, 260), (250, 100, 450, 300)]
    return [np.asarray(cat.crop(box).resize((32, 32), Image.Resampling.BOX)) for box in boxes]


def questions() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(name, settings of the facade, the question)."""
    return [
        ("target", {}, {"radius": 0.1}),
        ("capped", {}, {"radius": 0.2, "n": 150}),
        ("fixed", {}, {"n": 120}),
        ("sequential", {"method": "sequential"}, {"n": 120}),
        ("paper", {"method": "clopper-pearson"}, {"n": 100, "n0": 20}),
        ("uniform", {"noise": "uniform"}, {"n": 120}),
        ("laplace", {"noise": "laplace"}, {"radius": 0.05, "n": 120}),
        ("no denoiser", {"denoiser": None, "sigma": 0.12}, {"n": 60}),
        ("mapped", {"labels": "cifar10"}, {"radius": 0.1, "n": 200}),
        ("resized", {"size": 32}, {"n": 60}),
    ]


def certificates() -> Iterator[dict[str, Any]]:
    """Every certificate as plain JSON values, with where it comes from."""
    from api_smoothing import Budget, SmoothedAPI
    from api_smoothing.sandbox import Sandbox

    images = pictures()
    base = {"sigma": 0.25, "seed": SEED, "cache": False, "budget": Budget(queries=400_000)}
    for name, settings, question in questions():
        of = (
            [np.kron(image, np.ones((3, 3, 1), np.uint8)) for image in images]
            if name == "resized"
            else images
        )
        with SmoothedAPI("torchvision", model="cifar10", **(base | settings)) as api:
            for number, found in enumerate(api.certify_many(of, **{"n": 400, **question})):
                yield {"from": f"local, {name}, {number}", **found.to_dict()}
    base["size"] = 32  # as they were asked about before photographs were the default
    for provider in PROVIDERS:
        with Sandbox(provider) as sandbox:
            for name, settings, question in (questions()[1], questions()[2], questions()[8]):
                with SmoothedAPI(provider, **(base | settings), **sandbox.options()) as api:
                    for number, found in enumerate(api.certify_many(images, **question)):
                        yield {"from": f"{provider}, {name}, {number}", **found.to_dict()}
            with SmoothedAPI(provider, **base, **sandbox.options()) as api:
                for number, found in enumerate(api.certify_labels(images[0], thresholds=LABELS, n=60)):
                    yield {"from": f"{provider}, labels, {number}", **found.to_dict()}


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Fields of `before` that `after` has not, or has otherwise."""
    return [
        f"{before['from']}: {name} was {value!r}, is {after.get(name, 'missing')!r}"
        for name, value in before.items()
        if name not in MOVES and after.get(name, "missing") != value
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--against", type=Path, metavar="FILE", help="lines of another commit to compare with"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["API_SMOOTH_HOME"] = os.environ["API_SMOOTH_MACHINE"] = home
        found = [json.loads(json.dumps(each)) for each in certificates()]
    if args.against is None:
        print("\n".join(json.dumps(each) for each in found))
        return 0
    before = [json.loads(line) for line in args.against.read_text().splitlines()]
    wrong = [] if len(before) == len(found) else [f"{len(before)} certificates before, {len(found)} now"]
    for old, new in zip(before, found, strict=False):
        wrong += differences(old, new)
    fields = sorted(set().union(*found) - set().union(*before)) if before else []
    print("\n".join(wrong) or f"{len(found)} certificates are equal, field by field")
    print(f"new fields: {', '.join(fields) or 'none'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
