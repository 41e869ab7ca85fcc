"""Local pretrained classifiers: the bundled one, any of torchvision.models, or a checkpoint."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from api_smoothing.adapters.local.adapter import ModuleAdapter, file_sha256
from api_smoothing.adapters.local.outputs import names_of
from api_smoothing.errors import ConfigurationError, MissingExtraError, WeightsError, unknown
from api_smoothing.precision import compute_type

BUNDLED = "cifar10"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Where a checkpoint may hold the state dict, beside what else a training saves.
_PLACES = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params")
#: Trained on inputs scaled by ½ a channel, which the network does itself when told; in the fingerprint, as it was not.
_SCALED = {"googlenet": "/scaled", "inception_v3": "/scaled"}
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
    `std`, three numbers each, which may be written a|b|c. Foreign checkpoints are read with `weights_only=True`. An
    answer holds the `top` best labels.

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
        pinned=True,
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
    network = models.get_model(name, weights=None, **_made_for(name, weights))
    network.load_state_dict(state)
    prepare = weights.transforms()
    side = int(prepare.crop_size[0])
    names, categories = names_of(class_names), names_of(weights.meta["categories"])
    own = "" if names in (None, categories) else f"/{hashlib.sha256(repr(names).encode()).hexdigest()[:16]}"
    return ModuleAdapter(
        _Normalised(network, prepare.mean, prepare.std, side=side),
        name=f"torchvision/{name}",
        fingerprint=f"{name}/{weights}@{Path(weights.url).stem}{_SCALED.get(name, '')}{own}",
        class_names=categories if names is None else names,
        outputs="logits",
        pinned=True,
        native_side=side,
        device=device,
        top=top,
    )


def _checkpoint(
    path: Path,
    arch: str | None,
    class_names: Sequence[str] | None,
    mean: str | Sequence[float],
    std: str | Sequence[float],
    *,
    device: str,
    top: int,
) -> ModuleAdapter:
    mean, std, names = _channels("mean", mean), _channels("std", std), names_of(class_names)
    if min(std) <= 0:
        raise ConfigurationError(f"std {std} divides by nothing; it must be above 0 in every channel")
    if not path.is_file():
        raise ConfigurationError(f"no checkpoint at {path}; give the path of a .pth or .safetensors file")
    if arch is None:
        raise ConfigurationError(
            f"{path} holds weights without an architecture; name it with arch=, a name of torchvision.models"
        )
    models = _torchvision_models()
    if arch not in models.list_models(module=models):
        raise ConfigurationError(unknown("architecture", arch, models.list_models(module=models)))
    state, sha256 = _read_state(path), file_sha256(str(path))
    classes = _classes_of(state, lambda count: models.get_model(arch, weights=None, num_classes=count))
    own = _weights_of(models, arch, sha256)
    built = {} if own is None else _made_for(arch, own)
    if classes is not None:
        built["num_classes"] = classes
    network = models.get_model(arch, weights=None, **built)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(
            f"{path} does not fit {arch}: {_first_line(error, 1)}; name the right arch="
        ) from None
    spelled = (
        class_names if isinstance(class_names, list | tuple) else names
    )  # others' repr may leave some out
    identity = hashlib.sha256(repr((arch, mean, std, spelled)).encode()).hexdigest()[:16]
    return ModuleAdapter(
        _Normalised(network, mean, std),
        name=f"torchvision/{path.name}",
        fingerprint=f"{arch}/{identity}@{sha256}{'' if own is None else _SCALED.get(arch, '')}",
        class_names=names,
        outputs="logits",
        pinned=True,
        device=device,
        top=top,
    )


def _made_for(arch: str, weights: Any) -> dict[str, Any]:
    """How `arch` has to be built for torchvision's own `weights`, as its builders build it when they are given them."""
    if arch in _SCALED:
        return {"transform_input": True, "init_weights": False}
    if arch.startswith("vit_"):
        return {"image_size": weights.meta["min_size"][0]}
    return {}


def _weights_of(models: Any, arch: str, sha256: str) -> Any:
    """The weights of torchvision that a file is, by the digest in their name; None for a file of anybody else's."""
    for weights in models.get_model_weights(arch):
        if sha256.startswith(Path(weights.url).stem.rpartition("-")[2]):
            return weights
    return None


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
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception:  # torch's own text says how to run what is in it
        raise WeightsError(
            f"cannot read {path} safely: it holds more than plain weights, or is damaged, and none of its code was "
            f"run; save it as a plain state dict or safetensors"
        ) from None
    state = _inside(state, path)
    return {
        _bare(name): value.float() if value.is_floating_point() else value  # from fp16
        for name, value in state.items()
    }


def _inside(found: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in a checkpoint, which may hold it beside the state of a training. Raises WeightsError."""
    while isinstance(found, Mapping) and not _is_state(found):
        inside = [name for name in _PLACES if isinstance(found.get(name), Mapping)]
        if len(inside) > 1:
            raise WeightsError(
                f"{path} holds several networks ({', '.join(inside)}); save the state dict of one alone"
            )
        found = found[inside[0]] if inside else None
    if not isinstance(found, Mapping):
        raise WeightsError(f"{path} is no state dict; save model.state_dict()")
    return {str(name): value for name, value in found.items()}


def _is_state(found: Mapping[Any, Any]) -> bool:
    return all(isinstance(value, torch.Tensor) for value in found.values())


def _bare(name: str) -> str:
    """A tensor's name without what DataParallel and torch.compile put before it."""
    while (bare := name.removeprefix("module.").removeprefix("_orig_mod.")) != name:
        name = bare
    return name


def _classes_of(state: Mapping[str, Tensor], make: Callable[[int], nn.Module]) -> int | None:
    """The number of classes: the size in which tensors differ between networks made for different numbers."""
    with torch.device("meta"):
        two, three = (make(count).state_dict() for count in (2, 3))
    for name, tensor in two.items():
        other = three[name]
        for side, (one, another) in enumerate(zip(tensor.shape, other.shape, strict=True)):
            if one != another and name in state and state[name].ndim == tensor.ndim:
                return state[name].shape[side]
    return None


def _channels(name: str, given: Any) -> tuple[float, ...]:
    """Three finite numbers, one a channel, from a sequence, an array or text a|b|c. Raises ConfigurationError."""
    try:
        parts = given.split("|") if isinstance(given, str) else list(given)
        numbers = tuple(part if isinstance(part, int) else float(part) for part in parts)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ConfigurationError(f"{name} takes three finite numbers, one a channel, as a|b|c, not {given!r}")
    return numbers


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
        try:
            out: Tensor = self.network((x - self.mean) / self.std)
        except Exception as error:
            self._refuse(x, error)
            raise
        return out

    def _refuse(self, x: Tensor, error: Exception) -> None:
        """Raise ConfigurationError where it is the sides of `x` that the network cannot take."""
        try:
            with torch.no_grad():
                copy.deepcopy(self.network).to("meta")(torch.empty(x.shape, device="meta"))
        except Exception:
            height, width = x.shape[2:]
            raise ConfigurationError(
                f"this model takes no images of {height}×{width} ({_first_line(error)}); bring them to another side, "
                "such as size=224 (--size 224)"
            ) from error


class _InShorterType(nn.Module):
    """`network` computing in bf16 or fp16; images and scores stay float32."""

    def __init__(self, network: nn.Module, compute: str) -> None:
        super().__init__()
        self._compute = torch.bfloat16 if compute == "bf16" else torch.float16
        self.network = network.to(self._compute)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(x.to(self._compute)).float()
        return out
