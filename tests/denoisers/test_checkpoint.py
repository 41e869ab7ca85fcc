"""DnCNN and MemNet: the papers' sizes, the published layouts of their checkpoints, and what is refused."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from api_smoothing import SmoothedAPI, denoisers
from api_smoothing.cli import main
from api_smoothing.denoisers.base import DenoiserCard
from api_smoothing.denoisers.dncnn import DnCNN
from api_smoothing.denoisers.memnet import MemNet
from api_smoothing.denoisers.noise_blind import BlindDenoiser
from api_smoothing.denoisers.suite import DenoiserSuite
from api_smoothing.errors import ConfigurationError, WeightsError

State = dict[str, Tensor]
ONE = (0.25, 0.25)


def noisy(count: int = 3, side: int = 12) -> Tensor:
    draw = torch.Generator().manual_seed(5)
    return torch.rand((count, 3, side, side), generator=draw) + 0.25 * torch.randn(
        (count, 3, side, side), generator=draw
    )


def chain(
    *,
    depth: int = 4,
    channels: int = 8,
    bias: tuple[bool, bool, bool] = (True, False, False),
    norm: bool = True,
) -> nn.Sequential:
    """A DnCNN as others write it, with random weights and statistics; `bias` of the first, inner, last layer."""
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1, bias=bias[0]), nn.ReLU()]
    for _ in range(depth - 2):
        layers.append(nn.Conv2d(channels, channels, 3, padding=1, bias=bias[1]))
        if norm:
            layers.append(nn.BatchNorm2d(channels, eps=1e-4 if bias[0] else 1e-5))
        layers.append(nn.ReLU())
    layers.append(nn.Conv2d(channels, 3, 3, padding=1, bias=bias[2]))
    return _shaken(nn.Sequential(*layers))


def _shaken(net: Any) -> Any:
    draw = torch.Generator().manual_seed(3)
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            random = torch.randn(value.shape, generator=draw) * 0.3
            value.copy_(random.square() + 0.1 if name.endswith(("running_var", "bn.weight")) else random)
    return net.eval()


def under(head: str, state: Mapping[str, Tensor]) -> State:
    return {head + name: value for name, value in state.items()}


def loaded(file: Path, content: object, **said: Any) -> Any:
    """What `load` makes of `content`, saved as `file`, in float32."""
    if file.suffix == ".safetensors":
        save_file({k: v.contiguous() for k, v in content.items()}, file)  # type: ignore[attr-defined]
    else:
        torch.save(content, file)
    return denoisers.load(file, dtype="fp32", **{"sigma_range": ONE, **said})


# --- the networks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net", "count"),
    [
        # 17 layers of 64, trained: 3·64·9 + 64, then 15 × (64·64·9 + 2·64), then 64·3·9
        (DnCNN(64, 17), 1_792 + 15 * 36_992 + 1_728),
        (DnCNN(128, 17), 3_584 + 15 * 147_712 + 3_456),
        # normalisations folded into biases: 15 × (64·64·9 + 64), 64·3·9 + 3
        (DnCNN(64, 17, norm=False), 1_792 + 15 * 36_928 + 1_731),
        # the published blind colour network of 20 layers: 668,227 numbers, 2.7 MB
        (DnCNN(64, 20, norm=False), 668_227),
        # in and out: 2·3 + 3·64·9 and 2·64 + 64·3·9; units: 2 × (2·64 + 64·64·9); gates: of 7, 8 and 9 times 64
        (MemNet(64, 3, 6), 1_734 + 1_856 + 18 * 73_984 + sum(n * 64 * (2 + 64) for n in (7, 8, 9))),
    ],
)
def test_networks_have_the_published_number_of_parameters(net: nn.Module, count: int) -> None:
    """The parameters of each published size, counted by hand, are those of the network."""
    assert sum(p.numel() for p in net.parameters()) == count


@pytest.mark.parametrize(
    ("net", "side"),
    [(DnCNN(4, 17), 35), (DnCNN(4, 20, norm=False), 41), (MemNet(4, 3, 6), 77), (MemNet(4, 1, 2), 13)],
)
def test_a_pixel_sees_the_published_neighbourhood(net: nn.Module, side: int) -> None:
    """The estimate at a pixel depends on the square of that side about it, to its corners, and on nothing beyond."""
    for name, p in net.named_parameters():
        nn.init.constant_(p, 0.08 if p.ndim == 4 else float(name.endswith("weight")))
    x = torch.full((1, 3, 91, 91), 0.5, requires_grad=True)
    net.eval()(x)[0, 1, 45, 45].backward()
    assert x.grad is not None
    seen = x.grad[0].abs().sum(0) > 0
    inside = slice(45 - side // 2, 46 + side // 2)
    assert bool(seen[inside, inside].all())
    assert int(seen.sum()) == side**2


@pytest.mark.parametrize("net", [DnCNN(8, 5), DnCNN(8, 5, norm=False), MemNet(8, 2, 1)])
def test_fresh_networks_change_nothing(net: nn.Module) -> None:
    """Training starts at the identity, whatever the statistics."""
    x = noisy()
    assert torch.equal(net.eval()(x), x)


def test_folding_keeps_the_function() -> None:
    """A folded DnCNN computes what the trained one does in eval mode, to rounding."""
    net = _shaken(DnCNN(8, 5))
    torch.testing.assert_close(net.folded()(noisy()), net(noisy()), rtol=1e-4, atol=1e-5)


# --- the laws of denoisers ------------------------------------------------------------------------------------


def trained(net: Any) -> Any:
    """`net` after a second of learning to denoise sloping images at σ from 0.1 to 0.4."""
    draw = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 200)
    t = torch.linspace(-1, 1, 16)
    for _ in range(200):
        across, down, level = torch.rand((3, 16, 3, 1, 1), generator=draw) - 0.5
        clean = 0.5 + 0.6 * (across * t + down * t[:, None] + level)
        sigma = 0.1 + 0.3 * torch.rand((16, 1, 1, 1), generator=draw)
        loss = (net.train()(clean + sigma * torch.randn(clean.shape, generator=draw)) - clean).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


@functools.cache
def learned(kind: str) -> nn.Module:
    """One small trained network of each kind, for the whole file."""
    torch.manual_seed(0)
    return trained(DnCNN(12, 4) if kind == "dncnn" else MemNet(8, 2, 1))


class TestDnCNN(DenoiserSuite):
    """A small trained DnCNN, its normalisations folded, in float32: rows agree to rounding."""

    tolerance = 1e-5
    compute = "fp32"

    @pytest.fixture
    def denoiser(self) -> denoisers.Denoiser:
        card = DenoiserCard(id="dncnn", sha256="0" * 64, sigma_range=(0.1, 0.4), sizes=(16,))
        return BlindDenoiser(learned("dncnn").folded(), card, compute=self.compute)  # type: ignore[operator]


class TestShortDnCNN(TestDnCNN):
    """The same in bfloat16."""

    tolerance = 0.02
    compute = "bf16"


class TestMemNet(DenoiserSuite):
    """A small trained MemNet, read from a checkpoint as the paper's training code writes it."""

    side = 16
    tolerance = 1e-5
    compute = "fp32"

    @pytest.fixture
    def denoiser(self, tmp_path: Path) -> denoisers.Denoiser:
        file = tmp_path / "best.pth.tar"
        torch.save(training_state(under("module.", learned("memnet").state_dict())), file)
        return denoisers.load(f"{file}?sigma=0.1..0.4", dtype=self.compute)


