"""`api-smooth purify`: every method writes the image it says it wrote, and every wrong flag is one line."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from api_smoothing.cli import main
from api_smoothing.purification import vote

METHODS = {
    "oneshot": "",
    "multistep": "--method multistep --steps 2 --eta 0.5",
    "vote": "--method vote --steps 2 --paths 3",
    "guided": "--method guided --steps 2 --guidance 20 --weight 0.5 --distance ssim",
}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a smooth 32×32 picture, and a 40×32 one."""
    monkeypatch.chdir(tmp_path)
    y, x = np.mgrid[0:40, 0:32] / 32
    waves = [np.sin(6 * x + 3 * y), np.cos(5 * y), np.sin(4 * x * y)]
    picture = (np.stack(waves, 2) * 70 + 128).astype(np.uint8)
    Image.fromarray(picture[:32]).save("wave.png")
    Image.fromarray(picture).save("tall.png")
    return tmp_path


def purify(line: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The facts that `purify wave.png LINE --json` prints."""
    assert main(["purify", "wave.png", "--json", *line.split()]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("method", METHODS)
def test_a_method_writes_what_it_reports(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The PNG has the image's size and the PSNR to it that is printed; the facts name method and denoiser."""
    facts = purify(f"{METHODS[method]} --sigma 0.2 --seed 3 --output out.png", capsys)
    a, b = (np.asarray(Image.open(name), dtype=float) / 255 for name in ("wave.png", "out.png"))
    assert a.shape == b.shape == (32, 32, 3)
    assert facts["psnr"] == pytest.approx(-10 * math.log10(float(np.square(a - b).mean())), abs=0.01)
    assert facts["psnr"] > 20  # the noisy image has 14 dB
    assert (facts["method"], facts["sigma"], facts["seed"]) == (method, 0.2, "public:3")
    assert facts["denoiser"].startswith("unet-cifar10@")
    assert facts["seconds"] > 0
    assert sum(facts.get("votes", {}).values()) == (3 if method == "vote" else 0)


@pytest.mark.parametrize("method", ["oneshot", "multistep"])
def test_a_seed_repeats_the_pixels(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same seed gives the same file, another seed another; the secret seed repeats itself as well."""
    seen = {}
    for name, seed in (("a", "--seed 1"), ("b", "--seed 1"), ("c", "--seed 2"), ("d", ""), ("e", "")):
        purify(f"{METHODS[method]} {seed} --output {name}.png", capsys)
        seen[name] = Path(f"{name}.png").read_bytes()
    assert seen["a"] == seen["b"]
    assert seen["d"] == seen["e"]
    assert len({seen["a"], seen["c"], seen["d"]}) == 3


@pytest.mark.parametrize("words", ["multistep&steps=2", "vote&steps=2&paths=2", "guided&steps=2"])
def test_a_denoiser_named_with_a_method_is_asked_once(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With oneshot, a denoiser that is itself a method is used as it is, and nothing votes."""
    facts = purify(f"--denoiser unet-cifar10?method={words} --sigma 0.2 --seed 3", capsys)
    assert facts["method"] == "oneshot"
    assert facts["psnr"] > 20
    assert "votes" not in facts


def test_guidance_keeps_the_image(capsys: pytest.CaptureFixture[str]) -> None:
    """A greater s gives a purified image nearer to the input."""
    decibels = [
        purify(f"--method guided --steps 4 --guidance {s} --seed 1", capsys)["psnr"] for s in (0, 30, 300)
    ]
    assert decibels == sorted(decibels)
    assert decibels[-1] > decibels[0] + 1


def test_the_vote_keeps_the_middle_path_of_the_majority() -> None:
    """Paths of other labels are left out, however near the mean of all they lie."""
    ends = torch.tensor([0.1, 0.2, 0.3, 0.9, 0.8])[:, None, None, None, None].expand(5, 1, 3, 2, 2)

    def classify(images: Tensor) -> Tensor:
        bright = images.mean((1, 2, 3)) > 0.25
        return torch.stack((~bright, bright), 1).float()

    chosen, votes = vote(ends, classify)  # type: ignore[arg-type]
    assert votes == {"1": 3, "0": 2}
    assert torch.equal(chosen, torch.full((1, 3, 2, 2), 0.8))


def test_people_get_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json the file, the method, the PSNR, the seconds and the votes are told in words."""
    assert (
        main(["purify", "wave.png", "--method", "vote", "--steps", "2", "--paths", "2", "--seed", "1"]) == 0
    )
    told = capsys.readouterr().out
    assert Path("wave-purified.png").is_file()
    for word in (
        "wave.png → wave-purified.png (32×32)",
        "vote at sigma 0.25",
        "dB PSNR",
        " s\n",
        "votes of cifar10",
    ):
        assert word in told


def test_an_image_is_brought_to_size_only_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    """Where no denoiser fits the image's own size, the error says so; --size brings it to one that does."""
    assert main(["purify", "tall.png", "--denoiser", "unet-cifar10"]) == 2
    assert "--size 32" in capsys.readouterr().err
    assert main(["purify", "tall.png", "--size", "32", "--seed", "1", "--output", "small.png"]) == 0
    assert Image.open("small.png").size == (32, 32)


@pytest.mark.parametrize(("name", "method"), [("auto", ""), ("auto?method=ensemble&views=2", "+ensemble2")])
def test_auto_goes_by_both_sides(name: str, method: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What fits the image is taken, with a method as well: CIFAR-10's for 32×32, the photographs' for 32×48."""
    Image.open("tall.png").resize((48, 32)).save("wide.png")
    assert purify(f"--denoiser {name} --seed 1", capsys)["denoiser"].startswith(f"unet-cifar10{method}@")
    assert main(["purify", "wide.png", "--json", "--denoiser", name, "--seed", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["denoiser"].startswith(f"unet-natural{method}@")


def test_a_photograph_of_any_size_is_purified_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """No side need be a multiple of what the network takes: the PNG has the image's own size."""
    Image.open("tall.png").resize((45, 30)).save("odd.png")
    for denoiser in ("auto", "unet-natural-mse", "auto?method=ensemble&views=8"):
        line = ["purify", "odd.png", "--json", "--denoiser", denoiser, "--seed", "1", "--output", "out.png"]
        assert main(line) == 0
        facts = json.loads(capsys.readouterr().out)
        assert (facts["height"], facts["width"]) == (30, 45)
        assert facts["denoiser"].startswith("unet-natural")
        assert facts["psnr"] > 18
        assert Image.open("out.png").size == (45, 30)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("missing.png", ["missing.png", "no such file"]),
        (".", ["folder", "one image"]),
        ("wave.png --output out.jpg", ["out.jpg", ".png"]),
        ("wave.png --output wave.png", ["the image itself"]),
        ("wave.png --output no/out.png", ["no such folder"]),
        ("wave.png --denoiser none", ["needs a denoiser"]),
        ("wave.png --denoiser nobody", ["nobody", "unet-cifar10"]),
        ("wave.png --sigma 0", ["--sigma", "above 0"]),
        ("wave.png --sigma 5", ["sigma 5", "unet-cifar10"]),
        ("wave.png --denoiser unet-cifar10 --sigma 5", ["sigma 5 is outside", "[0.05, 1]"]),
        ("wave.png --paths 3", ["--paths", "--method vote", "not oneshot"]),
        ("wave.png --method multistep --steps 0", ["steps", "from 1 to 1,000"]),
        ("wave.png --method multistep --steps many", ["--steps", "many"]),
        ("wave.png --method multistep --eta 2", ["eta", "from 0 to 1"]),
        ("wave.png --method vote --eta 0", ["chance"]),
        ("wave.png --method vote --surrogate ./nobody", ["nobody", "name another"]),
        ("wave.png --method guided --guidance -1", ["guidance", "from 0 on"]),
        ("wave.png --method guided --distance lpips", ["--distance", "mse"]),
        ("wave.png --method magic", ["--method", "oneshot"]),
    ],
)
def test_what_cannot_be_is_one_line(line: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong flag or file exits with 2 and one line that names it, and writes nothing."""
    before = sorted(Path().iterdir())
    assert main(["purify", *line.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("api-smooth: error: ")
    assert error.count("\n") == 1
    assert all(word in error for word in words), error
    assert [file for file in sorted(Path().iterdir()) if file.suffix == ".png"] == [
        file for file in before if file.suffix == ".png"
    ]


def test_a_wrong_flag_is_refused_before_anything_is_loaded() -> None:
    """Help and refused flags import neither torch nor numpy."""
    code = """
import sys
from api_smoothing.cli import main
print(main(["purify", "--help"]), main(["purify", "x.png", "--paths", "2"]), {"torch", "numpy"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("0 2 set()")
