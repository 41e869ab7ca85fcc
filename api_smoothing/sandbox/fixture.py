"""A pytest fixture: `from api_smoothing.sandbox.fixture import sandbox` in a test module or conftest.py.

def test_my_pipeline(sandbox):
    server = sandbox("aws", latency=0.2)
    api = SmoothedAPI("aws", **server.options())
    …
    assert server.meter.requests == 100
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeAlias

import pytest

from api_smoothing.sandbox.server import Sandbox

StartSandbox: TypeAlias = Callable[..., Sandbox]


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[StartSandbox]:
    """Starts sandboxes with the arguments of `Sandbox`, and stops them when the test is over.

    Meanwhile no proxy stands before loopback, and no cloud's metadata server is asked for credentials.
    """
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with ExitStack() as running:

        def start(provider: str, **settings: object) -> Sandbox:
            return running.enter_context(Sandbox(provider, **settings))  # type: ignore[arg-type]

        yield start
