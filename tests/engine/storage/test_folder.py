"""A storage in a folder: what lies where, what is taken over, and what two homes or two containers share."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from api_smoothing import Budget, SmoothedAPI
from api_smoothing.adapters.base import AdapterCard, Answer, EncodedImage, Label, Quota, Verdict
from api_smoothing.engine.storage.base import Storage
from api_smoothing.engine.storage.budget import BudgetAccount
from api_smoothing.engine.storage.folder import FolderStorage
from api_smoothing.engine.storage.ledger import Ledger
from api_smoothing.engine.storage.suite import Clock
from api_smoothing.errors import ConfigurationError
from api_smoothing.events import Event, TurnAwaited
from api_smoothing.home import home

GREY = np.full((8, 8, 3), 128, np.uint8)
OLD = Path(__file__).parents[2] / "golden" / "home_1"
OLD_STREAM = "12a4f001f0204759f48ba0e38d83f62c94a892f4"


class Service:
    """Sees a dog in everything, and counts what it was sent."""

    def __init__(self) -> None:
        self.card = AdapterCard(name="service", fingerprint="1", batch=4)
        self.sent = 0

    def label(self, images: Sequence[EncodedImage], /) -> Sequence[Answer | Verdict]:
        self.sent += len(images)
        return [Answer(labels=(Label(name="dog", score=0.9),), model_version="1")] * len(images)

    def verdict(self, error: Exception, /) -> Verdict:
        return Verdict.FATAL


def account(storage: Storage, *, queries: int = 10, run: str = "r") -> BudgetAccount:
    return storage.budget(Budget(queries=queries), run=run, provider="p", micro_usd=1)


def spend(storage: FolderStorage, count: int) -> int:
    """As a session does: the answers are opened first. How many of `count` queries were granted."""
    with closing(storage.answers(paid=True)), closing(account(storage)) as one:
        return len(one.reserve("s", range(count)).granted)


def restore(folder: Path) -> None:
    """An installation as version 1 left it: the budget of run "old" spent on 24 answers to GREY, of 30."""
    (folder / "votes").mkdir(parents=True)
    for name in ("ledger", "votes/paid", "votes/cache"):
        with closing(sqlite3.connect(folder / f"{name}.db")) as db:
            db.executescript((OLD / f"{Path(name).name}.sql").read_text(encoding="utf-8"))
    shutil.copy(OLD / "seed", folder / "seed")
    (folder / "seed").chmod(0o600)


def asked_again(*, queries: int, cache: bool | Path = True) -> tuple[Service, int]:
    """The service after the old run's question, and how many answers were known."""
    service = Service()
    with SmoothedAPI(
        service,
        sigma=0.25,
        denoiser=None,
        budget=Budget(queries=queries, run="old"),
        cache=cache,
        concurrency=1,
    ) as api:
        return service, api.certify(GREY, n=24).cached


# ---------------------------------------------------------------- what earlier versions left


def test_nothing_is_bought_again() -> None:
    """The answers, the seed and the budgets of an earlier version's home are taken over as they are."""
    restore(home())
    service, cached = asked_again(queries=24)
    assert (service.sent, cached) == (0, 24)
    with closing(account(FolderStorage(home()), run="old", queries=30)) as old:
        assert old.spent()[0] == 24
        assert old.affordable() == 6


@pytest.mark.skipif(os.name == "nt", reason="/proc")
def test_claims_of_an_earlier_version_are_honoured_while_their_process_lives() -> None:
    """What an earlier version is asking just now is busy, and what it asked when it died is not."""
    restore(home())
    birth = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[19]
    with closing(sqlite3.connect(home() / "votes" / "paid.db")) as db:
        rows = [("s", 0, "one", os.getppid(), birth, 0.0), ("s", 1, "two", os.getppid(), "1", 9e9)]
        db.executemany("INSERT INTO claims VALUES (?, ?, ?, ?, ?, ?)", rows)
        db.commit()
    with closing(FolderStorage(home()).answers(paid=True)) as cache:
        claim = cache.claim("s", [0, 1])
    assert (claim.busy, claim.granted) == ((0,), (1,))


