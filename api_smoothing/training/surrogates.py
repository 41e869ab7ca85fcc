"""Classifiers a denoiser is made stable for, before it meets the one it is meant for."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from api_smoothing.adapters.local.cifar10net import load_cifar10net, read_card
from api_smoothing.convnet import CLASSES, Cifar10Net
from api_smoothing.digests import not_finite
from api_smoothing.errors import ConfigurationError, WeightsError
from api_smoothing.training import mobilenet
from api_smoothing.training.data import ImageSet
from api_smoothing.training.kinds import make_classifier
from api_smoothing.training.loop import SILENCE, Progress
from api_smoothing.training.losses import reduced

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _Block(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2: nn.Module = nn.BatchNorm2d(outside)
        self.pad = 0 if stride == 1 and inside == outside else outside // 4

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        short = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad)) if self.pad else x
        return F.relu(y + short)


class CifarResNet(nn.Module):
    """ResNet-(6n+2) for 32×32 images with parameter-free shortcuts (He et al. 2016, section 4.2, option A)."""

    mean: Tensor
    std: Tensor

    def __init__(self, n: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(*[_Block(i if k == 0 else o, o, stride if k == 0 else 1) for k in range(n)])
            for i, o, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2))
        )
        self.linear = nn.Linear(64, 10)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1((x - self.mean) / self.std)))
        logits: Tensor = self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))
        return logits

    def fuse(self) -> CifarResNet:
        """Fold each batch normalisation into its convolution, in place."""
        for module in [self, *(m for m in self.modules() if isinstance(m, _Block))]:
            for k in ("1", "2"):
                conv, norm = getattr(module, f"conv{k}", None), getattr(module, f"bn{k}", None)
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    setattr(module, f"conv{k}", fuse_conv_bn_eval(conv, norm))
                    setattr(module, f"bn{k}", nn.Identity())
        return self


class _Normalised(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net((x - self.mean) / self.std)
        return logits


def load_surrogate(name: str, folders: list[Path]) -> nn.Module:
    """A frozen classifier of (N,3,H,W) in [0,1], channels-last, eval mode.

    The first match in `folders` of `<name>.safetensors` (trained here), or `<name>-*.th` / `<name>*.pth` (a state dict
    of a CIFAR ResNet, or of the torchvision model of that name), or `<name>.npz` (a MobileNetV1 in arrays); otherwise
    `cifar10` is the bundled one, and other names are torchvision's with its own weights. Raises WeightsError.
    """
    net = _find(name, folders).eval().requires_grad_(False)
    if where := not_finite(net.state_dict()):
        raise WeightsError(
            f"the weights of {name} are damaged: {where} is not finite; fetch or train it again"
        )
    return net.to(memory_format=torch.channels_last)


def _find(name: str, folders: list[Path]) -> nn.Module:
    for folder in folders:
        if (own := folder / f"{name}.safetensors").is_file():
            return _trained(own)
        for file in sorted((*folder.glob(f"{name}-*.th"), *folder.glob(f"{name}*.pth"))):
            return _from_state(name, file)
        if (arrays := folder / f"{name}.npz").is_file():
            return mobilenet.read(arrays)
    if name == "cifar10":
        return load_cifar10net()
    from torchvision import models

    if name not in models.list_models():
        raise WeightsError(
            f"no surrogate {name} in {', '.join(map(str, folders))}, nor in torchvision; name another"
        )
    net = models.get_model(name, weights=None)
    net.load_state_dict(
        models.get_model_weights(name).DEFAULT.get_state_dict(check_hash=True, weights_only=True)
    )
    return _Normalised(net)


def _trained(file: Path) -> nn.Module:
    """What `train classifier` wrote as `file`, of any kind."""
    card = read_card(file)
    if "architecture" not in card:
        return load_cifar10net(file)
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != card.get("sha256"):
        raise WeightsError(f"{file.name} is not the file its card is of; train it again")
    try:
        net = make_classifier(card, len(card["classes"])).eval()
        net.load_state_dict({k: v.float() for k, v in load(data).items()})
    except (ConfigurationError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"{file.name} does not fit the network of its card; train it again") from error
    return net


def _from_state(name: str, file: Path) -> nn.Module:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # torch's own text says how to run what is in it
        raise WeightsError(f"{file} cannot be read as plain weights; save a state dict") from None
    state = {k.removeprefix("module."): v.float() for k, v in state.get("state_dict", state).items()}
    depth = name.removeprefix("resnet")
    try:
        if depth.isdigit() and (int(depth) - 2) % 6 == 0 and state["linear.weight"].shape == (10, 64):
            net = CifarResNet((int(depth) - 2) // 6)
            net.load_state_dict(state)
            return net.eval().fuse()
        from torchvision import models

        whole = models.get_model(name, weights=None)
        whole.load_state_dict(state)
    except (KeyError, RuntimeError) as error:
        raise WeightsError(f"{file} does not fit a {name}; give its own weights") from error
    return _Normalised(whole)


def names_of(net: nn.Module, name: str, folders: list[Path]) -> tuple[str, ...]:
    """The classes of a classifier that `load_surrogate` gave, one a column: ImageNet's, but where it is of others."""
    for folder in folders:
        if (own := folder / f"{name}.safetensors").is_file():
            return tuple(read_card(own)["classes"])
    if isinstance(net, CifarResNet | Cifar10Net):
        return CLASSES
    from torchvision import models

    return tuple(models.get_model_weights("resnet18").DEFAULT.meta["categories"])


def label_file(of: Mapping[str, Any]) -> str:
    """The name of the file of `own_labels` for what it depends on: other images or classifiers, another file."""
    return f"labels-{hashlib.sha256(json.dumps(of).encode()).hexdigest()[:16]}.safetensors"


@torch.no_grad()
def own_labels(
    nets: list[nn.Module],
    data: ImageSet,
    cache: Path,
    device: str = "cpu",
    on_progress: Progress | None = None,
) -> Tensor:
    """(surrogates, N) int64: the label of each clean image by each of `nets` on `device`, kept in `cache`.

    A file that is damaged is written anew. `on_progress` gets what `loop.fit` gives it, an image for a step.
    """
    with suppress(OSError, SafetensorError, KeyError):
        return load_file(cache)["labels"].long()
    rows, whole, began = [], len(nets) * len(data), time.monotonic()
    told = began
    for number, net in enumerate(nets):
        parts = []
        for k in range(0, len(data), 250):
            x = data.floats(slice(k, k + 250)).to(device)
            with reduced(x):
                parts.append(net(x).argmax(1).cpu())
            now, done = time.monotonic(), number * len(data) + k + len(x)
            if on_progress is not None and now - told > SILENCE:
                told, left = now, (now - began) * (whole - done) / done
                about = {"step": done, "of": whole, "left": left, "checkpoint": 0}
                on_progress({"phase": "the surrogates' labels"} | about)
        rows.append(torch.cat(parts))
    labels = torch.stack(rows)
    cache.parent.mkdir(parents=True, exist_ok=True)
    part = cache.with_suffix(".part")
    save_file({"labels": labels.to(torch.int16)}, part)
    os.replace(part, cache)
    return labels
