"""The ledger: budgets that hold over threads, processes and deaths, and no query paid twice."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from api_smoothing.engine.storage.in_memory_budget import InMemoryBudget
from api_smoothing.engine.storage.ledger import Ledger
from api_smoothing.errors import ConfigurationError
from api_smoothing.results import Budget

SPENDER = """
import sys, threading
from pathlib import Path
from api_smoothing.engine.storage.ledger import Ledger
from api_smoothing.results import Budget
home, seed = Path(sys.argv[1]), int(sys.argv[2])
ledger = Ledger(home / "ledger.db", Budget(queries=300, usd=0.25), run="r", provider="p", micro_usd=1000)
sent = open(home / "sent.txt", "a", buffering=1)
def work(thread):
    for start in range(0, 400, 4):
        indices = [(start + 97 * seed + 31 * thread + k) % 400 for k in range(4)]
        got = ledger.reserve("s", sorted(indices))
        for i in got.granted:
            sent.write(f"{i}\\n")
        if got.granted:
            ledger.settle(got, sent=(start // 4 + seed) % 5 != 0)
threads = [threading.Thread(target=work, args=(t,)) for t in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
"""


def ledger_in(home: Path, *, run: str = "r", budget: Budget | None = None) -> Ledger:
    return Ledger(home / "ledger.db", budget or Budget(queries=10), run=run, provider="p", micro_usd=1500)


def test_a_run_has_one_budget_however_many_share_it(tmp_path: Path) -> None:
    """Two ledgers that name the same run draw on the same budget; another run has its own."""
    one, two, other = ledger_in(tmp_path), ledger_in(tmp_path), ledger_in(tmp_path, run="other")
    assert len(one.reserve("s", range(7)).granted) == 7
    second = two.reserve("s", range(7, 14))
    assert (second.granted, second.unpaid) == ((7, 8, 9), (10, 11, 12, 13))
    assert (one.affordable(), two.affordable(), other.affordable()) == (0, 0, 10)


def test_dollars_are_counted_in_whole_millionths(tmp_path: Path) -> None:
    """A budget of 1.5 cents buys ten queries of 0.15 cents, and not one more."""
    ledger = ledger_in(tmp_path, budget=Budget(usd=0.015))
    assert len(ledger.reserve("s", range(40)).granted) == 10
    assert ledger.spent() == (10, 15_000)
    assert ledger.cost_usd(10) == 0.015


def test_only_what_surely_was_not_sent_is_given_back(tmp_path: Path) -> None:
    """A settled query stays spent; one that never left is returned; an open one stays spent."""
    ledger = ledger_in(tmp_path)
    ledger.settle(ledger.reserve("s", range(3)), sent=True)
    ledger.settle(ledger.reserve("s", range(3, 5)), sent=False)
    ledger.reserve("s", range(5, 9))
    assert ledger.spent() == (7, 10_500)
    assert ledger_in(tmp_path).spent() == (7, 10_500)


def test_a_raised_budget_goes_on_where_the_old_one_ended(tmp_path: Path) -> None:
    """The spent part of a run is remembered, whatever its budget is now."""
    ledger_in(tmp_path, budget=Budget(queries=4)).reserve("s", range(9))
    assert ledger_in(tmp_path, budget=Budget(queries=4)).affordable() == 0
    assert ledger_in(tmp_path, budget=Budget(queries=9)).affordable() == 5


def test_what_must_be_left_is_not_granted(tmp_path: Path) -> None:
    """A reservation that leaves room for others takes no more than the rest, in memory as on disk."""
    for account in (ledger_in(tmp_path), InMemoryBudget(Budget(queries=10))):
        first = account.reserve("s", range(9), leave=2)
        assert (first.granted, first.unpaid) == (tuple(range(8)), (8,))
        assert account.reserve("s", [8], leave=2).granted == ()
        assert account.reserve("s", [9, 10, 11]).granted == (9, 10)


def test_a_reservation_is_on_the_disk_before_it_is_told(tmp_path: Path) -> None:
    """Every reservation of many threads is in the file, for others to read, when `reserve` returns."""
    ledger, other = (
        ledger_in(tmp_path, budget=Budget()),
        sqlite3.connect(tmp_path / "ledger.db", check_same_thread=False),
    )
    lock, told, short = threading.Lock(), [0], list[int]()

    def spend() -> None:
        for index in range(25):
            ledger.reserve("s", [index])
            with lock:
                told[0] += 1
                (written,) = other.execute("SELECT queries FROM runs").fetchone()
                short.append(told[0] - written)

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(short) <= 0
    assert ledger.spent()[0] == 200


def test_what_was_sent_is_noted_in_time(tmp_path: Path) -> None:
    """That a query was sent is in the ledger after the next reservation, and after the ledger was closed."""

    def states() -> list[str]:
        with sqlite3.connect(tmp_path / "ledger.db") as db:
            return [state for (state,) in db.execute("SELECT state FROM entries ORDER BY entry")]

    ledger = ledger_in(tmp_path)
    ledger.settle(ledger.reserve("s", [0]), sent=True)
    second = ledger.reserve("s", [1])
    assert states() == ["sent", "open"]
    ledger.settle(second, sent=True)
    ledger.close()
    assert states() == ["sent", "sent"]


def test_processes_that_are_killed_never_exceed_the_budget(tmp_path: Path) -> None:
    """Three processes of four threads, killed at random and started again: never one query beyond the cap."""
    chance = random.Random(5)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for life in range(3):
        lives = [
            subprocess.Popen(
                [sys.executable, "-c", SPENDER, str(tmp_path), str(3 * life + k)], env=environment
            )
            for k in range(3)
        ]
        time.sleep(chance.uniform(0.4, 1.0))
        if life < 2:
            for process in lives:
                process.send_signal(signal.SIGKILL)
        for process in lives:
            process.wait()
    final = Ledger(
        tmp_path / "ledger.db", Budget(queries=300, usd=0.25), run="r", provider="p", micro_usd=1000
    )
    assert final.spent()[0] == 250  # the dollars are the tighter limit, and all were spent
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        (standing,) = db.execute("SELECT SUM(queries) FROM entries WHERE state != 'unsent'").fetchone()
    assert standing == 250


def test_the_ledger_is_private(tmp_path: Path) -> None:
    """Nobody but its owner can read the file."""
    ledger_in(tmp_path)
    assert (tmp_path / "ledger.db").stat().st_mode & 0o077 == 0


def test_a_purse_is_one_objects_own() -> None:
    """The budget in memory never grants more than its limit to many threads, and takes back what was not sent."""
    purse = InMemoryBudget(Budget(usd=0.05), micro_usd=1000)
    granted: list[int] = []

    def spend() -> None:
        for index in range(20):
            granted.extend(purse.reserve("s", [index]).granted)

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(granted), purse.affordable()) == (50, 0)
    again = InMemoryBudget(Budget(queries=3))
    again.settle(again.reserve("s", [0, 1]), sent=False)
    assert again.affordable() == 3


@pytest.mark.skipif(os.name == "nt", reason="file modes")
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A ledger that cannot be opened is refused with the variable that moves it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match="API_SMOOTH_HOME") as caught:
        ledger_in(tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_a_run_that_moves_starts_with_what_it_has_spent(tmp_path: Path) -> None:
    """A run is charged what it spent by the ledger before, once, however often it is named; another run is not."""
    ledger_in(tmp_path / "before").reserve("s", range(4))
    before = tmp_path / "before" / "ledger.db"

    def moved(run: str) -> Ledger:
        path = tmp_path / "ledger.db"
        return Ledger(path, Budget(queries=10), run=run, provider="p", micro_usd=1500, before=before)

    assert moved("r").spent() == (4, 6000)
    moved("r").reserve("s", range(2))
    assert (moved("r").spent(), moved("other").spent()) == ((6, 9000), (0, 0))
    assert ledger_in(tmp_path / "before").spent() == (4, 6000)
    missing = Ledger(
        tmp_path / "l.db", Budget(), run="r", provider="p", micro_usd=1, before=tmp_path / "no.db"
    )
    assert missing.spent() == (0, 0)
    assert not (tmp_path / "no.db").exists()


def test_a_ledger_of_another_schema_is_one_line(tmp_path: Path) -> None:
    """A ledger that another version wrote is refused when it is opened, before anything is sent."""
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        db.execute("CREATE TABLE entries (entry INTEGER PRIMARY KEY, run TEXT)")
    with pytest.raises(ConfigurationError):
        ledger_in(tmp_path).reserve("s", [1])


def test_who_finds_a_ledger_locked_waits(tmp_path: Path) -> None:
    """Whoever opens a ledger that another process is just writing to waits for it, for a moment."""
    ledger_in(tmp_path).close()
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE first (one)")
    done = threading.Timer(0.3, other.rollback)
    done.start()
    try:
        assert ledger_in(tmp_path).reserve("s", [1]).granted == (1,)
    finally:
        done.join()
        other.close()
