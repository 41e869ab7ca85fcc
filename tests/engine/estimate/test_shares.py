"""Which vote shares an estimate begins with."""

from __future__ import annotations

import numpy as np
import pytest

from api_smoothing.adapters import AdapterCard
from api_smoothing.certify import Spec
from api_smoothing.engine.estimate import shares
from api_smoothing.engine.estimate.queries import to_come

BUNDLED = AdapterCard(name="torchvision/cifar10", fingerprint="1", accepts="tensor")
SANDBOX = AdapterCard(name="google", fingerprint="1", place="sandbox")
SERVICE = AdapterCard(name="google", fingerprint="1")


def expected(prior: shares.Prior, cap: int = 1000) -> float:
    asked = Spec(radius=0.25, n=cap, sigma=0.25)
    return to_come([[]] * 1000, asked, affordable=None, extra=0, prior=prior).expected / 1000


def test_what_was_measured_is_taken_for_itself() -> None:
    """The bundled classifier and a sandbox have the shares that were measured of them, without a diffuse part."""
    of_cifar = shares.prior(BUNDLED, sigma=0.25, size=32, denoiser="unet-cifar10")
    of_photographs = shares.prior(SANDBOX, sigma=0.25, size=(224, 180), denoiser="unet-natural")
    for prior, table in ((of_cifar, shares.CIFAR10[0.25]), (of_photographs, shares.PHOTOGRAPHS[0.25])):
        order = np.argsort(prior.nodes)
        share = np.interp(0.525, np.cumsum(prior.weights[order]), prior.nodes[order])
        assert share == pytest.approx(table[10], abs=0.005)
        assert prior.weights.sum() == pytest.approx(1.0)
    assert expected(of_cifar) > expected(of_photographs) > expected(shares.UNKNOWN)


def test_a_service_may_be_another_model() -> None:
    """Of a service the same shares are assumed, and any other as well, with the weight of few images."""
    own = shares.prior(SANDBOX, sigma=0.25, size=224, denoiser="unet-natural")
    other = shares.prior(SERVICE, sigma=0.25, size=224, denoiser="unet-natural")
    assert other.concentration < own.concentration
    assert other.weights[other.nodes < 0.5].sum() > own.weights[own.nodes < 0.5].sum()
    assert "another model" in other.told


@pytest.mark.parametrize(
    "changes", [{"sigma": 1.0}, {"denoiser": None}, {"denoiser": "best"}, {"size": None}]
)
def test_what_was_not_measured_has_the_published_shares(changes: dict[str, object]) -> None:
    """Another noise, another denoiser or none, or images of any size: the published logs, as they are."""
    usual = {"sigma": 0.25, "size": 32, "denoiser": "unet-cifar10"}
    assert shares.prior(BUNDLED, **{**usual, **changes}) is shares.UNKNOWN  # type: ignore[arg-type]


def test_answers_of_one_image_change_its_weights_alone() -> None:
    """After unanimous answers an image's share lies high, without a warning, and its model keeps the other shares."""
    prior = shares.prior(BUNDLED, sigma=0.25, size=32, denoiser="unet-cifar10")
    with np.errstate(all="raise", under="ignore"):
        weights = prior.posterior(200, 200)
    assert weights @ prior.nodes > 0.99 > prior.weights @ prior.nodes
    model = prior.model([(200, 200)])
    assert model.sum() == pytest.approx(prior.concentration + 1)