def test_an_earlier_version_goes_on_in_a_file_that_was_taken_over() -> None:
    """A process of version 1 that has the answers open when they are taken over keeps and claims on."""
    restore(home())
    with closing(sqlite3.connect(home() / "votes" / "paid.db")) as db:
        db.execute("SELECT * FROM claims").fetchall()
        with closing(FolderStorage(home()).answers(paid=True)) as cache:
            cache.claim("s", [0])
            db.execute("INSERT OR REPLACE INTO claims VALUES ('s', 1, 'h', 1, '', 0)")
            db.execute("INSERT OR IGNORE INTO answers VALUES ('s', 1, '[null]')")
            db.commit()
            assert cache.claim("s", [1]).known == {1: Answer(labels=())}


def test_what_a_run_spent_before_is_charged_where_its_answers_lie(tmp_path: Path) -> None:
    """A run that used --cache DIR under the home's ledger does not get its budget a second time in DIR's own."""
    Ledger(home() / "ledger.db", Budget(), run="r", provider="p", micro_usd=1).reserve("s", range(7))
    for _ in range(2):
        with closing(account(FolderStorage(home(), cache=tmp_path / "answers"))) as one:
            assert one.spent() == (7, 7)
            assert one.affordable() == 3
    with closing(account(FolderStorage(home(), cache=tmp_path / "answers"))) as one:
        assert len(one.reserve("s", range(9)).granted) == 3


def test_what_two_homes_spent_before_is_charged_together(tmp_path: Path) -> None:
    """Homes that shared --cache DIR with a ledger each bring what each has spent, whoever comes first, and once."""
    homes = [tmp_path / "one", tmp_path / "two"]
    for number, each in enumerate(homes):
        before = Ledger(each / "ledger.db", Budget(), run="r", provider="p", micro_usd=1)
        before.reserve("s", range(3 + number))
    for each in [*homes, *homes]:
        account(FolderStorage(each, cache=tmp_path / "answers")).close()
    with closing(account(FolderStorage(homes[0], cache=tmp_path / "answers"))) as one:
        assert one.spent() == (7, 7)


# ---------------------------------------------------------------- what lies where


def test_todays_files_have_todays_names() -> None:
    """An installation's own answers, budgets and turns are where they always were."""
    service = Service()
    service.card = AdapterCard(name="service", fingerprint="1", quotas=(Quota(unit="image", count=100),))
    with SmoothedAPI(service, denoiser=None) as api:
        api.predict(GREY, n=2)
    for name in ("seed", "ledger.db", "rate.db", "votes/cache.db", "votes/paid.db"):
        assert (home() / name).is_file(), name
    assert not (home() / "votes" / "ledger.db").exists()


@pytest.mark.usefixtures("before_midnight")
def test_a_day_is_one_wherever_the_answers_lie(tmp_path: Path) -> None:
    """Runs of one installation share the day's limit of their account, though their ledgers lie in several folders."""
    left: list[int] = []
    threads, all_begun = list[threading.Thread](), threading.Barrier(3)
    for name in ("b", None, "a"):  # before and after the home by name, and in it
        cache = None if name is None else tmp_path / name
        storage = FolderStorage(tmp_path / "aa", cache=cache)
        day = Budget(usd_per_day=0.000_060)
        account = storage.budget(day, run="r", provider="p", micro_usd=1, account="k")
        spend = partial(spend_all, account, all_begun)
        threads.append(threading.Thread(target=lambda spend=spend: left.append(spend())))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(left) == 60
    assert min(left) > 0


