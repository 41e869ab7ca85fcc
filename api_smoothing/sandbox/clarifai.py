"""Clarifai over gRPC: V2.PostModelOutputs on the general image recognition model.

What goes wrong comes back as a status code inside an answer that gRPC calls OK, most of the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from api_smoothing.adapters._transport import sdk
from api_smoothing.adapters.base import Label
from api_smoothing.sandbox.classifier import CLASSES
from api_smoothing.sandbox.rpc import RpcFront, Scores
from api_smoothing.sandbox.rpc_reply import Reply, failure, retry_in
from api_smoothing.sandbox.vocabulary import labels_of

if TYPE_CHECKING:
    from api_smoothing.sandbox.server import Sandbox

USER, APP, MODEL = "clarifai", "main", "general-image-recognition"
MAX_INPUTS: Final = 128
MAX_CONCEPTS: Final = 200
DEFAULT_CONCEPTS: Final = 20

#: The status codes in use, with the service's descriptions.
SUCCESS: Final = (10000, "Ok")
MIXED_STATUS: Final = (10010, "Mixed Success")
FAILURE: Final = (10020, "Failure")
EXCEED_MONTHLY_LIMIT: Final = (11004, "Throttle monthly request limit exceeded")
THROTTLED: Final = (11005, "Making too many requests")
KEY_INVALID: Final = (11008, "Invalid API key or Invalid API key/application pair")
KEY_NOT_FOUND: Final = (11009, "API key not found")
INVALID_HEADER: Final = (11102, "Invalid request")
MODEL_TRAINED: Final = (21100, "Model is trained and ready")
NO_SUCH_MODEL: Final = (21200, "Model does not exist")
BAD_MODEL_ARGUMENT: Final = (21202, "Invalid model argument")
BAD_PREDICT_REQUEST: Final = (40001, "Invalid request")
UNDECODABLE: Final = (47104, "Image decoding failed")

#: Every concept of the vocabulary.
CONCEPTS: Final = labels_of("clarifai", dict.fromkeys(CLASSES, 1.0))


class Front(RpcFront):
    """PostModelOutputs of clarifai/main/general-image-recognition.

    A throttle is code 11005, which cannot say when to come back: "throttle-retry-after" is gRPC's own status,
    as from a proxy in front of the service. The codes of requests that break a limit are likely ones; no
    public source confirms them.
    """

    service = "clarifai.api.V2"
    method = "PostModelOutputs"
    unit = "request"
    formats = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF")

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(sandbox)
        self._versions = {sandbox.declared.version}  # any that was ever current can be pinned

    def load(self) -> None:
        api = sdk("clarifai_grpc.grpc.api.service_pb2", extra="clarifai")
        self._request = api.PostModelOutputsRequest
        self.response = api.MultiOutputResponse

    def parse(self, raw: bytes) -> Any:
        return self._request.FromString(raw)

    def pictures(self, query: Any) -> list[bytes]:
        return [item.data.image.base64 for item in query.inputs]  # raw bytes here, whatever the name says

    def refusal(self, query: Any, metadata: Mapping[str, str]) -> Reply | None:
        scheme, _, key = metadata.get("authorization", "").partition(" ")
        if scheme != "Key" or not key:
            return self._failed(
                INVALID_HEADER,
                "Empty or malformed authorization header. Please provide an API key or session token.",
            )
        if key != self._sandbox.key:
            return self._failed(KEY_INVALID)
        if (query.user_app_id.user_id, query.user_app_id.app_id, query.model_id) != (USER, APP, MODEL):
            return self._failed(NO_SUCH_MODEL, f"Model {query.model_id!r} does not exist in this app.")
        self._versions.add(self._sandbox.version)
        if query.version_id and query.version_id not in self._versions:
            return self._failed(NO_SUCH_MODEL, f"Model version {query.version_id!r} does not exist.")
        if not 1 <= len(query.inputs) <= MAX_INPUTS:
            return self._failed(BAD_PREDICT_REQUEST, f"A request has 1 to {MAX_INPUTS} inputs.")
        config = query.model.output_info.output_config
        if config.max_concepts > MAX_CONCEPTS:
            return self._failed(BAD_MODEL_ARGUMENT, f"max_concepts is at most {MAX_CONCEPTS}.")
        for concept in config.select_concepts:
            if not any(_is(label, concept) for label in CONCEPTS):
                return self._failed(
                    BAD_MODEL_ARGUMENT, f"Concept {concept.id or concept.name!r} does not exist."
                )
        return None

    def refused(self, fault: str) -> Reply:
        if fault == "expired-key":
            return self._failed(KEY_NOT_FOUND)
        if fault == "quota":
            return self._failed(EXCEED_MONTHLY_LIMIT)
        if fault == "throttle-retry-after":
            return failure("RESOURCE_EXHAUSTED", "Too many requests", retry_in(1))
        return self._failed(THROTTLED, f"exceeded limit of {self._sandbox.rate or 15:g} requests per second")

    def answer(self, query: Any, scores: Sequence[Scores | None]) -> Reply:
        failures = sum(score is None for score in scores)
        status = SUCCESS if not failures else MIXED_STATUS if failures < len(scores) else FAILURE
        answer = self._answer(status)
        version = query.version_id or self._sandbox.version
        for item, score in zip(query.inputs, scores, strict=False):
            output = answer.outputs.add(id=uuid4().hex)
            self._describe(output.model, version)
            output.input.id = item.id or uuid4().hex
            # The service echoes a placeholder for images that came as bytes.
            output.input.data.image.url = "https://samples.clarifai.com/placeholder.gif"
            output.input.data.image.base64 = b"true"
            if score is None:
                output.status.code, output.status.description = UNDECODABLE
                continue
            output.status.code, output.status.description = SUCCESS
            output.data.SetInParent()  # there, if empty, when no concept is found
            for label in self._chosen(query.model.output_info.output_config, score, version):
                output.data.concepts.add(id=label.id or "", name=label.name, value=label.score, app_id=APP)
        return Reply(body=answer.SerializeToString(), status=str(status[0]))

    def unlabelled(self, query: Any) -> bytes:
        answer = self._answer(SUCCESS)
        for _ in query.inputs:
            output = answer.outputs.add(id=uuid4().hex)
            output.status.code, output.status.description = SUCCESS
        body: bytes = answer.SerializeToString()
        return body

    def _chosen(self, config: Any, score: Scores, version: str) -> list[Label]:
        """The concepts asked for, best first."""
        labels = labels_of("clarifai", score, version)
        if config.select_concepts:
            said = {label.id for label in labels}
            labels += [replace(label, score=0.0) for label in CONCEPTS if label.id not in said]
            labels = [
                label for label in labels if any(_is(label, concept) for concept in config.select_concepts)
            ]
        limit = config.max_concepts or (MAX_CONCEPTS if config.select_concepts else DEFAULT_CONCEPTS)
        return [label for label in labels if (label.score or 0.0) >= config.min_value][:limit]

    def _describe(self, model: Any, version: str) -> None:
        model.id, model.name, model.user_id, model.app_id = MODEL, "Image Recognition", USER, APP
        model.model_version.id = version
        model.model_version.status.code, model.model_version.status.description = MODEL_TRAINED

    def _failed(self, status: tuple[int, str], details: str = "") -> Reply:
        answer = self._answer(status, details)
        return Reply(body=answer.SerializeToString(), status=str(status[0]))

    def _answer(self, status: tuple[int, str], details: str = "") -> Any:
        answer = self.response()
        answer.status.code, answer.status.description = status
        answer.status.details, answer.status.req_id = details, uuid4().hex
        return answer


def _is(label: Label, concept: Any) -> bool:
    """Whether a concept asked for by id, or by name, is this one."""
    return bool(label.id == concept.id if concept.id else label.name == concept.name)
