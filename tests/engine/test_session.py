"""One provider with one budget and one cache: whatever the images of a run have in common."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counting_service import GREY, CountingService, api_of

from api_smoothing import Budget, denoisers, images
from api_smoothing.adapters.base import Quota
from api_smoothing.adapters.local.adapter import CallableAdapter
from api_smoothing.engine.session import Session
from api_smoothing.engine.storage.answers import MemoryCache
from api_smoothing.engine.storage.memory import MemoryStorage
from api_smoothing.noise import NoiseStream
from api_smoothing.results import Provenance

PROVENANCE = Provenance(
    provider="function",
    model="len-1",
    denoiser=None,
    label_map=None,
    sigma=0.25,
    alpha=0.001,
    method="auto",
    noise="gaussian",
    seed="public:0",
)
LOADED = images.load(np.zeros((8, 8, 3), np.uint8))
NOISE = NoiseStream(sigma=0.25, seed=bytes(16), image_digest=LOADED.digest, shape=(8, 8, 3), sub=LOADED.sub)


class Noting(MemoryCache):
    """Remembers the streams it is told of."""

    def __init__(self) -> None:
        super().__init__()
        self.streams: list[str] = []

    def describe(self, stream: str, facts: Any) -> None:
        self.streams.append(stream)


class Storage(MemoryStorage):
    """Hands out that cache."""

    def __init__(self, cache: Noting) -> None:
        super().__init__()
        self._noting = cache

    def answers(self, *, paid: bool, keep: bool = True) -> Noting:
        return self._noting


def streams(device: str, denoiser: denoisers.Denoiser | None) -> list[str]:
    """What a session on `device` calls the stream of an image; nothing is asked, so the device need not be there."""
    cache = Noting()
    session = Session(
        CallableAdapter(len, fingerprint="len-1"),
        denoiser=denoiser,
        budget=Budget(),
        storage=Storage(cache),
        device=device,
        workers=None,
    )
    sender = session.sender()
    session.inquiry(
        LOADED, NOISE, seed="public:0", provenance=PROVENANCE, read=lambda answer: None, sender=sender
    )
    session.close()
    return cache.streams


def test_answers_from_another_kind_of_device_are_kept_apart() -> None:
    """A function says nothing of where it runs, which is where the images are that it is given: the session does."""
    same = denoisers.wrap(lambda x, s: x, id="same@1", sigma_range=(0.1, 1.0))
    assert streams("cpu", same) != streams("cuda", same) == streams("cuda:1", same)
    assert streams("cpu", None) != streams("cuda", None) == streams("cuda:1", None)


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="counts the open files of this process")
def test_open_files_do_not_grow_with_the_work() -> None:
    """A run over many images needs no more open files than one over few."""
    service = CountingService(quotas=(Quota(unit="image", count=10_000),))
    with api_of(service, concurrency=8) as api:
        api.certify(GREY, radius=0.1)
        before = len(os.listdir("/dev/fd"))
        for k in range(3):
            api.certify(GREY + np.uint8(k + 1), radius=0.1)
        assert len(os.listdir("/dev/fd")) < before + 60
