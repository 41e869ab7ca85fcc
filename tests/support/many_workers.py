"""What tests of several workers share: pictures, a service, what two runs have in common, and workers as threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api_smoothing import Certificate, SmoothedAPI
from api_smoothing.cluster.accounts import Account
from api_smoothing.cluster.host import Host
from api_smoothing.cluster.messages import Lost, Message, Task
from api_smoothing.cluster.recipe import Recipe
from api_smoothing.sandbox import Sandbox
from api_smoothing.sandbox.classifier import scripted_brain

#: What says when and by whom an image was asked about, and how much of it was there before: all else is the image's.
OF_THE_RUN = ("created", "queries", "cached", "cost_usd")


def pictures(count: int, side: int = 24) -> list[NDArray[np.uint8]]:
    return [np.random.default_rng(k).integers(0, 256, (side, side, 3), np.uint8) for k in range(count)]


def service() -> Sandbox:
    """One that says "cat" of five in six queries, the same of a query whoever asks."""
    return Sandbox("http", classifier=scripted_brain({"cat": 0.83, "dog": 0.17}))


def facts(found: Iterable[Certificate]) -> list[dict[str, Any]]:
    """The certificates without what may differ between two runs."""
    return [{k: v for k, v in one.to_dict().items() if k not in OF_THE_RUN} for one in found]


def asking(options: Mapping[str, Any], **more: Any) -> SmoothedAPI:
    """The service that a sandbox has `options` for."""
    return SmoothedAPI(
        "http", **{"denoiser": None, "labels": "cifar10", "device": "cpu", "seed": 0, **options, **more}
    )


class Threads:
    """Workers as threads of this process; the `deaf`-th hears no image, the one that says a `fatal` word is lost."""

    def __init__(
        self,
        workers: int = 2,
        accounts: Sequence[Account] = (),
        *,
        deaf: int | None = None,
        fatal: Callable[[Message], bool] = lambda message: False,
    ) -> None:
        self.accounts, self.count, self._deaf, self._fatal = accounts, workers, deaf, fatal
        self.hired: list[Thread] = []
        self.opened = 0

    def open(self, recipe: Recipe) -> int:
        self.opened += 1
        return self.count

    def hire(self, recipe: Recipe) -> Thread:
        deaf = len(self.hired) == self._deaf
        self.hired.append(Thread(recipe, deaf=deaf, fatal=self._fatal))
        while deaf and self.hired[-1].is_silent:  # it is to be the first that is ready
            time.sleep(0.01)
        return self.hired[-1]

    def wait(self, workers: Iterable[Any], seconds: float) -> list[tuple[Any, Message]]:
        for worker in workers:
            if found := worker.heard(seconds / 20):
                return [(worker, message) for message in found]
        return []

    def close(self) -> None:
        self.opened -= 1


class Thread:
    """One worker. `lose` makes of it a killed process: what it has said is heard, and nothing it says later."""

    def __init__(self, recipe: Recipe, *, deaf: bool, fatal: Callable[[Message], bool]) -> None:
        self.recipe, self.given, self._deaf, self._fatal = recipe, list[int](), deaf, fatal
        self._said: SimpleQueue[Message] = SimpleQueue()
        self.host = Host(recipe, self._say)
        self.lost = False
        self.host.start()

    def put(self, tasks: Sequence[Task]) -> None:
        self.given += [task.index for task in tasks]
        if not self._deaf:
            self.host.put(tasks)

    @property
    def is_silent(self) -> bool:
        return self._said.empty()

    def stop(self) -> None:
        self.host.stop()

    def kill(self) -> None:
        self.host.stop()

    def lose(self) -> None:
        self.lost = True
        self.host.stop()

    def _say(self, message: Message) -> None:
        if not self.lost and self._fatal(message):
            self.lose()
        if not self.lost:
            self._said.put(message)

    def heard(self, seconds: float) -> list[Message]:
        if self.lost and self._said.empty():
            if not self._deaf:
                self.host.join(60)  # what it had under way is kept before another one asks
            return [Lost("it was killed")]
        found = list[Message]()
        try:
            found.append(self._said.get(timeout=seconds))
            while True:
                found.append(self._said.get_nowait())
        except Empty:
            return found
