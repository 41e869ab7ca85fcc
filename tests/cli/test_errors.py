from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api_smoothing.cli import main

PLUGIN = Path(__file__).parents[1] / "plugin"


def huge_png() -> bytes:
    """A PNG that says it is 20,000×20,000 and would decode to 1.2 GB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def truncated_jpeg() -> bytes:
    """The first half of a JPEG."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()[: len(file.getvalue()) // 2]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a good image and some bad ones; any query would fail loudly."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    folder = tmp_path / "project"
    (folder / "empty").mkdir(parents=True)
    monkeypatch.chdir(folder)
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save("good.png")
    Path("text.png").write_text("this is no image\n")
    Path("half.jpg").write_bytes(truncated_jpeg())
    Path("huge.png").write_bytes(huge_png())


CERTIFY = "certify good.png --provider toy --model fail=0 --denoiser none -n 100"
BAD = [
    ("certify missing.png -n 100", ["missing.png", "no such file"]),
    ("certify empty -n 100", ["empty", "no images"]),
    ("certify text.png -n 100 --provider toy --denoiser none", ["text.png"]),
    ("certify half.jpg -n 100 --provider toy --denoiser none", ["half.jpg"]),
    ("certify huge.png -n 100 --provider toy --denoiser none", ["huge.png", "pixel"]),
    ("certify good.png", ["--radius", "-n"]),
    ("certify -n 100", ["IMAGE"]),
    (f"{CERTIFY} --sigma 0", ["--sigma", "above 0"]),
    (f"{CERTIFY} --sigma nan", ["--sigma", "nan"]),
    (f"{CERTIFY} --sigma 0.25x", ["--sigma", "0.25x"]),
    (f"{CERTIFY} --alpha 0", ["--alpha", "above 0"]),
    (f"{CERTIFY} --alpha 1", ["--alpha", "'1'"]),
    (f"{CERTIFY} -n 0", ["-n", "from 1 on"]),
    (f"{CERTIFY} -n 1e3", ["-n", "whole number"]),
    (f"{CERTIFY} --n0 0 --method clopper-pearson", ["--n0"]),
    (f"{CERTIFY} --radius 0", ["--radius", "above 0"]),
    (f"{CERTIFY} --radius -1", ["--radius", "-1"]),
    (f"{CERTIFY} --budget-queries -1", ["--budget-queries", "-1"]),
    (f"{CERTIFY} --budget-usd -0.5", ["--budget-usd", "-0.5"]),
    (f"{CERTIFY} --seed x", ["--seed", "secret"]),
    (f"{CERTIFY} --size 0", ["--size"]),
    (f"{CERTIFY} --size 32x32x3", ["--size"]),
    (f"{CERTIFY} --method exact", ["--method", "sequential"]),
    (f"{CERTIFY} --noise pink", ["--noise", "gaussian"]),
    (f"{CERTIFY} --labels nothing", ["nothing", "cifar10"]),
    (f"{CERTIFY} --labels missing.toml", ["missing.toml"]),
    (f"{CERTIFY} --provider torchvison", ["torchvison", "torchvision"]),
    (f"{CERTIFY} --json --output run.jsonl", ["--json", "--output"]),
    (f"{CERTIFY} --output good.png", ["good.png", "no run file"]),
    (f"{CERTIFY} --output no/run.jsonl", ["no/run.jsonl"]),
    (f"{CERTIFY} --radius 0.5", ["0.5", "0.3"]),  # 100 unanimous answers reach 0.375
    ("certify good.png -n 100 --model resnet51 --denoiser none", ["resnet51", "resnet5"]),
    ("certify good.png -n 100 --model missing.pth --denoiser none", ["missing.pth"]),
    ("certify good.png -n 100 --denoiser cifar11-unet", ["cifar11-unet"]),
    ("certify good.png -n 100 --denoiser missing.safetensors", ["missing.safetensors"]),
    ("certify good.png -n 100 --sigma 2", ["sigma", "2"]),
    ("certify good.png -n 100 --device tpu9", ["tpu9", "cpu"]),
    ("certify good.png -n 100 --device meta", ["meta", "cpu"]),
    ("estimate -n 100", ["--count"]),
    ("estimate good.png --count 3 -n 100", ["--count"]),
    ("estimate --count 0 -n 100", ["--count"]),
    ("plan --sigma 0", ["--sigma"]),
    ("train", ["WHAT"]),
    ("train denoiser --recipe r --data nowhere --out out", ["nowhere"]),
    ("cache", ["action"]),
    ("cache wipe", ["wipe", "clear"]),
    ("denoisers --all", ["--all"]),
    ("certfy good.png", ["certfy", "certify"]),
    ("", ["COMMAND"]),
]


@pytest.mark.parametrize(("command", "says"), BAD, ids=[command for command, _ in BAD])
def test_bad_input_is_one_line_and_exit_2(
    command: str, says: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is wrong with the input: exit 2, one line that names it, nothing printed, nothing sent."""
    assert main(command.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("api-smooth: error: ")
    assert printed.err.count("\n") == 1
    assert len(printed.err) < 300
    for words in says:
        assert words in printed.err
