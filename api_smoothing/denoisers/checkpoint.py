"""Denoisers other people trained: their DnCNN and MemNet checkpoints, read as plain weights.

Known by the names and shapes of the tensors: a state dict, bare or inside a dict of training state, with the
prefixes that DataParallel and Sequential leave, with an input normalisation in front or without. A file does not
say for which noise it was made: that, and what it leaves open otherwise, is for the user to say.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl

import torch
from safetensors.torch import load as read_safetensors
from torch import Tensor, nn

from api_smoothing.denoisers import dncnn, memnet
from api_smoothing.denoisers.base import DenoiserCard
from api_smoothing.denoisers.noise_blind import BlindDenoiser, Normalised
from api_smoothing.errors import ConfigurationError, WeightsError

_INSIDE = ("state_dict", "params_ema", "params", "model_state_dict", "model", "net", "denoiser", "weights")
_NORMAL = dict.fromkeys(("mean", "means"), "mean") | dict.fromkeys(("std", "stds", "sd", "sds"), "std")
_WITH_MAP = {2, 4, 5, 13, 15}  # channels of an image and a noise map: grey or colour, whole or in 2×2 pieces
_PLAIN = {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32}
_IRCNN = 7  # its convolutions; names and shapes are those of a DnCNN, but they are dilated


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the user says about a checkpoint.

    `sigma_range` is the closed range of noise it serves, in [0,1] pixel units. `mean` and `std`, one number a
    channel, are what its images were normalised by. `output` tells what a DnCNN's last layer gives: the noise
    (as published ones do; the default) or the image. `arch` settles which network it is where that is open.
    """

    sigma_range: tuple[float, float]
    arch: Literal["dncnn", "memnet"] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    output: Literal["noise", "image"] = "noise"

    def __post_init__(self) -> None:
        low, high = _finite("sigma_range", self.sigma_range, 2)
        if not 0 < low <= high:
            raise ConfigurationError(f"sigma_range ({low:g}, {high:g}) must rise from a number above 0")
        if (self.mean is None) != (self.std is None):
            raise ConfigurationError("mean and std go together; give both, or neither")
        if self.mean is not None:
            _finite("mean", self.mean, 3)
            if min(_finite("std", self.std, 3)) <= 0:
                raise ConfigurationError(f"std {self.std} must be above 0")
        if self.arch not in {None, "dncnn", "memnet"}:
            raise ConfigurationError(f"arch {self.arch!r} is unknown; choose dncnn or memnet")
        if self.output not in {"noise", "image"}:
            raise ConfigurationError(f"output {self.output!r} is unknown; choose noise or image")


def _finite(name: str, value: object, count: int) -> tuple[float, ...]:
    numbers = tuple(n for n in value if isinstance(n, int | float)) if isinstance(value, tuple | list) else ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ConfigurationError(f"{name} takes {count} finite numbers, not {value}")
    return numbers


def said_in(words: str) -> dict[str, Any]:
    """The settings in what follows a file's name and "?": `sigma=0.25`, `sigma=0.1..0.5&output=image`, …"""
    found: dict[str, Any] = {}
    try:
        for key, value in parse_qsl(words, strict_parsing=True):
            if key == "sigma":
                low, _, high = value.partition("..")
                found["sigma_range"] = (float(low), float(high or low))
            elif key in {"mean", "std"}:
                found[key] = tuple(float(part) for part in value.split(","))
            elif key in {"arch", "output"}:
                found[key] = value
            else:
                raise ValueError(key)
    except ValueError as error:
        raise ConfigurationError(
            f"?{words} is not understood; write ?sigma=0.25 or ?sigma=0.1..0.5, and with & between them "
            "arch=dncnn, mean=r,g,b, std=r,g,b, output=image"
        ) from error
    return found


def read(file: Path, said: Mapping[str, Any], *, device: str, compute: str) -> BlindDenoiser:
    """The denoiser in the checkpoint `file`; `said` has fields of `Said`.

    A normalisation in front, found in the file or shown by the names, belongs to a chain that takes and gives
    images in [0,1]. Given for a network that was saved alone, it was done outside of it, to its answers too:
    those are brought back. Raises WeightsError, naming the first key that does not fit, and ConfigurationError
    where `said` lacks the noise or contradicts the file.
    """
    if not file.is_file():
        raise WeightsError(f"no denoiser weights at {file}; give the path of a checkpoint")
    if "sigma_range" not in said:
        raise ConfigurationError(
            f"{file.name} does not tell for which noise it was trained; say it after its name, "
            f"'{file.name}?sigma=0.25' or '?sigma=0.1..0.5', or in Python by sigma_range=(0.25, 0.25)"
        )
    told, data = Said(**said), file.read_bytes()
    try:
        state, facts = _weights(_contents(file, data))
        state, normal = _apart(state)
        net, head = _network(state, told)
        net, normal = _chain(net, head, normal, told)
    except ValueError as error:
        raise WeightsError(
            f"{file.name} cannot be read: {error}; known are colour DnCNN and MemNet, "
            "and denoisers.wrap takes any network"
        ) from error
    file_digest = digest = hashlib.sha256(data).hexdigest()
    if told.mean or told.output != "noise":  # another word makes another function of the same file
        words = json.dumps([file_digest, told.mean, told.std, told.output])
        digest = hashlib.sha256(words.encode()).hexdigest()
    training = {"file": file.name, "file_sha256": file_digest, "normalisation": normal, "said": asdict(told)}
    card = DenoiserCard(
        id=Path(file.name.removesuffix(".tar")).stem,
        sha256=digest,
        sigma_range=(float(told.sigma_range[0]), float(told.sigma_range[1])),
        training=training | facts,
    )
    return BlindDenoiser(net, card, device=device, compute=compute)


