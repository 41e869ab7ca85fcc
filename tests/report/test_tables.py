from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from run_files import certificates, run_file, settings, write

from api_smoothing.report import read, table
from api_smoothing.report.entries import entries_of
from api_smoothing.report.tables import COLUMNS, as_csv, as_json


def test_the_csv_has_every_image_with_all_digits(tmp_path: Path) -> None:
    """It reads back as the file's certificates, those that could not be read among them."""
    found = certificates(40, settings(), seed=2)
    entries = entries_of([read(write(tmp_path / "run.jsonl", settings(), found, unreadable=["x.png"]))])
    head, *lines = csv.reader(io.StringIO(as_csv(entries)))
    assert tuple(head) == COLUMNS
    for line, c in zip(lines, found, strict=False):
        row = dict(zip(head, line, strict=True))
        assert row["image"] == c.image
        assert row["image_sha256"] == c.image_sha256
        assert row["radius"] == ("" if c.label is None else repr(c.radius))
        assert (int(row["votes"]), int(row["n"]), float(row["usd"])) == (c.votes, c.n, c.cost_usd)
    assert lines[-1][1] == "x.png"
    assert lines[-1][6] == "unreadable"


@pytest.mark.parametrize("label", ["=1+1", "+x", "-2", "@SUM(A1)", 'a,"b"\nc'])
def test_a_spreadsheet_runs_nothing(tmp_path: Path, label: str) -> None:
    """A label that is a formula is text, and one with quotes and lines stays one cell."""
    (found,) = (replace(c, label=label) for c in certificates(1, settings(), seed=1))
    entries = entries_of([read(write(tmp_path / "run.jsonl", settings(), [found]))])
    lines = list(csv.reader(io.StringIO(as_csv(entries))))
    assert len(lines) == 2
    cell = dict(zip(*lines, strict=True))["label"]
    assert not cell.startswith(("=", "+", "-", "@"))


def test_the_json_is_the_summary(tmp_path: Path) -> None:
    """Plain values that read back: shares with their counts, comparisons with their p."""
    runs = [read(run_file(tmp_path / f"{i}.jsonl", 60, sigma=sigma)) for i, sigma in enumerate((0.25, 0.5))]
    values = as_json(entries_of(runs))
    assert json.loads(json.dumps(values, allow_nan=False))["schema"] == "api-smooth/report/1"
    for one, run in zip(values["runs"], runs, strict=True):
        k = sum(c.label == c.item["truth"] and c.radius >= 0.25 for c in run.certificates if c.item)
        (at,) = [at["certified"] for at in one["radii"] if at["radius"] == 0.25]
        assert (at["k"], at["n"]) == (k, 60)
    assert [one["radius"] for one in values["comparisons"]] == [0.0, 0.1, 0.25, 0.5]


def test_the_markdown_stays_a_table(tmp_path: Path) -> None:
    """A provider with a bar and a tag in its name adds no column and no HTML."""
    path = run_file(tmp_path / "a.jsonl", 30, provider="a|b<img>")
    lines = table([read(path), read(run_file(tmp_path / "b.jsonl", 30))]).strip().splitlines()
    assert "a\\|b\\<img\\>" in lines[0]
    assert {line.replace("\\|", "").count("|") for line in lines if "certified" in line} == {4}
    assert [line for line in lines if line.startswith("| against")]


def test_a_run_for_a_claim_has_no_intervals(tmp_path: Path) -> None:
    """They are for a number of images fixed beforehand, and it ended by what it had seen; its own bounds stand."""
    path = run_file(tmp_path / "run.jsonl", 50, radii=[0.1], radius=0.1, n=None, at_least=0.4)
    fixed = read(path)
    assert "(" in table([fixed])
    facts = {
        "at_least": 0.4,
        "radius": 0.1,
        "confidence": 0.95,
        "population": 500,
        "lower": 0.402,
        "upper": 0.612,
    }
    claim = {**facts, "looked": 50, "certified": 31, "state": "proved", "statement": ""}
    with path.open("a") as file:
        file.write(json.dumps({"schema": "api-smooth/claim/1", **claim}) + "\n")
    claimed = read(path)
    assert "(" not in table([claimed])
    (before,), (values,) = (as_json(entries_of([run]))["runs"] for run in (fixed, claimed))
    assert None not in (
        before["acr_low"],
        before["abstained"]["low"],
        before["radii"][0]["certified"]["high"],
    )
    assert [values["acr_low"], values["abstained"]["low"], values["radii"][0]["certified"]["high"]] == [
        None
    ] * 3
    assert values["radii"][0]["certified"]["k"] == before["radii"][0]["certified"]["k"]
    assert (values["claim"]["lower"], values["claim"]["upper"]) == (0.402, 0.612)
