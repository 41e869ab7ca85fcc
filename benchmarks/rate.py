"""The rate limiter at a provider's door: what arrives in any second, and how much of the quota is used.

    python benchmarks/rate.py [--quota 30] [--latency 0.2] [--processes 4] [--seconds 20] [--provider aws]

Several processes certify through the provider's real SDK against a sandbox server that answers after `latency`
seconds and keeps the time of every arrival. The share of the quota is measured over the middle of the run, while all
of them are at work.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from typing import Any

from processes import started
from rows import Plan, Row

from api_smoothing.sandbox import Sandbox
from api_smoothing.sandbox.classifier import scripted_brain

WORKER = """
import json, sys
import numpy as np
from api_smoothing import SmoothedAPI
given = json.loads(sys.argv[1])
image = np.random.default_rng(given["number"]).integers(0, 256, (224, 224, 3), np.uint8)
with SmoothedAPI(given["provider"], denoiser=None, seed=0, rate=given["quota"], **given["options"]) as api:
    print(api.predict(image, n=given["n"]).queries)
"""


def measured(*, provider: str, quota: int, latency: float, processes: int, seconds: float) -> dict[str, Any]:
    """Images seen and their seconds, the busiest second, the share of the quota `used`, and whether all ended well."""
    each = max(1, round(quota * seconds / processes))
    with tempfile.TemporaryDirectory() as home:
        with Sandbox(provider, classifier=scripted_brain({"cat": 1.0}), latency=latency) as sandbox:
            given = {"provider": provider, "options": sandbox.options(), "quota": quota, "n": each}
            running = [
                started(WORKER, json.dumps({**given, "number": number}), home=home)
                for number in range(processes)
            ]
            ended = [process.communicate() and process.returncode == 0 for process in running]
        log, busiest = sandbox.meter.log(), sandbox.meter.busiest(1.0)
    times = sorted((request.at, request.images) for request in log)
    first, last = times[0][0], times[-1][0]
    start, stop = first + 0.3 * (last - first), last - 0.3 * (last - first)
    used = sum(images for at, images in times if start <= at < stop) / ((stop - start) * quota)
    total = sum(images for _, images in times)
    return {"images": total, "seconds": last - first, "busiest": busiest, "used": used, "well": all(ended)}


def rows(plan: Plan) -> Iterator[Row]:
    """Four processes at once."""
    found = measured(provider="aws", quota=30, latency=0.2, processes=4, seconds=8.0 if plan.quick else 20.0)
    note = f"4 processes, {found['images']} images in {found['seconds']:.1f} s"
    yield Row(name="rate: share of the quota used", figure=found["used"], than="≥", limit=0.97, note=note)
    yield Row(name="rate: busiest second", figure=found["busiest"], limit=30)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--provider", default="aws")
    parser.add_argument("--quota", type=int, default=30)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0)
    args = parser.parse_args()
    found = measured(**vars(args))
    print(
        f"{args.processes} processes, quota {args.quota} images a second, latency {args.latency:g} s: "
        f"{found['images']} images in {found['seconds']:.1f} s, "
        f"at most {found['busiest']} in any second, {found['used']:.1%} of the quota used"
    )
    return 0 if found["well"] and found["busiest"] <= args.quota and found["used"] >= 0.97 else 1


if __name__ == "__main__":
    raise SystemExit(main())