class TestShortMemNet(TestMemNet):
    """The same in bfloat16."""

    tolerance = 0.02
    compute = "bf16"


# --- layouts --------------------------------------------------------------------------------------------------


def training_state(state: State) -> dict[str, Any]:
    """What training code saves: weights, where it was, and the optimizer's own tensors."""
    optimizer = {
        "state": {0: {"step": torch.tensor(9.0), "exp_avg": torch.rand(8, 3, 3, 3)}},
        "param_groups": [],
    }
    return {"epoch": 90, "arch": "cifar_dncnn", "state_dict": state, "optimizer": optimizer}


LAYOUTS: dict[str, Callable[[str, State], object]] = {
    "plain.pth": lambda name, s: under(name, s),
    "parallel.pth": lambda name, s: under(f"module.{name}", s),
    "compiled.pt": lambda name, s: under(f"_orig_mod.module.{name}", s),
    "best.pth.tar": lambda name, s: training_state(under(f"module.{name}", s)),
    "first.pth": lambda name, s: under(f"0.{name}", s),
    "wrapped.ckpt": lambda name, s: {"epoch": 1, "state_dict": under(f"denoiser.{name}", s)},
    "averaged.pth": lambda name, s: {
        "params": {k: v + 1 for k, v in under(name, s).items()},
        "params_ema": under(name, s),
    },
    "deep.bin": lambda name, s: {"checkpoint": {"generator": under(name, s)}, "version": "2"},
    "plain.safetensors": lambda name, s: under(name, s),
}


