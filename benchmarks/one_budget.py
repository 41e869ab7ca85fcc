"""One budget over many images, on real votes: the cap that `evaluate` chooses, beside an equal split.

    python benchmarks/one_budget.py --data DIR [--images 100] [--radius 0.25] [--each 60] [--seed 5]

CIFAR-10's test images before the bundled classifier, `--each` answers an image in all. The equal split gives each image
so many as its cap; `evaluate` gets the whole as `Budget(queries=…)` and one radius. Both have the target rule under a
cap that is fixed before the first answer, and votes of their own (two epochs of one public seed). Printed are the
images certified with the true label, the answers taken, and the exact p-value of the paired difference.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from certified_accuracy import loader

from api_smoothing import Budget, SmoothedAPI, evaluate
from api_smoothing.claims import paired
from api_smoothing.recorded import certified_at

CIFAR10: Final = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--radius", type=float, default=0.25)
    parser.add_argument("--each", type=int, default=60, help="answers an image in all")
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    pixels, labels = loader(args.data).cifar10("test", args.images)
    pairs = [(image, CIFAR10[label]) for image, label in zip(pixels, labels, strict=True)]
    total = args.images * args.each
    options = {"model": "cifar10", "seed": args.seed, "store": "memory"}
    with SmoothedAPI("torchvision", epoch="equal", **options) as api:
        found = list(api.certify_many([image for image, _ in pairs], radius=args.radius, n=args.each))
    taken = sum(one.queries for one in found)
    equal = [certified_at(one, args.radius) == truth for one, (_, truth) in zip(found, pairs, strict=True)]
    print(f"equal split, cap {args.each}: {sum(equal)} of {args.images} with {taken:,} answers")
    with SmoothedAPI("torchvision", epoch="spread", budget=Budget(queries=total), **options) as api:
        run = evaluate(api, pairs, radii=(args.radius,), clean=False).run
    by_item = run.by_item()
    spread = [
        (one := by_item.get(planned["id"])) is not None and certified_at(one, args.radius) == planned["truth"]
        for planned in run.planned
    ]
    cap = run.header.settings["n"]
    print(f"one budget, cap {cap}: {sum(spread)} of {args.images} with {run.queries:,} of {total:,} answers")
    only = [
        sum(a and not b for a, b in zip(one, other, strict=True))
        for one, other in ((equal, spread), (spread, equal))
    ]
    p = paired.mcnemar_two_sided(*only)
    print(f"certified by the equal split alone {only[0]}, by the budget's cap alone {only[1]}: p = {p:.2g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
