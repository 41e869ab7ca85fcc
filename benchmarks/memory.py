"""Peak memory of `certify` on one image: n = 100,000 against n = 1,000, each in a process of its own.

python benchmarks/memory.py [--most 100000] [--least 1000]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator

from processes import started
from rows import Plan, Row

CHILD = """
import resource, sys
from skimage import data
from api_smoothing import SmoothedAPI
with SmoothedAPI("torchvision", sigma=0.12, seed=0, method="fixed", cache=sys.argv[2]) as api:
    certificate = api.certify(data.chelsea(), n=int(sys.argv[1]))
assert certificate.n == int(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_mib(n: int) -> float:
    """Peak memory of a process that certifies with `n` queries."""
    with tempfile.TemporaryDirectory() as folder:
        out, _ = started(CHILD, str(n), folder, home=folder).communicate()
    return int(out) / 1024


def rows(plan: Plan) -> Iterator[Row]:
    """The ratio of peaks."""
    few, many = (200, 2_000) if plan.quick else (1_000, 100_000)
    least, most = peak_mib(few), peak_mib(many)
    note = f"peak {least:.0f} MiB at n = {few:,}, {most:.0f} MiB at {many:,}"
    yield Row(name="memory: growth in n", figure=most / least, limit=1.1, note=note)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--least", type=int, default=1_000)
    parser.add_argument("--most", type=int, default=100_000)
    args = parser.parse_args()
    least, most = peak_mib(args.least), peak_mib(args.most)
    print(
        f"peak memory: {least:.0f} MiB at n={args.least}, {most:.0f} MiB at n={args.most}, ratio {most / least:.3f}"
    )


if __name__ == "__main__":
    main()
