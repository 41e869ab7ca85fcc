"""Google Cloud Vision over gRPC: labels or SafeSearch, for up to 16 images a request.

Its answers name no model version, so a change of the model shows only through a canary image.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from api_smoothing.adapters import (
    AdapterCard,
    Answer,
    BrokenContract,
    EncodedImage,
    Label,
    Quota,
    Verdict,
    is_sendable,
    missing_credentials,
    one_line,
    place_of,
    rate_quota,
    read_each,
    sdk,
    seconds_limit,
)
from api_smoothing.adapters._transport import Address, CallFailed, Connection, best_first, score_of
from api_smoothing.adapters.google.account import WAYS, credentials, key_file
from api_smoothing.adapters.google.errors import of_call, of_image
from api_smoothing.errors import ConfigurationError
from api_smoothing.shown import as_shown

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FEATURES", "GoogleVision", "credentials", "load"]

HOST: Final = "vision.googleapis.com"
MODELS: Final = ("builtin/stable", "builtin/latest")
FEATURES: Final = {"label-detection": "LABEL_DETECTION", "safe-search": "SAFE_SEARCH_DETECTION"}

#: SafeSearch's labels, in the order in which an answer holds them.
SAFE_SEARCH: Final = ("adult", "spoof", "medical", "violence", "racy")

#: Scores of SafeSearch likelihoods, VERY_UNLIKELY (1) to VERY_LIKELY (5): the middles of five equal intervals
#: of [0,1]. UNKNOWN (0), which is also what a category that was left out reads as, has none.
LIKELIHOODS: Final = {1: 0.1, 2: 0.3, 3: 0.5, 4: 0.7, 5: 0.9}

_BATCH = 16
_PER_SECOND = 30  # images, and requests: 1800 a minute each; a window of a second keeps bursts out as well
# A request may have 10 MB as JSON, where an image takes 4/3 of its bytes and less than 300 around them. That
# gRPC sends the bytes as they are raises no documented limit.
_MAX_BYTES = (9_500_000 - 300 * _BATCH) * 3 // 4


def load(
    *,
    model: str | None = None,
    feature: str = "label-detection",
    max_labels: int = 50,
    key: str | None = None,
    endpoint: str | None = None,
    endpoint_id: str | None = None,
    rate: float | None = None,
    timeout: float = 30.0,
) -> GoogleVision:
    """Google Cloud Vision's `feature` "label-detection" or "safe-search".

    `model` is "builtin/stable" (the default) or "builtin/latest". An answer has at most `max_labels` labels;
    SafeSearch's has its five. `key` is an API key. Without one, the key file of GOOGLE_APPLICATION_CREDENTIALS
    is used, else gcloud's, else the API key in GOOGLE_API_KEY, else the machine's account on Google Cloud.

    `endpoint` is "HOST[:PORT]" or "https://HOST[:PORT]" in place of the public service. On loopback it is
    spoken to without TLS unless it says https, and then only an API key is sent. `endpoint_id` names it in
    the fingerprint. `rate` is in images per second, `timeout` in seconds for a request.

    Raises ConfigurationError for settings out of range. Needs no SDK, no credentials and no network.
    """
    model = MODELS[0] if model is None else model
    if model not in MODELS:
        raise ConfigurationError(f"unknown model {model!r} of google; use {' or '.join(MODELS)}")
    if feature not in FEATURES:
        raise ConfigurationError(f"unknown feature {feature!r} of google; use {' or '.join(FEATURES)}")
    if max_labels < 1:
        raise ConfigurationError(f"max_labels must be at least 1, not {max_labels}")
    address = Address.parse(endpoint or HOST)
    safe_search = feature == "safe-search"
    place = endpoint_id or (address.target if endpoint else "")
    limit = "" if safe_search else f"/max_labels={max_labels}"
    images = rate_quota(rate, _PER_SECOND)
    card = AdapterCard(
        name="google",
        fingerprint=f"google/{feature}/{model}{limit}@{place or HOST}",
        batch=_BATCH,
        labels=SAFE_SEARCH if safe_search else None,
        max_labels=len(SAFE_SEARCH) if safe_search else max_labels,
        max_image_bytes=_MAX_BYTES,
        max_request_bytes=_MAX_BYTES,
        price=f"google/{feature}",
        quotas=(images, Quota(unit="request", count=_PER_SECOND)),
        quota_key=f"google@{place}" if place else "google",
        drift="canary",
        place=endpoint_id or place_of(endpoint, own=("googleapis.com",)),
    )
    return GoogleVision(
        card, feature=feature, model=model, key=key, address=address, timeout=seconds_limit(timeout)
    )


class GoogleVision:
    """One feature of Google Cloud Vision; made by `load`. Threads share one connection."""

    def __init__(
        self,
        card: AdapterCard,
        *,
        feature: str,
        model: str,
        key: str | None,
        address: Address,
        timeout: float,
    ) -> None:
        self.card = card
        self._feature, self._model = feature, model
        self._key, self._address, self._timeout = (key or "").strip(), address, timeout
        self._connection = Connection(address, self._build)

    def connect(self) -> None:
        """Do what the first call needs besides the call. Raises CredentialsError and MissingExtraError."""
        with suppress(CallFailed):  # it fails in `label`, too, unless it has passed by then
            self._connection.open(time.monotonic() + self._timeout)

    def find_credentials(self) -> None:
        """Raise CredentialsError unless there is an API key or a key file, or Google's own chain finds an account."""
        self._read_key()
        found = key_file()
        if self._address.plain or self._key or (found and found[1].is_file()):
            return
        auth = sdk("google.auth", extra="google")
        with suppress(CallFailed), self._translated():
            auth.default()

    def _read_key(self) -> None:
        if not self._key and (self._address.plain or not key_file()):
            self._key = os.environ.get("GOOGLE_API_KEY", "").strip()
        if not is_sendable(self._key):
            raise missing_credentials("google", f"the API key has characters that no key has: {WAYS}")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn errors of Google's credentials into CredentialsError, or CallFailed when they may pass."""
        try:
            yield
        except sdk("google.auth.exceptions", extra="google").GoogleAuthError as error:
            reported = self._clean(error.args[0] if error.args else type(error).__name__)
            if (found := key_file()) and as_shown(found[1]) != str(found[1]):
                reported = f"{found[0]} names a key file; an API key goes into GOOGLE_API_KEY"
            if getattr(error, "retryable", False):
                verdict = Verdict(
                    kind="transient", message=f"Google's credentials failed: {reported}", sent=False
                )
                raise CallFailed(verdict) from None
            raise missing_credentials(
                "google", f"no usable credentials for Google ({reported}): {WAYS}"
            ) from None

    def label(self, images: Sequence[EncodedImage] | Tensor, /) -> list[Answer | Verdict]:
        grpc = sdk("grpc", extra="google")
        vision = sdk("google.cloud.vision", extra="google")
        errors = sdk("google.api_core.exceptions", extra="google")
        decode_error = sdk("google.protobuf.message", extra="google").DecodeError
        until = time.monotonic() + self._timeout
        wanted = {
            "type_": vision.Feature.Type[FEATURES[self._feature]],
            "max_results": 0 if self.card.labels else self.card.max_labels,
            "model": self._model,
        }
        feature = vision.Feature.pb(vision.Feature(wanted))
        request = vision.BatchAnnotateImagesRequest.pb(vision.BatchAnnotateImagesRequest())
        for image in images:
            request.requests.add(image={"content": image.data}, features=[feature])
        try:
            client = self._connection.open(until)
            response = client.batch_annotate_images(
                vision.BatchAnnotateImagesRequest.wrap(request),
                retry=None,
                timeout=max(0.001, until - time.monotonic()),
                metadata=(("x-goog-api-key", self._key),) if self._key and self._address.plain else (),
            )
        except (errors.GoogleAPICallError, grpc.RpcError) as error:
            raise CallFailed(self.verdict(error)) from None  # Google's errors may quote the API key
        except (ValueError, decode_error) as error:
            # The SDK stumbles over details that do not fit their status, in place of reporting the status.
            if not isinstance(error.__context__, grpc.RpcError):
                raise
            raise CallFailed(self.verdict(error.__context__)) from None
        answers = vision.BatchAnnotateImagesResponse.pb(response).responses
        if len(answers) != len(images):
            raise BrokenContract(f"{len(answers)} answers for {len(images)} images")
        return read_each(answers, self._answer, self.verdict)

    def verdict(self, error: Exception, /) -> Verdict:
        if isinstance(error, CallFailed):
            return error.verdict
        if isinstance(error, BrokenContract):
            return Verdict(kind="broken", message=f"Google broke its contract: {self._clean(error)}")
        return of_call(error, self._clean)

    def _answer(self, response: Any) -> Answer | Verdict:
        """One image's answer. No annotations at all mean "nothing found": Google leaves an empty list out."""
        if response.HasField("error"):
            return of_image(response.error, self._clean)
        if not self.card.labels:
            labels = [_label(annotation) for annotation in response.label_annotations]
            if not labels and response.ByteSize():
                other = ", ".join(field.name for field, _ in response.ListFields()) or "something unknown"
                raise BrokenContract(f"an answer to a request for labels has {other} in their place")
            return Answer(labels=best_first(labels)[: self.card.max_labels])
        if not response.HasField("safe_search_annotation"):
            raise BrokenContract("an answer has no SafeSearch annotation")
        found = {name: getattr(response.safe_search_annotation, name) for name in SAFE_SEARCH}
        if unknown := [name for name, likelihood in found.items() if not likelihood]:
            raise BrokenContract(f"an answer does not know the likelihood of {', '.join(unknown)}")
        if not LIKELIHOODS.keys() >= set(found.values()):
            raise BrokenContract("an answer has a SafeSearch likelihood that is not documented")
        return Answer(labels=tuple(Label(name=name, score=LIKELIHOODS[found[name]]) for name in found))

    def _build(self) -> Any:
        """The client. Raises CredentialsError, or CallFailed when they cannot be fetched now."""
        grpc = sdk("grpc", extra="google")
        vision = sdk("google.cloud.vision", extra="google")
        package = "google.cloud.vision_v1.services.image_annotator.transports"
        transport = sdk(package, extra="google").ImageAnnotatorGrpcTransport
        address = self._address
        self._read_key()
        if address.plain:
            channel = grpc.insecure_channel(address.target, address.options)
            return vision.ImageAnnotatorClient(transport=transport(channel=channel))

        def secure_channel(target: str, **settings: Any) -> Any:
            return transport.create_channel(target, **{**settings, "options": address.options})

        options = {"api_endpoint": address.target, **({"api_key": self._key} if self._key else {})}
        with self._translated():
            return vision.ImageAnnotatorClient(
                transport=partial(transport, channel=secure_channel), client_options=options
            )

    def _clean(self, text: object) -> str:
        line = re.sub(r"(?i)\b(bearer\s+|ya29\.)[\w.~+/=-]+", "[secret]", str(text))
        return one_line(line, secrets=[self._key])


def _label(annotation: Any) -> Label:
    name = annotation.description or annotation.mid
    if not annotation.score:  # the wire format has no way to tell a score of 0 from none
        raise BrokenContract("a label has no score")
    return Label(name=name, id=annotation.mid or None, score=score_of(annotation.score))
