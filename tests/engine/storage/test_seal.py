"""Answers that were edited are noticed, and those from before there were seals are not bought again."""

from __future__ import annotations

import hashlib
import hmac
import json
import shutil
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import pytest
from whole_storage import use

from api_smoothing.adapters.base import Answer, Label
from api_smoothing.cli import main
from api_smoothing.engine.storage.answers import DiskCache
from api_smoothing.engine.storage.folder import FolderStorage
from api_smoothing.engine.storage.seal import DIGITS, KEY_FILE, folder_seal
from api_smoothing.errors import ConfigurationError
from api_smoothing.home import home


def named(name: str) -> Answer:
    return Answer(labels=(Label(name=name, score=0.5),), model_version="1")


@pytest.fixture
def folder() -> Path:
    """The installation's answers: a hundred cats."""
    with closing(FolderStorage(home()).answers(paid=True)) as cache:
        cache.write("s", {i: named("cat") for i in range(100)})
    return home() / "votes"


def edit(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "paid.db")) as db:
        db.execute(statement)
        db.commit()


def refused(folder: Path) -> str:
    with closing(DiskCache(folder)) as cache:
        with pytest.raises(ConfigurationError) as caught:
            cache.read("s", range(100))
        with pytest.raises(ConfigurationError):
            cache.claim("s", range(100))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_seal_is_an_hmac(tmp_path: Path) -> None:
    """Under the secret beside the answers, as RFC 2104 has it."""
    seal = folder_seal(tmp_path).of("text")
    key = bytes.fromhex((tmp_path / KEY_FILE).read_text())
    assert seal == hmac.new(key, b"text", hashlib.sha256).hexdigest()[:DIGITS]
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE answers SET answer = REPLACE(answer, 'cat', 'dog') WHERE query = 7",
        "UPDATE answers SET answer = REPLACE(answer, '0.5', '0.9') WHERE query = 7",
        "UPDATE answers SET answer = SUBSTR(answer, 17) WHERE query = 7",  # without its seal
        "UPDATE answers SET answer = 'x' WHERE query = 7",
        "UPDATE answers SET answer = x'00' WHERE query = 7",
        "UPDATE answers SET answer = (SELECT answer FROM answers WHERE query = 8) WHERE query = 7",  # another's
    ],
)
def test_an_edited_answer_is_noticed(folder: Path, statement: str) -> None:
    """Whatever was changed, the row is named, and it is not asked again."""
    edit(folder, statement)
    told = refused(folder)
    assert "query 7 of stream s" in told
    assert "paid.db" in told
    assert "cache repair" in told


def test_an_answer_of_another_stream_is_noticed(folder: Path) -> None:
    """A vote that was given to another question is no vote on this one."""
    edit(folder, "UPDATE answers SET stream = 's' WHERE stream = 't'")
    with closing(DiskCache(folder)) as cache:
        cache.write("t", {200: named("dog")})
    edit(folder, "UPDATE answers SET stream = 's' WHERE stream = 't'")
    with closing(DiskCache(folder)) as cache, pytest.raises(ConfigurationError, match="query 200"):
        cache.read("s", [200])


