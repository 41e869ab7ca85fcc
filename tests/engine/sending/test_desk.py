"""Queries on their way through noise, denoiser and provider."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from counting_service import GREY, CountingService, api_of, says

from api_smoothing.adapters.base import EncodedImage
from api_smoothing.denoisers.base import DenoiserCard


def test_waiting_for_an_answer_costs_nothing() -> None:
    """Queries that another process is asking are denoised at most once here."""

    class Identity:
        compute, paths_per_query = "fp32", 1

        def __init__(self) -> None:
            self.card, self.seen = DenoiserCard(id="d", sha256="0" * 64, sigma_range=(0.0, 1.0)), 0

        def __call__(self, x: Any, sigma: Any, /) -> Any:
            self.seen += len(x)
            return x

    asked = threading.Event()

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        asked.set()
        time.sleep(0.6)
        return [says("dog")] * len(images)

    service, waiting = CountingService(reply), Identity()
    one = api_of(service, denoiser=Identity(), concurrency=4)
    two = api_of(service, denoiser=waiting, concurrency=4)
    first = threading.Thread(target=one.predict, args=(GREY,), kwargs={"n": 4})
    first.start()
    asked.wait()
    two.predict(GREY, n=4)
    first.join()
    assert service.seen == 4
    assert waiting.seen <= 2 * 64  # one micro-batch is 64


def test_a_request_never_waits_for_pictures_that_cannot_join_it() -> None:
    """Few queries about a small picture leave though those behind are of a large one, which go in smaller batches."""
    service = CountingService(batch=16, max_request_bytes=200_000)
    small, large = np.full((20, 20, 3), 99, np.uint8), np.full((240, 240, 3), 90, np.uint8)
    found: list[int] = []
    with api_of(service, store="memory", concurrency=2) as api:

        def run() -> None:
            found.extend(result.n for result in api.certify_many([small, large], n=23))

        running = threading.Thread(target=run, daemon=True)  # it hung
        running.start()
        running.join(20)
        assert found == [23, 23]
