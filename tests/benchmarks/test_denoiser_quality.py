"""The benchmark that writes a card's figures."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from training_files import write_cifar

from api_smoothing import denoisers
from api_smoothing.denoisers.unet import UNet
from api_smoothing.errors import ConfigurationError
from api_smoothing.training.cards import write_weights


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """The script `benchmarks/denoiser_quality.py`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        yield importlib.import_module("denoiser_quality")


def small_denoiser(folder: Path) -> Path:
    """An untrained U-Net for 32×32 images and σ from 0.2 to 0.6, with its card."""
    net = UNet((16, 16), (1, 1), width=16)
    card = {
        "id": "small",
        "architecture": {"kind": "unet", "channels": [16, 16], "blocks": [1, 1], "width": 16},
        "sigma_range": [0.2, 0.6],
        "sizes": [32],
        "multiple": 4,
        "quality": {"0.5": {"psnr": 1.0}, "0.25": {"psnr": 1.0, "certified_resnet56_at_0.25": 0.4}},
        "training": {"seed": 7},
    }
    return write_weights(
        folder / "small.safetensors", {k: v.half() for k, v in net.state_dict().items()}, card
    )


def test_the_card_gets_its_table_and_keeps_the_rest(
    tmp_path: Path, bench: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--write replaces the speed and the figures that were measured; weights, sha256 and all else stay."""
    (tmp_path / "cifar10").mkdir()
    write_cifar(tmp_path / "cifar10", 0)
    file = small_denoiser(tmp_path)
    before, data = json.loads(file.with_suffix(".json").read_text()), file.read_bytes()
    line = f"x --denoiser {file} --data {tmp_path} --levels 0.12,0.25 --rounds 1 --write"
    monkeypatch.setattr("sys.argv", line.split())
    assert bench.main() == 0
    after = json.loads(file.with_suffix(".json").read_text())
    assert file.read_bytes() == data
    assert {"psnr", "ssim", "accuracy_cifar10"} <= set(after["quality"]["0.25"])
    assert after["quality"]["0.5"] == before["quality"]["0.5"]
    assert after["quality"]["0.25"]["certified_resnet56_at_0.25"] == 0.4
    assert after["speed"]["side"] == 32
    for facts in (before, after):
        facts.pop("quality")
        facts.pop("speed", None)
    assert before == after
    assert denoisers.load(file).card.quality["0.25"]["psnr"] > 5
    told = capsys.readouterr().out
    assert "cifar10/test 500-999" in told
    assert "times DnCNN" in told


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--denoiser unet-cifar10 --data . --write", "needs the path"),
        ("--denoiser unet-cifar10 --data . --levels 0.3", "no σ 0.3"),
        ("--denoiser unet-cifar10 --data .", "cifar10"),
        ("--denoiser nobody --data .", "nobody"),
    ],
)
def test_a_slip_is_one_line(
    line: str,
    words: str,
    tmp_path: Path,
    bench: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A bundled card is not written to by name; unknown σ, missing data and unknown names are one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["x", *line.split()])
    assert bench.main() == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_levels_are_those_the_card_serves(tmp_path: Path, bench: ModuleType) -> None:
    """Of the table's σ only those in the card's range are measured; none at all is an error."""
    denoiser = denoisers.load(small_denoiser(tmp_path))
    assert bench.levels_in(denoiser, [0.12, 0.25, 0.5, 1.0]) == [0.25, 0.5]
    with pytest.raises(ConfigurationError, match="none of these"):
        bench.levels_in(denoiser, [0.12, 1.0])
