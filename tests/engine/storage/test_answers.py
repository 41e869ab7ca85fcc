"""The vote cache: nothing answered is lost, replaced or counted twice, and nothing foreign is executed."""

from __future__ import annotations

import pickle
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from counting_service import GREY, CountingService, api_of, is_canary, says
from hypothesis import given, settings
from hypothesis import strategies as st

from api_smoothing.adapters.base import Answer, Label
from api_smoothing.engine.storage.answers import CHUNK, DiskCache, MemoryCache
from api_smoothing.engine.storage.base import VoteCache
from api_smoothing.errors import ConfigurationError

labels = st.builds(
    Label,
    name=st.text(max_size=8),
    score=st.none() | st.floats(0, 1),
    id=st.none() | st.text(max_size=4),
    parents=st.lists(st.text(max_size=3), max_size=2).map(tuple),
)
answers = st.builds(
    Answer, labels=st.lists(labels, max_size=3).map(tuple), model_version=st.none() | st.sampled_from("ab")
)


def named(name: str) -> Answer:
    return Answer(labels=(Label(name=name, score=0.5),))


@pytest.fixture(params=["memory", "disk"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> VoteCache:
    return MemoryCache() if request.param == "memory" else DiskCache(tmp_path / "votes")


@settings(max_examples=12, deadline=None)
@given(given_answers=st.dictionaries(st.integers(0, 3 * CHUNK), answers, max_size=20))
def test_round_trip(given_answers: dict[int, Answer], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every answer comes back exactly as it was written, across chunk borders and a reopening."""
    folder = tmp_path_factory.mktemp("votes")
    first = DiskCache(folder)
    first.write("s", given_answers)
    first.close()
    assert DiskCache(folder).read("s", range(4 * CHUNK)) == given_answers


def test_first_answer_stands(cache: VoteCache) -> None:
    """A second answer to a query never replaces the first, and the writer is told so."""
    cache.write("s", {3: named("cat")})
    assert cache.write("s", {3: named("dog"), 4: named("dog")}) == {3: named("cat"), 4: named("dog")}
    assert cache.read("s", range(3, 5)) == {3: named("cat"), 4: named("dog")}


def test_streams_and_ranges_are_kept_apart(cache: VoteCache) -> None:
    """A read returns the asked indices of the asked stream only."""
    cache.write("s", {i: named(str(i)) for i in range(CHUNK + 10)})
    cache.write("t", {0: named("other")})
    assert set(cache.read("s", range(5, CHUNK + 2))) == set(range(5, CHUNK + 2))
    assert cache.read("t", range(1, 5)) == {}


def test_concurrent_writers_lose_nothing(tmp_path: Path) -> None:
    """Writers of one chunk from several connections at once all stand."""
    caches = [DiskCache(tmp_path) for _ in range(4)]

    def write(worker: int) -> None:
        for i in range(worker, 80, 4):
            caches[worker].write("s", {i: named(str(worker))})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    found = caches[0].read("s", range(80))
    assert {i: a.labels[0].name for i, a in found.items()} == {i: str(i % 4) for i in range(80)}


class Bomb:
    """Unpickling this creates a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


@pytest.mark.parametrize("mode", [1, 3, 4])
def test_planted_pickle_is_refused(tmp_path: Path, mode: int) -> None:
    """A pickle planted in the database (CVE-2025-69872) is an error in one line, and is not executed."""
    cache = DiskCache(tmp_path / "votes", paid=False)
    cache.write("s", {0: named("cat")})
    mark = tmp_path / "executed"
    with sqlite3.connect(tmp_path / "votes" / "cache.db") as database:
        database.execute("UPDATE Cache SET mode = ?, value = ?", (mode, pickle.dumps(Bomb(str(mark)))))
    with pytest.raises(ConfigurationError, match="did not write"):
        cache.read("s", range(1))
    assert not mark.exists()


@pytest.mark.parametrize(
    "planted", [b"pickle", "no JSON", "[]", "{}", "3", '[null,["cat"]]', '[null,["cat",1,2,3]]']
)
def test_a_planted_answer_is_refused(tmp_path: Path, planted: bytes | str) -> None:
    """A paid answer that is not in our form is an error in one line, whatever it is."""
    cache = DiskCache(tmp_path)
    cache.write("s", {0: named("cat")})
    with sqlite3.connect(tmp_path / "paid.db") as database:
        database.execute("UPDATE answers SET answer = ?", (planted,))
    with pytest.raises(ConfigurationError, match="did not write"):
        cache.read("s", range(1))


def test_a_query_under_way_is_busy_for_everyone_else(tmp_path: Path) -> None:
    """What is claimed cannot be claimed again until it is answered or released; other streams are not touched."""
    one, two = DiskCache(tmp_path), DiskCache(tmp_path)
    assert one.claim("s", [1, 2, 4]).granted == (1, 2, 4)
    assert one.claim("s", [1]).busy == (1,)
    second = two.claim("s", [1, 2, 3])
    assert (second.granted, second.busy) == ((3,), (1, 2))
    assert two.claim("another stream", [1]).granted == (1,)
    one.write("s", {1: named("cat")})
    one.release("s", [2])
    assert (two.busy("s", [1, 2]), two.busy("s", [1, 4])) == (False, True)
    third = two.claim("s", [1, 2, 4])
    assert (third.known, third.granted, third.busy) == ({1: named("cat")}, (2,), (4,))


def test_the_claims_of_the_dead_lapse(tmp_path: Path) -> None:
    """A claim of a process that no longer exists is taken over."""
    DiskCache(tmp_path).claim("s", [1, 2])
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with sqlite3.connect(tmp_path / "paid.db") as db:
        db.execute("UPDATE claims SET pid = ?", (dead.pid,))
    assert DiskCache(tmp_path).claim("s", [1, 2]).granted == (1, 2)


def test_nothing_is_ever_evicted(tmp_path: Path) -> None:
    """The cache has no size at which it forgets: what was paid for stays."""
    cache = DiskCache(tmp_path)
    assert cache._cache.eviction_policy == "none"
    assert cache._cache.cull_limit == 0


def test_describes_streams(tmp_path: Path) -> None:
    """The facts of a stream and its number of answers can be listed."""
    cache = DiskCache(tmp_path)
    cache.describe("s", {"image": "cat.png"})
    cache.write("s", {i: named("cat") for i in range(CHUNK + 3)})
    assert list(cache.streams()) == [("s", {"image": "cat.png"}, CHUNK + 3)]
    cache.clear()
    assert list(cache.streams()) == []


def test_holders_that_left_without_a_word_are_forgotten(tmp_path: Path) -> None:
    """The rows of killed holders do not pile up; one that still has a claim keeps its row."""
    cache = DiskCache(tmp_path)
    with sqlite3.connect(tmp_path / "paid.db") as db:
        db.executemany("INSERT INTO holders VALUES (?, 'h', 'b', 's', 0)", [("gone",), ("claims",)])
        db.execute("INSERT INTO claims VALUES ('s', 9, 'claims', 1, '', 0)")
    cache.claim("s", [1])
    with sqlite3.connect(tmp_path / "paid.db") as db:
        left = {holder for (holder,) in db.execute("SELECT holder FROM holders")}
        assert left == {"claims", cache._answers._holder}
    cache.close()
    with sqlite3.connect(tmp_path / "paid.db") as db:
        assert db.execute("SELECT holder FROM holders").fetchall() == [("claims",)]
        assert db.execute("SELECT holder FROM claims").fetchall() == [("claims",)]


def test_paid_answers_wait_for_the_disk_whoever_else_uses_the_folder(tmp_path: Path) -> None:
    """A local run in the same folder does not take the durability from paid answers."""
    paid = DiskCache(tmp_path)
    DiskCache(tmp_path, paid=False).write("local", {0: says("cat")})
    paid.claim("s", [0])  # which does not wait
    waited: list[int] = []

    def keep() -> None:
        paid.write("s", {0: says("dog")})
        waited.extend(paid._answers._database.read("PRAGMA synchronous")[0])
        waited.extend(paid._cache._con.execute("PRAGMA synchronous").fetchone())

    other = threading.Thread(target=keep)
    other.start()
    other.join()
    assert waited == [2, 2]


@pytest.mark.parametrize("bad", [says("\ud83d"), says("dog", np.float32(0.5))], ids=["surrogate", "float32"])
def test_every_answer_can_be_kept(tmp_path: Path, bad: Answer) -> None:
    """Half a character in a label's name, or a number of another kind as its score, does not lose an answer."""
    DiskCache(tmp_path).write("s", {0: bad})


def test_kept_answers_come_back_as_they_were(tmp_path: Path) -> None:
    """A label with half a character in its name is the same class from the cache as from the provider."""
    cache, odd = DiskCache(tmp_path), says("\ud83d")
    cache.write("s", {0: odd})
    assert cache.read("s", [0]) == {0: odd}


def test_a_damaged_cache_is_one_line(tmp_path: Path) -> None:
    """A cache file that is no database is refused with what to do."""
    (tmp_path / "cache.db").write_bytes(b"no database" * 1000)
    with pytest.raises(ConfigurationError):
        DiskCache(tmp_path)


def test_only_streams_are_listed_as_streams(tmp_path: Path) -> None:
    """The cache lists an image under one setting once, however often its answers were confirmed."""
    service = CountingService(
        lambda first, images: [says("house" if is_canary(images) else "dog")], drift="canary"
    )
    with api_of(service, cache=tmp_path / "votes") as api:
        api.certify(GREY, n=40)
        api.certify(GREY, n=50)
    assert len(list(DiskCache(tmp_path / "votes").streams())) == 1
