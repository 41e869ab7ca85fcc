"""Certificates against providers that fail: none false, none dropped, no request more than ours.

    python benchmarks/faults.py [--certificates 200] [--rate 0.3] [--providers aws,azure,google,clarifai,http]

Each provider's real SDK talks to a sandbox server whose classifier answers with known vote shares, while a share
`rate` of the requests meets a random fault. Half of the images have a share below what the radius needs: whatever is
certified there is false. Waits between attempts are skipped.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator

os.environ["API_SMOOTH_HOME"] = tempfile.mkdtemp(prefix="api-smooth-faults-")
os.environ["API_SMOOTH_MACHINE"] = os.environ["API_SMOOTH_HOME"]

import numpy as np
from rows import Plan, Row

from api_smoothing import SmoothedAPI
from api_smoothing.sandbox import Faults, Sandbox
from api_smoothing.sandbox.classifier import scripted_brain
from api_smoothing.testing import set_waits

FAULTS = (
    "throttle", "throttle-retry-after", "throttle-coded", "500", "502", "503", "504", "reset",
    "empty", "missing-key", "truncated", "html", "wrong-count", "bad-image", "billed-400",
)  # fmt: skip
RADIUS, SIGMA = 0.25, 0.25  # needs a share above 0.8413
PROVIDERS = ("aws", "azure", "google", "clarifai", "http")
SHARES = {True: 0.97, False: 0.80}


def rehearse(provider: str, count: int, rate: float, seed: int) -> tuple[int, int, int, int]:
    """(false, missed, dropped, requests too many) among `count` certificates."""
    draw = np.random.default_rng(seed)
    wrong = missed = dropped = certified = failed = queries = 0
    faults = Faults(rate=rate, kinds=FAULTS, seed=seed)
    with Sandbox(provider, classifier=scripted_brain({"cat": 1.0}), faults=faults) as sandbox:
        with SmoothedAPI(
            provider,
            sigma=SIGMA,
            denoiser=None,
            labels="cifar10",
            seed=seed,
            rate=100_000,
            concurrency=4,
            **sandbox.options(),
        ) as api:
            for number in range(count):
                good = number % 2 == 0
                sandbox.classifier = scripted_brain(
                    {"cat": SHARES[good], "dog": 1 - SHARES[good]}, seed=number
                )
                image = draw.integers(0, 256, (96, 96, 3), np.uint8)
                found = api.certify(image, radius=RADIUS, n=400)
                certified += found.label is not None
                failed += found.stopped == "failed"
                wrong += found.reached is True and not (good and found.label == "cat")
                missed += good and found.reached is not True
                dropped += sum(found.counts.values()) + found.failed != found.n
                queries += found.queries
        seen = sandbox.meter.images
    print(
        f"{provider:<9} {count} certificates: {certified} certified, {wrong} false, {missed} missed, "
        f"{failed} reported as failed, {dropped} with dropped answers; "
        f"images sent {queries}, seen by the server {seen}"
    )
    return wrong, missed, dropped, abs(seen - queries)


def rows(plan: Plan) -> Iterator[Row]:
    """Five SDKs, 30 % of whose requests fail."""
    set_waits(False)
    each = 4 if plan.quick else 40
    results = [rehearse(name, each, 0.3, k) for k, name in enumerate(PROVIDERS)]
    wrong, missed, dropped, more = (sum(column) for column in zip(*results, strict=True))
    note = f"{each * len(PROVIDERS)} certificates, 30 % faults; {missed} missed"
    yield Row(name="faults: false certificates", figure=wrong, limit=0, note=note)
    yield Row(name="faults: certificates with dropped answers", figure=dropped, limit=0)
    yield Row(name="faults: requests beyond ours", figure=more, limit=0)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--certificates", type=int, default=200)
    parser.add_argument("--rate", type=float, default=0.3)
    parser.add_argument("--providers", default=",".join(PROVIDERS))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    providers = args.providers.split(",")
    set_waits(False)  # between attempts, and after throttles: hours of them would prove nothing
    each = -(-args.certificates // len(providers))
    results = [rehearse(name, each, args.rate, args.seed + k) for k, name in enumerate(providers)]
    wrong, _, dropped, more = (sum(column) for column in zip(*results, strict=True))
    print(f"false {wrong}, dropped {dropped}, requests the server saw beyond ours {more}")
    return 1 if wrong or dropped or more else 0


if __name__ == "__main__":
    sys.exit(main())
