"""Attacks beside certificates in every output; what contradicts α cannot be overlooked."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from run_files import certificates, settings, write

from api_smoothing.recorded.attacked import SCHEMA, file_beside
from api_smoothing.recorded.run import item_of
from api_smoothing.report import html, read, table
from api_smoothing.report.entries import Entry, entries_of
from api_smoothing.report.tables import as_csv, as_json


def attacked(tmp_path: Path, broken: Sequence[bool], *, beyond: bool = True) -> list[Entry]:
    """A run of which the first images with a certificate were attacked, those that are `broken` with success inside."""
    found = certificates(40, settings(), seed=2)
    path = write(tmp_path / "run.jsonl", settings(), found)
    able = [one for one in found if one.label is not None and one.radius_original > 0][: len(broken)]
    lines = [{"schema": SCHEMA, "settings": {"error": 1e-4}}]
    for one, turned in zip(able, broken, strict=True):
        radius = one.radius_original
        votes = {"k": 0, "other": 9, "n": 9}
        attempts = [
            {"factor": factor, "radius": factor * radius, "turned": hit, "votes": votes}
            for factor, hit in ((1.0, turned), (4.0, beyond))
        ]
        distance = 0.9 * radius if turned else 2 * radius if beyond else None
        lines.append({
            "item": item_of(one), "image_sha256": one.image_sha256, "label": one.label, "certified": radius,
            "alpha": one.alpha, "distance": distance, "attempts": attempts,
        })  # fmt: skip
    file_beside(path).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return entries_of([read(path)])


def test_both_sides_stand_beside_each_other(tmp_path: Path) -> None:
    """In the table, the page, the CSV and the JSON: certified, attacked, and how many beyond."""
    entries = attacked(tmp_path, [False] * 8)
    text = table([entries[0].run])
    assert "| attacked: turned inside the certified radius | 0 of 8 |" in text
    assert "| nearest attack over certified radius, median | 2.00 |" in text
    page = html([entries[0].run])
    assert "0 of 8 attacked images were turned inside" in page
    assert "turned 8 of 8" in page
    assert "TURNED INSIDE" not in page
    rows = list(csv.DictReader(io.StringIO(as_csv(entries))))
    both = [row for row in rows if row["attacked"]]
    assert len(both) == 8
    assert all(float(row["radius_original"]) < float(row["attacked"]) for row in both)
    (run,) = as_json(entries)["runs"]
    assert (run["attacks"]["images"], run["attacks"]["broken"], run["attacks"]["holds"]) == (8, 0, True)


def test_what_breaks_is_loud(tmp_path: Path) -> None:
    """Three of eight at α = 0.001: the page says so first, the row is marked, and the table has it in capitals."""
    entries = attacked(tmp_path, [False, True, True, True, False, False, False, False])
    assert "| 3 of 8: DO NOT HOLD |" in table([entries[0].run])
    page = html([entries[0].run])
    assert "These certificates do not hold: 3 of 8 attacked images" in page
    section = page[page.index('id="attacked"') :]
    assert section.count("TURNED INSIDE") == 3
    assert section.index("TURNED INSIDE") < section.index("</tr>", section.index("<tbody>")), (
        "they come first"
    )


def test_without_power_a_clean_count_says_little(tmp_path: Path) -> None:
    """An attack that turns nothing beyond the radius either is told as one."""
    (entry,) = attacked(tmp_path, [False] * 4, beyond=False)
    assert "so that a clean count inside says little" in html([entry.run])


def test_a_run_without_attacks_says_nothing_of_them(tmp_path: Path) -> None:
    """No section, no rows, no empty figures."""
    path = write(tmp_path / "plain.jsonl", settings(), certificates(5, settings(), seed=2))
    assert "attacked" not in table([read(path)])
    assert 'id="attacked"' not in html([read(path)])
