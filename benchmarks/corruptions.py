"""A classifier's accuracy under the fifteen corruptions at five severities, as a Markdown table.

    python benchmarks/corruptions.py --data DIR [--images 200] [--classifier cifar10|DIR/weights/NAME]

The images are the first of CIFAR-10's test images. Where published figures of CIFAR-10-C stand beside these, frost is
another (it is drawn), and the draws are. The last line tells the widest 95 % interval of a cell.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from scipy.special import betaincinv
from torch import nn

from api_smoothing.corruptions import NAMES, SEVERITIES, corrupt
from api_smoothing.errors import ApiSmoothError
from api_smoothing.purification import load_classifier
from api_smoothing.training.data import load_images


def right(classifier: nn.Module, images: np.ndarray, labels: torch.Tensor) -> int:
    """How many of the images (N,H,W,3) the classifier gives their label."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255.0
    with torch.inference_mode():
        answers = torch.cat([classifier(part).argmax(1) for part in x.split(50)])
    return int((answers == labels).sum())


def interval(k: int, n: int) -> tuple[float, float]:
    """The exact 95 % interval (Clopper and Pearson) of a share of k in n."""
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, 0.025))
    return low, 1.0 if k == n else float(betaincinv(k + 1, n - k, 0.975))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--classifier", default="cifar10")
    args = parser.parse_args()
    try:
        data = load_images(args.data, "test")
        data = data.pick(torch.arange(min(args.images, len(data))))
        classifier = load_classifier(args.classifier, "cpu").eval()
    except ApiSmoothError as error:
        print(f"corruptions: {error}", file=sys.stderr)
        return 2
    if data.labels is None:
        print("corruptions: these images have no labels", file=sys.stderr)
        return 2
    images, n = data.images.numpy(), len(data)
    clean = right(classifier, images, data.labels)
    print(f"{args.classifier}, {n} images, clean {clean / n:.1%}\n")
    print("| corruption | 1 | 2 | 3 | 4 | 5 | mean |\n|---|---|---|---|---|---|---|")
    counts = []
    for name in NAMES:
        row = [
            right(classifier, np.stack([corrupt(image, name, severity) for image in images]), data.labels)
            for severity in SEVERITIES
        ]
        counts += row
        cells = [*(k / n for k in row), sum(row) / n / len(row)]
        print(f"| {name} | " + " | ".join(f"{100 * share:.1f}" for share in cells) + " |", flush=True)
    print(f"| all | | | | | | {100 * sum(counts) / n / len(counts):.1f} |")
    widest = max(high - low for low, high in (interval(k, n) for k in counts))
    print(f"\n95 % intervals reach at most {50 * widest:.1f} points to each side")
    return 0


if __name__ == "__main__":
    sys.exit(main())
