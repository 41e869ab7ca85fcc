"""Networks to train against, and what they say of the images."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save
from torch import nn
from training_files import write_binary

from api_smoothing.convnet import Cifar10Net, fold
from api_smoothing.errors import WeightsError
from api_smoothing.training.cards import write_weights
from api_smoothing.training.data import load_images
from api_smoothing.training.losses import reduced
from api_smoothing.training.surrogates import CifarResNet, label_file, load_surrogate, own_labels


def test_fusing_a_surrogate_changes_nothing() -> None:
    """A fused ResNet computes what the plain one does in eval mode."""
    torch.manual_seed(1)
    net = CifarResNet(2)
    net(torch.rand(16, 3, 32, 32))
    net.eval()
    x = torch.rand(4, 3, 32, 32)
    plain = net(x)
    torch.testing.assert_close(net.fuse()(x), plain, rtol=1e-4, atol=1e-5)


def test_surrogates_load_from_state_dicts(tmp_path: Path) -> None:
    """A CIFAR ResNet's state dict gives its function; a wrong one, or an unknown name, is a WeightsError."""
    net = CifarResNet(3).eval()
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}}, tmp_path / "resnet20-x.th"
    )
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(load_surrogate("resnet20", [tmp_path])(x), net(x), rtol=1e-4, atol=1e-5)
    shutil.copy(tmp_path / "resnet20-x.th", tmp_path / "resnet32-x.th")
    for name in ("resnet32", "no-such-network"):
        with pytest.raises(WeightsError):
            load_surrogate(name, [tmp_path])


def test_labels_are_kept_for_the_images_and_surrogates_they_are_of(tmp_path: Path) -> None:
    """Others have a file of another name; a file cut short by a kill is written anew."""
    write_binary(tmp_path, 24)
    data = load_images(tmp_path)
    nets: list[nn.Module] = [CifarResNet(1).eval(), CifarResNet(1).eval()]
    of = [{"images": "a", "surrogates": ["b"]}, {"images": "a", "surrogates": ["c"]}]
    names = [label_file(each) for each in of]
    assert len(set(names)) == 2
    cache = tmp_path / "runs" / names[0]
    with torch.no_grad(), reduced(data.floats(slice(1))):
        wanted = torch.stack([net(data.floats(slice(None))).argmax(1) for net in nets])
    assert torch.equal(own_labels(nets, data, cache), wanted)
    assert torch.equal(own_labels([], data, cache), wanted)  # read, not computed
    cache.write_bytes(cache.read_bytes()[:-5])
    assert torch.equal(own_labels(nets, data, cache), wanted)
    assert load_file(cache)["labels"].shape == (2, 24)


def test_labelling_is_not_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow machine it takes minutes; what is told fits what training itself tells."""
    monkeypatch.setattr("api_smoothing.training.surrogates.SILENCE", -1.0)
    write_binary(tmp_path, 300)
    told: list[dict[str, object]] = []
    nets: list[nn.Module] = [CifarResNet(1).eval(), CifarResNet(1).eval()]
    own_labels(nets, load_images(tmp_path), tmp_path / "labels", on_progress=lambda f: told.append(dict(f)))
    assert [(f["step"], f["of"]) for f in told] == [(250, 600), (300, 600), (550, 600), (600, 600)]
    assert {"phase", "left", "checkpoint"} <= set(told[0])


def test_a_surrogate_in_a_folder_goes_before_the_bundled_one(tmp_path: Path) -> None:
    """`cifar10` trained anew is the one that is meant when its folder is given."""
    torch.manual_seed(2)
    own = fold(Cifar10Net((8, 8, 8)).eval())
    state = {k: v.half() for k, v in own.state_dict().items()}
    write_weights(tmp_path / "cifar10.safetensors", state, {"id": "cifar10", "widths": [8, 8, 8]})
    count = [sum(p.numel() for p in load_surrogate("cifar10", f).parameters()) for f in ([tmp_path], [])]
    assert count[0] < count[1]


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    """Written, and read where they came about otherwise: a classifier of NaN calls everything its first class."""
    net = fold(Cifar10Net((8, 8, 8)).eval())
    state = {name: value.half() for name, value in net.state_dict().items()}
    card = {"id": "cifar10", "widths": [8, 8, 8]}
    file = write_weights(tmp_path / "own.safetensors", state, card)
    load_surrogate("own", [tmp_path])
    name = next(iter(state))
    state[name].view(-1)[0] = torch.nan
    with pytest.raises(WeightsError, match=f"{name} is not finite"):
        write_weights(tmp_path / "new.safetensors", state, card)
    assert not (tmp_path / "new.safetensors").exists()
    file.write_bytes(save(state))
    facts = card | {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    file.with_suffix(".json").write_text(json.dumps(facts))
    with pytest.raises(WeightsError, match="not finite"):
        load_surrogate("own", [tmp_path])
    for widths in ([8, 8], [8, 8, "8"], [8, 8, 0], None, [16, 8, 8]):
        file.with_suffix(".json").write_text(json.dumps(facts | {"widths": widths}))
        with pytest.raises(WeightsError, match=r"card|fit"):
            load_surrogate("own", [tmp_path])
    resnet = CifarResNet(3).state_dict()
    resnet["linear.bias"][0] = torch.inf
    torch.save(resnet, tmp_path / "resnet20-x.th")
    with pytest.raises(WeightsError, match="not finite"):
        load_surrogate("resnet20", [tmp_path])
