"""Whether a CUDA card gives what the processor gives, and how fast: `python -m benchmarks device [--seconds 12]`.

Checks, each of which must hold: the noise has the same bits, for all kinds, σ and grids; a copy is denoised and
answered to the same bits whatever is asked with it and wherever it stands in the batch; labels are those of the
processor, and denoised 8-bit pixels as well, but for the share that two arithmetics round to different sides. Measures:
answers a second of the bare networks and of `certify`, for fixed n and for a radius, on one card and on all; the noise
and the way back of the pixels. Under eight minutes on a card. `--device cpu` is a rehearsal, without a card.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from api_smoothing import SmoothedAPI, denoisers
from api_smoothing.adapters.local import torchvision as local
from api_smoothing.adapters.local.batches import micro_batch, run_in_micro_batches
from api_smoothing.denoisers.base import Denoiser
from api_smoothing.denoisers.selection import choose
from api_smoothing.engine.sending import Cleaner, Query, Stream, drawing
from api_smoothing.engine.sending.noisy import Drawing, draw_on
from api_smoothing.engine.sending.pixels import for_model
from api_smoothing.noise import NoiseKind, NoiseStream
from api_smoothing.precision import devices, kind_of

SIGMA: Final = 0.25
KINDS: Final[tuple[NoiseKind, ...]] = ("gaussian", "uniform", "laplace")
INDICES: Final = (0, 1, 2, 77, 2**32 + 5, 2**63 - 1, 2**63, 2**64 - 1)
#: Between the processor's float32 and the card's, whose convolutions may round as TF32: less, or more, is no rounding.
LEAST_SAME_LABELS: Final = 0.95
MOST_LEVELS_APART: Final = 4
MOST_ANSWERS: Final = 400_000


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; `met` is None where it is measured and not judged."""

    name: str
    figure: str
    met: bool | None = None


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        print("no CUDA here: not run (--device cpu rehearses it on the processor)", file=sys.stderr)
        return 2
    print(f"| on {title(args.device)} | | holds |\n|---|---|---|", flush=True)
    failed = False
    with tempfile.TemporaryDirectory(prefix="api-smooth-device-") as home:
        os.environ["API_SMOOTH_HOME"] = os.environ["API_SMOOTH_MACHINE"] = home
        for row in itertools.chain(checks(args.device, args.quick), measures(args.device, args.seconds)):
            failed = failed or row.met is False
            holds = {None: "", True: "yes", False: "**no**"}[row.met]
            print(f"| {row.name} | {row.figure} | {holds} |", flush=True)
    return int(failed)


def title(device: str) -> str:
    """The card's name, or the processor as a stand-in, and the versions that decide bits."""
    if not device.startswith("cuda"):
        return f"the processor, a rehearsal (torch {torch.__version__})"
    memory = torch.cuda.get_device_properties(device).total_memory / 2**30
    cards = torch.cuda.device_count()
    return (
        f"{kind_of(device).removeprefix('cuda ')}, {memory:.0f} GiB, {cards} here "
        f"(torch {torch.__version__}, CUDA {torch.version.cuda})"
    )


def checks(device: str, quick: bool) -> Iterator[Row]:
    """What must hold before any speed counts."""
    yield noise_is_equal(device, quick)
    yield copies_are_equal(device)
    yield from networks_agree(device, 64 if quick else 512)
    yield from rows_are_independent(device, quick)


def measures(device: str, seconds: float) -> Iterator[Row]:
    """Speeds, each measured for about so many seconds."""
    yield from noise_speed(device)
    yield from ways_back(device)
    bare = bare_rate(device, seconds)
    unit = micro_batch(device, 32 * 32)
    yield Row(f"bare networks, 32×32, batches of {unit}", f"{bare:,.0f} answers/s")
    for name in dict.fromkeys([device, *every(device)]):
        cards = len(devices(name))
        n = min(MOST_ANSWERS, max(2 * unit, int(bare * seconds) * cards))
        rate = certify_rate(name, n)
        of = f", {rate / bare:.2f} of bare" if cards == 1 else f", {rate / bare / cards:.2f} of bare on each"
        yield Row(f"certify, n = {n:,}, on {name}", f"{rate:,.0f} answers/s{of}")
        images = max(4, min(400, int(bare * seconds / 400))) * cards
        rate, each = target_rate(name, images)
        yield Row(
            f"certify, radius {SIGMA:g}, {images} images, on {name}",
            f"{rate:,.0f} answers/s, {each:.0f} an image",
        )


def every(device: str) -> list[str]:
    """All cards together, where there are several."""
    count = torch.cuda.device_count() if device.startswith("cuda") else 1
    return [",".join(f"cuda:{k}" for k in range(count))] if count > 1 else []


