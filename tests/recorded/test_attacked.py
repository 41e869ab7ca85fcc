"""Files of attacks: joined with the certificates that a run has now, and refused where they are damaged."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from api_smoothing.errors import ConfigurationError
from api_smoothing.recorded.attacked import SCHEMA, attacks_on, file_beside, join, read


def line(item: str, *, certified: float = 0.2, **facts: Any) -> dict[str, Any]:
    attempts = [
        {"radius": radius, "turned": turned, "votes": {"k": 1, "other": 1, "n": 2}}
        for radius, turned in facts.pop("tried", ((certified, False), (4 * certified, True)))
    ]
    return {
        "item": item, "image_sha256": f"sha of {item}", "label": "cat", "certified": certified, "alpha": 0.1,
        "distance": 0.5, "attempts": attempts, **facts,
    }  # fmt: skip


def run(*items: str, certified: float = 0.2) -> Any:
    certificates = [
        SimpleNamespace(
            item={"id": item}, image_sha256=f"sha of {item}", label="cat", radius_original=certified
        )
        for item in items
    ]
    return SimpleNamespace(certificates=certificates, path="run.jsonl")


def test_the_last_line_about_a_certificate_counts_in_the_order_of_the_run() -> None:
    """Lines about another image, label or radius, or one that the run lacks, are passed over and counted."""
    lines = [
        line("b"),
        line("a", distance=0.9),
        line("a", distance=0.7),
        line("c", image_sha256="another"),
        line("c", label="dog"),
        line("c", certified=0.3),
        line("gone"),
        line("d", tried=()),
    ]
    found = join(run("a", "b", "c", "d"), {"error": 1e-4}, lines)
    assert [(one.item, one.attacked) for one in found.images] == [("a", 0.7), ("b", 0.5)]
    assert found.passed_over == 4
    assert found.level == pytest.approx(0.1001)
    assert found.gap == pytest.approx(3.0)
    assert found.to_dict()["power"] == [2, 2]


def test_what_turned_inside_is_counted_against_alpha() -> None:
    """Two of three at 0.1 may be chance, three of three are not; beyond the radius nothing is held against it."""

    def of(broken: int) -> Any:
        lines = [line(item, tried=((0.2, i < broken), (0.8, True))) for i, item in enumerate("abc")]
        return join(run("a", "b", "c"), {"error": 0.0}, lines)

    assert [of(k).broken for k in range(4)] == [0, 1, 2, 3]
    assert of(0).p_value == 1
    assert of(2).p_value == pytest.approx(0.028)
    assert of(3).p_value == pytest.approx(0.001)
    assert of(2).holds
    strict = join(run("a"), {"error": 0.0}, [line("a", alpha=1e-4, tried=((0.2, True),))])
    assert not strict.holds


def test_files(tmp_path: Path) -> None:
    """Beside the run; a last line that is torn is left out, any other damage is an error of one line."""
    path = file_beside(tmp_path / "run.jsonl")
    assert path.name == "run.attacks.jsonl"
    head = json.dumps({"schema": SCHEMA, "settings": {"error": 0.5}})
    path.write_text(f"{head}\n{json.dumps(line('a'))}\n" + '{"item": "b"')
    settings, lines = read(path)
    assert (settings, [one["item"] for one in lines]) == ({"error": 0.5}, ["a"])
    found = attacks_on(SimpleNamespace(**{**vars(run("a")), "path": str(tmp_path / "run.jsonl")}))
    assert found is not None
    assert found.level == pytest.approx(0.6)
    for damaged in ("", "{}\n", f'{head}\n{{"item": "b"}}\n', "no json\n", f"{head}\n[]\n"):
        path.write_text(damaged)
        with pytest.raises(ConfigurationError, match="no file of attacks"):
            read(path)
    assert attacks_on(run("a")) is None
