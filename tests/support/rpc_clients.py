"""The services of the sandbox that speak gRPC, each asked through its own SDK."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from api_smoothing.png import encode_png
from api_smoothing.sandbox import Sandbox
from api_smoothing.sandbox.classifier import CLASSES
from api_smoothing.sandbox.vocabulary import labels_of

grpc = pytest.importorskip("grpc")


GOOGLE, CLARIFAI = "google.cloud.vision", "clarifai_grpc"
MODULES = {"google": GOOGLE, "clarifai": CLARIFAI}


def picture(number: int) -> bytes:
    """A PNG whose first value tells `number`."""
    pixels = np.random.default_rng(number).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    pixels[0, 0, 0] = number
    return encode_png(pixels)


def scores_of(number: int) -> dict[str, float]:
    """What the classifier thinks of `picture(number)`: of number 255, nothing."""
    first, second = CLASSES[number % 10], CLASSES[(number // 10) % 10]
    return {} if number == 255 else {second: 0.25, first: 0.9}


def classifier(images: Sequence[NDArray[np.uint8]]) -> list[Mapping[str, float]]:
    assert all(image.shape == (12, 9, 3) for image in images)
    return [scores_of(int(image[0, 0, 0])) for image in images]


@contextmanager
def channel_to(sandbox: Sandbox) -> Iterator[Any]:
    options = [
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
        ("grpc.max_send_message_length", -1),
    ]
    with grpc.insecure_channel(sandbox.endpoint, options) as channel:
        yield channel


Ask = Callable[..., Any]


def google_ask(sandbox: Sandbox, channel: Any) -> Ask:
    from google.cloud import vision
    from google.cloud.vision_v1.services.image_annotator.transports import ImageAnnotatorGrpcTransport

    client = vision.ImageAnnotatorClient(transport=ImageAnnotatorGrpcTransport(channel=channel))

    def ask(
        images: Sequence[bytes],
        *,
        results: int = 0,
        features: Sequence[int] = (4,),
        timeout: float = 60.0,
        metadata: Sequence[tuple[str, str]] | None = None,
    ) -> Any:
        wanted = [vision.Feature(type_=feature, max_results=results) for feature in features]
        requests = [
            vision.AnnotateImageRequest(image=vision.Image(content=data), features=wanted) for data in images
        ]
        if metadata is None:
            metadata = [("x-goog-api-key", sandbox.key)]
        return client.batch_annotate_images(requests=requests, retry=None, timeout=timeout, metadata=metadata)

    return ask


def clarifai_ask(sandbox: Sandbox, channel: Any) -> Ask:
    from clarifai_grpc.channel.clarifai_channel import ClarifaiChannel
    from clarifai_grpc.grpc.api import resources_pb2 as resources
    from clarifai_grpc.grpc.api import service_pb2, service_pb2_grpc

    # Making one of its own channels, which retry, is what lets the SDK make a stub for any channel.
    ClarifaiChannel.get_insecure_grpc_channel("127.0.0.1", 1).close()
    stub = service_pb2_grpc.V2Stub(channel)

    def ask(
        images: Sequence[bytes],
        *,
        timeout: float = 60.0,
        metadata: Sequence[tuple[str, str]] | None = None,
        user: str = "clarifai",
        model: str = "general-image-recognition",
        version: str = "",
        select: Sequence[Mapping[str, str]] = (),
        **config: Any,
    ) -> Any:
        chosen = [resources.Concept(**concept) for concept in select]
        output = resources.OutputInfo(output_config=resources.OutputConfig(select_concepts=chosen, **config))
        request = service_pb2.PostModelOutputsRequest(
            user_app_id=resources.UserAppIDSet(user_id=user, app_id="main"),
            model_id=model,
            version_id=version,
            inputs=[
                resources.Input(data=resources.Data(image=resources.Image(base64=data))) for data in images
            ],
            model=resources.Model(output_info=output),
        )
        if metadata is None:
            metadata = [("authorization", f"Key {sandbox.key}")]
        return stub.PostModelOutputs(request, timeout=timeout, metadata=metadata)

    return ask


ASKS = {"google": google_ask, "clarifai": clarifai_ask}


@contextmanager
def asking(provider: str, **settings: Any) -> Iterator[tuple[Sandbox, Ask]]:
    """A sandbox, and a client of it that the provider's SDK makes."""
    pytest.importorskip(MODULES[provider])
    with Sandbox(provider, classifier=classifier, **settings) as sandbox, channel_to(sandbox) as channel:
        yield sandbox, ASKS[provider](sandbox, channel)


def failure_of(ask: Callable[[], Any]) -> Any:
    """The gRPC error of a call that fails; Google's SDK wraps it."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - two SDKs, two trees of errors
        ask()
    error = caught.value
    return error if isinstance(error, grpc.RpcError) else error.__cause__


def said(response: Any) -> list[list[tuple[str, str, float]]]:
    """The labels of each image: id, name and score."""
    if hasattr(response, "responses"):
        return [
            [(label.mid, label.description, label.score) for label in one.label_annotations]
            for one in response.responses
        ]
    return [[(c.id, c.name, c.value) for c in output.data.concepts] for output in response.outputs]


def expected(provider: str, number: int, version: str | None = None, most: int | None = None) -> list[Any]:
    """The labels of `picture(number)`: at most `most`, by default the provider's own default."""
    labels = labels_of(provider, scores_of(number), version)[
        : most or {"google": 10, "clarifai": 20}[provider]
    ]
    return [(label.id, label.name, pytest.approx(label.score, abs=1e-6)) for label in labels]