def picture(side: int, seed: int = 0) -> np.ndarray:
    """Smooth shapes, so that a classifier is mostly of one mind."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 4, 4)).astype(np.float32))
    fine = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
    return np.asarray(fine[0].permute(1, 2, 0).clamp(0, 255).byte().numpy())


def noise_of(side: int, kind: NoiseKind = "gaussian", sigma: float = SIGMA, sub: int = 1) -> NoiseStream:
    return NoiseStream(
        kind=kind, sigma=sigma, seed=bytes(range(16)), image_digest=bytes(32), shape=(side, side, 3), sub=sub
    )


def noise_is_equal(device: str, quick: bool) -> Row:
    """Bit for bit, for every kind, σ and grid, at both ends of the indices."""
    cases = list(itertools.product(KINDS, (0.12, 0.25, 1.0), (1, 256), (7, 32) if quick else (7, 32, 224)))
    equal = 0
    for kind, sigma, sub, side in cases:
        noise = noise_of(side, kind, sigma, sub)
        there = noise.on(device).sample(INDICES).cpu().numpy().reshape(-1, *noise.shape)
        equal += int(np.array_equal(there, noise.sample(INDICES)))
    return Row("noise, all kinds, σ and grids: bit-equal", f"{equal} of {len(cases)}", equal == len(cases))


def drawn_of(side: int, paths: int | None, sub: int = 1) -> Drawing:
    grid = picture(side).astype(np.int32) * sub
    return Drawing(grid, noise_of(side, sub=sub), paths)


def copies_are_equal(device: str) -> Row:
    """As bytes and as floats, of one path and of several."""
    cases = list(itertools.product((None, 1, 3), (1, 7, 256)))
    equal = 0
    for paths, sub in cases:
        drawn = drawn_of(32, paths, sub)
        equal += int(np.array_equal(drawn.on(device, INDICES).cpu().numpy(), drawn(INDICES)))
    return Row("noisy copies, bytes and floats: bit-equal", f"{equal} of {len(cases)}", equal == len(cases))


class Pipeline:
    """Denoiser and classifier as `certify` uses them, on one device."""

    def __init__(self, device: str, dtype: str) -> None:
        self.device, self.unit = device, micro_batch(device, 32 * 32)
        self.denoiser: Denoiser = denoisers.load(choose(side=32, sigma=SIGMA), device=device, dtype=dtype)
        self.model = local.load(device=device)
        self.cleaner = Cleaner(self.denoiser, SIGMA, device)
        grid = picture(32).astype(np.int32)
        self.stream = Stream(name="s", answers=None, draw=drawing(grid, noise_of(32), self.denoiser))  # type: ignore[arg-type]

    def queries(self, numbers: Sequence[int]) -> list[Query]:
        return [Query(self.stream, number) for number in numbers]

    def clean(self, numbers: Sequence[int]) -> Tensor:
        """uint8 (N,3,32,32) on the device."""
        queries = self.queries(numbers)
        return self.cleaner.clean(draw_on(self.device, queries), queries)

    def labels(self, clean: Tensor) -> list[str]:
        return [answer.labels[0].name for answer in self.model.label(for_model(clean))]  # type: ignore[union-attr]

    def scores(self, clean: Tensor) -> Tensor:
        with torch.no_grad():
            return run_in_micro_batches(self.model.module, for_model(clean))


def networks_agree(device: str, n: int) -> Iterator[Row]:
    """Against the processor in float32: in float32 too, which is judged, and in the card's own type."""
    here = Pipeline("cpu", "fp32")
    want, numbers = here.clean(range(n)), range(n)
    labels = here.labels(want)
    for dtype in ("fp32", "auto"):
        there = Pipeline(device, dtype)
        got = there.clean(numbers)
        apart = (got.cpu().int() - want.int()).abs()
        same = statistics.fmean(a == b for a, b in zip(there.labels(got), labels, strict=True))
        close = int(apart.max()) <= MOST_LEVELS_APART if dtype == "fp32" else None
        name = there.denoiser.compute
        yield Row(
            f"denoised pixels of {name} against the processor's fp32",
            f"{float((apart == 0).double().mean()):.2%} equal, at most {int(apart.max())} levels apart",
            close,
        )
        told = same >= LEAST_SAME_LABELS if dtype == "fp32" else None
        yield Row(f"labels behind {name} against the processor's", f"{same:.2%} equal of {n}", told)


