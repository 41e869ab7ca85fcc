"""How time and memory grow with what is asked: exponents of a power law, fitted to CPU time.

The model is a function that answers at once, so that what is measured is ours. Every series takes each of its sizes in
turn, several times over; the least CPU time of each size counts, without what is done once in the smallest.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from pictures import made
from processes import started
from rows import Plan, Row

from api_smoothing import SmoothedAPI

LIMIT: Final = 1.05
ROUNDS: Final = 5

Sizes = Sequence[int]


def answers(batch: Any) -> list[str]:
    """A model that costs nothing."""
    return ["cat"] * len(batch)


def exponent(sizes: Sizes, times: Sequence[float]) -> float:
    """b of a·size^b, by least squares of the logarithms over the upper half of the sizes, where what is done once
    counts for little.
    """
    upper = max(3, (len(sizes) + 1) // 2)
    slope, _ = np.polyfit(np.log(sizes[-upper:]), np.log(times[-upper:]), 1)
    return float(slope)


def least(work: Callable[[int], float], sizes: Sizes, rounds: int) -> list[float]:
    """The least CPU seconds of each size."""
    taken = [[work(size) for size in sizes] for _ in range(rounds)]
    return [min(column) for column in zip(*taken, strict=True)]


def _cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


@contextmanager
def _facade(**more: Any) -> Iterator[SmoothedAPI]:
    from api_smoothing.adapters.local.adapter import CallableAdapter

    model = CallableAdapter(answers, fingerprint="growth")
    with (
        tempfile.TemporaryDirectory() as folder,
        SmoothedAPI(model, **{"denoiser": None, "seed": 0, "cache": folder, "sigma": 0.25, **more}) as api,
    ):
        yield api


def votes(n: int) -> float:
    """`n` answers about one small image, all counted in a certificate."""
    with _facade(method="fixed") as api:
        return _cpu(lambda: api.certify(made(1, 8)[0], n=n))


def pictures(count: int) -> float:
    """`count` images in target mode."""
    with _facade() as api:
        return _cpu(lambda: list(api.certify_many(iter(made(count, 8)), radius=0.25, n=1_000)))


def kept(n: int) -> float:
    """A certificate from `n` answers that lie in the cache already."""
    with _facade(method="fixed") as api:
        api.predict(made(1, 8)[0], n=n)
        return _cpu(lambda: api.certify(made(1, 8)[0], n=n))


def pixels(count: int) -> float:
    """Answers about one image of `count` pixels."""
    side = round(count**0.5)
    with _facade(method="fixed") as api:
        return _cpu(lambda: api.certify(made(1, side)[0], n=64))


class Service:
    """A service in this process that answers at once."""

    def __init__(self) -> None:
        from api_smoothing.adapters import AdapterCard

        self.card = AdapterCard(name="service", fingerprint="growth")

    def label(self, batch: Sequence[Any], /) -> list[Any]:
        from api_smoothing.adapters import Answer, Label

        return [Answer(labels=(Label(name="cat", score=0.9),))] * len(batch)

    def verdict(self, error: Exception, /) -> Any:
        from api_smoothing.adapters import Verdict

        return Verdict.FATAL


def threads(count: int) -> float:
    """As many answers a thread, of `count` threads at once."""
    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {"denoiser": None, "seed": 0, "cache": folder, "concurrency": count}
        with SmoothedAPI(Service(), **settings) as api:
            return _cpu(lambda: api.predict(made(1, 8)[0], n=20 * count))


#: What grows: its measurement, the sizes, and those of --quick.
SERIES: Final[dict[str, tuple[Callable[[int], float], Sizes, Sizes]]] = {
    "n": (votes, (100, 1_000, 10_000, 30_000, 100_000), (100, 1_000, 3_000, 10_000)),
    "images": (pictures, (10, 30, 100, 300, 1_000), (10, 30, 100)),
    "cached answers": (kept, (1_000, 3_000, 10_000, 30_000, 100_000), (1_000, 3_000, 10_000)),
    "threads": (threads, (1, 4, 16, 32, 64), (4, 16, 64)),
    "pixels": (pixels, (64**2, 128**2, 256**2, 512**2), (64**2, 128**2, 256**2)),
}

PEAK: Final = """
import resource, sys
import growth
growth.pictures(int(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_mib(count: int) -> float:
    """Peak memory of a process that certifies so many images."""
    with tempfile.TemporaryDirectory() as home:
        out, _ = started(PEAK, str(count), home=home).communicate()
    return int(out) / 1024


def rows(plan: Plan) -> Iterator[Row]:
    """An exponent a series, and the ratio of peak memory."""
    for name, (work, full, quick) in SERIES.items():
        sizes = quick if plan.quick else full
        times = least(work, sizes, ROUNDS)
        told = ", ".join(f"{size:,}: {taken:.2f} s" for size, taken in zip(sizes, times, strict=True))
        yield Row(
            name=f"growth: time in {name}", figure=exponent(sizes, times), limit=LIMIT, note=f"CPU {told}"
        )
    few, many = (10, 100) if plan.quick else (100, 1_000)
    small, large = peak_mib(few), peak_mib(many)
    yield Row(
        name="growth: memory in images",
        figure=large / small,
        limit=LIMIT,
        note=f"peak {small:.0f} MiB for {few} images, {large:.0f} MiB for {many:,}",
    )
