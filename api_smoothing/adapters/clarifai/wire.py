"""Clarifai's wire format from the server's side: PostModelOutputs, its requests read, its answers written.

What goes wrong is a status code inside an answer, most of the time. The messages are protobuf.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias
from uuid import uuid4

from api_smoothing.adapters import Label, sdk

Status: TypeAlias = tuple[int, str]

#: The status codes in use, with the service's descriptions.
SUCCESS: Final[Status] = (10000, "Ok")
MIXED_STATUS: Final[Status] = (10010, "Mixed Success")
FAILURE: Final[Status] = (10020, "Failure")
EXCEED_MONTHLY_LIMIT: Final[Status] = (11004, "Throttle monthly request limit exceeded")
THROTTLED: Final[Status] = (11005, "Making too many requests")
KEY_INVALID: Final[Status] = (11008, "Invalid API key or Invalid API key/application pair")
KEY_NOT_FOUND: Final[Status] = (11009, "API key not found")
INVALID_HEADER: Final[Status] = (11102, "Invalid request")
MODEL_TRAINED: Final[Status] = (21100, "Model is trained and ready")
NO_SUCH_MODEL: Final[Status] = (21200, "Model does not exist")
BAD_MODEL_ARGUMENT: Final[Status] = (21202, "Invalid model argument")
BAD_PREDICT_REQUEST: Final[Status] = (40001, "Invalid request")
UNDECODABLE: Final[Status] = (47104, "Image decoding failed")

_MAX_INPUTS: Final = 128
_MAX_CONCEPTS: Final = 200
_DEFAULT_CONCEPTS: Final = 20


def messages() -> tuple[Any, Any]:
    """The classes of a request and of an answer. Raises MissingExtraError without the SDK."""
    api = sdk("clarifai_grpc.grpc.api.service_pb2", extra="clarifai")
    return api.PostModelOutputsRequest, api.MultiOutputResponse


def read_images(request: Any) -> list[bytes]:
    """The encoded images, in order."""
    return [item.data.image.base64 for item in request.inputs]  # raw bytes here, whatever the name says


def problem_of(request: Any, known: Sequence[Label]) -> tuple[Status, str] | None:
    """The status and its details for a request outside the limits; None for a good one.

    `known` are the concepts that a filter may name. The codes are likely ones; no public source confirms them.
    """
    if not 1 <= len(request.inputs) <= _MAX_INPUTS:
        return BAD_PREDICT_REQUEST, f"A request has 1 to {_MAX_INPUTS} inputs."
    config = request.model.output_info.output_config
    if config.max_concepts > _MAX_CONCEPTS:
        return BAD_MODEL_ARGUMENT, f"max_concepts is at most {_MAX_CONCEPTS}."
    for concept in config.select_concepts:
        if not any(is_concept(label, concept) for label in known):
            return BAD_MODEL_ARGUMENT, f"Concept {concept.id or concept.name!r} does not exist."
    return None


def is_concept(label: Label, concept: Any) -> bool:
    """Whether a concept asked for by id, or by name, is this one."""
    return bool(label.id == concept.id if concept.id else label.name == concept.name)


def chosen(config: Any, labels: Sequence[Label]) -> list[Label]:
    """Those of the labels that a request's output config asks for, in their order."""
    selected = config.select_concepts
    if selected:
        labels = [label for label in labels if any(is_concept(label, concept) for concept in selected)]
    limit = config.max_concepts or (_MAX_CONCEPTS if selected else _DEFAULT_CONCEPTS)
    return [label for label in labels if (label.score or 0.0) >= config.min_value][:limit]


def write_status(message: Any, status: Status, details: str = "") -> None:
    """Put a status into an answer, or into one of its outputs."""
    message.status.code, message.status.description = status
    if details:
        message.status.details = details


def write_output(answer: Any, asked: Any) -> Any:
    """A new output of an answer, about the input `asked`."""
    output = answer.outputs.add(id=uuid4().hex)
    output.input.id = asked.id or uuid4().hex
    # The service echoes a placeholder for images that came as bytes.
    output.input.data.image.url = "https://samples.clarifai.com/placeholder.gif"
    output.input.data.image.base64 = b"true"
    return output


def write_concepts(output: Any, labels: Sequence[Label], *, app: str) -> None:
    """Put the labels into an output, as concepts of an app."""
    output.data.SetInParent()  # there, if empty, when no concept is found
    for label in labels:
        output.data.concepts.add(id=label.id or "", name=label.name, value=label.score, app_id=app)
