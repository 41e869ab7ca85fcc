"""The whole way through each provider's real SDK to a server on this machine, and back as a certificate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api_smoothing import Budget, SmoothedAPI
from api_smoothing.errors import BudgetError, ProviderError
from api_smoothing.sandbox import Faults, Sandbox
from api_smoothing.sandbox.classifier import scripted_brain

FAULTS = (
    "throttle",
    "throttle-coded",
    "500",
    "503",
    "504",
    "reset",
    "empty",
    "missing-key",
    "truncated",
    "html",
)


@pytest.fixture(autouse=True)
def _quiet(no_waits: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr("api_smoothing.engine.storage.rate.RateLimiter.pause", lambda self, seconds: None)


@pytest.fixture
def sandbox(provider: str) -> Iterator[Sandbox]:
    with Sandbox(provider, classifier=scripted_brain({"cat": 0.97, "dog": 0.03})) as server:
        yield server


def smoothed(sandbox: Sandbox, **options: Any) -> SmoothedAPI:
    given = {"denoiser": None, "labels": "cifar10", "seed": 1, "rate": 10_000, **sandbox.options(), **options}
    return SmoothedAPI(sandbox.provider, **given)


def picture(seed: int = 0, side: int = 96) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def test_a_certificate_through_the_real_sdk(sandbox: Sandbox) -> None:
    """Every vote is a query the server saw, the bill is the certificate's cost, and the version is told."""
    with smoothed(sandbox) as api:
        found = api.certify(picture(), radius=0.25)
        again = api.certify(picture(), radius=0.25)
    assert (found.label, found.reached) == ("cat", True)
    assert found.queries == sandbox.meter.images == sandbox.meter.billed
    assert round(found.cost_usd * 1e6) == sandbox.meter.micro_usd
    assert found.model_version is not None
    assert found.provider.endswith("@sandbox")
    assert (again.queries, again.cached, again.counts) == (0, found.n, found.counts)


def test_a_fixed_number_of_queries_costs_what_was_estimated(sandbox: Sandbox) -> None:
    """For a fixed n the estimate is the bill, to the millionth of a dollar."""
    with smoothed(sandbox) as api:
        estimate = api.estimate([picture(1), picture(2)], n=120)
        for image in (picture(1), picture(2)):
            api.certify(image, n=120)
    assert estimate.queries_low == estimate.queries_high == sandbox.meter.billed
    assert round(estimate.usd_expected * 1e6) == sandbox.meter.micro_usd


def test_faults_never_certify_what_is_not_so(sandbox: Sandbox) -> None:
    """With 30 % of the requests failing, no certificate is false, none is lost, no request is made twice."""
    sandbox.faults = Faults(rate=0.3, kinds=FAULTS, seed=4)
    with smoothed(sandbox, concurrency=4) as api:
        for number in range(4):
            share = 0.97 if number % 2 else 0.80  # a radius of 0.25 needs a share above 0.8413
            sandbox.classifier = scripted_brain({"cat": share, "dog": 1 - share}, seed=number)
            before = sandbox.meter.images
            found = api.certify(picture(number), radius=0.25, n=200)
            assert found.reached is (number % 2 == 1)
            assert sum(found.counts.values()) + found.failed == found.n
            assert found.queries == sandbox.meter.images - before


def test_a_budget_is_never_exceeded(sandbox: Sandbox) -> None:
    """Failures included, the server never sees more queries than the budget has."""
    sandbox.faults = Faults(rate=0.5, kinds=FAULTS, seed=1)
    with smoothed(sandbox, budget=Budget(queries=50), concurrency=8) as api, suppress(BudgetError):
        api.predict(picture(), n=200)  # the error: nothing was left for the last canary
    assert 30 <= sandbox.meter.images <= 50


def test_a_wrong_key_is_one_request_and_one_line(sandbox: Sandbox) -> None:
    """A key that is not let in ends the run after one request, without the key in the message."""
    options = {k: "wrong-key-51" for k in ("key", "access_key_id") if k in sandbox.options()}
    with smoothed(sandbox, concurrency=16, **options) as api, pytest.raises(ProviderError) as caught:
        api.certify(picture(), radius=0.25)
    assert sandbox.meter.requests == 1
    assert "\n" not in str(caught.value)
    assert "wrong-key-51" not in str(caught.value)


def test_a_change_of_the_model_voids_the_certificate(sandbox: Sandbox) -> None:
    """Votes of two versions are never counted together."""
    with smoothed(sandbox, concurrency=1) as api:
        api.predict(picture(), n=40)
        sandbox.faults.inject("version")
        with pytest.raises(ProviderError, match=r"--seed|changed"):
            api.certify(picture(), n=160)


def test_small_images_are_enlarged_by_whole_factors(sandbox: Sandbox) -> None:
    """A 32×32 image reaches a service that takes no less than 50 or 80 pixels; enlargement is part of the model."""
    with smoothed(sandbox) as api:
        assert api.certify(picture(3, side=32), radius=0.1).label == "cat"


def test_secrets_are_nowhere(sandbox: Sandbox, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """After a run that failed, no file and no output holds the key."""
    sandbox.faults = Faults(rate=0.4, kinds=FAULTS, seed=2)
    with smoothed(sandbox) as api:
        certificate = api.certify(picture(), radius=0.25)
        settings = repr(api.settings()) + repr(api)
    sandbox.faults.inject("expired-key")
    with smoothed(sandbox, seed=9) as api, pytest.raises(ProviderError) as caught:
        api.certify(picture(), radius=0.25)
    secret = sandbox.key.encode()
    texts = [certificate.to_json(), settings, str(caught.value), *capfd.readouterr()]
    assert not any(sandbox.key in text for text in texts)
    for path in (tmp_path / "home").rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes(), path.name


def test_a_proxy_does_not_come_between(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment is not asked for what is on this machine."""
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with smoothed(sandbox) as api:
        assert api.predict(picture(), n=20).label == "cat"


def test_presence_and_decision_share_their_answers(sandbox: Sandbox) -> None:
    """Certifying which labels are reported asks nothing that certifying the label has asked."""
    with smoothed(sandbox) as api:
        decided = api.certify(picture(), n=150)
        present = api.certify_labels(picture(), thresholds={"cat": 0.5, "dog": 0.5}, n=150)
    assert present[0].label == decided.label == "cat"
    assert sum(c.queries for c in present) == 0


@pytest.mark.parametrize(
    ("provider", "options", "thresholds"),
    [
        ("aws", {"operation": "detect-moderation-labels"}, {"Alcohol": 0.5, "Violence": 0.5}),
        ("google", {"feature": "safe-search"}, 0.5),
    ],
    indirect=["provider"],
)
def test_moderation_labels_are_certified_as_present(
    sandbox: Sandbox, options: dict[str, str], thresholds: float | dict[str, float]
) -> None:
    """What a moderation service reports on nearly every noisy copy is certified to stay reported."""
    with smoothed(sandbox, labels=None, **options) as api:
        found = api.certify_labels(picture(), thresholds=thresholds, radius=0.1, n=200)
    certified = [c for c in found if c.label is not None]
    assert certified
    assert all(c.reached and c.votes > 0.6 * c.n for c in certified)
    assert sum(c.queries for c in found) == sandbox.meter.images
