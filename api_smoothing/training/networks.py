"""The network a recipe trains: how it is made, how it is asked for x̂0, and in which form it is shipped.

A recipe's table `[architecture]` names it and its sizes, as the card of the weights will; without the table the
sizes at the top of the recipe are a U-Net's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from api_smoothing.denoisers import diffusion_net
from api_smoothing.denoisers.diffusion_net import DiffusionNet
from api_smoothing.denoisers.dncnn import DnCNN
from api_smoothing.denoisers.memnet import MemNet
from api_smoothing.denoisers.unet import UNet, denoise
from api_smoothing.errors import ConfigurationError

_MAKERS: dict[str, Callable[[Mapping[str, Any]], nn.Module]] = {
    "unet": lambda a: UNet(tuple(a["channels"]), tuple(a["blocks"]), width=a["width"]),
    "dncnn": lambda a: DnCNN(a["channels"], a["depth"]),
    "memnet": lambda a: MemNet(a["channels"], a["blocks"], a["units"]),
    "diffusion": diffusion_net.make_net,
}


def architecture(plan: Mapping[str, Any]) -> dict[str, Any]:
    """{"kind": "unet" | "dncnn" | "memnet" | "diffusion", sizes…} of the recipe `plan`."""
    found = plan.get("architecture")
    if found is not None:
        return dict(found) if isinstance(found, Mapping) else {"kind": found}
    return {"kind": "unet"} | {key: plan[key] for key in ("channels", "blocks", "width")}


def create(sizes: Mapping[str, Any]) -> nn.Module:
    """A fresh network, to be trained. Raises ConfigurationError."""
    kind = sizes.get("kind")
    if kind not in _MAKERS:
        raise ConfigurationError(f"architecture kind {kind!r} is unknown; name {', '.join(_MAKERS)}")
    try:
        return _MAKERS[kind](sizes)
    except KeyError as error:
        raise ConfigurationError(f"the recipe's architecture lacks {error}; a {kind} needs it") from error


def estimate(net: nn.Module, x: Tensor, sigma: Tensor) -> Tensor:
    """D(x, σ) (N,3,H,W) float32 of x (N,3,H,W) float32 and σ (N,); the U-Net is told σ, a diffusion model its step."""
    if isinstance(net, UNet):
        return denoise(net, x, sigma)
    if isinstance(net, DiffusionNet):
        return diffusion_net.denoise(net, x, sigma)
    out: Tensor = net(x)
    return out


def finished(net: nn.Module) -> nn.Module:
    """The form that is shipped, in eval mode: a DnCNN's normalisations are folded into its convolutions."""
    return (net.eval().folded() if isinstance(net, DnCNN) else net).eval()


def multiple(net: nn.Module) -> int:
    """What the sides of an image must be multiples of."""
    return net.multiple if isinstance(net, UNet | DiffusionNet) else 1