def spend_all(account: BudgetAccount, all_begun: threading.Barrier) -> int:
    """How many queries were granted, one after the other, every fourth of which never left; all spend one first."""
    kept = turn = 0
    while (granted := account.reserve("s", [turn])).granted:
        turn += 1
        account.settle(granted, sent=turn % 4 > 0)
        kept += turn % 4 > 0
        if turn == 1:
            all_begun.wait(60)
        time.sleep(0.002)
    return kept


def test_a_day_on_a_network_is_refused(tmp_path: Path) -> None:
    """Where the home's locks do not hold, a limit for the day is refused; budgets of runs go on beside the answers."""
    home = tmp_path / "home"
    home.mkdir()
    storage = FolderStorage(home, cache=tmp_path / "c", mounted=lambda: f"server:/x {home} nfs4 rw 0 0")
    assert len(storage.budget(Budget(), run="r", provider="p", micro_usd=1).reserve("s", [0, 1]).granted) == 2
    with pytest.raises(ConfigurationError, match="network file system"):
        storage.budget(Budget(usd_per_day=1), run="r", provider="p", micro_usd=1)


def test_a_ledger_from_before_days_goes_on(tmp_path: Path) -> None:
    """What runs have spent by an older file counts, and days are counted from now on."""
    storage = FolderStorage(tmp_path)
    spend(storage, 7)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
        db.executescript("DROP TABLE days; PRAGMA user_version = 1")
    assert spend(storage, 7) == 3


def test_two_homes_that_share_a_cache_have_one_budget(tmp_path: Path) -> None:
    """The ledger and the looks lie with the answers: whoever shares these, shares those."""
    one, two = (FolderStorage(tmp_path / name, cache=tmp_path / "answers") for name in ("one", "two"))
    assert spend(one, 7) + spend(two, 7) == 10
    with closing(one.looks()) as looks:
        looks.record("s", "n=100")
    with closing(two.looks()) as looks:
        assert looks.of("s") == ("n=100",)
    assert (tmp_path / "answers" / "ledger.db").is_file()
    with closing(sqlite3.connect(tmp_path / "two" / "ledger.db")) as home:
        assert home.execute("SELECT * FROM runs").fetchall() == []


@pytest.mark.parametrize("first", ["owner", "guest"])
@pytest.mark.parametrize("spelling", ["plain", "link"])
def test_a_home_and_a_guest_of_its_cache_have_one_budget(tmp_path: Path, first: str, spelling: str) -> None:
    """An installation and another one that names its folder of answers share one ledger, whoever comes first."""
    votes = tmp_path / "owner" / "votes"
    if spelling == "link":
        votes.mkdir(parents=True)
        (tmp_path / "link").symlink_to(votes)
        votes = tmp_path / "link"
    pair = [FolderStorage(tmp_path / "owner"), FolderStorage(tmp_path / "guest", cache=votes)]
    if first == "guest":
        pair.reverse()
    assert [spend(one, 7) for one in pair] == [7, 3]
    assert [spend(one, 1) for one in pair] == [0, 0]


def test_a_home_named_as_a_folder_is_itself() -> None:
    """--cache with the installation's own folder is the installation's own ledger."""
    assert spend(FolderStorage(home()), 7) == 7
    assert spend(FolderStorage(home(), cache=home() / "votes"), 7) == 3


def test_a_folder_without_its_ledger_is_refused(tmp_path: Path) -> None:
    """Who is given an installation's answers but cannot see its ledger is told to share that too, in one line."""
    assert spend(FolderStorage(tmp_path / "owner"), 7) == 7
    shutil.copytree(tmp_path / "owner" / "votes", tmp_path / "mounted")
    with pytest.raises(ConfigurationError, match="share that one too") as caught:
        spend(FolderStorage(tmp_path / "guest", cache=tmp_path / "mounted"), 7)
    assert "\n" not in str(caught.value)


