"""The denoiser room: registry, wrapping, the bundled network, and the suite third parties use."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

from api_smoothing import denoisers
from api_smoothing.denoisers.registry import PINNED, WEIGHTS, compute_type, describe
from api_smoothing.denoisers.suite import DenoiserSuite
from api_smoothing.denoisers.unet import UNet, UNetDenoiser, coefficients
from api_smoothing.errors import ConfigurationError, WeightsError


class TestBundled(DenoiserSuite):
    """The shipped U-Net, in the type "auto" chooses."""

    @pytest.fixture
    def denoiser(self) -> denoisers.Denoiser:
        return denoisers.load("unet-cifar10")


class TestBundledExact(DenoiserSuite):
    """The shipped U-Net in float32: rows agree to rounding."""

    tolerance = 1e-5

    @pytest.fixture
    def denoiser(self) -> denoisers.Denoiser:
        return denoisers.load("unet-cifar10", dtype="fp32")


class TestWrapped(DenoiserSuite):
    """A blur of a few lines becomes a denoiser in one."""

    @pytest.fixture
    def denoiser(self) -> denoisers.Denoiser:
        blur = nn.AvgPool2d(5, 1, 2, count_include_pad=False)
        return denoisers.wrap(lambda x, sigma: blur(x), id="blur@1", sigma_range=(0.1, 0.6), sizes=(32,))


def test_names_need_no_torch() -> None:
    """Listing denoisers imports neither torch nor numpy."""
    code = """
import sys
from api_smoothing.denoisers import names
print(names(), {"torch", "numpy"} & set(sys.modules))
"""
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert "unet-cifar10" in out.stdout
    assert out.stdout.rstrip().endswith("set()")


def test_every_bundled_file_is_pinned_and_small() -> None:
    """The weights folder holds exactly the pinned denoisers, each with its card, at most 10 MB each and 40 in all."""
    files = {file.stem: file for file in WEIGHTS.glob("*.safetensors")}
    assert set(files) == set(PINNED) == {card.stem for card in WEIGHTS.glob("*.json")}
    sizes = [file.stat().st_size for file in files.values()]
    assert max(sizes) <= 10e6
    assert sum(sizes) <= 40e6


def test_cards_tell_what_was_measured() -> None:
    """A card has PSNR at the four usual σ, what was certified within which cap, its training and the pinned sha256."""
    for name, digest in PINNED.items():
        card = denoisers.load(name).card
        assert (card.id, card.sha256) == (name, digest)
        assert {"0.12", "0.25", "0.5", "1"} <= set(card.quality)
        assert all(entry["psnr"] > 15 for entry in card.quality.values())
        assert card.training["phases"][0]["images_seen"] > 0
        figures = [
            entry for entry in card.quality.values() if any(key.startswith("certified_") for key in entry)
        ]
        assert figures
        for entry in figures:
            certified = {key.removeprefix("certified_") for key in entry if key.startswith("certified_")}
            assert {key.removeprefix("cap_") for key in entry if key.startswith("cap_")} == certified


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    """One flipped byte, a missing card, or a missing file is a WeightsError."""
    file = tmp_path / "mine.safetensors"
    with pytest.raises(WeightsError, match="no denoiser weights"):
        denoisers.load(file)
    shutil.copy(WEIGHTS / "unet-cifar10.safetensors", file)
    with pytest.raises(WeightsError, match="no card"):
        denoisers.load(file)
    shutil.copy(WEIGHTS / "unet-cifar10.json", file.with_suffix(".json"))
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(denoisers.load(str(file))(x, 0.25), denoisers.load("unet-cifar10")(x, 0.25))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(WeightsError, match="sha256"):
        denoisers.load(file)


def test_a_card_of_another_network_is_refused(tmp_path: Path) -> None:
    """A card whose architecture the weights do not fit, without a key, or with nonsense in it, is a WeightsError."""
    file = tmp_path / "mine.safetensors"
    shutil.copy(WEIGHTS / "unet-cifar10.safetensors", file)
    card = json.loads((WEIGHTS / "unet-cifar10.json").read_text())
    other = card | {"architecture": card["architecture"] | {"channels": [8, 8, 8]}}
    lacking = {k: v for k, v in card.items() if k != "sigma_range"}
    for broken in (other, lacking, card | {"sigma_range": [1.0, 0.05]}, [], 3):
        file.with_suffix(".json").write_text(json.dumps(broken))
        with pytest.raises(WeightsError):
            denoisers.load(file)


def test_unknown_names_and_types_are_refused() -> None:
    """An unknown denoiser or dtype is a ConfigurationError that lists the choices."""
    with pytest.raises(ConfigurationError, match="unet-cifar10"):
        denoisers.load("no-such-denoiser")
    with pytest.raises(ConfigurationError, match="bf16"):
        denoisers.load("unet-cifar10", dtype="int4")


def test_auto_is_a_type_the_processor_has() -> None:
    """ "auto" is bf16 exactly where the processor multiplies bfloat16 natively, and is told by `compute`."""
    chosen = compute_type("cpu", "auto")
    assert chosen in {"bf16", "fp32"}
    assert denoisers.load("unet-cifar10").compute == chosen
    assert denoisers.load("unet-cifar10", dtype="fp32").compute == "fp32"


def test_short_types_stay_close() -> None:
    """bfloat16 convolutions move the estimate by little: 40 dB below the signal range."""
    x = torch.rand(4, 3, 32, 32) + 0.25 * torch.randn(
        4, 3, 32, 32, generator=torch.Generator().manual_seed(0)
    )
    exact, short = (denoisers.load("unet-cifar10", dtype=t)(x, 0.25) for t in ("fp32", "bf16"))
    assert float((exact - short).square().mean()) < 1e-4


def test_preconditioning_has_unit_scales() -> None:
    """c_in gives unit variance, and c_skip²(σ² + σ_d²) + c_out² is the data's (Karras et al. 2022, appendix B.6)."""
    sigma = torch.tensor([0.05, 0.25, 1.0])
    skip, out, into = (c.flatten() for c in coefficients(sigma))
    total = sigma**2 + 0.25**2
    torch.testing.assert_close(into**2 * total, torch.ones(3))
    torch.testing.assert_close(skip**2 * total + out**2, torch.full((3,), 0.25**2))


