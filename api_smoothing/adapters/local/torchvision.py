"""Local pretrained classifiers: the bundled one, any of torchvision.models, or a checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from api_smoothing.adapters.local.adapter import ModuleAdapter, file_sha256
from api_smoothing.errors import ConfigurationError, MissingExtraError, WeightsError, unknown
from api_smoothing.precision import compute_type

BUNDLED = "cifar10"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PIP_LINE = "pip install 'api-smooth[torchvision]'"


def load(
    *,
    model: str | Path | None = None,
    arch: str | None = None,
    class_names: Sequence[str] | None = None,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    device: str = "cpu",
    top: int = 5,
) -> ModuleAdapter:
    """A classifier by name or file.

    `model` is "cifar10" (bundled, the default), a name of torchvision.models (with its default pretrained
    weights and their preprocessing, downloaded by torchvision on first use), or the path of a state dict
    (.pth or .safetensors) for the torchvision architecture `arch`, whose inputs are normalised by `mean` and
    `std`. Foreign checkpoints are read with `weights_only=True`. An answer holds the `top` best labels.

    Raises ConfigurationError, MissingExtraError or WeightsError, each with what to do.
    """
    name = BUNDLED if model is None else str(model)
    if name == BUNDLED:
        return _bundled(device=device, top=top)
    if Path(name).suffix in (".pth", ".pt", ".th", ".safetensors") or Path(name).is_file():
        return _checkpoint(Path(name), arch, class_names, mean, std, device=device, top=top)
    return _zoo(name, class_names, device=device, top=top)


def _bundled(*, device: str, top: int) -> ModuleAdapter:
    from api_smoothing.adapters.local import cifar10net

    compute = compute_type(device, "auto")
    network = cifar10net.load_cifar10net()
    return ModuleAdapter(
        network if compute == "fp32" else _InShorterType(network, compute),
        name="torchvision/cifar10",
        fingerprint=f"cifar10@{cifar10net.SHA256}/{compute}",
        class_names=cifar10net.CLASSES,
        outputs="logits",
        native_side=32,
        device=device,
        top=top,
    )


def _zoo(name: str, class_names: Sequence[str] | None, *, device: str, top: int) -> ModuleAdapter:
    models = _torchvision_models()
    classifiers = models.list_models(module=models)
    if name not in classifiers:
        raise ConfigurationError(unknown("model", name, [BUNDLED, *classifiers]))
    weights = models.get_model_weights(name).DEFAULT
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"cannot get the weights of {name} ({_first_line(error)}); "
            f"download {weights.url} elsewhere and pass the file as model=PATH, arch={name!r}"
        ) from None
    network = models.get_model(name, weights=None)
    network.load_state_dict(state)
    prepare = weights.transforms()
    side = int(prepare.crop_size[0])
    return ModuleAdapter(
        _Normalised(network, prepare.mean, prepare.std, side=side),
        name=f"torchvision/{name}",
        fingerprint=f"{name}/{weights}@{Path(weights.url).stem}",
        class_names=class_names or weights.meta["categories"],
        outputs="logits",
        native_side=side,
        device=device,
        top=top,
    )


def _checkpoint(
    path: Path,
    arch: str | None,
    class_names: Sequence[str] | None,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    device: str,
    top: int,
) -> ModuleAdapter:
    if not path.is_file():
        raise ConfigurationError(f"no checkpoint at {path}; give the path of a .pth or .safetensors file")
    if arch is None:
        raise ConfigurationError(
            f"{path} holds weights without an architecture; name it with arch=, a name of torchvision.models"
        )
    models = _torchvision_models()
    if arch not in models.list_models(module=models):
        raise ConfigurationError(unknown("architecture", arch, models.list_models(module=models)))
    state = _read_state(path)
    classes = _classes_of(state)
    network = models.get_model(arch, weights=None, **({} if classes is None else {"num_classes": classes}))
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(
            f"{path} does not fit {arch}: {_first_line(error, 1)}; name the right arch="
        ) from None
    identity = hashlib.sha256(repr((arch, tuple(mean), tuple(std), class_names)).encode()).hexdigest()[:16]
    return ModuleAdapter(
        _Normalised(network, mean, std),
        name=f"torchvision/{path.name}",
        fingerprint=f"{arch}/{identity}@{file_sha256(str(path))}",
        class_names=class_names,
        outputs="logits",
        device=device,
        top=top,
    )


def _torchvision_models() -> Any:
    try:
        from torchvision import models
    except ImportError:
        raise MissingExtraError(f"torchvision is not installed; {PIP_LINE}") from None
    return models


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"cannot read {path} safely ({_first_line(error)}); save it as a plain state dict or safetensors"
        ) from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(f"{path} is no state dict; save model.state_dict()")
    return {
        k.removeprefix("module."): v.float() if v.is_floating_point() else v  # from DataParallel, from fp16
        for k, v in state.items()
    }


def _classes_of(state: dict[str, Tensor]) -> int | None:
    """The number of classes, read off the last layer's bias."""
    biases = [v for k, v in state.items() if k.endswith("bias") and v.ndim == 1]
    return len(biases[-1]) if biases else None


def _first_line(error: Exception, line: int = 0) -> str:
    lines = [text.strip() for text in str(error).splitlines() if text.strip()]
    return (lines[min(line, len(lines) - 1)] if lines else type(error).__name__)[:200]


class _Normalised(nn.Module):
    """`network` behind its normalisation; with `side`, images of another side are brought to it first."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, mean: Sequence[float], std: Sequence[float], side: int | None = None
    ) -> None:
        super().__init__()
        self.network, self.side = network, side
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.side is not None and tuple(x.shape[2:]) != (self.side, self.side):
            x = F.interpolate(x, size=(self.side, self.side), mode="bilinear", antialias=True)
        out: Tensor = self.network((x - self.mean) / self.std)
        return out


class _InShorterType(nn.Module):
    """`network` computing in bf16 or fp16; images and scores stay float32."""

    def __init__(self, network: nn.Module, compute: str) -> None:
        super().__init__()
        self._compute = torch.bfloat16 if compute == "bf16" else torch.float16
        self.network = network.to(self._compute)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(x.to(self._compute)).float()
        return out