def test_without_a_cache_the_budget_is_kept_all_the_same(tmp_path: Path) -> None:
    """With `keep` off answers and looks end with their object; what a run has spent does not."""
    storage = FolderStorage(home(), keep=False)
    with closing(storage.answers(paid=True)) as cache, closing(storage.looks()) as looks:
        cache.write("s", {0: Answer(labels=())})
        looks.record("s", "n=100")
    assert spend(storage, 7) == 7
    assert not (home() / "votes").exists()
    assert spend(FolderStorage(home()), 7) == 3
    with closing(FolderStorage(home()).looks()) as looks:
        assert looks.of("s") == ()


@pytest.mark.parametrize("shared", ["machine", "home"])
def test_homes_of_a_machine_and_machines_of_a_home_take_one_accounts_turns(
    tmp_path: Path, shared: str
) -> None:
    """Neither another home nor another container with the same home doubles an account's rate."""
    clock = [1000.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    limiters = []
    for name in ("one", "two"):
        places = {"machine": tmp_path / f"machine-{name}", "home": tmp_path / f"home-{name}"}
        places[shared] = tmp_path / "shared"
        storage = FolderStorage(
            places["home"], shared=places["machine"], steady=lambda: clock[0], sleep=sleep
        )
        limiters.append(storage.limiter("account", [Quota(unit="image", count=10, seconds=1.0)]))
    times = []
    for turn in range(50):
        limiter = limiters[turn % 2]
        assert limiter is not None
        limiter.wait(1)
        times.append(clock[0])
    assert max(sum(start <= at < start + 1.0 for at in times) for start in times) <= 10
    began = clock[0]
    assert limiters[0] is not None
    assert limiters[1] is not None
    limiters[0].pause(5.0)
    limiters[1].wait(1)
    assert clock[0] >= began + 5.0


def test_an_observer_is_told_of_a_long_wait(tmp_path: Path) -> None:
    """A request that waits for its turn for long is an event, with the provider and the seconds."""
    clock, service, told = Clock(), Service(), list[Event]()
    service.card = AdapterCard(
        name="service", fingerprint="1", quotas=(Quota(unit="image", seconds=60.0, count=1),)
    )
    storage = FolderStorage(tmp_path, steady=clock, sleep=clock.sleep)
    with SmoothedAPI(service, denoiser=None, store=storage, concurrency=1, observers=[told.append]) as api:
        api.predict(GREY, n=2)
    waited = [event for event in told if isinstance(event, TurnAwaited)]
    assert [event.provider for event in waited[:1]] == [service.card.provider]
    assert 55.0 < waited[0].seconds < 125.0


# ---------------------------------------------------------------- where it may not lie


def test_a_folder_on_a_network_is_refused(tmp_path: Path) -> None:
    """Answers, budgets and looks on a network file system are refused in one line, and nothing is made there."""
    mounts = f"disk / ext4 rw 0 0\nserver:/x {tmp_path}/net nfs4 rw 0 0\n"
    remote = FolderStorage(home(), cache=tmp_path / "net" / "votes", mounted=lambda: mounts)
    at_home = FolderStorage(tmp_path / "net" / "home", keep=False, mounted=lambda: mounts)
    for refused in (
        lambda: remote.answers(paid=True),
        lambda: remote.looks(),
        lambda: account(remote),
        lambda: account(at_home),
    ):
        with pytest.raises(ConfigurationError, match=r"nfs4.*API_SMOOTH_HOME.*--cache") as caught:
            refused()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "net").exists()


def test_a_home_on_a_network_is_enough_for_a_seed(tmp_path: Path) -> None:
    """With a local --cache and a local place for the turns a home on a network is not refused."""
    mounts = f"disk / ext4 rw 0 0\nserver:/x {tmp_path}/net nfs rw 0 0\n"
    storage = FolderStorage(tmp_path / "net", cache=tmp_path / "local", mounted=lambda: mounts)
    assert spend(storage, 3) == 3
    limiter = storage.limiter("account", [Quota(unit="image", count=10)])
    assert limiter is not None
    limiter.wait(1)
    assert storage.seed(None) == storage.seed(None)
    assert not (tmp_path / "net" / "rate.db").exists()
