"""Azure Image Analysis: tags, by version 4.0 (the default) or the older 3.2."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal

from api_smoothing.adapters import (
    AdapterCard,
    Answer,
    Credentials,
    EncodedImage,
    Label,
    Verdict,
    check_encrypted,
    is_sendable,
    missing_credentials,
    one_image,
    one_line,
    place,
    place_of,
    rate_quota,
    sdk,
    seconds_limit,
    setting_of,
    within,
)
from api_smoothing.adapters.azure import v32 as azure32
from api_smoothing.adapters.azure.errors import verdict_of
from api_smoothing.adapters.azure.session import Ask, http_session
from api_smoothing.errors import ConfigurationError, DriftError

if TYPE_CHECKING:
    from torch import Tensor

#: Endpoint and key, in the order they are looked at: Microsoft's guides for 4.0, and those for 3.2 and before.
_VARIABLES: Final = (
    ("VISION_ENDPOINT", "VISION_KEY"),
    ("AZURE_COMPUTER_VISION_ENDPOINT", "AZURE_COMPUTER_VISION_SUBSCRIPTION_KEY"),
)

#: What the endpoints of resources end in: the public cloud's, old and new, and the sovereign ones'.
_HOSTS: Final = (
    "cognitiveservices.azure.com",
    "api.cognitive.microsoft.com",
    "services.ai.azure.com",
    "cognitiveservices.azure.us",
    "cognitiveservices.azure.cn",
)

#: The model asked for by default: a named one, as "latest" may change within a run.
_MODELS: Final = {"4.0": "2023-10-01", "3.2": "2021-04-01"}
_MODEL: Final = re.compile(r"latest|\d{4}-\d{2}-\d{2}(-preview)?")

#: Images a second of the paid tier. As of 2026-11 three pages of the vendor disagree: 10, 20 and 30. The free
#: tier has 20 a minute. `rate` sets what a resource really has.
_RATE: Final = 10.0


def load(
    *,
    model: str | None = None,
    api: Literal["4.0", "3.2"] = "4.0",
    endpoint: str | None = None,
    key: str | None = None,
    endpoint_id: str | None = None,
    rate: float | None = None,
    timeout: float = 30.0,
    language: str = "en",
) -> AzureAdapter:
    """Azure's tags as a provider. Nothing is imported or sent before the first query.

    `model` is the model version to ask for: a date, or "latest". `endpoint` and `key` belong to one resource;
    what is not given comes from VISION_ENDPOINT and VISION_KEY, or else from AZURE_COMPUTER_VISION_ENDPOINT and
    AZURE_COMPUTER_VISION_SUBSCRIPTION_KEY. `rate` is in images per second. `timeout` is in seconds, once to
    connect and once to wait for a byte; a call takes at most twice that.

    Raises ConfigurationError for options out of range.
    """
    if api not in _MODELS:
        raise ConfigurationError(f"unknown api {api!r}; use 4.0 or 3.2")
    model = model or _MODELS[api]
    if not _MODEL.fullmatch(model):
        raise ConfigurationError(f'model= is a version such as {_MODELS[api]}, or "latest", not {model!r}')
    endpoint, key = _resource(endpoint, key)
    named = setting_of(endpoint, [variables[0] for variables in _VARIABLES], "endpoint")
    endpoint = endpoint and endpoint.strip().rstrip(
        "/"
    )  # the portal shows it with a slash, the SDKs add another
    where = endpoint_id or (place(endpoint, named=named) if endpoint else "no endpoint")
    card = AdapterCard(
        name="azure",
        fingerprint=f"azure/tags-{api}/{where} model={model} language={language}",
        min_side=51,  # "greater than 50 × 50"
        max_side=15_999 if api == "4.0" else None,  # "less than 16,000"
        max_image_bytes=20 * 2**20 if api == "4.0" else 4_000_000,
        price=f"azure/tags-{api}",
        quotas=(rate_quota(rate, _RATE),),
        quota_key=f"azure/{where}",
        drift="version",
        place=endpoint_id or place_of(endpoint, own=_HOSTS),
        end_of_life="2028-09-25",  # both versions; announced by Microsoft in the overview of Image Analysis
    )
    return AzureAdapter(
        card=card,
        api=api,
        endpoint=endpoint,
        key=key,
        model=model,
        language=language,
        timeout=seconds_limit(timeout),
    )


def credentials() -> Credentials:
    """Whether endpoint and key are in the environment."""
    for names in _VARIABLES:
        if all(os.environ.get(name) for name in names):
            return Credentials(found=True, source=" and ".join(names))
    partly = next((names for names in _VARIABLES if any(map(os.environ.get, names))), _VARIABLES[0])
    has = [name for name in partly if os.environ.get(name)]
    lacks = " and ".join(name for name in partly if name not in has)
    return Credentials(
        found=False, source=f"found {' and '.join(has)}; set {lacks}" if has else f"set {lacks}"
    )


class AzureAdapter:
    """The tags of one Azure resource. Thread-safe; every call is one request."""

    def __init__(
        self,
        *,
        card: AdapterCard,
        api: str,
        endpoint: str | None,
        key: str | None,
        model: str,
        language: str,
        timeout: float,
    ) -> None:
        self.card = card
        self._api, self._endpoint, self._key = api, endpoint, key
        self._named = setting_of(endpoint, [variables[0] for variables in _VARIABLES], "endpoint")
        self._model, self._language, self._timeout = model, language, timeout
        self._ask: Ask | None = None
        self._process = 0
        self._lock = threading.Lock()

    def label(self, images: Sequence[EncodedImage] | Tensor, /) -> list[Answer]:
        data = one_image(images).data
        ask = self._connected()
        tags, version = within(2 * self._timeout, lambda: ask(data))
        if version != self._model != "latest":
            raise DriftError(
                f"Azure's model changed, or is not served: {version} answered where {self._model} was asked for; name "
                "a version that it still serves, or latest (model=)"
            )
        labels = [Label(name=tag.name, score=float(tag.confidence)) for tag in tags]
        labels.sort(key=lambda label: -(label.score or 0.0))
        return [Answer(labels=tuple(labels), model_version=version)]

    def verdict(self, error: Exception, /) -> Verdict:
        verdict = verdict_of(error)
        return replace(verdict, message=one_line(verdict.message, secrets=[self._key], limit=400))

    def connect(self) -> None:
        """Make the client, which takes a moment, before the first request's turn comes."""
        self._connected()

    def find_credentials(self) -> None:
        """Raise CredentialsError unless there are an endpoint and a key that can be sent."""
        self._found()

    def _found(self) -> tuple[str, str]:
        """Endpoint and key."""
        if not self._endpoint:
            raise missing_credentials(
                "azure", "VISION_ENDPOINT is not set; set it to https://NAME.cognitiveservices.azure.com"
            )
        if not self._key:
            raise missing_credentials("azure", "VISION_KEY is not set; set it to a key of the resource")
        if not is_sendable(self._key):
            raise missing_credentials("azure", "VISION_KEY has a space or a line break in it; set it anew")
        check_encrypted(self._endpoint, named=self._named)
        return self._endpoint, self._key

    def _connected(self) -> Ask:
        with self._lock:
            if self._ask is None or self._process != os.getpid():  # connections do not survive a fork
                endpoint, key = self._found()
                connect = _connect if self._api == "4.0" else azure32.connect
                self._process = os.getpid()
                self._ask = connect(
                    endpoint=endpoint,
                    key=key,
                    model=self._model,
                    language=self._language,
                    timeout=self._timeout,
                )
            return self._ask


