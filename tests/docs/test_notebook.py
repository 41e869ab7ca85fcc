"""The notebook in examples/: its cells run as they stand, and what they gave is kept in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).parents[2] / "examples" / "tour.ipynb"
CELLS = [
    cell for cell in json.loads(FILE.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"
]


def test_its_cells_run_in_plain_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a kernel every cell ends well, in order, in one namespace, and finds what the notebook shows."""
    pytest.importorskip("skimage")
    pytest.importorskip("boto3")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "notebook"}
    for number, cell in enumerate(CELLS):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    assert (names["certificate"].label, names["certificate"].reached) == ("cat", True)
    assert names["rehearsed"].provider == "aws@sandbox"
    assert names["kept"] == names["certificate"]


def test_its_outputs_are_kept_and_small() -> None:
    """Every cell was run, in order and without an error; results and progress are shown."""
    assert [cell["execution_count"] for cell in CELLS] == [*range(1, len(CELLS) + 1)]
    outputs = [output for cell in CELLS for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    shown = "".join("".join(output.get("data", {}).get("text/html", "")) for output in outputs)
    for part in (
        "<th>label</th><td>cat</td>",
        "there is no radius",
        "<th>US dollars</th>",
        "decided, 1 certified",
    ):
        assert part in shown
    assert FILE.stat().st_size < 100_000
