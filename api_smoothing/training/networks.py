"""The network a recipe trains: how it is made, how it is asked for x̂0, and in which form it is shipped.

A recipe's table `[architecture]` names it and its sizes, as the card of the weights will; without the table the
sizes at the top of the recipe are a U-Net's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from api_smoothing.adapters.local.cifar10net import load_cifar10net
from api_smoothing.denoisers import diffusion_net, recogniser
from api_smoothing.denoisers.diffusion_net import DiffusionNet
from api_smoothing.denoisers.dncnn import DnCNN
from api_smoothing.denoisers.memnet import MemNet
from api_smoothing.denoisers.recogniser import Recogniser
from api_smoothing.denoisers.registry import WEIGHTS, load
from api_smoothing.denoisers.unet import UNet, denoise
from api_smoothing.digests import not_finite
from api_smoothing.errors import ConfigurationError, WeightsError

_MAKERS: dict[str, Callable[[Mapping[str, Any]], nn.Module]] = {
    "unet": lambda a: UNet(tuple(a["channels"]), tuple(a["blocks"]), width=a["width"]),
    "dncnn": lambda a: DnCNN(a["channels"], a["depth"]),
    "memnet": lambda a: MemNet(a["channels"], a["blocks"], a["units"]),
    "diffusion": diffusion_net.make_net,
    "recogniser": lambda a: recogniser.make_net(a, load(a["first"])),
}


def architecture(plan: Mapping[str, Any]) -> dict[str, Any]:
    """{"kind": "unet" | "dncnn" | "memnet" | "diffusion", sizes…} of the recipe `plan`."""
    if (found := plan.get("architecture")) is not None:
        return dict(found)
    return {"kind": "unet"} | {key: plan[key] for key in ("channels", "blocks", "width")}


def create(sizes: Mapping[str, Any]) -> nn.Module:
    """A fresh network, to be trained. Raises ConfigurationError."""
    kind = sizes.get("kind")
    if kind not in list(_MAKERS):
        raise ConfigurationError(f"architecture kind {kind!r} is unknown; name {', '.join(_MAKERS)}")
    try:
        return _MAKERS[kind](sizes)
    except KeyError as error:
        raise ConfigurationError(f"the recipe's architecture lacks {error}; a {kind} needs it") from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigurationError(f"the recipe's architecture is no {kind}'s ({error}); correct it") from error


def begin(net: nn.Module, plan: Mapping[str, Any], folders: list[Path]) -> None:
    """Fill in what a network is not trained from nothing with, from `<name>.safetensors` in one of `folders`.

    `start` of the recipe `plan` names the weights of the same network to go on from; a recogniser has its reader,
    which stays as it is. Raises WeightsError.
    """
    if "start" in plan:
        file = next(
            (f for d in [*folders, WEIGHTS] if (f := d / f"{plan['start']}.safetensors").is_file()), None
        )
        if file is None:
            raise WeightsError(
                f"no {plan['start']}.safetensors to start from; give its folder as --surrogates"
            )
        try:
            weights = {k: v.float() for k, v in load_file(file).items()}
            net.load_state_dict(weights)
        except SafetensorError as error:
            raise WeightsError(f"{file} is damaged; start from another") from error
        except RuntimeError as error:
            raise WeightsError(
                f"{file} is of another network than the recipe's; start from another"
            ) from error
        if name := not_finite(weights):
            raise WeightsError(f"{file} is damaged: {name} is not finite; start from another")
    sizes = architecture(plan)
    if not isinstance(net, Recogniser):
        return
    file = next((f for d in folders if (f := d / f"{sizes['reader']}.safetensors").is_file()), None)
    if file is None:
        raise WeightsError(
            f"no {sizes['reader']}.safetensors in {', '.join(map(str, folders)) or 'any folder'}; train it "
            f"(api-smooth train classifier --recipe {sizes['reader']}) and give its folder as --surrogates"
        )
    net.reader.load_state_dict(load_cifar10net(file).state_dict())
    net.reader.eval().requires_grad_(False)


def shipped(net: nn.Module, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """`sizes` as the card says them: with the digest of what the weights depend on and do not hold."""
    if isinstance(net, Recogniser):
        return {**sizes, "first_sha256": net.first.card.sha256}
    return dict(sizes)


def estimate(net: nn.Module, x: Tensor, sigma: Tensor) -> Tensor:
    """D(x, σ) (N,3,H,W) float32 of x (N,3,H,W) float32 and σ (N,); the U-Net is told σ, a diffusion model its step."""
    if isinstance(net, UNet):
        return denoise(net, x, sigma)
    if isinstance(net, Recogniser):
        return recogniser.denoise(net, x, sigma)[0]
    if isinstance(net, DiffusionNet):
        return diffusion_net.denoise(net, x, sigma)
    out: Tensor = net(x)
    return out


def estimate_told(net: nn.Module, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor | None]:
    """`estimate`, and the shares (N, classes) the network was told, if it is one that is told any."""
    return (
        recogniser.denoise(net, x, sigma) if isinstance(net, Recogniser) else (estimate(net, x, sigma), None)
    )


def compiled(net: nn.Module, device: str) -> bool:
    """Have `net` compiled for its training on a GPU, where torch.compile works there; whether it is."""
    if torch.device(device).type != "cuda":
        return False
    trial = copy.deepcopy(net).train()
    side = max(32, multiple(net))
    x, sigma = torch.rand(2, 3, side, side, device=device), torch.full((2,), 0.25, device=device)
    try:
        trial.compile()
        with torch.autocast("cuda", torch.bfloat16):
            estimate(trial, x, sigma).sum().backward()  # type: ignore[no-untyped-call]
    except Exception:  # a compiler that is missing or lacking fails in any way; training goes on without
        return False
    net.compile()
    return True


def finished(net: nn.Module) -> nn.Module:
    """The form that is shipped, in eval mode: a DnCNN's normalisations are folded into its convolutions."""
    return (net.eval().folded() if isinstance(net, DnCNN) else net).eval()


def multiple(net: nn.Module) -> int:
    """What the sides of an image must be multiples of."""
    return net.multiple if isinstance(net, UNet | DiffusionNet | Recogniser) else 1