def _connect(*, endpoint: str, key: str, model: str, language: str, timeout: float) -> Ask:
    """A client of version 4.0."""
    analysis = sdk("azure.ai.vision.imageanalysis", extra="azure")
    features = sdk("azure.ai.vision.imageanalysis.models", extra="azure").VisualFeatures
    credentials = sdk("azure.core.credentials", extra="azure")
    transport = sdk("azure.core.pipeline.transport", extra="azure")
    client = analysis.ImageAnalysisClient(
        endpoint,
        credentials.AzureKeyCredential(key),
        retry_total=0,
        permit_redirects=False,
        transport=transport.RequestsTransport(
            session=http_session(endpoint=endpoint, tags_at=("tagsResult", "values")),
            connection_timeout=timeout,
            read_timeout=timeout,
        ),
    )

    def ask(data: bytes) -> tuple[Any, Any]:
        result = client.analyze(data, visual_features=[features.TAGS], language=language, model_version=model)
        return result.tags.list, result.model_version

    return ask


def _resource(endpoint: str | None, key: str | None) -> tuple[str | None, str | None]:
    """Endpoint and key of the first pair of variables that completes them; never one of each pair."""
    pairs = [(endpoint or os.environ.get(e), key or os.environ.get(k)) for e, k in _VARIABLES]
    return next((pair for pair in pairs if all(pair)), next((pair for pair in pairs if any(pair)), pairs[0]))
