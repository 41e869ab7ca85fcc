"""The example of a third party's adapter keeps the laws of every adapter, against a server of its own protocol."""

from __future__ import annotations

import base64
import importlib.util
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from api_smoothing.adapters.base import Adapter
from api_smoothing.adapters.suite import AdapterSuite
from api_smoothing.errors import CredentialsError
from api_smoothing.sandbox.classifier import scripted_brain
from api_smoothing.sandbox.faults import Faults
from api_smoothing.sandbox.http import HttpFront, Question, Refused, Scores, json_reply
from api_smoothing.sandbox.listener import Call, Reply
from api_smoothing.sandbox.meter import Meter
from api_smoothing.sandbox.request_image import open_picture

pytest.importorskip("urllib3")

FILE = Path(__file__).parents[2] / "examples" / "acme_adapter.py"
REFUSALS = {"throttle": 429, "throttle-retry-after": 429, "throttle-coded": 429, "500": 500, "503": 503,
            "expired-key": 401, "quota": 402, "billed-400": 400, "bad-image": 400}  # fmt: skip


class AcmeServer(HttpFront):
    """Acme's protocol on loopback: POST /tag, as the example describes it."""

    def __init__(self, shares: dict[str, float]) -> None:
        self.key, self.faults, self.meter = "acme-k3y-0f-tests", Faults(), Meter()
        self._state = SimpleNamespace(
            port=0, rate=None, latency=0.0, drip=0.05, version="3.1", faults=self.faults, meter=self.meter,
            classifier=scripted_brain(shares),
        )  # fmt: skip
        super().__init__(self._state)  # type: ignore[arg-type]

    def __enter__(self) -> AcmeServer:
        self.endpoint = f"http://127.0.0.1:{self.start()}"
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def operation(self, call: Call) -> str:
        assert (call.method, call.path) == ("POST", "/tag")
        return "tag"

    def authorise(self, call: Call) -> None:
        if call.headers.get("X-Key") != self.key:
            raise Refused(self.refused(call, "expired-key"))

    def read(self, call: Call, operation: str) -> Question:
        pictures = json.loads(call.body)["pictures"]
        if not 1 <= len(pictures) <= 8:
            raise Refused(self.refused(call, "billed-400"))
        return Question(images=[base64.b64decode(picture) for picture in pictures], partial=True)

    def see(self, call: Call, operation: str, data: bytes) -> NDArray[np.uint8]:
        return open_picture(data, ("PNG",)).pixels()

    def answer(self, operation: str, question: Question, scores: Sequence[Scores | None]) -> Reply:
        results = [{"fault": "unreadable"} if one is None else {"tags": self._tags(one)} for one in scores]
        return json_reply({"model": self._state.version, "results": results})

    def unlabelled(self, operation: str, question: Question) -> Reply:
        return json_reply({"model": self._state.version})

    def refused(self, call: Call, fault: str) -> Reply:
        headers = {"Retry-After": "1"} if fault == "throttle-retry-after" else {}
        return json_reply({}, status=REFUSALS[fault], headers=headers)

    def _tags(self, scores: Scores) -> list[tuple[str, float]]:
        return sorted(((name, score) for name, score in scores.items() if score), key=lambda tag: -tag[1])


@pytest.fixture(scope="module")
def acme() -> ModuleType:
    """The example, loaded from its file."""
    spec = importlib.util.spec_from_file_location("acme_adapter", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestAcme(AdapterSuite):
    """The example against its server."""

    build: ClassVar = (
        f"import sys; sys.path.insert(0, {str(FILE.parent)!r}); import acme_adapter; acme_adapter.load()"
    )

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls) -> Iterator[AcmeServer]:
        with AcmeServer({"cat": 0.4, "dog": 0.3, "ship": 0.3}) as server:
            yield server

    @pytest.fixture(scope="class")
    @classmethod
    def adapter(cls, server: AcmeServer, acme: ModuleType) -> Any:
        return acme.load(endpoint=server.endpoint, key=server.key)

    @pytest.fixture(scope="class")
    @classmethod
    def twin(cls, server: AcmeServer, acme: ModuleType) -> Any:
        return acme.load(endpoint=server.endpoint, key=server.key, timeout=0.5)

    @pytest.fixture
    def silent(self, acme: ModuleType) -> Iterator[Adapter]:
        with AcmeServer({}) as server:
            yield acme.load(endpoint=server.endpoint, key=server.key)

    @pytest.fixture
    def nowhere(self, acme: ModuleType, server: AcmeServer) -> Any:
        with AcmeServer({}) as stopped:
            return acme.load(endpoint=stopped.endpoint, key=server.key)


def test_it_is_short() -> None:
    """The whole adapter takes fewer than 80 lines."""
    assert len(FILE.read_text("utf-8").splitlines()) < 80


def test_a_missing_key_names_its_variable(acme: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key nothing is sent, and the error names the variable."""
    monkeypatch.delenv("ACME_KEY", raising=False)
    with pytest.raises(CredentialsError, match="ACME_KEY"):
        acme.load(endpoint="http://127.0.0.1:9").label([])
