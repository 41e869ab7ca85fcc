"""`api-smooth store`, and runs whose answers and budgets are in a database."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed")

from command_line import one_line
from postgres_fixtures import database, postgres
from postgres_server import PostgresServer

from api_smoothing.cli import main
from api_smoothing.home import home

__all__ = ["database", "postgres"]


@pytest.fixture
def url(postgres: PostgresServer, database: str) -> str:
    """With a password that must be told nowhere: the server takes any."""
    return postgres.url(database).replace("owner@", "owner:s3cretpw@")


def test_init_check_and_info(
    postgres: PostgresServer, url: str, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tables are made once; `check` refuses a database without them, `info` counts what is kept."""
    postgres.sql("DROP SCHEMA api_smooth CASCADE", database=database)
    assert main(["store", "check", "--store", url]) == 2
    one_line(capsys.readouterr().err, "api-smooth store init")
    for told in ("tables made", "were there already"):
        assert main(["store", "init", "--store", url]) == 0
        assert told in capsys.readouterr().out
    assert main(["store", "check", "--store", url]) == 0
    assert "ready" in capsys.readouterr().out
    assert main(["store", "info", "--json", "--store", url]) == 0
    out = capsys.readouterr().out
    facts = json.loads(out)
    assert (facts["version"], facts["answers"], facts["runs"]) == (1, 0, 0)
    assert facts["seed"].startswith("secret:")
    assert main(["store", "info", "--store", url]) == 0
    assert "s3cretpw" not in out + capsys.readouterr().out


@pytest.mark.parametrize(
    ("store", "code", "word"),
    [
        ("postgresql://me:s3cretpw@127.0.0.1:1/x", 4, "does not answer"),
        ("postgresql://me:s3cretpw@db.invalid/x", 4, "does not answer"),
        ("postgresql://me:s3/cretpw@db/x", 2, "%2F"),
        ("mysql://me:s3cretpw@db/x", 2, "postgresql://"),
        ("", 2, "postgresql://"),
    ],
)
def test_what_is_no_database_is_one_line(
    store: str, code: int, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 4 for a server that is not there, 2 for a URL that cannot be; neither tells the password."""
    assert main(["store", "check", "--store", store]) == code
    error = capsys.readouterr().err
    one_line(error, word)
    assert "cretpw" not in error


def test_psycopg_is_asked_for_by_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the package one line says how to get it."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert main(["store", "check", "--store", "postgresql://db/x"]) == 2
    one_line(capsys.readouterr().err, "pip install 'api-smooth[postgres]'")


def test_two_homes_share_what_is_in_the_database(
    certify: Callable[..., Any], url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another machine pays for nothing that this one has, and draws on the same budget; nothing is kept in the home."""
    where = ["--run", "r", "--budget-queries", "50"]
    monkeypatch.setenv("API_SMOOTH_STORE", url)
    _, [first], _ = certify("images/a.png", "-n", "30", *where)
    monkeypatch.setenv("API_SMOOTH_HOME", str(tmp_path / "elsewhere"))
    _, [second], _ = certify("images/a.png", "-n", "30", *where)
    assert (first["queries"], second["queries"], second["cached"]) == (30, 0, 30)
    code, _, error = certify("images/b.png", "-n", "30", *where)
    assert code == 3
    assert "budget" in error
    assert not (home() / "ledger.db").exists()
    assert not (home() / "votes").exists()


def test_a_run_that_ends_early_tells_its_command_without_the_password(
    certify: Callable[..., Any], url: str
) -> None:
    """The URL is masked in the command that resumes."""
    code, _, error = certify("images/a.png", "-n", "30", "--budget-queries", "3", "--store", url)
    assert code == 3
    assert "s3cretpw" not in error
    assert "owner:***@" in error


def test_a_folder_and_a_database_exclude_each_other(certify: Callable[..., Any], url: str) -> None:
    """One line says which to leave out."""
    code, _, error = certify("images/a.png", "-n", "30", "--store", url, "--cache", "answers")
    assert code == 2
    assert "--cache" in error


def test_a_projects_file_names_no_database(
    certify: Callable[..., Any], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder one happens to stand in must not decide whose seed draws the noise."""
    Path("api-smooth.toml").write_text(f'store = "{url}"\n')
    code, _, error = certify("images/a.png", "-n", "30")
    assert code == 2
    assert "store" in error
    assert "s3cretpw" not in error


def test_the_cache_command_looks_into_the_database(
    certify: Callable[..., Any], url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its answers are counted, repaired and forgotten there; its place is told without the password."""
    certify("images/a.png", "-n", "30", "--store", url)
    for action, told in (("info", '"answers": 30'), ("path", "owner:***@")):
        assert main(["cache", action, "--json", "--store", url]) == 0
        assert told in capsys.readouterr().out
    assert main(["cache", "repair", "--yes", "--store", url]) == 0
    assert "0 answers" in capsys.readouterr().out
    assert main(["cache", "clear", "--yes", "--store", url]) == 0
    assert "30 answers" in capsys.readouterr().out


def test_a_database_that_is_not_there_ends_a_run_with_the_command(certify: Callable[..., Any]) -> None:
    """Exit code 4; nothing was asked, and the command that resumes has no password."""
    code, _, error = certify("images/a.png", "-n", "30", "--store", "postgresql://me:s3cretpw@127.0.0.1:1/x")
    assert code == 4
    one_line(error, "does not answer", "nothing was asked; resume with: api-smooth certify", "me:***@")
    assert "s3cretpw" not in error
