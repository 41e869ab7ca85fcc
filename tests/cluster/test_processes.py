"""Workers as processes: the same certificates, a killed one replaced, several accounts whose quotas add up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.spawn import get_preparation_data
from pathlib import Path

import pytest
from at_image import AtImage
from interrupting import never_left_locked
from many_workers import asking, facts, pictures, service
from PIL import Image

from api_smoothing.cluster import Account, Processes
from api_smoothing.cluster.messages import Task
from api_smoothing.cluster.processes import Process, _without_main
from api_smoothing.cluster.recipe import Recipe
from api_smoothing.errors import ConfigurationError
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
    server.classifier = AtImage(server.classifier, 100, lambda: os.kill(engine.hired[0], signal.SIGKILL))
    with asking(server.options(), cache=tmp_path / "many", concurrency=2) as api:
        found = list(api.certify_many(pictures(6), n=40, engine=engine))
    assert len(engine.hired) == 2
    assert facts(found) == facts(alone)
    assert 0 <= server.meter.images - 2 * paid <= 64, "what it had under way"


@pytest.mark.slow
def test_the_quotas_of_accounts_add_up(
    server: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two accounts of 10 a second send more than one may, and neither more than it may.

    A worker that is ready first holds some images already, so that there must be many.
    """
    monkeypatch.setenv("ONE", "first")
    accounts = [Account(name=name, rate=10.0, variables={"SOME_KEY": "ONE"}) for name in ("one", "two")]
    began = time.monotonic()
    with asking(server.options(), rate=10, account="one") as api:
        found = list(api.certify_many(pictures(16), n=40, engine=Processes(accounts=accounts)))
    assert len(found) == 16
    assert server.meter.busiest(1.0) >= 12
    # Ten of each may leave in their first moment. How many arrive in a second is up to the machine as well.
    assert time.monotonic() - began > (server.meter.images - 20) / 20


UNGUARDED = """
from api_smoothing import SmoothedAPI
from api_smoothing.cluster import Processes

with SmoothedAPI("torchvision", denoiser=None, sigma=0.05, seed=1) as api:
    for found in api.certify_many(["a.png"], n=20, engine=Processes(1)):
        print("certified", found.label)
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["file", "standard input"])
def test_a_script_needs_no_guard_and_no_file(way: str, tmp_path: Path) -> None:
    """Workers do not run it again: it is neither done twice, nor missed where it is none."""
    Image.fromarray(pictures(1)[0]).save(tmp_path / "a.png")
    (tmp_path / "script.py").write_text(UNGUARDED)
    done = subprocess.run(
        [sys.executable, *(["script.py"] if way == "file" else ["-"])],
        input="" if way == "file" else UNGUARDED,
        cwd=tmp_path,
        env={**os.environ, "API_SMOOTH_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("certified") == 1


def test_what_a_worker_is_started_with_is_given_back() -> None:
    """The script is hidden for the time of the start alone."""
    before = dict(vars(sys.modules["__main__"]))
    with _without_main():
        assert not {"init_main_from_path", "init_main_from_name"} & get_preparation_data("worker").keys()
    assert vars(sys.modules["__main__"]) == before


def test_this_process_must_be_one_of_the_accounts(server: Sandbox) -> None:
    """It asks too, of images as they are: its turns are one account's."""
    engine = Processes(accounts=[Account(name="one")])
    with asking(server.options()) as api, pytest.raises(ConfigurationError, match="account='one'"):
        list(api.certify_many(pictures(1), n=30, engine=engine))
    assert server.meter.requests == 0


@pytest.mark.usefixtures("as_from_a_terminal")
def test_an_interrupt_never_cuts_a_message() -> None:
    """Ctrl-C before any instruction: what a worker is told, and what it says, is whole or not there at all."""
    task, word = Task(index=1, image=bytes(40_000)), Task(index=2, image=None)  # type: ignore[arg-type]

    def telling() -> tuple[Callable[[], object], Callable[[], object]]:
        worker, end = worker_of_nobody()

        def hear() -> None:
            worker.stop()
            while (what := end.recv()) != "stop":
                assert [one.index for one in what] == [1]

        return partial(worker.put, [task]), hear

    def hearing() -> tuple[Callable[[], object], Callable[[], object]]:
        worker, end = worker_of_nobody()
        end.send(task)

        def go_on() -> None:
            end.send(word)
            indices = list[int]()
            while 2 not in indices:
                indices += [one.index for one in worker.heard()]  # type: ignore[union-attr]
            assert indices in ([1, 2], [2])

        return worker.heard, go_on

    assert never_left_locked(telling, "cluster") > 10
    assert never_left_locked(hearing, "cluster") > 10


def worker_of_nobody() -> tuple[Process, Connection]:
    """The driver's side of a worker, and the end of the pipe that it would have."""
    worker = Process.__new__(Process)
    worker.end, other = Pipe()
    return worker, other


@pytest.mark.slow
@pytest.mark.usefixtures("as_from_a_terminal")
def test_workers_do_not_hear_what_a_terminal_tells_all(server: Sandbox, tmp_path: Path) -> None:
    """Ctrl-C is for the driver, which ends them when what is under way has come in."""
    engine = Noted()
    server.classifier = AtImage(server.classifier, 30, lambda: os.kill(engine.hired[0], signal.SIGINT))
    with asking(server.options(), cache=tmp_path / "many") as api:
        found = list(api.certify_many(pictures(3), n=20, engine=engine))
    assert (len(found), len(engine.hired)) == (3, 1)