def test_repair_forgets_what_was_changed_and_nothing_else(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It does so when told to, and says how many."""
    edit(folder, "UPDATE answers SET answer = REPLACE(answer, 'cat', 'dog') WHERE query IN (7, 8)")
    assert main(["cache", "repair"]) == 2
    assert "--yes" in capsys.readouterr().err
    refused(folder)
    assert main(["cache", "repair", "--yes"]) == 0
    assert "2 answers forgotten" in capsys.readouterr().out
    with closing(DiskCache(folder)) as cache:
        assert sorted(cache.read("s", range(100))) == [i for i in range(100) if i not in (7, 8)]
        assert cache.claim("s", [7]).granted == (7,)


def test_a_copied_folder_takes_its_key_along(folder: Path, tmp_path: Path) -> None:
    """Answers that are shared or moved stay sealed; without the key they are told from nothing, and refused."""
    shutil.copytree(folder, tmp_path / "copy")
    with closing(DiskCache(tmp_path / "copy")) as cache:
        assert len(cache.read("s", range(100))) == 100
    (tmp_path / "copy" / KEY_FILE).unlink()
    with pytest.raises(ConfigurationError, match=f"{KEY_FILE} is missing"):
        DiskCache(tmp_path / "copy")
    assert not (tmp_path / "copy" / KEY_FILE).exists()


def test_answers_from_before_count_and_new_ones_are_sealed(tmp_path: Path) -> None:
    """A file of an earlier version is read as it is; what it gets from now on bears a seal."""
    DiskCache(tmp_path).close()
    (tmp_path / "paid.db").unlink()
    with closing(sqlite3.connect(tmp_path / "paid.db")) as db:
        db.executescript(
            "CREATE TABLE answers (stream TEXT NOT NULL, query INTEGER NOT NULL, answer TEXT NOT NULL,"
            " PRIMARY KEY (stream, query)) WITHOUT ROWID; PRAGMA user_version = 2;"
        )
        db.execute("INSERT INTO answers VALUES ('s', 0, ?)", (json.dumps(["1", ["cat", 0.5, None, []]]),))
        db.commit()
    with closing(DiskCache(tmp_path)) as cache:
        cache.write("s", {1: named("dog")})
        assert cache.read("s", [0, 1]) == {0: named("cat"), 1: named("dog")}
    edit(tmp_path, "UPDATE answers SET answer = REPLACE(answer, 'dog', 'cat')")
    with closing(DiskCache(tmp_path)) as cache, pytest.raises(ConfigurationError, match="query 1"):
        cache.read("s", [0, 1])


def test_edited_answers_of_local_models_are_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those are kept in chunks, each under one seal."""
    with closing(DiskCache(tmp_path, paid=False)) as cache:
        cache.write("s", {i: named("cat") for i in range(300)})
        assert len(cache.read("s", range(300))) == 300
    with closing(sqlite3.connect(tmp_path / "cache.db")) as db:
        [(kept,)] = db.execute("SELECT value FROM Cache WHERE key = 's:1'").fetchall()
        edited = zlib.decompress(kept).replace(b"cat", b"dog")
        db.execute("UPDATE Cache SET value = ? WHERE key = 's:1'", (zlib.compress(edited),))
        db.commit()
    with closing(DiskCache(tmp_path, paid=False)) as cache:
        assert len(cache.read("s", range(256))) == 256
        with pytest.raises(ConfigurationError, match=r"s:1 of .*cache.db"):
            cache.read("s", range(300))
    assert main(["cache", "repair", "--yes", "--cache", str(tmp_path)]) == 0
    with closing(DiskCache(tmp_path, paid=False)) as cache:
        assert len(cache.read("s", range(300))) == 256


@pytest.mark.parametrize(
    "name", ["votes/paid.db", "votes/cache.db", "votes/looks.db", "ledger.db", "rate.db"]
)
@pytest.mark.parametrize("content", [b"", b"no database" * 500], ids=["empty", "noise"])
def test_a_damaged_file_is_told_and_set_aside_when_told_to(name: str, content: bytes) -> None:
    """A file that is empty, or no database, is one line with its name; `cache repair` gives way to a new one."""
    storage = FolderStorage(home(), shared=home())
    with closing(storage.answers(paid=True)) as cache:
        cache.write("s", {i: named("cat" * 30) for i in range(500)})
    use(storage)
    path = home() / name
    path.write_bytes(content)
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    with pytest.raises(ConfigurationError, match=path.name) as caught:
        use(storage)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content
    assert main(["cache", "repair", "--yes"]) == 0
    use(storage)
    assert [one.read_bytes() for one in path.parent.glob(f"{path.name}.damaged-*")] == [content]


def test_a_damage_inside_is_told_when_it_is_met() -> None:
    """A file that opens, but whose pages are not what they were, is the same line and not a traceback."""
    storage = FolderStorage(home(), shared=home())
    with closing(storage.answers(paid=True)) as cache:
        cache.write("s", {i: named("cat" * 30) for i in range(2000)})
    path = home() / "votes" / "paid.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:16384] + b"\xa5" * (len(whole) - 16384))
    with pytest.raises(ConfigurationError, match=r"paid.db is damaged.*cache repair") as caught:
        storage.answers(paid=True).read("s", range(2000))
    assert "\n" not in str(caught.value)
