"""The providers' wire formats from the server's side: what they write, the client reads as it was meant."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from api_smoothing.adapters import Answer, BadRequest, Label, Verdict, load
from api_smoothing.adapters.aws import wire as aws
from api_smoothing.adapters.azure import wire as azure
from api_smoothing.adapters.http import wire as http
from api_smoothing.adapters.http.answer import parse, read
from api_smoothing.adapters.http.description import describe

ROOT = Path(__file__).parents[2]
LABELS = [
    Label(name="Animal", score=0.9),
    Label(name="Kitten", score=0.75, parents=("Animal", "Cat")),
    Label(name="Sofa", score=0.125),
]
IMAGE = b"\x89PNG picture"
TEXT = base64.b64encode(IMAGE).decode()


def headers(kind: str) -> Message:
    found = Message()
    found["Content-Type"] = kind
    return found


def test_a_wire_format_needs_neither_sdk_nor_server() -> None:
    """Importing the five of them loads no SDK and nothing of the sandbox: a server of another kind may use them."""
    code = """
import sys
for name in ("aws", "azure", "clarifai", "google", "http"):
    __import__(f"api_smoothing.adapters.{name}.wire")
heavy = ("boto3", "botocore", "azure", "clarifai_grpc", "google", "grpc", "requests", "torch", "http.server")
print([name for name in sys.modules if name.startswith(("api_smoothing.sandbox", *heavy))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_rekognition_reads_what_is_written() -> None:
    """Names, scores and parents come back through the adapter, best first; what scores too little is left out."""
    labels = [aws.write_label(label, category="Everyday Objects") for label in reversed(LABELS)]
    _, settings = aws.read_request(
        "DetectLabels", json.dumps({"Image": {"Bytes": TEXT}, "MinConfidence": 50}).encode()
    )
    body = aws.write_answer("DetectLabels", labels, settings, {"LabelModelVersion": "3.0"})
    adapter: Any = load("aws", region="us-east-1")
    assert adapter._read(body) == Answer(labels=tuple(LABELS[:2]), model_version="3.0")
    one = aws.write_answer("DetectLabels", labels, {"least": 0, "most": 1}, {})
    assert [label["Name"] for label in one["Labels"]] == ["Animal"]


def test_rekognition_filters_by_name_and_category() -> None:
    """An empty list of inclusions lets all pass; an exclusion goes before an inclusion."""
    kitten = aws.write_label(LABELS[1], category="Animals and Pets")
    for settings, passes in [
        ({}, True),
        ({"LabelInclusionFilters": ["Kitten"]}, True),
        ({"LabelInclusionFilters": ["Sofa"]}, False),
        ({"LabelCategoryInclusionFilters": ["Animals and Pets"]}, True),
        ({"LabelInclusionFilters": ["Kitten"], "LabelCategoryExclusionFilters": ["Animals and Pets"]}, False),
    ]:
        assert aws.passes(kitten, settings) == passes


def _judge(error: Exception) -> Verdict:
    """No answer here breaks the contract."""
    raise error


@pytest.mark.parametrize("batch", [False, True])
def test_the_json_endpoint_reads_what_is_written(batch: bool) -> None:
    """The description that ships reads each answer in its order, and a failed image of a batch as a verdict."""
    answers = [LABELS, None, []] if batch else [LABELS]
    body = http.write_labels(answers, version="7", most=2, batch=True)
    found = read(describe("sandbox-json", {}, None), parse(json.dumps(body).encode()), len(answers), _judge)
    told = [one if isinstance(one, Answer) else one.kind for one in found]
    plain = tuple(Label(name=label.name, score=label.score) for label in LABELS[:2])
    best = Answer(labels=plain, model_version="7")
    assert told == [best, "refused", Answer(labels=(), model_version="7")][: len(answers)]


def test_an_image_comes_in_every_form_that_is_served() -> None:
    """Base64, a data URL, bytes and a form field are the same image."""
    form = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + IMAGE + b"\r\n--x--\r\n"
    for kind, data in [
        ("application/json", json.dumps({"image": TEXT}).encode()),
        ("application/json", json.dumps({"images": [f"data:image/png;base64,{TEXT}"]}).encode()),
        ("image/png", IMAGE),
        ("multipart/form-data; boundary=x", form),
    ]:
        assert list(http.read_labels(headers(kind), data).images) == [IMAGE]


def test_a_conversation_is_answered_with_a_word_of_its_own() -> None:
    """The best label that stands in the text is the answer, else the best of all."""
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{TEXT}"}},
        {"type": "text", "text": "sofa or kitten?"},
    ]
    body = {"model": "m", "messages": [{"role": "user", "content": content}]}
    asked = http.read_chat(headers("application/json"), json.dumps(body).encode())
    assert (asked.image, asked.text, asked.model) == (IMAGE, "sofa or kitten?", "m")
    told = http.write_chat(asked, LABELS, version="1")
    assert told["choices"][0]["message"]["content"] == "Kitten"


@pytest.mark.parametrize("operation", ["ImageAnalysis_Analyze", "TagImage"])
def test_azures_session_lets_through_what_is_written(operation: str) -> None:
    """An answer has tags and version where the session of both clients looks for them."""
    from api_smoothing.adapters.azure.session import _look_at

    body = azure.write_answer(operation, LABELS, version="2023-10-01", width=8, height=9, format="Png")
    response = SimpleNamespace(iter_content=lambda size: [b""], status_code=200, json=lambda: body)
    place = ("tagsResult", "values") if operation == azure.NEW else ("tags",)
    _look_at(response, tags_at=place)


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (lambda: aws.read_key(None), "MissingAuthenticationTokenException"),
        (lambda: aws.read_key("Bearer x"), "IncompleteSignatureException"),
        (lambda: aws.read_request("DetectLabels", b"[]"), "SerializationException"),
        (lambda: aws.read_request("DetectLabels", b'{"Image": {"Bytes": "?"}}'), "InvalidParameterException"),
        (lambda: aws.read_settings("DetectLabels", {"MinConfidence": 101}), "ValidationException"),
        (lambda: azure.read_request(azure.NEW, {}, "image/png"), "InvalidRequest"),
        (lambda: azure.read_request("TagImage", {}, "text/plain"), "UnsupportedMediaType"),
        (lambda: http.read_labels(headers("text/plain"), b""), "invalid_request"),
        (lambda: http.read_labels(headers("application/json"), b'{"images": []}'), "invalid_request"),
        (lambda: http.read_chat(headers("application/json"), b'{"model": "m"}'), "invalid_request"),
    ],
)
def test_a_request_outside_the_format_is_refused_in_the_services_words(ask: Any, code: str) -> None:
    """What is wrong has the code that the service gives it."""
    with pytest.raises(BadRequest) as error:
        ask()
    assert error.value.code == code
    assert 400 <= error.value.status < 500
