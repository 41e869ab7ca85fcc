from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from run_files import certificates, run_file, settings, write

from api_smoothing.cli.entry import build_parser
from api_smoothing.report import read
from api_smoothing.report.entries import Entry, entries_of
from api_smoothing.report.settings import commands, digests, side_by_side


def entry(folder: Path, **changed: Any) -> Entry:
    given = settings(**changed)
    found_in = write(folder / "my run.jsonl", given, certificates(3, settings()))
    (found,) = entries_of([read(found_in)])
    return found


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"n": None, "denoiser": None},
        {"question": None, "radii": None, "radius": 0.25},
        {"seed": "secret:0a1b"},
    ],
)
def test_the_commands_are_ones_that_the_command_line_takes(tmp_path: Path, changed: dict[str, Any]) -> None:
    """They parse as they stand, whatever the file is called, and a secret seed is told of, not guessed."""
    text = commands(entry(tmp_path, **changed))
    lines = [line for line in text.replace(" \\\n", " ").splitlines() if not line.startswith("#")]
    assert ("the seed is secret" in text) == (changed.get("seed") is not None)
    for line in lines:
        program, command, *rest = shlex.split(line)
        assert program == "api-smooth"
        args, strange = build_parser([command]).parse_known_args([command, *rest])
        assert not strange
        if command in ("evaluate", "certify"):
            assert str(args.output) == "my run.jsonl"
            assert args.provider == "google"
            assert args.sandbox


def test_settings_that_differ_are_told(tmp_path: Path) -> None:
    both = [entry(tmp_path), entry(tmp_path, sigma=0.5)]
    rows = {name: (texts, differ) for name, texts, differ in side_by_side(both)}
    assert rows["sigma"] == (["0.25", "0.5"], True)
    assert rows["alpha"] == (["0.001", "0.001"], False)


def test_what_a_third_party_compares(tmp_path: Path) -> None:
    """The file's digest, what it committed to before the first query, and the end of its chain."""
    path = run_file(tmp_path / "run.jsonl", 3)
    head, *lines = path.read_text().splitlines()
    commitment = '{"schema": "api-smooth/commitment/1", "items": 3, "items_sha256": "aa11"}'
    finished = '"created": "2026-11-28T10:00:00+00:00", "seconds": 5.0'
    last = f'{{"schema": "api-smooth/finished/1", {finished}, "chain": "bb22"}}'
    path.write_text("".join(f"{line}\n" for line in [head, commitment, *lines, last]))
    (found,) = entries_of([read(path)])
    told = dict(digests(found))
    assert told["committed: items_sha256"] == "aa11"
    assert told["end of the chain"] == "bb22"
    assert len(told["sha256 of the run file"]) == 64
