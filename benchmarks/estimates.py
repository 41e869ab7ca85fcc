"""What `estimate` tells beside what certifying then takes: queries and seconds, and their ratio.

    python benchmarks/estimates.py --data DIR [--what cifar|photographs] [--images 0:30] [--radius 0.25]
                                   [--caps 1000,10000] [--taken FILE]

CIFAR-10 test images are read by the bundled classifier, photographs (Imagenette validation) by a sandbox's; keep them
apart from those that the estimate's vote shares are from (see `vote_shares.py`). All caps are decided on one sequence
of votes, each by a certifier of its own as if it were asked alone, so that a larger cap asks only what a smaller one
did not. An image's cost varies more than tenfold, so the ratio of 30 images has a standard error, which is printed
too. What was taken is kept in FILE: with that, the table is printed again at once, against the estimate of today.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from vote_shares import facade, pictures

from api_smoothing import images
from api_smoothing.certify import Spec, certifier_of


def taken(api: Any, picture: Any, specs: dict[int, Spec]) -> dict[str, Any]:
    """Queries by cap, and the seconds that the largest of them took."""
    loaded = images.load(picture, size=api.size)
    noise = api._noise_stream(loaded)
    began, found = time.perf_counter(), {}
    for cap in sorted(specs):
        sender = api._session.sender()
        inquiry = api._inquiry(loaded, noise, sender)
        api._drive(inquiry, certifier_of(specs[cap]), sender, most=cap)
        found[str(cap)] = inquiry.votes.count.n
    return {"queries": found, "seconds": time.perf_counter() - began}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--what", choices=("cifar", "photographs"), default="cifar")
    parser.add_argument("--images", default="0:30")
    parser.add_argument("--sigma", type=float, default=0.25)
    parser.add_argument("--radius", type=float, default=0.25)
    parser.add_argument("--caps", default="1000,10000")
    parser.add_argument("--taken", type=Path)
    args = parser.parse_args()
    os.environ.setdefault("API_SMOOTH_HOME", tempfile.mkdtemp(prefix="api-smooth-estimates-"))
    args.taken = args.taken or Path(os.environ["API_SMOOTH_HOME"]) / "taken.json"
    rows = json.loads(args.taken.read_text()) if args.taken.exists() else {}
    first, _, last = args.images.partition(":")
    caps = [int(cap) for cap in args.caps.split(",")]
    with facade(args.what, args.sigma) as api:
        specs = {cap: Spec(radius=args.radius, n=cap, sigma=args.sigma) for cap in caps}
        for number, picture in pictures(args.data, args.what, int(first), int(last)):
            if str(number) not in rows:
                rows[str(number)] = taken(api, picture, specs)
                args.taken.write_text(json.dumps(rows))
                print(f"\r{len(rows)} images ", end="", file=sys.stderr, flush=True)
        print()
        for cap in caps:
            told = api.estimate(len(rows), radius=args.radius, n=cap)
            costs = np.array([row["queries"][str(cap)] for row in rows.values()])
            error = costs.std(ddof=1) / math.sqrt(len(costs)) / costs.mean() if len(costs) > 1 else math.nan
            ratio = told.queries_expected / costs.sum()
            print(
                f"{args.what}, {len(costs)} images, cap {cap:,}: told {told.queries_low:,} to "
                f"{told.queries_high:,}, expected {told.queries_expected:,}; taken {costs.sum():,}; "
                f"ratio {ratio:.2f} ± {ratio * error:.2f}"
            )
        seconds = sum(row["seconds"] for row in rows.values())
        print(
            f"seconds, of the largest cap: told {told.seconds_low:.0f} to {told.seconds_high:.0f}, "
            f"expected {told.seconds_expected:.0f}; taken {seconds:.0f}; ratio {told.seconds_expected / seconds:.2f}"
        )


if __name__ == "__main__":
    main()
