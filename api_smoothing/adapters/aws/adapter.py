"""Amazon Rekognition through boto3: DetectLabels, DetectCustomLabels and DetectModerationLabels."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from api_smoothing.adapters import (
    AdapterCard,
    Answer,
    BrokenContract,
    EncodedImage,
    Label,
    LabelMap,
    Verdict,
    filter_of,
    name_of,
    one_image,
    one_line,
    place,
    place_of,
    rate_quota,
    seconds_limit,
    setting_of,
    within,
)
from api_smoothing.adapters.aws.account import (
    ENDPOINT_VARIABLES,
    Account,
    configured_endpoint,
    configured_region,
    credentials,
)
from api_smoothing.adapters.aws.errors import verdict_of
from api_smoothing.adapters.aws.operations import SHAPES, Operation, Shape, fixed_part
from api_smoothing.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Operation", "RekognitionAdapter", "credentials", "load"]

#: The service's own hosts, those of China and of dual-stack endpoints among them.
_HOSTS: Final = ("amazonaws.com", "amazonaws.com.cn", "api.aws", "api.amazonwebservices.com.cn")

#: Images a second. As of 2026-11 the vendor's guide works its example with 50 DetectLabels calls a second. Its
#: table of defaults by region could not be confirmed: 50 is known for these two, the rest get the usual 5.
#: An account's own number stands in the AWS console under Service Quotas; `rate` sets it here.
_FAST_REGIONS: Final = frozenset({"us-east-1", "us-west-2"})
_FAST, _USUAL = 50.0, 5.0


def load(
    *,
    model: str | None = None,
    operation: Operation = "detect-labels",
    max_labels: int = 50,
    min_confidence: float = 0.0,
    only: Sequence[str] | LabelMap = (),
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
    labels with a score of at least `min_confidence` (in [0, 1]) make an answer. `only` has the service look for
    these labels alone, or for those of a label map (at most 100; "detect-labels"). The region is `region`,
    AWS_REGION, AWS_DEFAULT_REGION, or that of the profile. Credentials are the two keys given, or what the AWS
    chain finds. `rate` is in images per second. `timeout` is in seconds, once to connect and once to wait for a
    byte; a call takes at most twice that.

    Raises ConfigurationError for options out of range or in conflict.
    """
    if model is not None and operation == "detect-labels":
        operation = "detect-custom-labels"
    names = filter_of(only, "aws")
    request = fixed_part(operation, model, max_labels, min_confidence, names)
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
    named = setting_of(account.endpoint, ENDPOINT_VARIABLES, "endpoint")
    service = place(account.endpoint, named=named) if account.endpoint else account.region
    where = endpoint_id or service or "no region"
    fast = account.region in _FAST_REGIONS and operation != "detect-custom-labels"
    card = AdapterCard(
        name="aws",
        fingerprint=f"aws/{operation}/{where} {json.dumps(request, sort_keys=True)}",
        labels=names or None,
        max_labels=max_labels if operation != "detect-moderation-labels" else None,
        min_score=min_confidence,
        min_side=80,
        max_side=10_000,
        max_image_bytes=SHAPES[operation].max_image_bytes,
        price=f"aws/{operation}",
        quotas=(rate_quota(rate, _FAST if fast else _USUAL),),
        quota_key=f"aws/{operation}/{where}",
        drift="version",
        place=endpoint_id or place_of(account.endpoint, own=_HOSTS),
    )
    return RekognitionAdapter(card=card, shape=SHAPES[operation], request=request, account=account)


class RekognitionAdapter:
    """One operation of Rekognition. Thread-safe; every call is one request."""

    def __init__(
        self, *, card: AdapterCard, shape: Shape, request: Mapping[str, Any], account: Account
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

    def find_credentials(self) -> None:
        """Raise CredentialsError unless there is a region, and something to sign with."""
        self._account.find()

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

    def _look_at_body(self, response_dict: dict[str, Any], **_: Any) -> None:
        """Refuse a success without a list of labels, before boto3 makes of it an answer with an empty one.

        It does so with `{"Labels": {}}`, from HTML or half a JSON it makes an answer without any key, and a 202, which
        says that the answer is to come, is a success to it. An error whose body cannot be read it would not tell.
        """
        try:
            body = json.loads(response_dict["body"])
        except (ValueError, RecursionError):
            body = None
        status = response_dict["status_code"]
        if status >= 300:
            if not isinstance(body, dict):
                response_dict["body"] = b"{}"
            return
        if status != 200:
            raise BrokenContract(f"status {status} is no answer")
        entries = body.get(self._shape.labels) if isinstance(body, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise BrokenContract(f"the response has no list of {self._shape.labels}")

    def _read(self, response: Mapping[str, Any]) -> Answer:
        key = self._shape.version
        version = response.get(key) if key else self._request["ProjectVersionArn"]
        if not isinstance(version, str) or not version:
            raise BrokenContract(f"the response has no {key}")
        labels = [_label(entry) for entry in response[self._shape.labels]]
        if len(labels) > (self.card.max_labels or len(labels)):
            raise BrokenContract(f"the response has {len(labels)} labels, more than were asked for")
        labels.sort(key=lambda label: -(label.score or 0.0))  # DetectLabels promises no order
        request = response.get("ResponseMetadata", {}).get("RequestId")
        return Answer(labels=tuple(labels), model_version=version, request_id=request)


def _label(entry: Any) -> Label:
    try:
        name, confidence = name_of(entry["Name"], "a label of the response"), entry["Confidence"]
        parents = [parent["Name"] for parent in entry.get("Parents") or ()]
        if moderated := entry.get("ParentName"):  # one, "" at the top; other labels have a list of all
            parents.append(moderated)
        in_range = 0.0 <= confidence <= 100.0 and not isinstance(confidence, bool)
    except (AttributeError, KeyError, TypeError):
        raise BrokenContract("a label of the response cannot be read") from None
    if not in_range:
        raise BrokenContract("a label of the response has a confidence outside 0 to 100")
    for parent in parents:
        name_of(parent, "a parent of a label")
    return Label(name=name, score=confidence / 100.0, parents=tuple(parents))
