"""A free rehearsal at several σ, and what it suggests for an image that abstained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from counting_service import CountingService, api_of, says
from torch import Tensor

from api_smoothing import SmoothedAPI, adapters
from api_smoothing.engine import parts
from api_smoothing.stand_in import Suggestion, _larger, shares, suggest

GREY = np.full((32, 32, 3), 128, dtype=np.uint8)


def loud(images: Tensor) -> list[str]:
    """Steady under little noise: the spread of the pixels tells σ, and much of it splits the vote."""
    return ["calm" if one.std() < 0.3 else f"{int(one.sum() * 100) % 7}" for one in images]


def test_a_smaller_sigma_is_suggested_and_then_certifies() -> None:
    """The first question abstains; at the suggested σ, with the suggested number of queries, there is a certificate."""
    with SmoothedAPI(loud, sigma=0.5, denoiser=None, seed=1, store="memory") as api:
        done = api.certify(GREY, n=40)
    assert done.label is None
    adapter = parts.adapter(loud, model=None, device="cpu")
    found = suggest(GREY, done, adapter=adapter, denoiser=None)
    assert found is not None
    assert found.share.sigma < 0.5
    assert "the model itself" in str(found)
    with SmoothedAPI(loud, sigma=found.share.sigma, denoiser=None, seed=1, store="memory") as api:
        assert api.certify(GREY, radius=found.radius, n=found.n).label == "calm"


def test_a_service_is_not_asked() -> None:
    """Whoever has no key and no network is answered by the sandbox's classifier, at each σ that the denoiser is for."""
    google = adapters.load("google", key="none", endpoint="http://127.0.0.1:9")
    found = list(shares(GREY, adapter=google, denoiser="unet-cifar10", size=32, sigmas=(0.25, 9.0), draws=4))
    assert [(one.sigma, one.n) for one in found] == [(0.25, 4)]


def test_a_thumbnail_of_a_photograph_is_told_to_be_larger() -> None:
    """What was asked about at 32 pixels is rehearsed at those of photographs, and the size is named."""
    grey = np.full((300, 400, 3), 128, dtype=np.uint8)
    google = adapters.load("google", key="none", endpoint="http://127.0.0.1:9")
    with SmoothedAPI(lambda x: ["a"] * len(x), sigma=0.25, denoiser=None, size=32, store="memory") as api:
        done = replace(api.certify(grey, n=20), label=None)
    settings = {"denoiser": None, "size": 32, "draws": 4}
    first = next(iter(_larger(grey, done, google, settings)))
    assert (first.size, first.sigma) == (224, 0.25)
    found = Suggestion(whom="the sandbox", share=first, n=100, radius=None, chance=0.9)
    assert str(found).startswith("size=224 at σ=0.25 with n=100 ")
    whole = replace(done, space=(224, 224))
    assert list(_larger(grey, whole, google, settings)) == []
    own = parts.adapter(loud, model=None, device="cpu")
    assert list(_larger(grey, done, own, settings)) == [], "a model of this process has its own side"


def test_a_python_user_is_told_the_size_that_would_work() -> None:
    """The certificate itself names the side of photographs to one who asked a service about a thumbnail."""
    photograph = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    service = CountingService(lambda first, images: [says("dog" if first % 2 else "cat")] * len(images))
    with api_of(service, sigma=1.0, size=32, store="memory") as api:
        told = api.certify(photograph, n=40)
    assert (told.label, told.extra["hint"]) == (None, {"size": 224, "radius": None})
    assert "size=224 at the same σ" in told.reason
    fixed = CountingService(
        lambda first, images: [says("dog" if first % 2 else "cat")] * len(images), native_side=32
    )
    with api_of(fixed, sigma=1.0, size=32, store="memory") as api:
        assert "size" not in api.certify(photograph, n=40).extra.get("hint", {})
