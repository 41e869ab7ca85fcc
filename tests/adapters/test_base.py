"""What holds for the adapter of every service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from api_smoothing.adapters import load


class _Vision(BaseHTTPRequestHandler):
    """Answers as Rekognition and Azure do, and notes the connection each request comes by."""

    protocol_version = "HTTP/1.1"
    came_by: list[int] = []  # noqa: RUF012

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.came_by.append(self.client_address[1])
        tags = {"tagsResult": {"values": [{"name": "cat", "confidence": 0.9}]}, "modelVersion": "2023-10-01"}
        labels = {"Labels": [{"Name": "Cat", "Confidence": 90.0}], "LabelModelVersion": "3.0"}
        size = {"metadata": {"width": 1, "height": 1}}
        body = json.dumps({**tags, **labels, **size}).encode()
        self.send_response(200)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None: ...


FORKER = """
import json, os, signal, sys
from api_smoothing import adapters
from api_smoothing.adapters.base import EncodedImage
adapter = adapters.load(sys.argv[1], **json.loads(sys.argv[2]))
image = EncodedImage(data=b"x", height=96, width=96)
assert adapter.label([image])
child = os.fork()
if child == 0:
    signal.alarm(10)
    adapter.label([image])
    os._exit(0)
sys.exit(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("provider", ["aws", "azure"])
def test_a_forked_process_has_its_own_connection(provider: str) -> None:
    """After a fork no answer to one process's query can reach the other."""
    pytest.importorskip("boto3" if provider == "aws" else "azure.ai.vision.imageanalysis")
    came_by: list[int] = []
    handler = type("Vision", (_Vision,), {"came_by": came_by})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = {"endpoint": f"http://127.0.0.1:{server.server_port}"}
        keys = {"access_key_id": "k", "secret_access_key": "s", "region": "us-east-1"}
        options |= keys if provider == "aws" else {"key": "k"}
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "NO_PROXY": "127.0.0.1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        command = [sys.executable, "-W", "ignore", "-c", FORKER, provider, json.dumps(options)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        server.shutdown()
    if done.returncode or len(came_by) != 2:
        raise RuntimeError(f"the forking program failed: {done.stderr[-500:]}")
    assert came_by[0] != came_by[1]


@pytest.mark.parametrize(
    ("name", "endpoint", "provider"),
    [
        ("aws", None, "aws"),
        ("aws", "https://rekognition.eu-west-1.amazonaws.com", "aws"),
        ("aws", "http://127.0.0.1:8080", "aws@loopback"),
        ("aws", "http://127.0.0.2:8080", "aws@127.0.0.2"),
        ("aws", "https://amazonaws.com.example.org", "aws@amazonaws.com.example.org"),
        ("aws", "https://notamazonaws.com/x", "aws@notamazonaws.com"),
        ("azure", "https://me.cognitiveservices.azure.com/", "azure"),
        ("azure", "https://proxy.example.org/", "azure@proxy.example.org"),
        ("google", "eu-vision.googleapis.com", "google"),
        ("google", "vision.example.org:443", "google@vision.example.org"),
        ("google", "127.0.0.1:5000", "google@loopback"),
        ("clarifai", "https://api.clarifai.com", "clarifai"),
        ("clarifai", "api.example.org", "clarifai@api.example.org"),
        ("http", "https://api.example.org", "http/openai@api.example.org"),
        ("http", None, "http/openai"),
    ],
)
def test_an_endpoint_that_is_not_the_providers_own_is_named(
    name: str, endpoint: str | None, provider: str
) -> None:
    """A certificate says whose host answered wherever it was not one of the provider's own."""
    options = (
        {"model": "openai", "vision_model": "m", "classes": ["a", "b"], "usd_per_query": 0.1}
        if name == "http"
        else {}
    )
    assert load(name, endpoint=endpoint, **options).card.provider == provider
