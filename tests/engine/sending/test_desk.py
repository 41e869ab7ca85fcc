"""Queries on their way through noise, denoiser and provider."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from counting_service import GREY, CountingService, api_of, says, sender_of

from api_smoothing.adapters.base import EncodedImage, Verdict
from api_smoothing.denoisers.base import DenoiserCard
from api_smoothing.engine.sending import Cleaner, Query, There
from api_smoothing.errors import ProviderError


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


def test_outcomes_that_came_together_are_given_before_the_error_that_ends_the_run() -> None:
    """What comes while others are counted is counted with them; a fatal error among them hides no answer."""
    leave, left = threading.Event(), threading.Barrier(5)

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        if first:
            left.wait(30)
            leave.wait(30)
            time.sleep(0.1 * (first == 4))
        return [says("dog")] * len(images) if first < 4 else [Verdict(kind="fatal", message="no more")]

    service = CountingService(reply)
    sender = sender_of(service)
    cleaner = Cleaner(None, 0.25, "cpu")
    desk = There(card=service.card, cleaner=cleaner, sender=sender.sender, workers=4)
    sender.stream.draw = lambda indices: np.zeros((len(indices), 8, 8, 3), np.uint8)
    sender.stream.shape = (8, 8)
    queries = [Query(sender.stream, number) for number in range(5)]
    desk.put(queries[:1])
    while not desk.step():
        pass
    desk.put(queries[1:])
    while desk._raw or desk._denoising:
        desk.step()
    left.wait(30)
    leave.set()
    time.sleep(0.5)
    assert len(desk.step()) == 3
    with pytest.raises(ProviderError):
        desk.step()
    desk.close()
