"""Answers that a full disk does not take are kept elsewhere, and taken over."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from api_smoothing.adapters.base import Answer, Label
from api_smoothing.engine.storage import spill
from api_smoothing.engine.storage.answers import DiskCache
from api_smoothing.errors import DiskError
from api_smoothing.results import Budget


def named(name: str) -> Answer:
    return Answer(labels=(Label(name=name, score=0.5),), model_version="1")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder."""
    (tmp_path / "tmp").mkdir(mode=0o700)
    monkeypatch.setattr(spill.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    return tmp_path / "tmp"


def fill(cache: DiskCache) -> None:
    """Let no page be added to the answers any more: SQLite says what it says on a full disk."""
    with cache._answers._database._taken() as db:
        [(pages,)] = db.execute("PRAGMA page_count").fetchall()
        db.execute(f"PRAGMA max_page_count = {pages}")


def test_what_a_full_disk_does_not_take_is_kept_and_taken_over(tmp_path: Path, elsewhere: Path) -> None:
    """The error names the file; the next one to open the answers has them, and the file is gone."""
    with closing(DiskCache(tmp_path / "votes")) as cache:
        cache.write("s", {0: named("cat")})
        fill(cache)
        many = {i: named("dog" * 100) for i in range(1, 200)}
        with pytest.raises(DiskError, match="full") as caught:
            cache.write("s", many)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    [kept] = elsewhere.rglob("*.jsonl")
    assert str(kept) in str(caught.value)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    with closing(DiskCache(tmp_path / "votes")) as cache:
        assert cache.read("s", range(200)) == {0: named("cat"), **many}
    assert not kept.exists()


def test_an_edited_spill_is_noticed(tmp_path: Path, elsewhere: Path) -> None:
    """What lies elsewhere is sealed as the rest; a line that was cut off is none."""
    with closing(DiskCache(tmp_path / "votes")) as cache:
        fill(cache)
        with pytest.raises(DiskError):
            cache.write("s", {i: named("dog" * 100) for i in range(200)})
    [kept] = elsewhere.rglob("*.jsonl")
    lines = kept.read_text().splitlines(keepends=True)
    kept.write_text(lines[0] + lines[1].replace("dog", "cat") + lines[2][:50])
    with closing(DiskCache(tmp_path / "votes")) as cache:
        assert sorted(cache.read("s", [0])) == [0]
        assert cache.claim("s", [2]).granted == (2,)
        with pytest.raises(Exception, match="query 1 of stream s"):
            cache.read("s", [0, 1])


def test_what_can_be_kept_nowhere_is_told(tmp_path: Path, elsewhere: Path) -> None:
    """With both places full the line says that answers are lost, and how many."""
    (elsewhere / spill.spill_file(tmp_path).parent.name).write_text("no folder")
    with closing(DiskCache(tmp_path / "votes")) as cache:
        fill(cache)
        with pytest.raises(DiskError, match="200 answers that were paid could be kept nowhere"):
            cache.write("s", {i: named("dog" * 100) for i in range(200)})


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 KB."""
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root, to mount one")
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k,mode=700", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("may not mount here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_real_full_disk_loses_no_answer(small_disk: Path) -> None:
    """Answers are written until the disk is full; with room again all that were given are there."""
    given: dict[int, Answer] = {}

    def write_on(cache: DiskCache) -> None:
        for i in range(2000):
            given[i] = named(f"{i}" * 100)
            cache.write("s", {i: given[i]})

    with closing(DiskCache(small_disk / "votes")) as cache, pytest.raises(DiskError):
        write_on(cache)
    assert len(given) < 2000
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    with closing(DiskCache(small_disk / "votes")) as cache:
        assert cache.read("s", range(2000)) == given


def test_a_disk_that_is_full_from_the_start_ends_before_anything_is_asked(small_disk: Path) -> None:
    """A ledger that cannot be made, or written to, is the same error."""
    from api_smoothing.engine.storage.folder import FolderStorage

    (small_disk / "filler").write_bytes(bytes(400_000))
    with pytest.raises(DiskError, match=r"ledger.db.*free some space"):
        FolderStorage(small_disk / "home").budget(Budget(), run="r", provider="p", micro_usd=1)
