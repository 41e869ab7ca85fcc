"""Amazon Rekognition through boto3: DetectLabels, DetectCustomLabels and DetectModerationLabels."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from api_smoothing.adapters.aws_account import Account, configured_endpoint, configured_region, credentials
from api_smoothing.adapters.aws_errors import verdict_of
from api_smoothing.adapters.base import AdapterCard, Answer, EncodedImage, Label, Verdict
from api_smoothing.adapters.calls import (
    on_this_machine,
    one_image,
    place,
    rate_quota,
    seconds_limit,
    within,
)
from api_smoothing.adapters.cloud import BrokenContract, one_line
from api_smoothing.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Operation", "RekognitionAdapter", "credentials", "load"]

Operation = Literal["detect-labels", "detect-custom-labels", "detect-moderation-labels"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """How an operation is called in boto3, and where its answer has what we read. Bytes as sent, not base64."""

    method: str
    labels: str
    version: str | None  # None: the ARN of the model is its version
    max_image_bytes: int


_SHAPES: Final[Mapping[str, _Shape]] = {
    "detect-labels": _Shape(
        method="detect_labels",
        labels="Labels",
        version="LabelModelVersion",
        max_image_bytes=5 * 2**20,
    ),
    "detect-custom-labels": _Shape(
        method="detect_custom_labels",
        labels="CustomLabels",
        version=None,
        max_image_bytes=4_000_000,
    ),
    "detect-moderation-labels": _Shape(
        method="detect_moderation_labels",
        labels="ModerationLabels",
        version="ModerationModelVersion",
        max_image_bytes=5 * 2**20,
    ),
}

#: Images a second. As of 2026-11 the vendor's guide works its example with 50 DetectLabels calls a second. Its
#: table of defaults by region could not be confirmed: 50 is known for these two, the rest get the usual 5.
#: An account's own number stands in the AWS console under Service Quotas; `rate` sets it here.
_FAST_REGIONS: Final = frozenset({"us-east-1", "us-west-2"})
_FAST, _USUAL = 50.0, 5.0

_MOST_FILTERS: Final = 100


def load(
    *,
    model: str | None = None,
    operation: Operation = "detect-labels",
    max_labels: int = 50,
    min_confidence: float = 0.0,
    only: Sequence[str] = (),
    region: str | None = None,
    profile: str | None = None,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    session_token: str | None = None,
    endpoint: str | None = None,
    endpoint_id: str | None = None,
    rate: float | None = None,
    timeout: float = 30.0,
) -> RekognitionAdapter:
    """Rekognition as a provider. Nothing is imported or sent before the first query.

    `model` is the ARN of a version of a custom model and selects "detect-custom-labels". At most `max_labels`
    labels with a score of at least `min_confidence` (in [0, 1]) make an answer; `only` has the service look for
    these labels alone (at most 100; "detect-labels"). The region is `region`, AWS_REGION, AWS_DEFAULT_REGION, or
    that of the profile. Credentials are the two keys given, or what the AWS chain finds. `rate` is in images
    per second. `timeout` is in seconds, once to connect and once to wait for a byte; a call takes at most twice
    that.

    Raises ConfigurationError for options out of range or in conflict.
    """
    if model is not None and operation == "detect-labels":
        operation = "detect-custom-labels"
    if isinstance(only, str):
        raise ConfigurationError("only= is a list of labels")
    only = tuple(dict.fromkeys(only))
    request = _request(operation, model, max_labels, min_confidence, only)
    if bool(access_key_id) != bool(secret_access_key) or (session_token and not access_key_id):
        raise ConfigurationError(
            "give access_key_id and secret_access_key together, with session_token if any"
        )
    account = Account(
        region=region or configured_region(profile),
        profile=profile,
        endpoint=endpoint or configured_endpoint(),
        timeout=seconds_limit(timeout),
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
        session_token=session_token,
    )
    where = endpoint_id or (place(account.endpoint) if account.endpoint else account.region) or "no region"
    fast = account.region in _FAST_REGIONS and operation != "detect-custom-labels"
    card = AdapterCard(
        name="aws",
        fingerprint=f"aws/{operation}/{where} {json.dumps(request, sort_keys=True)}",
        labels=only or None,
        max_labels=max_labels if operation != "detect-moderation-labels" else None,
        min_side=80,
        max_side=10_000,
        max_image_bytes=_SHAPES[operation].max_image_bytes,
        price=f"aws/{operation}",
        quotas=(rate_quota(rate, _FAST if fast else _USUAL),),
        quota_key=f"aws/{operation}/{where}",
        drift="version",
        place=endpoint_id or ("loopback" if on_this_machine(account.endpoint) else ""),
    )
    return RekognitionAdapter(card=card, shape=_SHAPES[operation], request=request, account=account)


class RekognitionAdapter:
    """One operation of Rekognition. Thread-safe; every call is one request."""

    def __init__(
        self, *, card: AdapterCard, shape: _Shape, request: Mapping[str, Any], account: Account
    ) -> None:
        self.card = card
        self._shape, self._request, self._account = shape, request, account
        self._secrets: tuple[str | None, ...] = account.secrets
        self._client: Any = None
        self._process = 0
        self._lock = threading.Lock()

    def label(self, images: Sequence[EncodedImage] | Tensor, /) -> list[Answer]:
        image = one_image(images)
        call = getattr(self._connected(), self._shape.method)
        response = within(
            2 * self._account.timeout, lambda: call(Image={"Bytes": image.data}, **self._request)
        )
        return [self._read(response)]

    def verdict(self, error: Exception, /) -> Verdict:
        verdict = verdict_of(error)
        return replace(verdict, message=one_line(verdict.message, secrets=self._secrets, limit=400))

    def connect(self) -> None:
        """Make the client, which takes a moment, before the first request's turn comes."""
        self._connected()

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None or self._process != os.getpid():  # connections do not survive a fork
                client, self._secrets = self._account.connect()
                client.meta.events.register("before-parse.rekognition", self._look_at_body)
                self._client, self._process = client, os.getpid()
            return self._client

    def _look_at_body(self, response_dict: Mapping[str, Any], **_: Any) -> None:
        """Refuse a success without a list of labels, before boto3 makes of it an answer with an empty one.

        It does so with `{"Labels": {}}`, and from HTML or half a JSON it makes an answer without any key.
        """
        if response_dict["status_code"] != 200:
            return
        try:
            body = json.loads(response_dict["body"])
        except ValueError:
            body = None
        entries = body.get(self._shape.labels) if isinstance(body, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise BrokenContract(f"the response has no list of {self._shape.labels}")

    def _read(self, response: Mapping[str, Any]) -> Answer:
        key = self._shape.version
        version = response.get(key) if key else self._request["ProjectVersionArn"]
        if not isinstance(version, str) or not version:
            raise BrokenContract(f"the response has no {key}")
        labels = [_label(entry) for entry in response[self._shape.labels]]
        labels.sort(key=lambda label: -(label.score or 0.0))  # DetectLabels promises no order
        return Answer(labels=tuple(labels), model_version=version)


def _request(
    operation: str, model: str | None, max_labels: int, min_confidence: float, only: tuple[str, ...]
) -> dict[str, Any]:
    """Everything of a request but the image."""
    if operation not in _SHAPES:
        raise ConfigurationError(f"unknown operation {operation!r}; use {', '.join(_SHAPES)}")
    if not 0.0 <= min_confidence <= 1.0:
        raise ConfigurationError(
            f"min_confidence is a score in [0, 1] (AWS's 55 is 0.55), not {min_confidence}"
        )
    if max_labels < 1:
        raise ConfigurationError(f"max_labels is at least 1, not {max_labels}")
    if only and operation != "detect-labels":
        raise ConfigurationError(f"only= is for detect-labels; {operation} has a fixed set of labels")
    if len(only) > _MOST_FILTERS:
        raise ConfigurationError(f"only= takes at most {_MOST_FILTERS} labels, not {len(only)}")
    if (model is None) == (operation == "detect-custom-labels"):
        raise ConfigurationError(
            "model= is the ARN of a custom model, for detect-custom-labels and nothing else"
        )
    if model is not None and not model.startswith("arn:"):
        raise ConfigurationError(
            f"model= is the ARN of a custom model (arn:aws:rekognition:…), not {model!r}"
        )
    confidence = {"MinConfidence": round(100.0 * min_confidence, 6)}
    if operation == "detect-moderation-labels":
        return confidence
    if operation == "detect-custom-labels":
        return {"ProjectVersionArn": model, "MaxResults": max_labels, **confidence}
    filters = {"Settings": {"GeneralLabels": {"LabelInclusionFilters": list(only)}}} if only else {}
    return {"MaxLabels": max_labels, **confidence, **filters}


def _label(entry: Any) -> Label:
    try:
        name, confidence = entry["Name"], entry["Confidence"]
        parents = [parent["Name"] for parent in entry.get("Parents") or ()]
        if moderated := entry.get("ParentName"):  # one, "" at the top; other labels have a list of all
            parents.append(moderated)
        in_range = 0.0 <= confidence <= 100.0
    except (AttributeError, KeyError, TypeError):
        raise BrokenContract("a label of the response cannot be read") from None
    if not name or not in_range or not all(isinstance(text, str) for text in (name, *parents)):
        raise BrokenContract("a label of the response has no name, or a confidence outside 0 to 100")
    return Label(name=name, score=confidence / 100.0, parents=tuple(parents))
