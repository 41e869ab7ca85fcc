"""Claims on queries that cost money: one process asks, the others wait, and the dead let go."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from counting_service import GREY, CountingService, api_of, says

from api_smoothing.adapters.base import EncodedImage
from api_smoothing.engine.storage.answers import DiskCache
from api_smoothing.engine.storage.whereabouts import BEAT_SECONDS, LAPSE_SECONDS, Surroundings

HOLDER = """
import sys, time
from pathlib import Path
from api_smoothing.engine.storage.answers import DiskCache
DiskCache(Path(sys.argv[1])).claim("s", [1])
print("claimed", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(os.name == "nt", reason="kill -9")
def test_the_claims_of_a_zombie_lapse(tmp_path: Path) -> None:
    """A claim ends with its process, also where the parent has not collected it, as in a container without init."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # it is dead, and nobody has collected it
    try:
        assert DiskCache(tmp_path).claim("s", [1]).granted == (1,)
    finally:
        holder.wait()


def test_a_claim_of_an_earlier_process_with_our_number_lapses(tmp_path: Path) -> None:
    """After kill -9 in a container the new process has the old one's pid; it does not wait for itself."""
    DiskCache(tmp_path).claim("s", [1])
    with sqlite3.connect(tmp_path / "paid.db") as db:
        db.execute("UPDATE claims SET pid = ?, holder = 'another process'", (os.getpid(),))
    assert DiskCache(tmp_path).claim("s", [1]).granted == (1,)


FORKED = """
import os, sys
from pathlib import Path
from api_smoothing.engine.storage.answers import DiskCache
cache = DiskCache(Path(sys.argv[1]))
read, write = os.pipe()
child = os.fork()
if child == 0:
    os.read(read, 1)
    os._exit(len(cache.claim("s", [1, 2]).granted))
cache.claim("s", [1])
os.write(write, b"!")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_process_respects_the_claims_of_its_parent(tmp_path: Path) -> None:
    """Of two queries, one of which the parent claims after the fork, the child is granted the other alone."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", FORKED, str(tmp_path)]
    assert subprocess.run(command, env=environment, timeout=60).returncode == 1


def test_two_homes_that_share_a_cache_pay_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever shares the answers shares the claims on them."""

    def reply(first: int, images: Sequence[EncodedImage]) -> Sequence[Any]:
        time.sleep(0.02)
        return [says("dog")] * len(images)

    service, apis = CountingService(reply), []
    for name in ("one", "two"):
        monkeypatch.setenv("API_SMOOTH_HOME", str(tmp_path / name))
        apis.append(api_of(service, cache=tmp_path / "votes", concurrency=4))
    threads = [threading.Thread(target=api.predict, args=(GREY,), kwargs={"n": 30}) for api in apis]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert service.seen <= 34


def test_a_holder_says_where_it_is_now_and_then(tmp_path: Path) -> None:
    """Claims of one moment renew their holder's row once; it never comes near its end, and is new after a close."""
    now = [1e9]
    surroundings = Surroundings(clock=lambda: now[0], heartbeat=lambda beat: None)
    cache = DiskCache(tmp_path, surroundings=surroundings)

    def until() -> list[float]:
        with sqlite3.connect(tmp_path / "paid.db") as db:
            return [row for (row,) in db.execute("SELECT until FROM holders")]

    cache.claim("s", [0])
    now[0] += 1.0
    cache.claim("s", [1])
    assert until() == [1e9 + LAPSE_SECONDS]
    now[0] += BEAT_SECONDS
    cache.claim("s", [2])
    assert until() == [now[0] + LAPSE_SECONDS]
    cache.close()
    assert until() == []
    cache.claim("s", [3])
    assert until() == [now[0] + LAPSE_SECONDS]
