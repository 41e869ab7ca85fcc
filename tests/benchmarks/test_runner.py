"""`python -m benchmarks`: its rows, its table and JSON, and the images it reads."""

from __future__ import annotations

import ast
import json
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import norm

from api_smoothing.errors import ConfigurationError
from api_smoothing.sandbox import Request

ROOT = Path(__file__).parents[2]
NAMES = ("rows", "processes", "pictures", "networks", "growth", "quota", "decisions")


@pytest.fixture(scope="module")
def bench() -> Iterator[SimpleNamespace]:
    """The modules of the measurements."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield SimpleNamespace(**{name: import_module(name) for name in NAMES})
    for name in NAMES:
        sys.modules.pop(name)


def runner(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *words], cwd=ROOT, capture_output=True, text=True, timeout=300
    )


def python2_batch(images: np.ndarray, labels: list[int]) -> bytes:
    """A batch as CIFAR-10's archive has it: a pickle that Python 2 wrote."""

    def text(raw: bytes) -> bytes:
        return b"U" + bytes([len(raw)]) + raw

    raw = images.transpose(0, 3, 1, 2).tobytes()
    count = struct.pack("<H", len(images))
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85q\t" + text(b"b") + b"\x87Rq\x0b("
        b"K\x01M" + count + b"M\x00\x0c\x86cnumpy\ndtype\nq\x0c" + text(b"u1") + b"K\x00K\x01\x87R(K\x03"
        + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<I", len(raw)) + raw + b"tb"
    )  # fmt: skip
    names = b"".join(text(b"cat_s_%06d.png" % number) for number in labels)
    return (
        b"\x80\x02}q\x01(" + text(b"batch_label") + b"q\x02" + text(b"testing batch 1 of 1") + b"q\x03"
        + text(b"labels") + b"q\x04]q\x05(" + b"".join(b"K" + bytes([k]) for k in labels) + b"e"
        + text(b"data") + b"q\x06" + array + text(b"filenames") + b"q\x0e]q\x0f(" + names + b"eu."
    )  # fmt: skip


IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


def test_cifar10s_python_batches_are_read_without_unpickling(bench: SimpleNamespace, tmp_path: Path) -> None:
    """Pixels and labels are those that unpickling gives; --data may be the folder above."""
    whole = python2_batch(IMAGES, [3, 8, 0])
    unpickled = pickle.loads(whole, encoding="latin1")
    (tmp_path / "cifar-10-batches-py").mkdir()
    file = tmp_path / "cifar-10-batches-py" / "test_batch"
    file.write_bytes(whole)
    images, labels = bench.pictures.python_batch(file)
    assert (images.transpose(0, 3, 1, 2).reshape(3, -1) == unpickled["data"]).all()
    assert labels.tolist() == unpickled["labels"] == [3, 8, 0]
    found, what = bench.pictures.pictures(tmp_path, 2)
    assert what == "CIFAR-10 test images"
    assert (np.stack(found) == IMAGES[:2]).all()


