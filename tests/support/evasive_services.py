"""Services that succeed and yet answer nothing: with another kind of answer, or with one that does not know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import pytest
from grpc_service import GrpcService, running
from wire import Wire

from api_smoothing import adapters
from api_smoothing.adapters import Adapter

KEY: Final = "planted-0123456789abcdef"

AWS: Final = {
    "faces": {"FaceDetails": [{"Confidence": 99.0}], "LabelModelVersion": "3.0"},
    "text": {"TextDetections": [], "TextModelVersion": "3.0"},
    "moderation": {"ModerationLabels": [], "ModerationModelVersion": "7.0"},
    "null": {"Labels": None, "LabelModelVersion": "3.0"},
    "an object": {"Labels": {}, "LabelModelVersion": "3.0"},
    "no score": {"Labels": [{"Name": "Cat"}], "LabelModelVersion": "3.0"},
    "true": {"Labels": [{"Name": "Cat", "Confidence": True}], "LabelModelVersion": "3.0"},
}
AZURE: Final = {
    "objects": {"modelVersion": "2023-10-01", "objectsResult": {"values": []}},
    "a caption": {"modelVersion": "2023-10-01", "captionResult": {"text": "a cat", "confidence": 0.9}},
    "text": {"modelVersion": "2023-10-01", "readResult": {"blocks": []}},
    "an object": {"modelVersion": "2023-10-01", "tagsResult": {"values": {}}},
    "null": {"modelVersion": "2023-10-01", "tagsResult": {"values": None}},
    "no score": {"modelVersion": "2023-10-01", "tagsResult": {"values": [{"name": "cat"}]}},
    "true": {"modelVersion": "2023-10-01", "tagsResult": {"values": [{"name": "cat", "confidence": True}]}},
    "another model": {"modelVersion": "2030-01-01", "tagsResult": {"values": []}},
}
JSON: Final = {
    "an object": {"model": {"version": "1"}, "answers": [{"labels": {}}]},
    "null": {"model": {"version": "1"}, "answers": [{"labels": None}]},
    "pending": {"model": {"version": "1"}, "status": "pending"},
    "no score": {"model": {"version": "1"}, "answers": [{"labels": [{"name": "cat"}]}]},
    "true": {"model": {"version": "1"}, "answers": [{"labels": [{"name": "cat", "score": True}]}]},
}


def _chat(content: Any, finish: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}


CHAT: Final = {
    "cut off": _chat("", "length"),
    "kept back": _chat("", "content_filter"),
    "half a word": _chat("ca", "length"),
    "empty": _chat("", "stop"),
    "null": _chat(None, "stop"),
    "a list": _chat([{"type": "text", "text": "cat"}], "stop"),
    "no choice": {"model": "m", "choices": []},
}
GOOGLE: Final = {
    "objects": {"localized_object_annotations": [{"mid": "/m/1", "name": "Couch", "score": 0.9}]},
    "text": {"text_annotations": [{"description": "STOP"}]},
    "web": {"web_detection": {"web_entities": [{"entity_id": "/m/1", "description": "Couch"}]}},
    "faces": {"face_annotations": [{"detection_confidence": 0.9}]},
    "no score": {"label_annotations": [{"mid": "/m/1", "description": "Couch"}]},
}
SAFE: Final = {
    "unknown": {"safe_search_annotation": {"adult": 0, "spoof": 1, "medical": 1, "violence": 1, "racy": 1}},
    "one alone": {"safe_search_annotation": {"racy": 1}},
    "labels": {"label_annotations": [{"mid": "/m/1", "description": "Couch", "score": 0.9}]},
    "nothing": {},
}
CLARIFAI: Final = {
    "regions": {"regions": [{"id": "r", "data": {"concepts": [{"id": "c", "name": "cat", "value": 0.9}]}}]},
    "embeddings": {"embeddings": [{"vector": [0.5, 0.25], "num_dimensions": 2}]},
    "text": {"text": {"raw": "a cat"}},
    "no score": {"concepts": [{"id": "c", "name": "cat"}]},
}


@contextmanager
def evasive(provider: str, **options: Any) -> Iterator[dict[str, Adapter]]:
    """An adapter for each way in which the provider's service can evade, by its name."""
    ways: dict[str, Any] = {
        "aws": AWS,
        "azure": AZURE,
        "google": SAFE if "feature" in options else GOOGLE,
        "clarifai": CLARIFAI,
        "http": CHAT if options.get("model") == "openai" else JSON,
    }[provider]
    with ExitStack() as stack:
        found = {}
        for way, body in ways.items():
            if provider in ("google", "clarifai"):
                service = _google(body) if provider == "google" else _clarifai(body)
                given = {"endpoint": stack.enter_context(running(service)).endpoint, "key": KEY}
            else:
                wire = Wire((200, body), content_type="application/json", half=b"")
                stack.callback(wire.close)
                keys = {"access_key_id": "AKIA0123456789ABCDEF", "secret_access_key": KEY, "region": "x"}
                given = {"endpoint": wire.endpoint, **(keys if provider == "aws" else {"key": KEY})}
            found[way] = adapters.load(provider, **given, **options)
        yield found


def _google(answer: Any) -> GrpcService:
    vision = pytest.importorskip("google.cloud.vision")
    response = vision.BatchAnnotateImagesResponse
    return GrpcService(
        name="google.cloud.vision.v1.ImageAnnotator",
        method="BatchAnnotateImages",
        read=vision.BatchAnnotateImagesRequest.deserialize,
        write=response.serialize,
        reply=lambda request, context: response(responses=[answer] * len(request.requests)),
    )


def _clarifai(data: Any) -> GrpcService:
    service = pytest.importorskip("clarifai_grpc.grpc.api.service_pb2")
    format_ = pytest.importorskip("google.protobuf.json_format")
    model = {"model_version": {"id": "aa7f35c01e0642fda5cf400f543e7c40"}}
    output = {"status": {"code": 10000}, "model": model, "data": data}

    def reply(request: Any, context: Any) -> Any:
        body = {"status": {"code": 10000}, "outputs": [output] * len(request.inputs)}
        return format_.ParseDict(body, service.MultiOutputResponse())

    return GrpcService(
        name="clarifai.api.V2",
        method="PostModelOutputs",
        read=service.PostModelOutputsRequest.FromString,
        write=lambda answer: answer.SerializeToString(),
        reply=reply,
    )
