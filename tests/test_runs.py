"""Run files: written line by line, resumed, read while they grow, and readable across versions."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api_smoothing import Certificate, runs
from api_smoothing.cli import main
from api_smoothing.errors import ConfigurationError

GOLDEN = Path(__file__).parent / "golden"

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
    with runs.open(path, SETTINGS) as run:
        assert run.find("a.png", "0" * 64) is None
        run.append(CERTIFICATE)
    assert json.loads(path.read_text().splitlines()[0])["settings"] == SETTINGS
    with runs.open(path, SETTINGS) as run:
        assert run.find("a.png", "0" * 64) == CERTIFICATE
        assert run.find("a.png", "1" * 64) is None, "another image of that name is another image"
    assert names(path) == ["a.png"]


def test_an_undecided_certificate_is_asked_again_and_replaced(tmp_path: Path) -> None:
    """A certificate cut short by the budget does not count as done; the later line of an image counts."""
    path = tmp_path / "run.jsonl"
    with runs.open(path, SETTINGS) as run:
        run.append(replace(CERTIFICATE, stopped="budget"))
        assert run.find("a.png", "0" * 64) is None
        run.append(CERTIFICATE)
    with runs.open(path, SETTINGS) as run:
        assert run.find("a.png", "0" * 64) == CERTIFICATE


@pytest.mark.parametrize("keep", range(1, len(CERTIFICATE.to_json()), 97))
def test_a_torn_last_line_is_removed(tmp_path: Path, keep: int) -> None:
    """Wherever a write was cut off, the next run drops the rest of that line and nothing else."""
    path = tmp_path / "run.jsonl"
    with runs.open(path, SETTINGS) as run:
        run.append(CERTIFICATE)
        whole = path.read_bytes()
    torn = replace(CERTIFICATE, image="é.png").to_json().encode()[:keep]
    path.write_bytes(whole + torn)
    with runs.open(path, SETTINGS) as run:
        run.append(replace(CERTIFICATE, image="c.png"))
    assert path.read_bytes().startswith(whole)
    assert names(path) == ["a.png", "c.png"]


def test_a_last_line_that_only_lacks_its_end_is_kept(tmp_path: Path) -> None:
    """A whole certificate without its newline is a certificate."""
    path = tmp_path / "run.jsonl"
    with runs.open(path, SETTINGS) as run:
        run.append(CERTIFICATE)
    path.write_bytes(path.read_bytes()[:-1])
    with runs.open(path, SETTINGS) as run:
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
    with runs.open(path, SETTINGS) as run:
        run.append(CERTIFICATE)
    path.write_text(change(path.read_text()))
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=says), runs.open(path, SETTINGS):
        pass
    assert path.read_bytes() == before


def test_two_runs_cannot_write_one_file(tmp_path: Path) -> None:
    """A run file that is being written is refused to a second run."""
    path = tmp_path / "run.jsonl"
    busy = pytest.raises(ConfigurationError, match="another run is writing")
    with runs.open(path, SETTINGS), busy, runs.open(path, SETTINGS):
        pass
    with runs.open(path, SETTINGS):
        pass


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_of_two_that_create_one_file_one_is_refused(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both see no file and make one: the second finds the first's, and nobody's lines are lost."""
    path = tmp_path / "run.jsonl"
    if not links:
        monkeypatch.setattr(runs.os, "link", _unable)
    with runs.open(path, SETTINGS) as first:
        monkeypatch.setattr(Path, "exists", lambda self: False)  # as the second saw it a moment before
        with pytest.raises(ConfigurationError, match="another run is writing"), runs.open(path, SETTINGS):
            pass
        first.append(CERTIFICATE)
    assert names(path) == ["a.png"]
    assert [file.name for file in tmp_path.iterdir()] == ["run.jsonl"]