def memnet_state(channels: int = 4, blocks: int = 2, units: int = 2) -> State:
    """A MemNet's state dict by the names its authors published, with random values."""
    draw = torch.Generator().manual_seed(8)
    state: State = {}

    def layer(name: str, into: int, out: int, side: int) -> None:
        state[f"{name}.bn.weight"] = torch.rand(into, generator=draw) + 0.5
        state[f"{name}.bn.bias"] = torch.randn(into, generator=draw) * 0.2
        state[f"{name}.bn.running_mean"] = torch.randn(into, generator=draw) * 0.2
        state[f"{name}.bn.running_var"] = torch.rand(into, generator=draw) + 0.1
        state[f"{name}.bn.num_batches_tracked"] = torch.tensor(7)
        state[f"{name}.conv.weight"] = torch.randn((out, into, side, side), generator=draw) * 0.2

    layer("feature_extractor", 3, channels, 3)
    layer("reconstructor", channels, 3, 3)
    for block in range(blocks):
        for unit in range(units):
            for part in (1, 2):
                layer(f"dense_memory.{block}.recursive_unit.{unit}.relu_conv{part}", channels, channels, 3)
        layer(f"dense_memory.{block}.gate_unit", (units + block + 1) * channels, channels, 1)
    return state


def memnet_function(state: State, x: Tensor, *, blocks: int = 2, units: int = 2) -> Tensor:
    """The published forward pass: gates take the units' outputs first, then all earlier memories."""

    def layer(name: str, x: Tensor) -> Tensor:
        bn = {k: state[f"{name}.bn.{k}"] for k in ("running_mean", "running_var", "weight", "bias")}
        kernel = state[f"{name}.conv.weight"]
        return F.conv2d(F.relu(F.batch_norm(x, **bn, eps=1e-5)), kernel, padding=kernel.shape[-1] // 2)

    h = layer("feature_extractor", x)
    long = [h]
    for block in range(blocks):
        short = []
        for unit in range(units):
            name = f"dense_memory.{block}.recursive_unit.{unit}"
            h = h + layer(f"{name}.relu_conv2", layer(f"{name}.relu_conv1", h))
            short.append(h)
        h = layer(f"dense_memory.{block}.gate_unit", torch.cat(short + long, 1))
        long.append(h)
    return x + layer("reconstructor", h)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_of_a_dncnn_is_the_same_function(tmp_path: Path, name: str) -> None:
    """However it is wrapped, a DnCNN's checkpoint gives x less the chain's output, and the same bits."""
    net, x = chain(), noisy()
    found = loaded(tmp_path / name, LAYOUTS[name]("dncnn.", net.state_dict()))(x, 0.25)
    assert torch.equal(found, loaded(tmp_path / "bare.pth", net.state_dict())(x, 0.25))
    assert torch.equal(found, loaded(tmp_path / "kair.pth", under("model.", net.state_dict()))(x, 0.25))
    torch.testing.assert_close(found, x - net(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_of_a_memnet_is_the_same_function(tmp_path: Path, name: str) -> None:
    """However it is wrapped, a MemNet's checkpoint gives the published forward pass, and the same bits."""
    state, x = memnet_state(), noisy()
    found = loaded(tmp_path / name, LAYOUTS[name]("", state))(x, 0.25)
    assert torch.equal(found, loaded(tmp_path / "again.pth", state)(x, 0.25))
    torch.testing.assert_close(found, memnet_function(state, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("bias", "norm"),
    [
        ((True, False, False), True),  # the authors' own code, and Salman et al.'s
        ((False, False, False), True),  # without any bias; ε is then the framework's
        ((True, True, True), True),  # biases everywhere
        ((True, True, True), False),  # normalisations folded before publication
    ],
)
def test_every_family_of_dncnns_is_read(tmp_path: Path, bias: tuple[bool, bool, bool], norm: bool) -> None:
    """With biases and normalisations or without, the function is that of the network that was saved."""
    net = chain(bias=bias, norm=norm)
    for module in net:
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.fill_(2e-4)  # small enough for the two values of ε to differ
            module.weight.data.mul_(0.02)
    found = loaded(tmp_path / "net.pth", under("model.", net.state_dict()))(noisy(), 0.25)
    torch.testing.assert_close(found, noisy() - net(noisy()), rtol=1e-4, atol=1e-5)


def test_output_image_is_the_chain_itself(tmp_path: Path) -> None:
    """With output=image nothing is subtracted; the two readings of a file are told apart by their sha256."""
    net, x = chain(), noisy()
    noise, image = (loaded(tmp_path / "net.pth", net.state_dict(), output=o) for o in ("noise", "image"))
    torch.testing.assert_close(image(x, 0.25), net(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(noise(x, 0.25), x - net(x), rtol=1e-4, atol=1e-5)
    digest = hashlib.sha256((tmp_path / "net.pth").read_bytes()).hexdigest()
    assert noise.card.sha256 == digest == image.card.training["file_sha256"]
    assert image.card.sha256 != digest


def test_the_card_tells_what_the_file_and_the_user_said(tmp_path: Path) -> None:
    """id, σ, epoch and architecture's name come from the file's name, the user and the file."""
    found = loaded(tmp_path / "best.pth.tar", training_state(under("dncnn.", chain().state_dict()))).card
    assert (found.id, found.sigma_range, found.sizes, found.multiple) == ("best", ONE, (), 1)
    assert (found.training["epoch"], found.training["arch"]) == (90, "cifar_dncnn")
    json.dumps(found.training)


def test_short_types_stay_close(tmp_path: Path) -> None:
    """bfloat16 convolutions move the estimate of a trained network by little: 40 dB below the signal range."""
    torch.save(learned("memnet").state_dict(), tmp_path / "m.pth")
    x = noisy(4, 16)
    exact, short = (
        denoisers.load(f"{tmp_path}/m.pth?sigma=0.25", dtype=t)(x, 0.25) for t in ("fp32", "bf16")
    )
    assert float((exact - short).square().mean()) < 1e-4
    assert not torch.equal(exact, short)


# --- normalisation --------------------------------------------------------------------------------------------

MEAN, STD = (0.5, 0.25, 0.125), (0.25, 0.5, 0.125)


def column(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)


@pytest.mark.parametrize("names", [("mean", "std"), ("means", "sds")])
def test_a_normalisation_in_the_file_belongs_to_the_chain(tmp_path: Path, names: tuple[str, str]) -> None:
    """A layer with mean and std in front is applied to the input, its answer is the image; said or found alike."""
    net, x = chain(), noisy()
    front = {f"0.{names[0]}": column(MEAN)[0], f"0.{names[1]}": torch.tensor(STD)}
    state = under("1.module.dncnn.", net.state_dict())
    found = loaded(tmp_path / "chain.pth", front | state)(x, 0.25)
    z = (x - column(MEAN)) / column(STD)
    torch.testing.assert_close(found, z - net(z), rtol=1e-4, atol=1e-5)
    told = loaded(tmp_path / "second.pth", state, mean=MEAN, std=STD)
    assert torch.equal(found, told(x, 0.25))
    assert told.card.sha256 != told.card.training["file_sha256"]
    with pytest.raises(WeightsError, match="its own mean and std"):
        loaded(tmp_path / "chain.pth", front | state, mean=MEAN, std=STD)


def test_a_normalisation_outside_the_file_is_undone(tmp_path: Path) -> None:
    """Given for a network saved alone, mean and std lead into its scale and back out of it."""
    net, x = chain(), noisy()
    z = (x - column(MEAN)) / column(STD)
    found = loaded(tmp_path / "alone.pth", under("dncnn.", net.state_dict()), mean=MEAN, std=STD)(x, 0.25)
    torch.testing.assert_close(found, column(MEAN) + column(STD) * (z - net(z)), rtol=1e-4, atol=1e-5)
    words = "sigma=0.25&mean=0.5,0.25,0.125&std=0.25,0.5,0.125"
    assert torch.equal(found, denoisers.load(f"{tmp_path}/alone.pth?{words}", dtype="fp32")(x, 0.25))


def test_a_part_without_weights_must_be_explained(tmp_path: Path) -> None:
    """Names that begin with 1. show a part in front that the file does not hold: refused until it is said."""
    with pytest.raises(WeightsError, match=r"1\.dncnn\..*mean="):
        loaded(tmp_path / "second.pth", under("1.dncnn.", chain().state_dict()))


# --- what is refused ------------------------------------------------------------------------------------------


def altered(state: State, *, drop: str = "", **put: Tensor) -> State:
    return {k: v for k, v in state.items() if k != drop} | {k.replace("__", "."): v for k, v in put.items()}


DNCNN = under("dncnn.", chain().state_dict())
MEMNET = memnet_state()
REFUSED: list[tuple[object, str]] = [
    (altered(DNCNN, drop="dncnn.5.weight"), "dncnn.5.weight is missing"),
    (altered(DNCNN, drop="dncnn.3.running_var"), "dncnn.3.running_var is missing"),
    (altered(DNCNN, drop="dncnn.8.weight"), "dncnn.8.weight is missing"),
    (altered(DNCNN, dncnn__2__weight=torch.rand(8, 8, 5, 5)), "dncnn.2.weight has shape (8, 8, 5, 5)"),
    (altered(DNCNN, dncnn__6__bias=torch.rand(9)), "dncnn.6.bias has shape (9,)"),
    (altered(DNCNN, dncnn__7__weight=torch.rand(8)), "dncnn.7.weight is no key of a DnCNN"),
    (
        altered(DNCNN, dncnn__2__weight=torch.full((8, 8, 3, 3), torch.nan)),
        "dncnn.2.weight is no tensor of finite",
    ),
    (altered(DNCNN, head__weight=torch.rand(10, 8)), "head.weight is no key of a DnCNN"),
    (under("0.", DNCNN) | {"1.fc.weight": torch.rand(10, 8)}, "1.fc.weight is no key of a DnCNN"),
    (under("0.", DNCNN) | {"1.mean": torch.rand(3), "1.std": torch.rand(3)}, "comes after the network"),
    (altered(DNCNN, dncnn__0__weight=torch.rand(8, 1, 3, 3)), "dncnn.0.weight takes grey images"),
    (
        altered(DNCNN, dncnn__0__weight=torch.rand(8, 4, 3, 3)),
        "dncnn.0.weight takes 4 channels, the image and a map",
    ),
    (altered(DNCNN, dncnn__0__weight=torch.rand(8, 13, 3, 3)), "dncnn.0.weight takes 13 channels"),
    (
        {"m_body.0.res.0.weight": torch.rand(8, 8, 3, 3), "m_head.weight": torch.rand(8, 4, 3, 3)},
        "m_head.weight takes 4",
    ),
    ({"0": DNCNN, "1": DNCNN}, "several networks, 0, 1"),
    ({"epoch": 3, "optimizer": {"state": {}}}, "no convolution"),
    ([torch.rand(3)], "no convolution"),
    (
        {"conv1.weight": torch.rand(8, 3, 3, 3), "fc.weight": torch.rand(10, 8)},
        "conv1.weight is no key of a DnCNN",
    ),
    (altered(MEMNET, drop="reconstructor.bn.bias"), "reconstructor.bn.bias is missing"),
    (altered(MEMNET, drop="feature_extractor.conv.weight"), "feature_extractor.conv.weight is missing"),
    (
        altered(MEMNET, dense_memory__1__gate_unit__conv__weight=torch.rand(4, 16, 3, 3)),
        "dense_memory.1.gate_unit.conv.weight has shape (4, 16, 3, 3), not (4, 16, 1, 1)",
    ),
    (altered(MEMNET, tail__weight=torch.rand(4)), "tail.weight is no key of a MemNet"),
    (
        altered(under("module.", MEMNET), reconstructor__bn__bias=torch.rand(4)),
        "reconstructor.bn.bias is no key of a MemNet",
    ),
    (chain(depth=7, norm=False, bias=(True, True, True)).state_dict(), "say arch=dncnn"),
    (chain(), "holds more than plain weights"),
]


@pytest.mark.parametrize(("content", "complaint"), REFUSED, ids=[complaint for _, complaint in REFUSED])
def test_what_does_not_fit_is_refused_by_its_key(tmp_path: Path, content: object, complaint: str) -> None:
    """A checkpoint of anything else is a one-line WeightsError that names the file and the first misfit in it."""
    with pytest.raises(WeightsError) as caught:
        loaded(tmp_path / "odd.pth", content)
    message = str(caught.value)
    assert complaint in message
    assert "odd.pth" in message
    assert "\n" not in message


def test_arch_settles_what_is_open_and_contradicts_nothing(tmp_path: Path) -> None:
    """Seven plain convolutions are a DnCNN once said; a DnCNN said to be a MemNet is refused."""
    plain = chain(depth=7, norm=False, bias=(True, True, True))
    found = loaded(tmp_path / "seven.pth", plain.state_dict(), arch="dncnn")(noisy(), 0.25)
    torch.testing.assert_close(found, noisy() - plain(noisy()), rtol=1e-4, atol=1e-5)
    with pytest.raises(WeightsError, match="not of a memnet"):
        loaded(tmp_path / "net.pth", DNCNN, arch="memnet")
    with pytest.raises(WeightsError, match="leave output= out"):
        loaded(tmp_path / "net.pth", MEMNET, output="image")


class _Trap:
    """Pickled code: whoever unpickles it makes the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("raw", [False, True])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path, raw: bool) -> None:
    """A pickle that would run code is a WeightsError, and its code does not run."""
    file, folder = tmp_path / "trap.pth", tmp_path / "sprung"
    if raw:
        file.write_bytes(pickle.dumps({"state_dict": _Trap(folder)}, protocol=2))
    else:
        torch.save({"state_dict": DNCNN, "extra": _Trap(folder)}, file)
    with pytest.raises(WeightsError, match="none of its code was run"):
        denoisers.load(file, sigma_range=ONE)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["cut.pth", "cut.safetensors"])
def test_a_damaged_file_is_refused(tmp_path: Path, name: str) -> None:
    """A file cut short is a one-line WeightsError, and a missing one too."""
    file = tmp_path / name
    with pytest.raises(WeightsError, match="no denoiser weights"):
        denoisers.load(file, sigma_range=ONE)
    loaded(file, DNCNN)
    file.write_bytes(file.read_bytes()[:-900])
    with pytest.raises(WeightsError, match="damaged") as caught:
        denoisers.load(file, sigma_range=ONE)
    assert "\n" not in str(caught.value)


# --- what the user says ---------------------------------------------------------------------------------------


def test_the_noise_must_be_said(tmp_path: Path) -> None:
    """Without σ a checkpoint is refused with the two ways to say it; said, other σ are refused."""
    torch.save(DNCNN, tmp_path / "net.pth")
    with pytest.raises(ConfigurationError, match=r"net\.pth\?sigma=0\.25.*sigma_range="):
        denoisers.load(tmp_path / "net.pth")
    save_file(DNCNN, tmp_path / "net.safetensors")
    with pytest.raises(WeightsError, match=r"no card.*net\.safetensors\?sigma=0\.25"):
        denoisers.load(tmp_path / "net.safetensors")
    found = denoisers.load(f"{tmp_path}/net.pth?sigma=0.25")
    assert found(noisy(), 0.25).shape == noisy().shape
    for sigma in (0.2499, 0.2501):
        with pytest.raises(ConfigurationError, match="serves σ"):
            found(noisy(), sigma)


@pytest.mark.parametrize(
    "words",
    ["sigma", "sigma=high", "sigma=0", "sigma=0.5..0.1", "sigma=nan", "sigma=0.25&arch=vgg", "sigma=0.25&output=x",
     "sigma=0.25&colour=1", "sigma=0.25&mean=0,0,0", "sigma=0.25&mean=0,0&std=1,1", "sigma=0.25&mean=0,0,0&std=1,1,0"],
)  # fmt: skip
def test_what_is_said_wrongly_is_refused(tmp_path: Path, words: str) -> None:
    """Settings after the path that are unknown, incomplete or out of range are a one-line ConfigurationError."""
    torch.save(DNCNN, tmp_path / "net.pth")
    with pytest.raises(ConfigurationError) as caught:
        denoisers.load(f"{tmp_path}/net.pth?{words}")
    assert "\n" not in str(caught.value)


def test_what_has_a_card_takes_no_settings() -> None:
    """A bundled denoiser with a σ of one's own is refused: its card says it."""
    with pytest.raises(ConfigurationError, match="has its card"):
        denoisers.load("unet-cifar10", sigma_range=ONE)
    with pytest.raises(ConfigurationError, match="has its card"):
        denoisers.load("unet-cifar10?sigma=0.25")


def test_the_facade_and_the_command_line_pass_it_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A path with its σ works wherever a denoiser is named; without, the command names what to write."""
    file = tmp_path / "best.pth.tar"
    torch.save(training_state(under("module.", learned("memnet").state_dict())), file)
    picture = tmp_path / "grey.png"
    Image.new("RGB", (16, 16), (90, 120, 150)).save(picture)
    with SmoothedAPI(
        lambda x: [0] * len(x), sigma=0.25, size=16, denoiser=f"{file}?sigma=0.1..0.4", cache=False
    ) as api:
        found = api.certify(picture, n=20)
    assert found.denoiser is not None
    assert found.denoiser.startswith("best@")
    arguments = ["certify", str(picture), "--size", "16", "-n", "20", "--json"]
    assert main([*arguments, "--denoiser", str(file)]) == 2
    said = capsys.readouterr().err
    assert "'best.pth.tar?sigma=0.25'" in said
    assert len(said.strip().splitlines()) == 1