def _contents(file: Path, data: bytes) -> object:
    try:
        if file.suffix == ".safetensors":
            return read_safetensors(data)
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # whatever a damaged or hostile file provokes
        raise WeightsError(
            f"{file.name} holds more than plain weights, or is damaged; none of its code was run: "
            "save the network's state_dict() alone, where it was made"
        ) from None  # torch's own text says how to run what is in it


def _weights(found: object) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(state dict, what is told beside it) of a checkpoint: the mapping, at any depth, with convolutions in it."""
    facts: dict[str, Any] = {}
    while isinstance(found, Mapping) and not any(_is_kernel(v) for v in found.values()):
        facts |= {key: found[key] for key in ("arch", "epoch") if isinstance(found.get(key), str | int)}
        inside = [
            key for key, value in found.items() if isinstance(value, Mapping) and "optim" not in str(key)
        ]
        chosen = [key for key in _INSIDE if key in inside] or inside
        if len(chosen) > 1 and chosen[0] not in _INSIDE:
            raise ValueError(f"it holds several networks, {chosen[0]}, {chosen[1]}, …: save one alone")
        found = found[chosen[0]] if chosen else None
    if not isinstance(found, Mapping):
        raise ValueError("it holds no convolution")
    state = {str(name): value for name, value in found.items()}
    for name, value in state.items():
        if not _is_plain(value) or not bool(value.isfinite().all()):
            raise ValueError(f"{name} is no tensor of finite numbers")
    return state, facts


def _is_kernel(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4 and value.numel() > 0


def _is_plain(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and value.dtype in _PLAIN


def _apart(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """(the network's part, {"key", "mean", "std"} of an input normalisation or None)."""
    rest, found = dict(state), dict[str, Any]()
    for name, value in state.items():
        leaf = name.rpartition(".")[2]
        if leaf in _NORMAL and value.numel() == 3:
            if _NORMAL[leaf] in found:
                raise ValueError(f"{name} is of a second normalisation")
            found |= {"key": name, _NORMAL[leaf]: rest.pop(name).flatten().tolist()}
    if found and not {"mean", "std"} <= set(found):
        raise ValueError(f"{found['key']} has no mean or no std with it")
    return rest, found or None


def _network(state: Mapping[str, Tensor], told: Said) -> tuple[nn.Module, str]:
    """(network, what its names begin with)."""
    _refuse_other_images(state)
    kind, head = "memnet", memnet.stem(state)
    if head is None:
        kind, head = "dncnn", dncnn.stem(state)
    if told.arch not in {None, kind}:
        raise ValueError(f"its names are those of a {kind}, not of a {told.arch}")
    if kind == "memnet":
        if told.output == "image":
            raise ValueError("a MemNet gives the image in any case, leave output= out")
        return memnet.published(state, head), head
    net = dncnn.published(state, head, residual=told.output == "noise")
    if net.depth == _IRCNN and told.arch is None and not any("running_mean" in name for name in state):
        raise ValueError(
            "7 plain convolutions may be IRCNN's, with dilations no file tells; else say arch=dncnn"
        )
    return net, head


def _refuse_other_images(state: Mapping[str, Tensor]) -> None:
    for end in ("m_head.weight", "feature_extractor.conv.weight", ".0.weight"):
        for name, value in state.items():
            if f".{name}".endswith(end) and value.ndim == 4:
                if value.shape[1] == 1:
                    raise ValueError(f"{name} takes grey images")
                if value.shape[1] in _WITH_MAP:
                    raise ValueError(
                        f"{name} takes {value.shape[1]} channels, the image and a map of the noise, as FFDNet does"
                    )
                return


def _chain(
    net: nn.Module, head: str, normal: dict[str, Any] | None, told: Said
) -> tuple[nn.Module, dict[str, Any] | None]:
    """(the network with its normalisation, that normalisation)."""
    place = _place(head)
    if normal is not None:
        if told.mean is not None:
            raise ValueError("it has its own mean and std, leave mean= and std= out")
        if _place(normal["key"]) > place:
            raise ValueError(f"{normal['key']} comes after the network")
        normal |= {"back": False}
    elif told.mean is not None:
        normal = {"mean": told.mean, "std": told.std, "back": place == 0}
    elif place:
        raise ValueError(
            f"by the names, {head}…, a part without weights comes first, most likely a normalisation, "
            "say mean= and std= (0,0,0 and 1,1,1 for none)"
        )
    if normal is None:
        return net, None
    return Normalised(net, mean=normal["mean"], std=normal["std"], back=normal["back"]), normal


def _place(name: str) -> int:
    """The first number in a dotted name: the place in a Sequential; 0 where there is none."""
    return next((int(part) for part in name.split(".") if part.isdigit()), 0)
