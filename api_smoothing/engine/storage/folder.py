"""Storage in a folder of this machine: SQLite files that its processes share, also those of several containers.

    HOME/seed                                      the installation's secret seed
    HOME/votes/cache.db, paid.db, looks.db         the answers, with their claims and marks, and the looks
    HOME/ledger.db                                 the budgets, and what each account spends in a day
    HOME/rate.db                                   the turns of each account, here and in a folder of the machine

Another folder of answers has its ledger and looks inside, so that whoever shares the answers shares the budgets. What
a run had spent by HOME/ledger.db when this home first names it in that folder is charged to it there as well, once:
nobody knows which folder's answers that money bought, and a budget must not be spent twice.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

from api_smoothing.adapters.base import Quota
from api_smoothing.engine.storage import places
from api_smoothing.engine.storage.base import Contents, VoteCache
from api_smoothing.engine.storage.budget import BudgetAccount
from api_smoothing.engine.storage.database import set_aside
from api_smoothing.engine.storage.in_memory_budget import InMemoryBudget
from api_smoothing.engine.storage.ledger import Ledger, unnamed
from api_smoothing.engine.storage.looks import KeptLooks, looks_file
from api_smoothing.engine.storage.rate import RateLimiter
from api_smoothing.engine.storage.whereabouts import Surroundings, boot
from api_smoothing.errors import ConfigurationError
from api_smoothing.home import answers_folder, machine
from api_smoothing.results import Budget
from api_smoothing.secret import Seed, resolve_seed

_LEDGER: Final = "ledger.db"
#: Lies with answers whose ledger is in the folder above.
_POINTER: Final = "ledger-is-above"


class FolderStorage:
    """The storage of the installation at `home`, with its answers in `cache` (HOME/votes by default).

    Without `keep` answers are kept in memory only. `shared` is the folder in which all of the user's homes keep the
    accounts' turns together ($API_SMOOTH_MACHINE, or the platform's). `surroundings` are what claims live by;
    `steady` and `sleep` are the limiter's clock and wait. `mounted` says what is mounted, as /proc/mounts does: answers
    and ledgers on a network file system are refused with ConfigurationError, one line.
    """

    def __init__(
        self,
        home: Path,
        *,
        cache: Path | None = None,
        keep: bool = True,
        shared: Path | None = None,
        surroundings: Surroundings | None = None,
        steady: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        mounted: Callable[[], str] = places.mounts,
    ) -> None:
        self._home, self.folder, self._keep = home, answers_folder(home) if cache is None else cache, keep
        self._shared = machine() if shared is None else shared
        self._surroundings = surroundings or Surroundings()
        self._steady, self._sleep, self._mounted = steady, sleep, mounted

    def answers(self, *, paid: bool, keep: bool = True) -> VoteCache:
        from api_smoothing.engine.storage.answers import DiskCache, MemoryCache

        if not (keep and self._keep):
            return MemoryCache()
        places.refuse_network(self.folder, self._mounted)
        return DiskCache(self.folder, paid=paid, surroundings=self._surroundings)

    def budget(
        self, budget: Budget, *, run: str | None, provider: str, micro_usd: int, account: str = ""
    ) -> BudgetAccount:
        if run is None and not micro_usd:
            return InMemoryBudget(budget, micro_usd=micro_usd)
        own, path = self._home / _LEDGER, self._ledger()
        elsewhere = None if path.resolve() == own.resolve() else own
        if elsewhere is not None and budget.usd_per_day is not None:
            places.refuse_network(self._home, self._mounted)
        return Ledger(
            path,
            budget,
            run=run or unnamed(),
            provider=provider,
            micro_usd=micro_usd,
            account=account,
            before=elsewhere,
            days=None if places.network_file_system(self._home, self._mounted()) else elsewhere,
            clock=self._surroundings.clock,
        )

    def limiter(self, key: str, quotas: Sequence[Quota]) -> RateLimiter | None:
        if not quotas:
            return None
        folders = places.limiter_folders(self._home, self._shared, self._mounted)
        files = [folder / "rate.db" for folder in folders]
        return RateLimiter(*files, key=key, quotas=quotas, clock=self._steady, sleep=self._sleep)

    def looks(self, *, keep: bool = True) -> KeptLooks:
        if not (keep and self._keep):
            return KeptLooks(looks_file(None), clock=self._surroundings.clock)
        places.refuse_network(self.folder, self._mounted)
        return KeptLooks(self.folder / "looks.db", clock=self._surroundings.clock)

    def seed(self, value: int | None) -> Seed:
        return resolve_seed(value, self._home)

    def contents(self) -> Contents:
        if not self._has_answers():
            return Contents()
        from api_smoothing.engine.storage.answers import DiskCache

        with closing(DiskCache(self.folder)) as cache:
            counts = [answers for _, _, answers in cache.streams()]
            return Contents(answers=sum(counts), streams=len(counts), size_bytes=cache.size_bytes())

    def has_answers_of(self, provider: str) -> bool:
        """Whether it keeps any answer of the provider that cards call so."""
        if not self._has_answers():
            return False
        from api_smoothing.engine.storage.answers import DiskCache

        with closing(DiskCache(self.folder)) as cache:
            return any(count and facts.get("provider") == provider for _, facts, count in cache.streams())

    def clear(self) -> int:
        if not self._has_answers():
            return 0
        from api_smoothing.engine.storage.answers import DiskCache

        with closing(DiskCache(self.folder)) as cache:
            return cache.clear()

    def repair(self) -> tuple[int, list[Path]]:
        """Forget answers that are not as they were kept, and set damaged files aside; returns how many, and which.

        What a damaged ledger had of budgets spent is forgotten with it.
        """
        from api_smoothing.engine.storage.answers import DiskCache

        files = [self.folder / name for name in ("cache.db", "paid.db", "looks.db", _LEDGER)]
        files += [self._home / name for name in (_LEDGER, "rate.db")]
        aside = [moved for path in dict.fromkeys(files) if (moved := set_aside(path)) is not None]
        if not self._has_answers():
            return 0, aside
        with closing(DiskCache(self.folder)) as cache:
            return cache.repair(), aside

    @property
    def keeps(self) -> bool:
        """Whether answers are kept for other processes."""
        return self._keep

    def opener(self) -> Callable[[], FolderStorage]:
        """Opens the same for another process of this machine."""
        return partial(FolderStorage, self._home, cache=self.folder, keep=self._keep, shared=self._shared)

    def place(self) -> tuple[object, ...]:
        """What the folders are to those who see the same ones, on the machine whose processes may share them."""
        for folder in (self._home, self.folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = [folder.stat() for folder in (self._home, self.folder)]
        return (boot(), *((one.st_dev, one.st_ino) for one in found))

    def close(self) -> None:
        """Nothing is held open."""

    def _has_answers(self) -> bool:
        return self._keep and (self.folder / "cache.db").is_file()

    def _ledger(self) -> Path:
        """The ledger that lies with the answers.

        An installation's own answers have theirs in the folder above, where it always was, and say so in the folder
        itself: whoever is given that folder alone, in another home or container, must not begin a second ledger.
        """
        folder, above = self.folder, self.folder.resolve().parent / _LEDGER
        if (folder / _LEDGER).is_file():  # somebody else was the first here
            path = folder / _LEDGER
        elif folder.resolve() == answers_folder(self._home).resolve():
            path = self._home / _LEDGER
            if folder.is_dir():
                with contextlib.suppress(OSError):
                    (folder / _POINTER).touch(mode=0o600)
        elif not (folder / _POINTER).is_file():
            path = folder / _LEDGER
        elif above.is_file():
            path = above
        else:
            raise ConfigurationError(
                f"the budgets of the answers in {folder} are kept in the folder above it, which is not to be seen "
                f"from here: share that one too, or choose another with --cache DIR"
            )
        places.refuse_network(path.parent, self._mounted)
        return path
