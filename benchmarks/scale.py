"""What a million images cost at each cloud: queries, dollars, hours of quota, disk, and cores for the denoiser.

    python benchmarks/scale.py [--radius 0.25] [--images 1000000] [--denoised N] [--answers 20000]

Queries are those an estimate expects for photographs at a radius, within the cap that nobody has set; dollars go by
the price table's tiers; hours by the account's usual quota. Disk is measured: so many answers and their payments are
written to a folder of their own, and how many of them a second is told beside it. Cores are what it takes to denoise
as fast as the quota lets queries leave: `--denoised` images a second are what one core does at 224×224 (measured here
if it is not given; `python benchmarks/denoiser_speed.py` is the careful way).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import closing
from pathlib import Path

from api_smoothing import SmoothedAPI
from api_smoothing.adapters.base import Answer, Label
from api_smoothing.engine.storage import FolderStorage
from api_smoothing.results import Budget

CLOUDS = ("aws", "azure", "clarifai", "google")
SAMPLE = 1000  # images that are estimated; a million are as many times more


def disk(answers: int) -> tuple[float, float]:
    """(bytes, answers written a second) of answers with five labels, each paid, claimed and kept by itself."""
    reply = Answer(
        labels=tuple(Label(name=f"a label of a service {k}", score=0.9, id=f"/m/{k}") for k in range(5)),
        model_version="3.0",
    )
    with tempfile.TemporaryDirectory() as folder, closing(FolderStorage(Path(folder))) as storage:
        kept = storage.answers(paid=True)
        account = storage.budget(Budget(usd=1e6), run="scale", provider="scale", micro_usd=1000)
        began = time.perf_counter()
        for index in range(answers):
            kept.claim("stream", [index])
            reservation = account.reserve("stream", [index])
            kept.write("stream", {index: reply})
            account.settle(reservation, sent=True)
        seconds = time.perf_counter() - began
        kept.close()
        account.close()
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    return size / answers, answers / seconds


def denoised_a_second(side: int = 224, images: int = 32) -> float:
    """Images a second of the denoiser that photographs get, on one core."""
    import torch

    from api_smoothing import denoisers

    torch.set_num_threads(1)
    denoiser = denoisers.load("unet-natural")
    x = torch.rand(8, 3, side, side)
    denoiser(x, 0.25)
    began = time.perf_counter()
    for _ in range(images // len(x)):
        denoiser(x, 0.25)
    return images / (time.perf_counter() - began)


def main() -> None:
    """Print one line a cloud."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--radius", type=float, default=0.25)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--denoised", type=float, help="images a second that one core denoises at 224×224")
    parser.add_argument(
        "--answers", type=int, default=20_000, help="how many are written to measure the disk"
    )
    args = parser.parse_args()
    size, written = disk(args.answers)
    speed = args.denoised or denoised_a_second()
    print(
        f"{size:.0f} bytes an answer, {written:,.0f} answers a second by one thread; {speed:.1f} images denoised a "
        "second by one core"
    )
    print(
        "| provider | queries an image | million queries | million dollars | days of one account's quota | GB | cores |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in CLOUDS:
        with SmoothedAPI(name, sandbox=True, store="memory", denoiser="unet-natural") as api:
            estimate = api.estimate(SAMPLE, radius=args.radius, within_budget=False)
            queries = estimate.queries_expected / SAMPLE * args.images
            rate = api._adapter.card.queries_per_second
            dollars = api._session.price.usd(round(queries))
        days = f"{queries / rate / 86_400:.0f}" if rate else "no quota known"
        cores = f"{rate / speed:.1f}" if rate else "–"
        print(
            f"| {name} | {queries / args.images:.0f} | {queries / 1e6:.0f} | {dollars / 1e6:.3f} | {days} "
            f"| {queries * size / 1e9:.0f} | {cores} |"
        )


if __name__ == "__main__":
    main()
