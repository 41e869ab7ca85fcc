"""The whole way through each provider's real SDK to a server on this machine, and back as a certificate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from doors import CAT, PNG

from api_smoothing import Budget, SmoothedAPI
from api_smoothing.errors import BudgetError, ConfigurationError, ProviderError
from api_smoothing.sandbox import Faults, Sandbox
from api_smoothing.sandbox.classifier import scripted_brain

if TYPE_CHECKING:
    from api_smoothing.sandbox.fixture import StartSandbox

pytest_plugins = ["api_smoothing.sandbox.fixture"]

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


@pytest.fixture
def service(provider: str) -> Iterator[Sandbox]:
    with Sandbox(provider, classifier=scripted_brain({"cat": 0.97, "dog": 0.03})) as running:
        yield running


def smoothed(service: Sandbox, **options: Any) -> SmoothedAPI:
    given = {"denoiser": None, "labels": "cifar10", "seed": 1, "rate": 10_000, **service.options(), **options}
    return SmoothedAPI(service.provider, **given)


def picture(seed: int = 0, side: int = 96) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def test_a_certificate_through_the_real_sdk(service: Sandbox) -> None:
    """Every vote is a query the server saw, the bill is the certificate's cost, and the version is told."""
    with smoothed(service) as api:
        found = api.certify(picture(), radius=0.25)
        again = api.certify(picture(), radius=0.25)
    assert (found.label, found.reached) == ("cat", True)
    assert found.queries == service.meter.images == service.meter.billed
    assert round(found.cost_usd * 1e6) == service.meter.micro_usd
    assert found.model_version is not None
    assert found.provider.endswith("@sandbox")
    assert (again.queries, again.cached, again.counts) == (0, found.n, found.counts)


def test_a_fixed_number_of_queries_costs_what_was_estimated(service: Sandbox) -> None:
    """For a fixed n the estimate is the bill, to the millionth of a dollar."""
    with smoothed(service) as api:
        estimate = api.estimate([picture(1), picture(2)], n=120)
        for image in (picture(1), picture(2)):
            api.certify(image, n=120)
    assert estimate.queries_low == estimate.queries_high == service.meter.billed
    assert round(estimate.usd_expected * 1e6) == service.meter.micro_usd


@pytest.mark.slow
def test_faults_never_certify_what_is_not_so(service: Sandbox) -> None:
    """With 30 % of the requests failing, no certificate is false, none is lost, no request is made twice."""
    service.faults = Faults(rate=0.3, kinds=FAULTS, seed=4)
    with smoothed(service, concurrency=4) as api:
        for number in range(4):
            share = 0.97 if number % 2 else 0.80  # a radius of 0.25 needs a share above 0.8413
            service.classifier = scripted_brain({"cat": share, "dog": 1 - share}, seed=number)
            before = service.meter.images
            found = api.certify(picture(number), radius=0.25, n=200)
            assert found.reached is (number % 2 == 1)
            assert sum(found.counts.values()) + found.failed == found.n
            assert found.queries == service.meter.images - before


def test_a_budget_is_never_exceeded(service: Sandbox) -> None:
    """Failures included, the server never sees more queries than the budget has."""
    service.faults = Faults(rate=0.4, kinds=FAULTS, seed=1)
    with smoothed(service, budget=Budget(queries=50), concurrency=8) as api, suppress(BudgetError):
        api.predict(picture(), n=200)  # the error: nothing was left for the last canary
    assert 30 <= service.meter.images <= 50


def test_a_wrong_key_is_one_request_and_one_line(service: Sandbox) -> None:
    """A key that is not let in ends the run after one request, without the key in the message."""
    options = {k: "wrong-key-51" for k in ("key", "access_key_id") if k in service.options()}
    with smoothed(service, concurrency=16, **options) as api, pytest.raises(ProviderError) as caught:
        api.certify(picture(), radius=0.25)
    assert service.meter.requests == 1
    assert "\n" not in str(caught.value)
    assert "wrong-key-51" not in str(caught.value)


def test_a_change_of_the_model_voids_the_certificate(service: Sandbox) -> None:
    """Votes of two versions are never counted together."""
    with smoothed(service, concurrency=1) as api:
        api.predict(picture(), n=40)
        service.faults.inject("version")
        with pytest.raises(ProviderError, match=r"--seed|changed"):
            api.certify(picture(), n=160)


def test_small_images_are_enlarged_by_whole_factors(service: Sandbox) -> None:
    """A 32×32 image reaches a service that takes no less than 50 or 80 pixels; enlargement is part of the model."""
    with smoothed(service) as api:
        assert api.certify(picture(3, side=32), radius=0.1).label == "cat"


