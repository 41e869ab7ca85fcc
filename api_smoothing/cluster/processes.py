"""Workers as processes of this machine: for several accounts, and for several processors."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from typing import Any, Final

from api_smoothing.cluster.accounts import Account
from api_smoothing.cluster.host import Host
from api_smoothing.cluster.messages import Ended, Failed, Lost, Message, Task
from api_smoothing.cluster.recipe import Recipe
from api_smoothing.errors import ConfigurationError
from api_smoothing.interrupts import uninterrupted

_STOP: Final = "stop"


class Processes:
    """As many workers as this process may use processors, or `workers`."""

    def __init__(self, workers: int | None = None, *, accounts: Sequence[Account] = ()) -> None:
        if workers is not None and workers < 1:
            raise ConfigurationError(f"workers must be at least 1, not {workers}")
        self.accounts = accounts
        allowed = getattr(os, "sched_getaffinity", None)  # Linux alone says which it may use
        self._count = workers or (len(allowed(0)) if allowed else os.cpu_count() or 1)

    def open(self, recipe: Recipe) -> int:
        return self._count

    def hire(self, recipe: Recipe) -> Process:
        return Process(recipe)

    def wait(self, workers: Iterable[Any], seconds: float) -> list[tuple[Any, Message]]:
        by_end = {worker.end: worker for worker in workers}
        found: list[tuple[Any, Message]] = []
        for end in connection.wait(list(by_end), seconds):
            worker = by_end[end]
            found += ((worker, message) for message in worker.heard())
        return found

    def close(self) -> None:
        """Nothing is left."""


class Process:
    """A worker with a pipe to it."""

    def __init__(self, recipe: Recipe) -> None:
        context = get_context("spawn")
        self.end, other = context.Pipe()
        self._process = context.Process(
            target=_work, args=(other, recipe), daemon=True, name="api-smooth worker"
        )
        with _started_deaf(), _without_main():
            self._process.start()
        other.close()

    def put(self, tasks: Sequence[Task]) -> None:
        self._send(list(tasks))

    def stop(self) -> None:
        self._send(_STOP)

    def kill(self) -> None:
        with uninterrupted:
            self._process.kill()
            self._process.join()
            self.end.close()

    @property
    def pid(self) -> int | None:
        """The process's number."""
        return self._process.pid

    def heard(self) -> list[Message]:
        """What has come in."""
        found: list[Message] = []
        try:
            with uninterrupted:  # half a message would make nonsense of all that follow
                while self.end.poll():
                    found.append(self.end.recv())
        except (EOFError, OSError):
            if not (found and isinstance(found[-1], Ended | Failed)):
                self._process.join()
                found.append(Lost(f"its process ended with {self._process.exitcode}"))
        return found

    def _send(self, what: Any) -> None:
        try:
            with uninterrupted:
                self.end.send(what)
        except OSError:
            return  # it is gone, and will be noticed


@contextmanager
def _started_deaf() -> Iterator[None]:
    """A process started in the block never hears of Ctrl-C, which a terminal gives to all: the driver ends it."""
    mask = getattr(signal, "pthread_sigmask", None)
    with uninterrupted:
        before = mask(signal.SIG_BLOCK, {signal.SIGINT}) if mask else ()
        try:
            yield
        finally:
            if mask:
                mask(signal.SIG_SETMASK, before)


@contextmanager
def _without_main() -> Iterator[None]:
    """A process started in the block does not run the user's script anew: workers load all that they need by name.

    So a script needs no `if __name__ == "__main__":`, and need not be a file.
    """
    main = sys.modules["__main__"].__dict__
    kept: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    main.pop("__file__", None)
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(kept)


def _work(end: Connection, recipe: Recipe) -> None:
    """The worker's process. A driver that is gone is one that wants nothing more."""
    saying = threading.Lock()

    def emit(message: Message) -> None:
        with saying:
            try:
                end.send(message)
            except OSError:
                host.stop()

    host = Host(recipe, emit)
    host.start()
    try:
        while (what := end.recv()) != _STOP:
            host.put(what)
    except (EOFError, OSError, KeyboardInterrupt):
        pass
    host.stop()
    host.join()
