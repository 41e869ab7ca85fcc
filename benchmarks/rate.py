"""The rate limiter at a provider's door: what arrives in any second, and how much of the quota is used.

    python benchmarks/rate.py [--quota 30] [--latency 0.2] [--processes 4] [--seconds 20] [--provider aws]

Several processes certify through the provider's real SDK against a sandbox server that answers after `latency`
seconds and keeps the time of every arrival. The share of the quota is measured over the middle of the run, while all
of them are at work.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

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
    each = max(1, round(args.quota * args.seconds / args.processes))
    with tempfile.TemporaryDirectory() as home:
        environment = {
            **os.environ,
            "API_SMOOTH_HOME": home,
            "API_SMOOTH_MACHINE": home,
            "OMP_NUM_THREADS": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
        }
        with Sandbox(args.provider, classifier=scripted_brain({"cat": 1.0}), latency=args.latency) as sandbox:
            given = {"provider": args.provider, "options": sandbox.options(), "quota": args.quota, "n": each}
            running = [
                subprocess.Popen(
                    [sys.executable, "-c", WORKER, json.dumps({**given, "number": number})], env=environment
                )
                for number in range(args.processes)
            ]
            codes = [process.wait() for process in running]
        log, busiest = sandbox.meter.log(), sandbox.meter.busiest(1.0)
    times = sorted((request.at, request.images) for request in log)
    first, last = times[0][0], times[-1][0]
    start, stop = first + 0.3 * (last - first), last - 0.3 * (last - first)
    used = sum(images for at, images in times if start <= at < stop) / ((stop - start) * args.quota)
    print(
        f"{args.processes} processes, quota {args.quota} images a second, latency {args.latency:g} s: "
        f"{sum(images for _, images in times)} images in {last - first:.1f} s, "
        f"at most {busiest} in any second, {used:.1%} of the quota used"
    )
    return 0 if not any(codes) and busiest <= args.quota and used >= 0.97 else 1


if __name__ == "__main__":
    raise SystemExit(main())