def _unable(*arguments: Any) -> None:
    raise OSError("no links here")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A folder that is not there, or a folder in place of the file, is one line before any query."""
    with pytest.raises(ConfigurationError, match="cannot create"), runs.open(tmp_path / "no" / "x", SETTINGS):
        pass
    with pytest.raises(ConfigurationError, match="cannot write"), runs.open(tmp_path, SETTINGS):
        pass


# reading


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    """A run file of two certificates."""
    path = tmp_path / "run.jsonl"
    with runs.open(path, SETTINGS) as run:
        run.append(CERTIFICATE)
        run.append(replace(CERTIFICATE, image="b.png"))
    return path


def test_reading_streams_without_a_lock(run_file: Path) -> None:
    """Certificates come one at a time and in order, while another run is writing, and the file stays as it is."""
    with runs.open(run_file, SETTINGS) as run:
        found = runs.read(run_file)
        assert isinstance(found, Iterator)
        assert next(found) == CERTIFICATE
        run.append(replace(CERTIFICATE, image="c.png"))
        assert [one.image for one in found] == ["b.png", "c.png"]
    assert runs.header(str(run_file)).settings == SETTINGS


@pytest.mark.parametrize("keep", range(1, len(CERTIFICATE.to_json()), 97))
def test_a_reader_leaves_a_torn_last_line_out_and_says_so(run_file: Path, keep: int) -> None:
    """Wherever the last write was cut off, what stands before it is read, with a warning, and nothing is changed."""
    with run_file.open("ab") as file:
        file.write(replace(CERTIFICATE, image="é.png").to_json().encode()[:keep])
    before = run_file.read_bytes()
    with pytest.warns(RuntimeWarning, match=f"torn after {keep} bytes") as caught:
        found = list(runs.read(run_file))
    assert [one.image for one in found] == ["a.png", "b.png"]
    assert caught[0].filename == __file__, "the warning is the reader's, not the library's"
    assert run_file.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace('"label": "cat"', '"label": ', 1), "line 2: no JSON"),
        (lambda text: text.replace('"label": "cat"', '"label": ' + "[" * 100_000, 1), "line 2: no JSON"),
        (lambda text: text.replace("certificate/1", "certificate/2", 1), "line 2: .*certificate/2.*upgrade"),
        (lambda text: text.replace("run/1", "run/2", 1), "run/2.*upgrade"),
        (lambda text: text.replace("api-smooth/cert", "other/cert", 1), "line 2: no line of a run file"),
        (lambda text: text.replace('"radius": 0.1, ', "", 1), "line 2: not a Certificate"),
        (lambda text: text + "[]", "line 4: no line of a run file"),
        (lambda text: "", "is no run file"),
        (lambda text: "[1]", "is no run file"),
    ],
)
def test_what_cannot_be_read_is_one_line(run_file: Path, change: Any, says: str) -> None:
    """Damage, another major, another kind of file: one line that says where, for a reader and for a run."""
    run_file.write_text(change(run_file.read_text()))
    before = run_file.read_bytes()
    with pytest.raises(ConfigurationError, match=says) as caught:
        list(runs.read(run_file))
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=says), runs.open(run_file, SETTINGS):
        pass
    assert run_file.read_bytes() == before


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """To read creates nothing."""
    for read in (runs.header, lambda path: next(runs.read(path))):
        with pytest.raises(ConfigurationError, match="cannot read"):
            read(tmp_path / "no.jsonl")
    assert list(tmp_path.iterdir()) == []


# chains


PLAN = {"schema": runs.COMMITMENT, "items": 0}


def chains(path: Path) -> list[str | None]:
    return [line.get("chain") for line in lines(path)]


def test_a_commitment_begins_a_chain_that_goes_on(tmp_path: Path) -> None:
    """Every line after the header has the hash of all before it and of its own, also after the file was opened anew."""
    path = tmp_path / "run.jsonl"
    with runs.open(path, SETTINGS) as run:
        run.append_line(PLAN)
        run.append(CERTIFICATE)
    with path.open("ab") as file:
        file.write(b'{"schema": "api-smooth/note/1", "chai')  # torn by a kill
    with runs.open(path, SETTINGS) as run:
        assert run.commitment is not None
        assert run.find("a.png", "0" * 64) == CERTIFICATE, "the chain is the file's, not the certificate's"
        run.append_line({"schema": "api-smooth/note/1", "text": "é\u202e"}, sync=False)
        run.append(replace(CERTIFICATE, image="b.png"))
    header, *rest = lines(path)
    assert "chain" not in header
    assert [line["schema"].split("/")[1] for line in rest] == [
        "commitment",
        "certificate",
        "note",
        "certificate",
    ]
    before = runs.chained("", header)
    for line in rest:
        own = json.dumps(
            {k: v for k, v in line.items() if k != "chain"}, sort_keys=True, separators=(",", ":")
        )
        assert line["chain"] == hashlib.sha256(f"{before}\n{own}".encode()).hexdigest()
        before = line["chain"]
    assert [found.image for found in runs.read(path)] == ["a.png", "b.png"]


def test_without_a_commitment_there_is_no_chain(run_file: Path) -> None:
    """Files of certificates stay as they were, and can no longer be committed to anything."""
    with runs.open(run_file, SETTINGS) as run:
        run.append_line({"schema": "api-smooth/note/1"})
        with pytest.raises(ConfigurationError, match="lines from before"):
            run.append_line(PLAN)
    assert set(chains(run_file)) == {None}


# across versions


@pytest.mark.parametrize("name", ["run-0.1.0.jsonl", "presence-0.1.0.jsonl", "run-future.jsonl"])
def test_a_golden_file_is_read_and_loses_nothing(name: str) -> None:
    """Every field of every line, known here or not, is there again when the certificate is written."""
    head, *rest = lines(GOLDEN / name)
    assert runs.header(GOLDEN / name).to_dict() == head
    written = [line for line in rest if line["schema"].startswith("api-smooth/certificate/")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = list(runs.read(GOLDEN / name))
    assert len(found) == len(written)
    for certificate, line in zip(found, written, strict=True):
        again = json.loads(certificate.to_json())
        assert {field: again[field] for field in line} == line
        assert Certificate.from_json(certificate.to_json()) == certificate


def test_the_golden_file_of_the_first_version_has_its_results() -> None:
    """Labels, radii and abstentions are those that stand in it; what it does not say has its default."""
    found = list(runs.read(GOLDEN / "run-0.1.0.jsonl"))
    assert {one.image: one.label for one in found} == {
        "checks.png": "truck", "grey.png": None, "ramp.png": "cat", "sky.png": "airplane", "waves.png": None,
    }  # fmt: skip
    by_name = {one.image: one for one in found}
    assert by_name["ramp.png"].radius == 0.308302031962426
    assert 0 < by_name["sky.png"].radius_original != by_name["sky.png"].radius
    assert {(one.kind, one.threshold, one.looks, one.alpha_total, one.extra == {}) for one in found} == {
        ("label", None, 1, None, True)
    }


def test_presence_of_the_first_version_is_not_taken_for_a_top_label() -> None:
    """Its lines did not say of which kind they are, but their header does."""
    found = list(runs.read(GOLDEN / "presence-0.1.0.jsonl"))
    assert {one.kind for one in found} == {"present"}
    assert [one.claim for one in found[:2]] == ["Vehicle present", "Trailer Truck present"]


def test_the_file_from_the_future_is_understood_as_far_as_it_is_known() -> None:
    """Several radii, the item, epoch, prior and parent are read; a kind of line that is not known is passed over."""
    first, absent, top = runs.read(GOLDEN / "run-future.jsonl")
    assert [one["reached"] for one in first.radii] == [True, True, False]
    assert first.item is not None
    assert (first.item["id"], first.item["truth"]) == ("17", "cat")
    assert (first.epoch, first.prior, first.parent) == ("2031-w07", "ef" * 32, "cd" * 32)
    assert (first.looks, first.alpha_total, first.exploratory, first.space_original) == (
        3,
        0.002,
        True,
        (480, 640),
    )
    assert set(first.extra) == {"energy_joule", "witness", "extra"}
    assert absent.claim == "dog absent: not reported with 0.5 or more"
    assert top.claim == "cat top-3"


@pytest.mark.parametrize("name", ["run-0.1.0.jsonl", "run-future.jsonl"])
def test_a_golden_file_is_gone_on_with(name: str, tmp_path: Path) -> None:
    """A run with its settings finds what is decided in it, and appends; no byte of what was there changes."""
    path = tmp_path / "run.jsonl"
    shutil.copy(GOLDEN / name, path)
    first = next(runs.read(path))
    with runs.open(path, runs.header(path).settings) as run:
        assert run.find(first.image, first.image_sha256) == first
        run.append(CERTIFICATE)
    assert path.read_bytes() == (GOLDEN / name).read_bytes() + CERTIFICATE.to_json().encode() + b"\n"


def draw(folder: Path) -> None:
    """The images of the golden run."""
    y, x = np.mgrid[0:32, 0:32]
    tall, _ = np.mgrid[0:48, 0:40]
    images = {
        "waves": [128 + 70 * np.sin(6 * x / 32 + 3 * y / 32), 128 + 70 * np.cos(5 * y / 32),
                  128 + 70 * np.sin(4 * x * y / 1024)],
        "checks": [(x // 4 + y // 4) % 2 * 200, (x // 8) % 2 * 120, (y // 8) % 2 * 120],
        "grey": [np.full((32, 32), 128)] * 3,
        "ramp": [x * 8] * 3,
        "sky": [80 + tall * 3, 110 + tall * 3, 240 - tall],
    }  # fmt: skip
    for name, planes in images.items():
        Image.fromarray(np.stack(planes, 2).astype(np.uint8)).save(folder / f"{name}.png")


def test_the_command_resumes_a_run_of_the_first_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The settings of this version are those of its header, name by name, and the images it has are not asked again."""
    monkeypatch.chdir(tmp_path)
    draw(tmp_path)
    head, *rest = (GOLDEN / "run-0.1.0.jsonl").read_text().splitlines()
    arithmetic = _arithmetic()  # part of the model's name, and another on another machine
    Path("run.jsonl").write_text("\n".join([head.replace("/bf16/cpu", arithmetic), *rest[:-1], ""]))
    images = [json.loads(line)["image"] for line in rest]
    command = ["certify", *images, "--provider", "torchvision", "--model", "cifar10", "--device", "cpu"]
    assert main([*command, *["--seed", "5", "-n", "60", "--sigma", "0.25", "--output", "run.jsonl"]]) == 0
    assert "4 of 5 images are already in run.jsonl" in capsys.readouterr().err
    *_, last = runs.read("run.jsonl")
    assert last.image == images[-1]
    if arithmetic == "/bf16/cpu":
        then = json.loads(rest[-1])
        assert {**last.to_dict(), **then, "created": ""} == {**last.to_dict(), "created": ""}


def _arithmetic() -> str:
    from api_smoothing.adapters import load

    return load("torchvision", model="cifar10", device="cpu").card.fingerprint[len("cifar10@") + 64 :]