def rows_are_independent(device: str, quick: bool) -> Iterator[Row]:
    """On the device, bit for bit: whatever else is in the batch, wherever a copy stands in it, and every time."""
    pipeline = Pipeline(device, "auto")
    n = pipeline.unit + 40 if not quick else 100
    numbers = list(range(n))
    whole = pipeline.clean(numbers)
    scores = pipeline.scores(whole)
    order = np.random.default_rng(1).permutation(n).tolist()
    cuts = [numbers[first : first + 37] for first in range(0, n, 37)]
    parts = torch.cat([pipeline.clean(part) for part in cuts])
    part_scores = torch.cat([pipeline.scores(whole[part]) for part in cuts])
    found = {
        "in other batches": torch.equal(parts, whole) and torch.equal(part_scores, scores),
        "in another order": torch.equal(pipeline.clean(order), whole[order])
        and torch.equal(pipeline.scores(whole[order]), scores[order]),
        "again": torch.equal(pipeline.clean(numbers), whole) and torch.equal(pipeline.scores(whole), scores),
        "as pixels for a service": np.array_equal(
            pipeline.cleaner.pixels(pipeline.queries(numbers)), whole.permute(0, 2, 3, 1).cpu().numpy()
        ),
    }
    for name, equal in found.items():
        yield Row(f"the same bits {name}", f"{n} copies", equal)


def noise_speed(device: str) -> Iterator[Row]:
    """Values a second, drawn there and by numpy."""
    for side, sub in ((32, 1), (224, 1), (224, 256)):
        noise = noise_of(side, sub=sub)
        n = micro_batch(device, side * side)
        there = noise.on(device)
        values = n * side * side * 3 / 1e6
        rate = values / taken(partial(there.sample, range(n)), device)
        numpy = values / taken(partial(noise.sample, range(n)), device)
        yield Row(
            f"noise, {n} copies of {side}×{side}, grid 1/{sub}",
            f"{rate:,.0f} million values/s, {rate / numpy:.1f} times numpy",
        )


def ways_back(device: str) -> Iterator[Row]:
    """8-bit pixels from the device, in memory that is pinned as `Cleaner.pixels` has it, and in memory that is not."""
    if not device.startswith("cuda"):
        return
    x = torch.zeros((64, 224, 224, 3), dtype=torch.uint8, device=device)
    pinned = taken(lambda: torch.empty(x.shape, dtype=x.dtype, pin_memory=True).copy_(x), device)
    plain = taken(x.cpu, device)
    yield Row("64 images of 224×224 brought back", f"{pinned * 1e3:.2f} ms pinned, {plain * 1e3:.2f} ms not")
    # What overlapping could save at most: the way back as a share of the denoising before it.
    denoiser = denoisers.load(choose(side=224, sigma=SIGMA), device=device)
    noisy = x.permute(0, 3, 1, 2).float()
    with torch.no_grad():
        work = taken(lambda: run_in_micro_batches(lambda part: denoiser(part, SIGMA), noisy), device)
    yield Row("… as a share of their denoising", f"{pinned / work:.2%}")


def bare_rate(device: str, seconds: float) -> float:
    """Images a second through denoiser, 8 bits and classifier, from memory of the device to labels on it."""
    pipeline = Pipeline(device, "auto")
    ready = draw_on(device, pipeline.queries(range(pipeline.unit))).permute(0, 3, 1, 2)
    ready = ready.contiguous(memory_format=torch.channels_last)

    def one() -> None:
        with torch.inference_mode():
            clean = pipeline.denoiser(ready, SIGMA).clamp(0, 1).mul(255).round().div(255)
            pipeline.model.module(clean).argmax(1)

    once = taken(one, device)
    count = max(1, int(seconds / 3 / once))

    def many() -> None:
        for _ in range(count):
            one()

    return pipeline.unit * count / min(taken(many, device, rounds=1) for _ in range(2))


def certify_rate(device: str, n: int) -> float:
    """Answers a second of one image at fixed n, from the image to the certificate, kept on disk."""
    with api_on(device, method="fixed") as api:
        api.certify(picture(32, 10**6), n=64)  # loads the kernels
        began = time.perf_counter()
        found = api.certify(picture(32), n=n)
        return found.n / (time.perf_counter() - began)


def target_rate(device: str, images: int) -> tuple[float, float]:
    """(answers a second of images that stop once a radius of σ is decided, answers an image)."""
    with api_on(device) as api:
        api.certify(picture(32, 10**6), n=64)
        began = time.perf_counter()
        found = list(api.certify_many([picture(32, k) for k in range(images)], radius=SIGMA, n=1000))
        answers = sum(certificate.n for certificate in found)
        return answers / (time.perf_counter() - began), answers / images


def api_on(device: str, **more: Any) -> SmoothedAPI:
    folder = tempfile.mkdtemp(dir=os.environ["API_SMOOTH_HOME"])
    return SmoothedAPI("torchvision", sigma=SIGMA, cache=folder, seed=0, device=device, **more)


def taken(work: Callable[[], Any], device: str, *, rounds: int = 5) -> float:
    """The seconds that `work` takes with all it leaves to the card: the median of the rounds, after one to warm up."""

    def once() -> float:
        began = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    once()
    return statistics.median(once() for _ in range(rounds))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks device",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu as a rehearsal")
    parser.add_argument("--seconds", type=float, default=12.0, help="about how long each rate is measured")
    parser.add_argument("--quick", action="store_true", help="fewer copies in the checks")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
