"""The services of the sandbox: every door of those that speak HTTP, and both that speak gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from doors import CAT, DOORS, Door

from api_smoothing.sandbox import Sandbox

if TYPE_CHECKING:
    from rpc_clients import Ask

    from api_smoothing.sandbox.fixture import StartSandbox


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> Door:
    return DOORS[request.param]


@pytest.fixture
def server(door: Door, sandbox: StartSandbox) -> Sandbox:
    """The door's sandbox, in which every image is a cat."""
    return sandbox(door.provider, classifier=CAT)


@pytest.fixture(scope="session")
def recorded(shared: Path) -> Path:
    """Real answers of the services, as others published them."""
    folder = shared / "fixtures" / "recorded"
    if not folder.is_dir():
        pytest.skip("no recorded answers beside the checkout")
    return folder


@pytest.fixture
def google() -> Iterator[tuple[Sandbox, Ask]]:
    from rpc_clients import asking

    with asking("google") as pair:
        yield pair


@pytest.fixture
def clarifai() -> Iterator[tuple[Sandbox, Ask]]:
    from rpc_clients import asking

    with asking("clarifai") as pair:
        yield pair
