from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from api_smoothing import Certificate
from api_smoothing.cli.runfile import open_run
from api_smoothing.errors import ConfigurationError

SETTINGS = {"sigma": 0.25, "seed": "public:7", "radius": None}
CERTIFICATE = Certificate(
    label="cat", radius=0.1, radius_original=0.1, p_lower=0.9, votes=99, n=100, n0=0, sigma=0.25, alpha=0.001,
    norm="l2", method="fixed", target_radius=None, reached=None, stopped="n", reason="", runner_up=None,
    counts={"cat": 99}, failed=0, queries=100, cached=0, cost_usd=0.0, provider="toy", model="", model_version=None,
    denoiser=None, label_map=None, noise="gaussian", seed="public:7", image="a.png", image_sha256="0" * 64,
    space=(32, 32), created="2026-01-01T00:00:00+00:00",
)  # fmt: skip


def names(path: Path) -> list[str]:
    return [json.loads(line)["image"] for line in path.read_text().splitlines()[1:]]


def test_a_run_file_is_a_header_and_one_certificate_a_line(tmp_path: Path) -> None:
    """What is appended comes back, by name and digest, when the file is opened again."""
    path = tmp_path / "run.jsonl"
    with open_run(path, SETTINGS) as run:
        assert run.find("a.png", "0" * 64) is None
        run.append(CERTIFICATE)
    assert json.loads(path.read_text().splitlines()[0])["settings"] == SETTINGS
    with open_run(path, SETTINGS) as run:
        assert run.find("a.png", "0" * 64) == CERTIFICATE
        assert run.find("a.png", "1" * 64) is None, "another image of that name is another image"
    assert names(path) == ["a.png"]


def test_an_undecided_certificate_is_asked_again_and_replaced(tmp_path: Path) -> None:
    """A certificate cut short by the budget does not count as done; the later line of an image counts."""
    path = tmp_path / "run.jsonl"
    with open_run(path, SETTINGS) as run:
        run.append(replace(CERTIFICATE, stopped="budget"))
        assert run.find("a.png", "0" * 64) is None
        run.append(CERTIFICATE)
    with open_run(path, SETTINGS) as run:
        assert run.find("a.png", "0" * 64) == CERTIFICATE


@pytest.mark.parametrize("keep", range(1, len(CERTIFICATE.to_json()), 97))
def test_a_torn_last_line_is_removed(tmp_path: Path, keep: int) -> None:
    """Wherever a write was cut off, the next run drops the rest of that line and nothing else."""
    path = tmp_path / "run.jsonl"
    with open_run(path, SETTINGS) as run:
        run.append(CERTIFICATE)
        whole = path.read_bytes()
    torn = replace(CERTIFICATE, image="é.png").to_json().encode()[:keep]
    path.write_bytes(whole + torn)
    with open_run(path, SETTINGS) as run:
        run.append(replace(CERTIFICATE, image="c.png"))
    assert path.read_bytes().startswith(whole)
    assert names(path) == ["a.png", "c.png"]


def test_a_last_line_that_only_lacks_its_end_is_kept(tmp_path: Path) -> None:
    """A whole certificate without its newline is a certificate."""
    path = tmp_path / "run.jsonl"
    with open_run(path, SETTINGS) as run:
        run.append(CERTIFICATE)
    path.write_bytes(path.read_bytes()[:-1])
    with open_run(path, SETTINGS) as run:
        run.append(replace(CERTIFICATE, image="b.png"))
    assert names(path) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace('"sigma": 0.25', '"sigma": 0.5', 1), "sigma = 0.5, this run has 0.25"),
        (lambda text: "not json\n" + text, "is no run file"),
        (lambda text: "", "is no run file"),
        (lambda text: text.splitlines()[1] + "\n", "is no run file"),
        (lambda text: text.replace('"label": "cat"', '"label": ', 1) + text.splitlines()[1], "line 2"),
    ],
)
def test_a_file_that_is_not_this_run_is_refused_and_left_alone(tmp_path: Path, change, says: str) -> None:  # type: ignore[no-untyped-def]
    """Other settings, another kind of file, or damage in the middle: refused in one line, not a byte changed."""
    path = tmp_path / "run.jsonl"
    with open_run(path, SETTINGS) as run:
        run.append(CERTIFICATE)
    path.write_text(change(path.read_text()))
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=says), open_run(path, SETTINGS):
        pass
    assert path.read_bytes() == before


def test_two_runs_cannot_write_one_file(tmp_path: Path) -> None:
    """A run file that is being written is refused to a second run."""
    path = tmp_path / "run.jsonl"
    busy = pytest.raises(ConfigurationError, match="another run is writing")
    with open_run(path, SETTINGS), busy, open_run(path, SETTINGS):
        pass
    with open_run(path, SETTINGS):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A folder that is not there, or a folder in place of the file, is one line before any query."""
    with pytest.raises(ConfigurationError, match="cannot create"), open_run(tmp_path / "no" / "x", SETTINGS):
        pass
    with pytest.raises(ConfigurationError, match="cannot write"), open_run(tmp_path, SETTINGS):
        pass