class Touch:
    """What does harm when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("kind", ["pickle", "cut off", "text", "too few labels"])
def test_whatever_else_is_refused_and_does_nothing(bench: SimpleNamespace, tmp_path: Path, kind: str) -> None:
    """No file that is not such a batch is read, and none is executed."""
    harm, file = tmp_path / "harm", tmp_path / "test_batch"
    whole = python2_batch(IMAGES, [3, 8, 0])
    file.write_bytes(
        {
            "pickle": pickle.dumps({"labels": [1], "data": Touch(harm)}),
            "cut off": whole[:-2000],
            "text": b"no pickle",
            "too few labels": python2_batch(IMAGES, [3, 8]),
        }[kind]
    )
    with pytest.raises(ConfigurationError, match="none of CIFAR-10's batches"):
        bench.pictures.pictures(tmp_path, 2)
    assert not harm.exists()


def test_images_come_from_the_binary_version_a_folder_or_are_made(
    bench: SimpleNamespace, tmp_path: Path
) -> None:
    """The binary archive, an ImageFolder, an empty folder, none."""
    binary, folder = tmp_path / "cifar-10-batches-bin", tmp_path / "folder" / "cat"
    binary.mkdir()
    records = [bytes([3]) + image.transpose(2, 0, 1).tobytes() for image in IMAGES]
    (binary / "test_batch.bin").write_bytes(b"".join(records))
    assert (np.stack(bench.pictures.pictures(tmp_path, 9)[0]) == IMAGES).all()
    folder.mkdir(parents=True)
    Image.fromarray(IMAGES[1]).save(folder / "a.png")
    assert (bench.pictures.pictures(folder.parent, 9)[0][0] == IMAGES[1]).all()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="--data"):
        bench.pictures.pictures(tmp_path / "empty", 1)
    made, _ = bench.pictures.pictures(None, 3)
    assert len({picture.tobytes() for picture in made}) == 3
    assert (made[0] == bench.pictures.pictures(None, 1)[0][0]).all()


def test_every_name_is_a_module_with_rows() -> None:
    """--list tells each name with what it answers, and each has rows."""
    listed = dict(line.split(maxsplit=1) for line in runner("--list").stdout.splitlines())
    assert {"scheduler", "decisions", "quota", "growth"} <= set(listed)
    for name in listed:
        tree = ast.parse((ROOT / "benchmarks" / f"{name}.py").read_text())
        assert "rows" in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name
    assert runner("nosuch").returncode == 2


def test_a_row_is_an_object_a_line(tmp_path: Path) -> None:
    """Figure, limit and whether it is kept; what was not run says why, and is no failure."""
    (tmp_path / "sigma0.25.csv").write_text("image,label,predict,radius,vote_share\n0,1,1,0.5,0.999\n")
    done = runner("replay", "--quick", "--json", "--replay", str(tmp_path))
    (row,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert row["met"] is (row["figure"] <= row["limit"])
    assert done.returncode == (0 if row["met"] else 1)
    left_out = runner("replay", "--quick")
    assert left_out.returncode == 0
    assert "not run" in left_out.stdout
    assert "needs --replay DIR" in left_out.stdout


def test_a_measurement_that_fails_is_a_limit_not_kept(tmp_path: Path) -> None:
    """The others go on, and the exit code tells."""
    (tmp_path / "log.csv").write_text("image,label,predict,radius,vote_share\n")
    done = runner("replay", "replay", "--replay", str(tmp_path))
    assert done.returncode == 1
    assert done.stdout.count("replay: exit code") == 2


def test_the_table_tells_what_is_kept(bench: SimpleNamespace) -> None:
    """≥ and ≤, with and without a limit, measured or not."""
    row = bench.rows.Row
    told = {
        row(name="a", figure=0.9, than="≥", limit=0.9): "yes",
        row(name="b", figure=0.89, than="≥", limit=0.9): "NO",
        row(name="c", figure=1.05, limit=1.05): "yes",
        row(name="d", figure=2.0): "–",
        row(name="e", figure=None, limit=1.0): "not run",
    }
    lines = bench.rows.table(list(told)).splitlines()[1:]
    assert [line.split("  ")[-1].strip() for line in lines] == list(told.values())


def test_the_share_of_a_quota_is_between_the_first_and_the_last_request(bench: SimpleNamespace) -> None:
    """A request every tenth of a second uses a quota of ten a second to the full."""
    log = [
        Request(at=5 + k / 10, operation="", images=1, billed=1, fault=None, status="200") for k in range(21)
    ]
    assert bench.quota.used(log, 10) == pytest.approx(1.0)
    assert bench.quota.used(log[::2], 10) == pytest.approx(0.5)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_law(bench: SimpleNamespace, power: float) -> None:
    """Its own, with a constant that counts only at small sizes."""
    sizes = (100, 1_000, 10_000, 30_000, 100_000)
    assert bench.growth.exponent(sizes, [7.0 * size**power for size in sizes]) == pytest.approx(power)
    assert bench.growth.exponent((1, *sizes), [1.0, *sizes]) == pytest.approx(1.0)


def test_the_loop_of_2019_certifies_as_its_paper_does(bench: SimpleNamespace) -> None:
    """All of n answers alike give σ·Φ⁻¹(α^(1/n)); a tie abstains; n0 + n copies are asked, of standard deviation σ."""
    seen = []

    def same(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return torch.full((len(x),), 3)

    loop = bench.decisions.Loop(same, 10, sigma=0.25, alpha=0.001)
    label, radius = loop.certify(torch.full((3, 8, 8), 0.5), n0=100, n=1_000)
    assert label == 3
    assert radius == pytest.approx(0.25 * norm.ppf(0.001 ** (1 / 1_000)))
    copies = torch.cat(seen)
    assert len(copies) == 1_100
    assert float(copies.std()) == pytest.approx(0.25, rel=0.02)
    turns = bench.decisions.Loop(lambda x: torch.arange(len(x)) % 2, 10, sigma=0.25, alpha=0.001)
    assert turns.certify(torch.zeros(3, 8, 8), n0=100, n=1_000) == (None, 0.0)


@pytest.mark.slow
def test_a_quota_is_measured_at_the_servers_door(bench: SimpleNamespace) -> None:
    """Two images, undisturbed and killed once: all are certified, and nothing is paid twice."""
    pytest.importorskip("boto3")
    found = bench.quota.undisturbed(2, 0.02, quota=200)
    assert found["done"] == 2
    assert 0 < found["used"] <= 1.05
    found = bench.quota.killed(4, 0.02, quota=200)
    assert found["done"] == 4
    assert found["twice"] == 0
