"""`api-smooth corrupt`: what is written is what is printed, and every wrong flag is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api_smoothing.cli import main
from api_smoothing.corruptions import NAMES, corrupt


def run(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(["corrupt", *line.split()])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_all_corruptions_of_images_and_folders(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """75 copies of each image, and one JSON object that says so."""
    code, out, _ = run("a.png images --json -o out", capsys)
    facts: dict[str, Any] = json.loads(out)
    assert (code, facts["images"], facts["written"]) == (0, 4, 300)
    assert facts["corruptions"] == list(NAMES)
    assert facts["severities"] == [1, 2, 3, 4, 5]
    assert len(list(project.glob("out/**/*.png"))) == 300
    wanted = corrupt("images/b.png", "snow", 4)
    assert np.array_equal(np.asarray(Image.open("out/snow/4/images/b.png")), wanted)


@pytest.mark.parametrize(
    ("severity", "meant"),
    [("3", {"3"}), ("2..4", {"2", "3", "4"}), ("1,5", {"1", "5"}), ("5,1,1", {"1", "5"})],
)
def test_severities(
    project: Path, capsys: pytest.CaptureFixture[str], severity: str, meant: set[str]
) -> None:
    """One, a range, or a list."""
    line = f"a.png --corruption fog --corruption contrast --severity {severity} --output out"
    code, out, _ = run(line, capsys)
    assert code == 0
    assert {path.name for path in Path("out/fog").iterdir()} == meant
    many = "1 severity" if len(meant) == 1 else f"{len(meant)} severities"
    assert out == f"out: {2 * len(meant)} images, 2 corruptions at {many}\n"


def test_a_data_set_with_a_sample(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The flags of data sets are taken, and what was guessed is told."""
    Path("t.csv").write_text("file;animal\na.png;cat\nb.png;dog\n")
    line = "t.csv --column-label animal --sample 1 --sample-seed 3 --corruption fog --severity 1 -o out"
    code, _, error = run(line, capsys)
    assert code == 0
    assert "columns are separated by semicolons" in error
    assert len(list(Path("out/fog/1").glob("*.png"))) == 1
    assert Path("out/fog/1/labels.csv").read_text().startswith("path,label\n")


def test_a_sheet(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It needs no folder; it is never the image itself."""
    code, out, _ = run("a.png --sheet sheet.png", capsys)
    assert (code, out) == (0, "sheet.png: the first image under every corruption\n")
    with Image.open("sheet.png") as sheet:
        assert sheet.height > 15 * 90
    code, _, error = run("a.png --sheet a.png", capsys)
    assert (code, "is the image itself" in error) == (2, True)


def test_an_image_that_cannot_be_read_is_told_and_the_others_are_written(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code says that something is missing."""
    Path("images/b.png").write_bytes(b"broken")
    code, out, error = run("images --corruption fog --severity 1 -o out", capsys)
    assert code == 2
    assert "images/b.png: not an image this reads" in error
    assert out == "out: 2 images, 1 corruption at 1 severity\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.png", "where to? Give --output DIR, --sheet OUT.png, or both"),
        ("a.png -o out --corruption fogg", "unknown corruption 'fogg'; did you mean fog"),
        ("a.png -o out --severity 0..3", "--severity '0..3' must be from 1 to 5"),
        ("a.png -o out --severity x", "--severity 'x' must be from 1 to 5"),
        ("a.png -o out --severity 3..2", "--severity '3..2' must be from 1 to 5"),
        ("a.png --sheet sheet.jpg", "--sheet sheet.jpg must end in .png"),
        ("gone.png -o out", "gone.png: no such file or folder"),
        ("a.png gone.png -o out", "gone.png: no such file"),
        ("a.png b.png -o out --limit 0", "limit must be a whole number"),
    ],
)
def test_a_wrong_flag_is_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    """Nothing is written."""
    code, out, error = run(line, capsys)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert message in error
    assert not Path("out").exists()