def test_secrets_are_nowhere(service: Sandbox, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """After a run that failed, no file and no output holds the key."""
    service.faults = Faults(rate=0.4, kinds=FAULTS, seed=2)
    with smoothed(service) as api:
        certificate = api.certify(picture(), radius=0.25)
        settings = repr(api.settings()) + repr(api)
    service.faults.inject("expired-key")
    with smoothed(service, seed=9) as api, pytest.raises(ProviderError) as caught:
        api.certify(picture(), radius=0.25)
    secret = service.key.encode()
    texts = [certificate.to_json(), settings, str(caught.value), *capfd.readouterr()]
    assert not any(service.key in text for text in texts)
    for path in (tmp_path / "home").rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes(), path.name


def test_a_proxy_does_not_come_between(service: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment is not asked for what is on this machine."""
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with smoothed(service) as api:
        assert api.predict(picture(), n=20).label == "cat"


def test_presence_and_decision_share_their_answers(service: Sandbox) -> None:
    """Certifying which labels are reported asks nothing that certifying the label has asked."""
    with smoothed(service) as api:
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
    service: Sandbox, options: dict[str, str], thresholds: float | dict[str, float]
) -> None:
    """What a moderation service reports on nearly every noisy copy is certified to stay reported."""
    with smoothed(service, labels=None, **options) as api:
        found = api.certify_labels(picture(), thresholds=thresholds, radius=0.1, n=200)
    certified = [c for c in found if c.label is not None]
    assert certified
    assert all(c.reached and c.votes > 0.6 * c.n for c in certified)
    assert sum(c.queries for c in found) == service.meter.images


@pytest.mark.parametrize(
    ("provider", "module"), [("aws", "boto3"), ("azure", "azure.ai"), ("http", "requests")]
)
def test_the_options_of_a_sandbox_are_those_of_its_adapter(
    sandbox: StartSandbox, provider: str, module: str
) -> None:
    """`load(provider, **sandbox.options())` reaches the sandbox, with one request, and its name is no port."""
    pytest.importorskip(module)
    from api_smoothing import adapters
    from api_smoothing.adapters.base import Answer, EncodedImage

    server = sandbox(provider, classifier=CAT)
    adapter = adapters.load(provider, **server.options())
    assert server.endpoint.rpartition(":")[2] not in adapter.card.fingerprint
    [answer] = adapter.label([EncodedImage(data=PNG, height=96, width=96)])
    assert isinstance(answer, Answer)
    assert "cat" in [label.name.lower() for label in answer.labels]
    assert (server.meter.requests, server.meter.billed) == (1, 1)


def test_settings_out_of_range_are_one_line(sandbox: StartSandbox) -> None:
    """Unknown providers, impossible numbers and a port in use raise ConfigurationError; the key is never shown."""
    taken = sandbox("aws", classifier=CAT, key="planted-secret")
    port = int(taken.endpoint.rpartition(":")[2])
    wrong: list[dict[str, Any]] = [
        {"provider": "acme"}, {"latency": -1.0}, {"latency": float("nan")}, {"rate": 0.0},
        {"rate": float("inf")}, {"port": 70_000}, {"port": port},
    ]  # fmt: skip
    for settings in wrong:
        with (
            pytest.raises(ConfigurationError) as refused,
            Sandbox(**{"provider": "azure", "classifier": CAT, **settings}),
        ):
            pass
        assert "\n" not in str(refused.value)
    assert "planted-secret" not in repr(taken)
    assert taken.endpoint == f"http://127.0.0.1:{port}"
    with pytest.raises(RuntimeError):
        taken.start()
    with pytest.raises(RuntimeError):
        _ = Sandbox("aws").endpoint


def test_the_environment_has_address_and_key(sandbox: StartSandbox) -> None:
    """The variables name the endpoint and hold the key under the provider's own names, and keep proxies out."""
    for provider, names in {
        "aws": ("AWS_ENDPOINT_URL_REKOGNITION", "AWS_ACCESS_KEY_ID"),
        "azure": ("VISION_ENDPOINT", "VISION_KEY"),
    }.items():
        server = sandbox(provider, classifier=CAT)
        environment = server.environment()
        assert [environment[name] for name in names] == [server.endpoint, server.key]
        assert "127.0.0.1" in environment["NO_PROXY"]
    assert sandbox("http", classifier=CAT).environment()["SANDBOX_KEY"]
