"""Workers as processes: the same certificates, a killed one replaced, several accounts whose quotas add up."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from many_workers import asking, facts, pictures, service

from api_smoothing.cluster import Account, Processes
from api_smoothing.cluster.processes import Process
from api_smoothing.cluster.recipe import Recipe
from api_smoothing.errors import ConfigurationError
from api_smoothing.events import AnswersCounted, Event
from api_smoothing.sandbox import Sandbox

pytest.importorskip("requests")


@pytest.fixture
def server() -> Iterator[Sandbox]:
    with service() as running:
        yield running


class Noted(Processes):
    """One worker at a time, whose number is noted."""

    def __init__(self) -> None:
        super().__init__(1)
        self.hired = list[int]()

    def hire(self, recipe: Recipe) -> Process:
        worker = super().hire(recipe)
        assert worker.pid is not None
        self.hired.append(worker.pid)
        return worker


@pytest.mark.slow
def test_a_killed_process_is_replaced(server: Sandbox, tmp_path: Path) -> None:
    """The certificates are those of one process; what the killed one had kept is not bought again."""
    with asking(server.options(), cache=tmp_path / "alone") as api:
        alone = list(api.certify_many(pictures(6), n=40))
    paid, engine = server.meter.images, Noted()

    def kill(event: Event) -> None:
        if isinstance(event, AnswersCounted) and event.index == 2 and len(engine.hired) == 1:
            os.kill(engine.hired[0], signal.SIGKILL)

    with asking(server.options(), cache=tmp_path / "many", rate=30, observers=(kill,)) as api:
        found = list(api.certify_many(pictures(6), n=40, engine=engine))
    assert len(engine.hired) == 2
    assert facts(found) == facts(alone)
    assert 0 <= server.meter.images - 2 * paid <= 64, "what it had under way"


@pytest.mark.slow
def test_the_quotas_of_accounts_add_up(
    server: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two accounts of 10 a second send more than one may, and neither more than it may."""
    monkeypatch.setenv("ONE", "first")
    accounts = [Account(name=name, rate=10.0, variables={"SOME_KEY": "ONE"}) for name in ("one", "two")]
    with asking(server.options(), rate=10, account="one") as api:
        found = list(api.certify_many(pictures(6), n=40, engine=Processes(accounts=accounts)))
    assert len(found) == 6
    assert 12 <= server.meter.busiest(1.0) <= 22, "20, but for what a busy machine crowds"


def test_this_process_must_be_one_of_the_accounts(server: Sandbox) -> None:
    """It asks too, of images as they are: its turns are one account's."""
    engine = Processes(accounts=[Account(name="one")])
    with asking(server.options()) as api, pytest.raises(ConfigurationError, match="account='one'"):
        list(api.certify_many(pictures(1), n=30, engine=engine))
    assert server.meter.requests == 0
