"""Workers as actors of a Ray cluster. Ray is imported here alone, and when a run begins."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from typing import Any, Final

from api_smoothing.cluster.accounts import Account
from api_smoothing.cluster.host import Host
from api_smoothing.cluster.messages import Ended, Failed, Lost, Message, Task
from api_smoothing.cluster.recipe import Recipe
from api_smoothing.errors import ConfigurationError, MissingExtraError, ProviderError

_WORDS: Final = ("auto", "local")
_REACH: Final = 10.0  # seconds for the cluster's head to take a connection
_POLL: Final = 0.5  # seconds that a call for messages waits for the first one


class Ray:
    """Actors on a cluster: `address` "auto" is the one that is running here or that RAY_ADDRESS names, "local" one that
    is started for the run on this machine, HOST:PORT that of a head. A cluster that this process is connected to
    already is used in any case.

    A worker takes a graphics card where the cluster has some and `device` allows it, else one processor. There are as
    many as the cluster has of them, or `workers`.
    """

    def __init__(
        self, address: str = "auto", *, workers: int | None = None, accounts: Sequence[Account] = ()
    ) -> None:
        if address not in _WORDS and (not address.rpartition(":")[0] or "//" in address):
            raise ConfigurationError(
                f"--ray is auto, local, or the address HOST:PORT of a cluster's head, not {address!r}"
            )
        if workers is not None and workers < 1:
            raise ConfigurationError(f"workers must be at least 1, not {workers}")
        if find_spec("ray") is None:
            raise MissingExtraError("a cluster needs Ray; run: pip install 'api-smooth[ray]'")
        self.accounts, self._address, self._count = accounts, address, workers
        self._ours, self._cards = False, False

    def open(self, recipe: Recipe) -> int:
        ray = _ray()
        if not ray.is_initialized():
            _connect(ray, self._address)
            self._ours = True
        found = ray.cluster_resources()
        cards, processors = int(found.get("GPU", 0)), int(found.get("CPU", 0))
        self._cards = bool(cards) and recipe.device != "cpu"
        if recipe.device.startswith("cuda") and not self._cards:
            raise ConfigurationError("the cluster has no graphics card: choose --device cpu, or auto")
        if "," in recipe.device or ":" in recipe.device:
            raise ConfigurationError(
                "each worker has one graphics card of its own: choose --device cuda, or auto"
            )
        return self._count or max(1, cards if self._cards else processors)

    def hire(self, recipe: Recipe) -> Actor:
        return Actor(_ray(), recipe, cards=self._cards)

    def wait(self, workers: Iterable[Any], seconds: float) -> list[tuple[Any, Message]]:
        by_call = {worker.call: worker for worker in workers}
        if not by_call:
            return []
        done, _ = _ray().wait(list(by_call), num_returns=1, timeout=seconds)
        found: list[tuple[Any, Message]] = []
        for call in done:
            found += ((by_call[call], message) for message in by_call[call].heard())
        return found

    def close(self) -> None:
        if self._ours:
            self._ours = False
            with _own_signals():
                _ray().shutdown()


class Actor:
    """A worker on the cluster, and the call that waits for its next messages."""

    def __init__(self, ray: Any, recipe: Recipe, *, cards: bool) -> None:
        self._ray = ray
        made = ray.remote(Hosting).options(
            num_cpus=0 if cards else 1,
            num_gpus=1 if cards else 0,
            max_concurrency=4,
            max_restarts=0,
            scheduling_strategy="SPREAD",
        )
        self._actor = made.remote(recipe)
        self.call = self._actor.heard.remote()

    def put(self, tasks: Sequence[Task]) -> None:
        self._actor.put.remote(list(tasks))

    def stop(self) -> None:
        self._actor.stop.remote()

    def kill(self) -> None:
        with contextlib.suppress(Exception):
            self._ray.kill(self._actor)

    def heard(self) -> list[Message]:
        """What it says, now that the call is done."""
        try:
            found: list[Message] = self._ray.get(self.call)
        except self._ray.exceptions.RayError as error:
            return [_gone(error)]
        if not (found and isinstance(found[-1], Ended | Failed)):
            self.call = self._actor.heard.remote()
        return found


class Hosting:
    """The inside of an actor."""

    def __init__(self, recipe: Recipe) -> None:
        self._said: SimpleQueue[Message] = SimpleQueue()
        self._host = Host(recipe, self._said.put)
        self._host.start()

    def put(self, tasks: Sequence[Task]) -> None:
        """Take images in."""
        self._host.put(tasks)

    def stop(self) -> None:
        """End, when what is under way has come in."""
        self._host.stop()

    def heard(self) -> list[Message]:
        """What the host says: all there is, or the first within a moment."""
        found = list[Message]()
        with contextlib.suppress(Empty):
            found.append(self._said.get(timeout=_POLL))
            while True:
                found.append(self._said.get_nowait())
        return found


def _ray() -> Any:
    import ray

    return ray


def _connect(ray: Any, address: str) -> None:
    """Join the cluster, or start one. Raises ProviderError, one line, where there is none."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    if address not in _WORDS:
        _reach(address)  # Ray itself tries for minutes
    given: dict[str, Any] = {"address": address}
    if address == "local":
        given["include_dashboard"] = False
    try:
        with _own_signals(), _without_its_words():
            ray.init(**given, log_to_driver=False, logging_level=logging.ERROR, namespace="api-smooth")
    except ConnectionError:
        if address == "auto":
            raise ProviderError(
                "no Ray cluster is running here, and RAY_ADDRESS names none: start one (ray start --head), or give "
                "--ray local"
            ) from None
        raise _no_cluster(address) from None
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ProviderError(f"the Ray cluster at {address} cannot be joined ({reason})") from None


def _reach(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH).close()
    except (OSError, ValueError, OverflowError):
        raise _no_cluster(address) from None


def _no_cluster(address: str) -> ProviderError:
    return ProviderError(
        f"no Ray cluster answers at {address}: check the address, and RAY_AUTH_MODE=token where it wants a token"
    )


def _gone(error: Exception) -> Message:
    """What an actor that can no longer be called has died of."""
    text = " ".join(str(error).split())
    if "No module named 'api_smoothing" in text:
        return Failed(
            index=None,
            kind="ConfigurationError",
            text="the cluster's machines do not have api-smooth: install the same version there, with its extras",
        )
    return Lost(f"{type(error).__name__}: {text[:160]}")


@contextmanager
def _without_its_words() -> Iterator[None]:
    """What Ray's libraries write to standard error, around Python, while a cluster is looked for, is not shown."""
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray sets handlers of its own; those of the command stay."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGTERM, signal.SIGINT]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
