"""The switch for tests: no waits between attempts, and everything else as ever."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest

from api_smoothing import SmoothedAPI, testing
from api_smoothing.adapters.base import AdapterCard, Answer, EncodedImage, Label, Quota, Verdict


class Throttled:
    """Throttles every request but each fifth one."""

    card = AdapterCard(name="throttled", fingerprint="1", quotas=(Quota(unit="image", count=1000),))

    def __init__(self) -> None:
        self.requests = 0

    def label(self, images: Sequence[EncodedImage], /) -> Sequence[Answer | Verdict]:
        self.requests += 1
        if self.requests % 5:
            raise TimeoutError
        return [Answer(labels=(Label(name="dog", score=0.9),))] * len(images)

    def verdict(self, error: Exception, /) -> Verdict:
        return Verdict(kind="throttled", retry_after=30.0)


def test_without_waits_a_throttled_query_is_tried_again_at_once() -> None:
    """Attempts and answers are those with waits; the time is not, for this and for others on the account."""
    service, began = Throttled(), time.monotonic()
    with testing.no_waits(), SmoothedAPI(service, denoiser=None, cache=False, concurrency=1) as api:
        found = api.predict(np.full((8, 8, 3), 128, np.uint8), n=2)
    assert time.monotonic() - began < 20
    assert (found.n, found.failed, found.queries, service.requests) == (2, 0, 10, 10)


def test_the_switch_is_left_as_it_was_found() -> None:
    """After the block, however it ended, waits are what they were before; `set_waits` is for good."""

    def interrupted() -> None:
        with testing.no_waits():
            with testing.no_waits():
                pass
            assert not testing.waits()
            raise KeyError

    assert testing.waits()
    with pytest.raises(KeyError):
        interrupted()
    assert testing.waits()
    testing.set_waits(False)
    try:
        with testing.no_waits():
            pass
        assert not testing.waits()
    finally:
        testing.set_waits(True)
