"""Answers counted a second over many images, beside the bare networks on full batches in the same process.

Every few images the run is held, and the bare networks take their turn: so both meet the same machine.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from networks import Bare
from pictures import Images, made, pictures
from rows import Plan, Row

from api_smoothing import SmoothedAPI

TURNS = 8  # of the bare networks in a run
RADIUS, CAP = 0.25, 1_000
EASY = 0.999  # of the votes: an image of which everything is decided by the fewest answers


class Tally:
    """Rows that went through a network; padding is among them."""

    def __init__(self) -> None:
        self.rows = 0

    @contextmanager
    def of(self, network: torch.nn.Module) -> Iterator[None]:
        """Count while the `with` lasts."""

        def count(module: object, given: tuple[torch.Tensor, ...]) -> None:
            self.rows += len(given[0])

        hook = network.register_forward_pre_hook(count)
        try:
            yield
        finally:
            hook.remove()


def measure(imgs: Images, *, turns: int = TURNS) -> dict[str, float]:
    """Counted answers, rows computed, and seconds of a run over `imgs`; `ratio` of its rate to the bare one's."""
    with tempfile.TemporaryDirectory() as folder, _facade(folder) as api:
        bare, tally = Bare(api, imgs[0]), Tally()
        bare.run(256)  # warm
        alone, alone_rows, answers, sent = 0.0, 0, 0, 0
        every = max(1, len(imgs) // turns)
        began = time.perf_counter()
        with tally.of(bare.classifier):
            for number, found in enumerate(api.certify_many(imgs, radius=RADIUS, n=CAP), 1):
                answers, sent = answers + found.n, sent + found.queries
                if number % every == 0:
                    counted, since = tally.rows, time.perf_counter()
                    bare.run(max(256, sent // number * every // 4))
                    alone, alone_rows = alone + time.perf_counter() - since, alone_rows + tally.rows - counted
                    tally.rows = counted
        whole = time.perf_counter() - began - alone
    rates = {"rate": answers / whole, "bare": alone_rows / alone}
    return {"answers": answers, "rows": tally.rows, **rates, "ratio": rates["rate"] / rates["bare"]}


def rows(plan: Plan) -> Iterator[Row]:
    """Ratios with one and two threads, and rows computed for each answer that counts."""
    imgs, what = pictures(plan.data, plan.count(200, 24))
    usual = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found = measure(imgs)
            yield Row(
                name=f"scheduler: counted answers over bare rate, {threads} thread{'s' * (threads > 1)}",
                figure=found["ratio"],
                than="≥",
                limit=0.90,
                note=f"{found['rate']:.0f} of {found['bare']:.0f} a second; {len(imgs)} × {what}",
            )
    finally:
        torch.set_num_threads(usual)
    yield _rows_an_answer("many images", found)
    if (easy := _easy(imgs)) is None:
        yield Row(name="scheduler: rows computed an answer, one easy image", figure=None, note="none is easy")
    else:
        yield _rows_an_answer("one easy image", measure(easy, turns=1))


def _rows_an_answer(what: str, found: dict[str, float]) -> Row:
    return Row(
        name=f"scheduler: rows computed an answer, {what}",
        figure=found["rows"] / found["answers"],
        limit=1.3,
        note=f"{found['rows']:,.0f} rows, {found['answers']:,.0f} answers",
    )


def _easy(imgs: Images) -> Images | None:
    """The first image, of `imgs` or made here, that nearly every copy gives the same label."""
    with SmoothedAPI("torchvision", seed=0, store="memory") as api:
        for picture in [*imgs[:20], *made(20)]:
            if max(api.predict(picture, n=64).counts.values()) >= EASY * 64:
                return [picture]
    return None


def _facade(folder: str) -> SmoothedAPI:
    return SmoothedAPI("torchvision", sigma=0.25, seed=0, cache=folder)
