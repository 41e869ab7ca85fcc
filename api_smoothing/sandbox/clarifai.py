"""Clarifai over gRPC: V2.PostModelOutputs on the general image recognition model.

What goes wrong comes back as a status code inside an answer that gRPC calls OK, most of the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from api_smoothing.adapters.base import Label
from api_smoothing.adapters.clarifai import wire
from api_smoothing.adapters.clarifai.wire import Status
from api_smoothing.sandbox.classifier import CLASSES
from api_smoothing.sandbox.rpc import RpcFront, Scores
from api_smoothing.sandbox.rpc_reply import Reply, failure, retry_in
from api_smoothing.sandbox.vocabulary import labels_of

if TYPE_CHECKING:
    from api_smoothing.sandbox.server import Sandbox

USER, APP, MODEL = "clarifai", "main", "general-image-recognition"

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
        self._request, self.response = wire.messages()

    def parse(self, raw: bytes) -> Any:
        return self._request.FromString(raw)

    def pictures(self, query: Any) -> list[bytes]:
        return wire.read_images(query)

    def refusal(self, query: Any, metadata: Mapping[str, str]) -> Reply | None:
        scheme, _, key = metadata.get("authorization", "").partition(" ")
        if scheme != "Key" or not key:
            return self._failed(
                wire.INVALID_HEADER,
                "Empty or malformed authorization header. Please provide an API key or session token.",
            )
        if key != self._sandbox.key:
            return self._failed(wire.KEY_INVALID)
        if (query.user_app_id.user_id, query.user_app_id.app_id, query.model_id) != (USER, APP, MODEL):
            return self._failed(wire.NO_SUCH_MODEL, f"Model {query.model_id!r} does not exist in this app.")
        self._versions.add(self._sandbox.version)
        if query.version_id and query.version_id not in self._versions:
            return self._failed(wire.NO_SUCH_MODEL, f"Model version {query.version_id!r} does not exist.")
        problem = wire.problem_of(query, CONCEPTS)
        return None if problem is None else self._failed(*problem)

    def refused(self, fault: str) -> Reply:
        if fault == "expired-key":
            return self._failed(wire.KEY_NOT_FOUND)
        if fault == "quota":
            return self._failed(wire.EXCEED_MONTHLY_LIMIT)
        if fault == "throttle-retry-after":
            return failure("RESOURCE_EXHAUSTED", "Too many requests", retry_in(1))
        return self._failed(
            wire.THROTTLED, f"exceeded limit of {self._sandbox.rate or 15:g} requests per second"
        )

    def answer(self, query: Any, scores: Sequence[Scores | None]) -> Reply:
        failures = sum(score is None for score in scores)
        status = (
            wire.SUCCESS if not failures else wire.MIXED_STATUS if failures < len(scores) else wire.FAILURE
        )
        answer = self._answer(status)
        version = query.version_id or self._sandbox.version
        for item, score in zip(query.inputs, scores, strict=False):
            output = wire.write_output(answer, item)
            self._describe(output.model, version)
            if score is None:
                wire.write_status(output, wire.UNDECODABLE)
                continue
            wire.write_status(output, wire.SUCCESS)
            labels = self._chosen(query.model.output_info.output_config, score, version)
            wire.write_concepts(output, labels, app=APP)
        return Reply(body=answer.SerializeToString(), status=str(status[0]))

    def unlabelled(self, query: Any) -> bytes:
        answer = self._answer(wire.SUCCESS)
        for _ in query.inputs:
            wire.write_status(answer.outputs.add(id=uuid4().hex), wire.SUCCESS)
        body: bytes = answer.SerializeToString()
        return body

    def _chosen(self, config: Any, score: Scores, version: str) -> list[Label]:
        """The concepts asked for, best first."""
        labels = labels_of("clarifai", score, version)
        if config.select_concepts:
            said = {label.id for label in labels}
            labels += [replace(label, score=0.0) for label in CONCEPTS if label.id not in said]
        return wire.chosen(config, labels)

    def _describe(self, model: Any, version: str) -> None:
        model.id, model.name, model.user_id, model.app_id = MODEL, "Image Recognition", USER, APP
        model.model_version.id = version
        model.model_version.status.code, model.model_version.status.description = wire.MODEL_TRAINED

    def _failed(self, status: Status, details: str = "") -> Reply:
        answer = self._answer(status, details)
        return Reply(body=answer.SerializeToString(), status=str(status[0]))

    def _answer(self, status: Status, details: str = "") -> Any:
        answer = self.response()
        wire.write_status(answer, status, details)
        answer.status.req_id = uuid4().hex
        return answer
