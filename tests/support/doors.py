"""The services of the sandbox that speak HTTP: how each is asked on the wire, and what it answers."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from api_smoothing.png import encode_png
from api_smoothing.sandbox import Sandbox
from api_smoothing.sandbox.classifier import scripted_brain

CAT = scripted_brain({"cat": 1.0})


CAR = scripted_brain({"automobile": 1.0})


ARN = "arn:aws:rekognition:us-east-1:123456789012:project/pets/version/pets.2024/1700000000000"


def picture(side: int = 96, *, seed: int = 0) -> bytes:
    """A PNG of noise."""
    return encode_png(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


PNG = picture()


@dataclass(frozen=True)
class Said:
    """An answer on the wire."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


def send(
    server: Sandbox, path: str, body: bytes | None, headers: Mapping[str, str], *, timeout: float = 60.0
) -> Said:
    connection = http.client.HTTPConnection(server.endpoint.removeprefix("http://"), timeout=timeout)
    try:
        connection.request("POST", path, body, dict(headers))
        response = connection.getresponse()
        return Said(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


@dataclass(frozen=True)
class Door:
    """One operation of one provider: how it is asked, and where its answer has the labels."""

    provider: str
    path: str
    headers: Mapping[str, str]
    wrap: Callable[[bytes], bytes]
    key: str  # the header that holds the credential
    form: str  # what surrounds it
    labels: tuple[str | int, ...]

    def ask(
        self, server: Sandbox, image: bytes = PNG, *, key: str | None = None, timeout: float = 60.0
    ) -> Said:
        given = {} if key == "" else {self.key: self.form.format(server.key if key is None else key)}
        return send(server, self.path, self.wrap(image), {**self.headers, **given}, timeout=timeout)


def rekognition(operation: str, field: str, **settings: Any) -> Door:
    def wrap(image: bytes) -> bytes:
        return json.dumps({"Image": {"Bytes": base64.b64encode(image).decode()}, **settings}).encode()

    target = {"X-Amz-Target": f"RekognitionService.{operation}", "Content-Type": "application/x-amz-json-1.1"}
    signed = "AWS4-HMAC-SHA256 Credential={}/20261121/us-east-1/rekognition/aws4_request, \
SignedHeaders=host;x-amz-date, Signature=00"
    return Door("aws", "/", target, wrap, "Authorization", signed, (field,))


def vision(path: str, labels: tuple[str, ...]) -> Door:
    octets = {"Content-Type": "application/octet-stream"}
    return Door("azure", path, octets, bytes, "Ocp-Apim-Subscription-Key", "{}", labels)


def endpoint(path: str, wrap: Callable[[bytes], bytes], labels: tuple[str | int, ...], kind: str) -> Door:
    return Door("http", path, {"Content-Type": kind}, wrap, "Authorization", "Bearer {}", labels)


def chat(image: bytes, text: str = "what is this?") -> bytes:
    url = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    content = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
    return json.dumps({"model": "eyes", "messages": [{"role": "user", "content": content}]}).encode()


def batch(*images: bytes) -> bytes:
    return json.dumps({"images": [base64.b64encode(image).decode() for image in images]}).encode()


ANALYZE = "/computervision/imageanalysis:analyze?api-version=2023-10-01&features=tags"


DOORS = {
    "aws labels": rekognition("DetectLabels", "Labels"),
    "aws custom": rekognition("DetectCustomLabels", "CustomLabels", ProjectVersionArn=ARN),
    "aws moderation": rekognition("DetectModerationLabels", "ModerationLabels", MinConfidence=0),
    "azure 4.0": vision(ANALYZE, ("tagsResult", "values")),
    "azure 3.2 tag": vision("/vision/v3.2/tag?language=en&model-version=latest", ("tags",)),
    "azure 3.2 analyze": vision("/vision/v3.2/analyze?visualFeatures=Tags", ("tags",)),
    "http image": endpoint("/v1/label", bytes, ("labels",), "image/png"),
    "http batch": endpoint("/v1/label", batch, ("answers", 0, "labels"), "application/json"),
    "http chat": endpoint("/v1/chat/completions", chat, ("choices",), "application/json"),
}


AWS, AZURE = DOORS["aws labels"], DOORS["azure 4.0"]


def labels(door: Door, said: Said) -> list[Any]:
    found = said.body
    for step in door.labels:
        found = found[step]
    return list(found)


def assert_fits(real: Any, ours: Any, where: str = "body") -> None:
    """Everything the recorded answer has, ours has too, of the same type, at the same place."""
    if isinstance(real, dict):
        assert isinstance(ours, dict), where
        for key, value in real.items():
            assert key in ours, f"{where}.{key}"
            assert_fits(value, ours[key], f"{where}.{key}")
    elif isinstance(real, list):
        assert isinstance(ours, list), where
        for value in real[:3]:
            assert ours, where
            assert_fits(value, ours[0], f"{where}[]")
    elif isinstance(real, int | float):
        assert isinstance(ours, int | float), where
    else:
        assert type(ours) is type(real), where


THROTTLED = {"throttle", "throttle-retry-after", "throttle-coded"}
UNBILLED = {*THROTTLED, "expired-key", "quota", "bad-image"}


def code_of(provider: str, body: Mapping[str, Any]) -> str:
    return str(body["__type"] if provider == "aws" else body["error"]["code"])