def test_sides_must_fit_the_network() -> None:
    """A denoiser of fixed sides refuses one that is no multiple of the card's before the network sees it."""
    denoiser = denoisers.load("unet-cifar10")
    assert denoiser(torch.rand(1, 3, 64, 48), 0.25).shape == (1, 3, 64, 48)
    with pytest.raises(ConfigurationError, match="multiples"):
        denoiser(torch.rand(1, 3, 33, 32), 0.25)


def test_wrapping_names_the_parameters() -> None:
    """Two wrapped networks share a sha256 exactly when their parameters are equal."""

    class Scale(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = nn.Parameter(torch.tensor(value))

        def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
            return x * self.value

    first, same, other = (
        denoisers.wrap(Scale(v), id="scale", sigma_range=(0.1, 1.0)).card.sha256 for v in (1.0, 1.0, 0.5)
    )
    assert first == same != other


def test_wrapping_refuses_another_shape() -> None:
    """A function that changes the shape is no denoiser."""
    half = denoisers.wrap(lambda x, sigma: F.avg_pool2d(x, 2), id="half", sigma_range=(0.1, 1.0))
    with pytest.raises(ConfigurationError, match="keeps the shape"):
        half(torch.rand(1, 3, 8, 8), 0.2)


def test_rows_are_exact_at_a_fixed_batch() -> None:
    """At one batch shape, the bits of a row depend neither on its place nor on the other rows."""
    denoiser = denoisers.load("unet-cifar10")
    draw = torch.Generator().manual_seed(5)
    x, other = torch.rand(64, 3, 32, 32, generator=draw), torch.rand(64, 3, 32, 32, generator=draw)
    y = denoiser(x, 0.25)
    for place in (0, 17, 63):
        mixed = other.clone()
        mixed[place] = x[5]
        assert torch.equal(denoiser(mixed, 0.25)[place], y[5])


def test_the_suite_catches_leaks_between_rows() -> None:
    """A network that normalises over the batch, or writes to its input, fails the suite."""
    suite = DenoiserSuite()
    mean = denoisers.wrap(lambda x, s: x - x.mean(0) + 0.5, id="leaky", sigma_range=(0.1, 1.0), sizes=(16,))
    with pytest.raises(AssertionError):
        suite.test_rows_do_not_see_each_other(mean)

    class Writes(UNetDenoiser):
        def __call__(self, x: Tensor, sigma: float | Tensor, /) -> Tensor:
            return x.mul_(0.9)

    card = dataclasses.replace(mean.card, multiple=4)
    with pytest.raises(AssertionError):
        suite.test_leaves_its_input_alone(Writes(UNet((8, 8), (1, 1)), card))


def test_the_bundled_network_denoises_photographs(shared: Path) -> None:
    """On 100 test images at σ = 0.25 the PSNR is within 0.5 dB of the card's."""
    from api_smoothing.training.data import load_images

    clean = load_images(shared / "data" / "cifar10", "test").floats(slice(500, 600))
    noisy = clean + 0.25 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    denoiser = denoisers.load("unet-cifar10")
    error = (denoiser(noisy, 0.25).clamp(0, 1) - clean).square().mean((1, 2, 3))
    assert float(-10 * error.log10().mean()) == pytest.approx(denoiser.card.quality["0.25"]["psnr"], abs=0.5)


def test_a_card_is_read_without_the_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`describe` gives the card that `load` gives, imports no torch, and refuses the files that `load` refuses."""
    for name in PINNED:
        assert describe(f"{name}?method=vote") == describe(name) == denoisers.load(name).card
    code = """
import sys
from api_smoothing.denoisers.registry import describe
print(describe("unet-natural").id, "torch" in sys.modules)
"""
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert out.stdout == "unet-natural False\n"
    file = tmp_path / "mine.safetensors"
    for write in (
        lambda: None,
        lambda: file.write_bytes(b"x"),
        lambda: file.with_suffix(".json").write_text("{}"),
    ):
        write()
        with pytest.raises(WeightsError) as seen:
            describe(file)
        with pytest.raises(WeightsError, match=re.escape(str(seen.value))):
            denoisers.load(file)
    for other in ("no-such-denoiser", "best.pth?sigma=0.25", "diffusers:folder"):
        assert describe(other) is None


def test_no_module_imports_one_that_imports_it() -> None:
    """In this room imports, deferred ones too, go one way."""
    room = Path(denoisers.__file__).parent
    arrows = {
        file.stem: {
            name.removeprefix("api_smoothing.denoisers.")
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("api_smoothing.denoisers")
            for name in (
                [f"{node.module}.{alias.name}" for alias in node.names]
                if node.module == "api_smoothing.denoisers"
                else [node.module or ""]
            )
        }
        for file in room.glob("*.py")
    }
    while floor := {name for name, above in arrows.items() if not above & set(arrows)}:
        arrows = {name: above for name, above in arrows.items() if name not in floor}
    assert arrows == {}


@pytest.mark.parametrize(
    "edit",
    [
        {"sigma_range": None},
        {"sigma_range": [0.1, float("inf")]},
        {"sigma_range": [float("nan"), 1.0]},
        {"sigma_range": "01"},
        {"sigma_range": [1.0, 0.1]},
        {"sizes": 32},
        {"sizes": ["32"]},
        {"multiple": 0},
        {"multiple": 1e400},
        {"id": ["x"]},
        {"classes": [1]},
        {"quality": []},
        {"quality": {"0.25": 3}},
        {"quality": {"0.25": {"psnr": "high"}}},
        {"quality": {"much": {"psnr": 3}}},
        {"training": "long"},
        {"architecture": ["unet"]},
        {"architecture": {"kind": ["unet"]}},
        {"architecture": {"kind": "unet", "channels": [-4, 8], "blocks": [1, 1], "width": 8}},
        {"architecture": {"kind": "unet", "channels": [], "blocks": [], "width": 8}},
        {"architecture": {"kind": "unet", "channels": [16, 16], "blocks": [1, 1], "width": 0}},
        {"architecture": {"kind": "memnet", "channels": [16, 16]}},
    ],
)
def test_an_edited_card_is_one_line(tmp_path: Path, edit: dict[str, object]) -> None:
    """Whatever stands there, loading says in one line that the card is not as it was."""
    file = tmp_path / "own.safetensors"
    shutil.copy(WEIGHTS / "unet-cifar10.safetensors", file)
    card = json.loads((WEIGHTS / "unet-cifar10.json").read_text())
    file.with_suffix(".json").write_text(json.dumps(card | edit))
    with pytest.raises(WeightsError, match=r"card|is a memnet|unet") as told:
        denoisers.load(file, dtype="fp32")
    assert "\n" not in str(told.value)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    """With a right digest too: their answers would be one colour, and certified."""
    file = tmp_path / "own.safetensors"
    state = load_file(WEIGHTS / "unet-cifar10.safetensors")
    state["out.bias"][3] = torch.nan
    file.write_bytes(save(state))
    card = json.loads((WEIGHTS / "unet-cifar10.json").read_text())
    file.with_suffix(".json").write_text(
        json.dumps(card | {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()})
    )
    with pytest.raises(WeightsError, match=r"out\.bias is not finite"):
        denoisers.load(file)


def test_a_broken_plugin_is_named_and_breaks_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that cannot be imported, one that fails, one that makes nothing: each is told by its name alone."""
    (tmp_path / "broken-1.dist-info").mkdir()
    (tmp_path / "broken-1.dist-info" / "METADATA").write_text("Name: broken\nVersion: 1\n")
    (tmp_path / "broken-1.dist-info" / "entry_points.txt").write_text(
        "[api_smoothing.denoisers]\ngone=no_such_module:make\nfails=failing_plugin:make\nnothing=failing_plugin:none\n"
    )
    (tmp_path / "failing_plugin.py").write_text(
        "def make(**given):\n    raise OSError('no weights\\nhere')\ndef none(**given):\n    return None\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert {"gone", "fails", "nothing", "unet-cifar10"} <= set(denoisers.names())
    for name, why in (("gone", "no_such_module"), ("fails", "no weights here"), ("nothing", "NoneType|None")):
        with pytest.raises(ConfigurationError, match=why) as told:
            denoisers.load(name)
        assert name in str(told.value)
        assert "\n" not in str(told.value)
    assert denoisers.load("unet-cifar10").card.id == "unet-cifar10"
