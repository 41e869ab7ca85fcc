"""Clarifai's PostModelOutputs over gRPC: concepts for up to 128 images a request.

Clarifai reports most errors as status codes inside a response that succeeded, for the request and for each
image; here they become verdicts. Every answer names the model version that gave it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from api_smoothing.adapters import (
    AdapterCard,
    Answer,
    BrokenContract,
    EncodedImage,
    Label,
    LabelMap,
    Quota,
    Verdict,
    filter_of,
    is_sendable,
    missing_credentials,
    one_line,
    place_of,
    rate_quota,
    read_each,
    sdk,
    seconds_limit,
    setting_of,
)
from api_smoothing.adapters._transport import Address, CallFailed, Connection, best_first, score_of
from api_smoothing.adapters.clarifai.account import credentials, roots
from api_smoothing.adapters.clarifai.errors import FAILURE, MIXED, SUCCESS, of_call, of_status
from api_smoothing.errors import ConfigurationError, DriftError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Clarifai", "credentials", "load"]

HOST: Final = "api.clarifai.com"
MODEL: Final = "general-image-recognition"
OWNER: Final = ("clarifai", "main")  # user and app of the public models

_BATCH = 128
_REQUESTS_PER_SECOND = 15
_MOST_LABELS = 200
_MAX_IMAGE_BYTES = 20_000_000 - 1  # "under 20 MB"
_MAX_BYTES = 100_000_000  # no limit of a request is documented; 128 MB has been reported
_MAX_SIDE = 9_219  # the largest square of 85 megapixels


def load(
    *,
    model: str | None = None,
    user_id: str | None = None,
    app_id: str | None = None,
    version: str | None = None,
    max_labels: int = 50,
    only: Sequence[str] | LabelMap = (),
    key: str | None = None,
    endpoint: str | None = None,
    endpoint_id: str | None = None,
    rate: float | None = None,
    timeout: float = 30.0,
) -> Clarifai:
    """A Clarifai model that answers images with concepts.

    `model` is "general-image-recognition" by default, of user "clarifai" and app "main". For a model that is
    named, `user_id` and `app_id` default to CLARIFAI_USER_ID and CLARIFAI_APP_ID before that. `version` pins
    the model's version. An answer has at most `max_labels` concepts (1 to 200), or exactly those in `only`:
    up to 200 names, or ids that start with "ai_", spelt as Clarifai does, or those of a label map. `key` is a
    personal access token (CLARIFAI_PAT).

    `endpoint` (CLARIFAI_GRPC_BASE) is "HOST[:PORT]" or "https://HOST[:PORT]" in place of the public service;
    on loopback it is spoken to without TLS unless it says https. `endpoint_id` names it in the fingerprint.
    `rate` is in images per second, `timeout` in seconds for a request.

    Raises ConfigurationError for settings out of range. Needs no SDK, no credentials and no network.
    """
    names = filter_of(only, "clarifai")
    if not all(names) or len(names) > _MOST_LABELS:
        raise ConfigurationError(f"only must be a list of at most {_MOST_LABELS} concepts, by name or id")
    if not 1 <= max_labels <= _MOST_LABELS:
        raise ConfigurationError(f"max_labels must be 1 to {_MOST_LABELS}, not {max_labels}")
    # The variables name the user's own app, in which the default model is not.
    user_id = user_id or (os.environ.get("CLARIFAI_USER_ID") if model else None) or OWNER[0]
    app_id = app_id or (os.environ.get("CLARIFAI_APP_ID") if model else None) or OWNER[1]
    endpoint = endpoint or os.environ.get("CLARIFAI_GRPC_BASE") or None
    address = Address.parse(endpoint or HOST, named=setting_of(endpoint, ["CLARIFAI_GRPC_BASE"], "endpoint"))
    place = endpoint_id or (address.target if endpoint else "")
    limit = f"only={json.dumps(sorted(names))}" if names else f"max_labels={max_labels}"
    name = f"{user_id}/{app_id}/{model or MODEL}/{version or 'latest'}"
    requests = Quota(unit="request", count=_REQUESTS_PER_SECOND)
    images = None if rate is None else rate_quota(rate, rate)
    card = AdapterCard(
        name="clarifai",
        fingerprint=f"clarifai/{name}/{limit}@{place or HOST}",
        batch=_BATCH,
        labels=names if names and not any(map(_is_id, names)) else None,
        max_labels=len(names) or max_labels,
        max_side=_MAX_SIDE,
        max_image_bytes=_MAX_IMAGE_BYTES,
        max_request_bytes=_MAX_BYTES,
        price="clarifai/general",
        quotas=(images, requests) if images else (requests,),
        quota_key=f"clarifai@{place}" if place else "clarifai",
        drift="version",
        place=endpoint_id or place_of(endpoint, own=("clarifai.com",)),
    )
    return Clarifai(
        card,
        model=(user_id, app_id, model or MODEL, version or ""),
        only=names,
        key=key,
        address=address,
        timeout=seconds_limit(timeout),
    )


class Clarifai:
    """One Clarifai model; made by `load`. Threads share one connection."""

    def __init__(
        self,
        card: AdapterCard,
        *,
        model: tuple[str, str, str, str],
        only: tuple[str, ...],
        key: str | None,
        address: Address,
        timeout: float,
    ) -> None:
        self.card = card
        self._user, self._app, self._model, self._version = model
        self._only = only
        self._key, self._address, self._timeout = (key or "").strip(), address, timeout
        self._connection = Connection(address, self._build)

    def connect(self) -> None:
        """Do what the first call needs besides the call. Raises CredentialsError and MissingExtraError."""
        with suppress(CallFailed):  # it fails in `label`, too, unless it has passed by then
            self._connection.open(time.monotonic() + self._timeout)

    def find_credentials(self) -> None:
        """Raise CredentialsError unless there is a token that can be sent."""
        self._key = self._key or os.environ.get("CLARIFAI_PAT", "").strip()
        if not self._key:
            raise missing_credentials("clarifai", "no Clarifai token: set CLARIFAI_PAT")
        if not is_sendable(self._key):
            raise missing_credentials(
                "clarifai", "CLARIFAI_PAT has characters that no token has: copy it again"
            )

    def label(self, images: Sequence[EncodedImage] | Tensor, /) -> list[Answer | Verdict]:
        grpc = sdk("grpc", extra="clarifai")
        resources = sdk("clarifai_grpc.grpc.api.resources_pb2", extra="clarifai")
        service = sdk("clarifai_grpc.grpc.api.service_pb2", extra="clarifai")
        until = time.monotonic() + self._timeout
        wanted = [
            resources.Concept(id=concept) if _is_id(concept) else resources.Concept(name=concept)
            for concept in self._only
        ]
        config = resources.OutputConfig(max_concepts=self.card.max_labels, select_concepts=wanted)
        request = service.PostModelOutputsRequest(
            user_app_id=resources.UserAppIDSet(user_id=self._user, app_id=self._app),
            model_id=self._model,
            version_id=self._version,
            model=resources.Model(output_info=resources.OutputInfo(output_config=config)),
        )
        for image in images:
            request.inputs.add().data.image.base64 = (
                image.data
            )  # over gRPC the field takes the bytes themselves
        try:
            post_model_outputs = self._connection.open(until)
            response = post_model_outputs(
                request,
                metadata=(("authorization", f"Key {self._key}"),),
                timeout=max(0.001, until - time.monotonic()),
            )
        except grpc.RpcError as error:
            raise CallFailed(self.verdict(error)) from None
        return self._read(response, len(images))

    def verdict(self, error: Exception, /) -> Verdict:
        if isinstance(error, CallFailed):
            return error.verdict
        if isinstance(error, BrokenContract):
            return Verdict(kind="broken", message=f"Clarifai broke its contract: {self._clean(error)}")
        return of_call(error, self._clean)

    def _read(self, response: Any, images: int) -> list[Answer | Verdict]:
        """The answer or verdict for each image. Raises CallFailed when the request failed as a whole."""
        outputs, code = response.outputs, response.status.code
        if not code:
            raise BrokenContract("the response has no status")
        if code not in (SUCCESS, MIXED):
            verdict = of_status(response.status, images, self._clean)
            # A failure of the request may still say of each image what was wrong with it.
            unclear = {output.status.code for output in outputs} & {0, SUCCESS, MIXED, FAILURE}
            if verdict.kind in ("fatal", "throttled") or len(outputs) != images or unclear:
                raise CallFailed(verdict)
        if len(outputs) != images:
            raise BrokenContract(f"{len(outputs)} outputs for {images} images")
        answers, request = read_each(outputs, self._output, self.verdict), response.status.req_id or None
        return [replace(a, request_id=request) if isinstance(a, Answer) else a for a in answers]

    def _output(self, output: Any) -> Answer | Verdict:
        if not output.status.code:
            raise BrokenContract("an output has no status")
        if output.status.code != SUCCESS:
            return of_status(output.status, 1, self._clean)
        if not output.HasField("data"):
            raise BrokenContract("an output has no data")
        version = output.model.model_version.id
        if not version:
            raise BrokenContract("an output does not name the model's version")
        if self._version and version != self._version:
            raise DriftError(
                f"Clarifai answered with version {version} of {self._model}, not with {self._version}: "
                "pin a version that it still serves, or none"
            )
        concepts = output.data.concepts
        if not concepts and output.data.ByteSize():
            found = ", ".join(field.name for field, _ in output.data.ListFields()) or "something unknown"
            raise BrokenContract(
                f"an output has {found} in the place of concepts; choose a classification model"
            )
        if self._only and not all(c.id in self._only or c.name in self._only for c in concepts):
            raise BrokenContract("an output has a concept that is not in `only`")
        if concepts and not self._only and not any(concept.value for concept in concepts):
            raise BrokenContract("no concept of an output has a score")
        said = {name for concept in concepts for name in (concept.id, concept.name)}
        if unsaid := [name for name in self._only if name not in said]:
            raise BrokenContract(f"an output does not score {unsaid[0]!r}, which `only` asks for")
        labels = [Label(name=c.name or c.id, id=c.id or None, score=score_of(c.value)) for c in concepts]
        return Answer(labels=best_first(labels)[: self.card.max_labels], model_version=version)

    def _build(self) -> Any:
        """The method to call. Raises CredentialsError when there is no token."""
        self.find_credentials()
        grpc = sdk("grpc", extra="clarifai")
        service = sdk("clarifai_grpc.grpc.api.service_pb2", extra="clarifai")
        target, options = self._address.target, self._address.options
        if self._address.plain:
            channel = grpc.insecure_channel(target, options)
        else:
            channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(roots()), options)
        # Not the SDK's V2Stub: it reads answers the way of the SDK's own channel that was made last, or fails.
        return channel.unary_unary(
            "/clarifai.api.V2/PostModelOutputs",
            request_serializer=service.PostModelOutputsRequest.SerializeToString,
            response_deserializer=service.MultiOutputResponse.FromString,
        )

    def _clean(self, text: object) -> str:
        return one_line(text, secrets=[self._key])


def _is_id(concept: str) -> bool:
    return concept.startswith("ai_")
