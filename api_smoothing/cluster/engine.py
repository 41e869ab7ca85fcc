"""What it takes to run workers somewhere: the interface, and the engines by name.

An engine starts workers, each of which makes a `host.Host` of a recipe, in a process of its own. It carries tasks to
them and messages back, and notices when one is gone. What is handed to whom, and when again, is decided by the
`dispatch` alone, which is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from api_smoothing.cluster.accounts import Account
from api_smoothing.cluster.messages import Message, Task
from api_smoothing.cluster.recipe import Recipe
from api_smoothing.errors import ConfigurationError


class Worker(Protocol):
    """One process with a host. No method waits."""

    def put(self, tasks: Sequence[Task]) -> None:
        """Hand it images. To one that is gone nothing happens."""
        ...

    def stop(self) -> None:
        """Have it send nothing more, keep the answers of what is under way, and end."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


@runtime_checkable
class Engine(Protocol):
    """Where workers run. For one thread, and one run at a time.

    With `accounts` each worker asks as one of them, and there is one for each at least.
    """

    accounts: Sequence[Account]

    def open(self, recipe: Recipe) -> int:
        """Begin a run of such workers; returns how many there is room for, one at least.

        Raises ConfigurationError, MissingExtraError or ProviderError, one line.
        """
        ...

    def hire(self, recipe: Recipe) -> Worker:
        """Start a worker; it may take its time, and says Ready when it has."""
        ...

    def wait(self, workers: Iterable[Worker], seconds: float) -> list[tuple[Worker, Message]]:
        """What these workers say, in the order of each; after `seconds` at most, if it is nothing.

        A worker that is gone says Lost, as its last word.
        """
        ...

    def close(self) -> None:
        """End what `open` has begun. Workers are gone by then."""
        ...


def engine_of(choice: object) -> Engine:
    """The engine meant by a name, or the engine itself. Raises ConfigurationError."""
    if choice == "ray":
        from api_smoothing.cluster.on_ray import Ray

        return Ray()
    if choice == "processes":
        from api_smoothing.cluster.processes import Processes

        return Processes()
    if isinstance(choice, str) or not isinstance(choice, Engine):
        raise ConfigurationError(
            f'engine must be None, "processes", "ray" or a cluster.Engine, not {choice!r}'
        )
    return choice
