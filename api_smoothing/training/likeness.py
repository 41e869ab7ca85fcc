"""How like its original a picture is, one number an image: PSNR, SSIM, and LPIPS where its network is at hand."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from api_smoothing.denoisers.distances import ssim
from api_smoothing.errors import MissingExtraError, WeightsError

__all__ = ["BACKBONES", "Likeness", "lpips", "psnr", "ssim"]

Kind = Literal["alex", "vgg", "squeeze"]

#: (images, originals), both (N,3,H,W) in [0,1] → (N,).
Likeness = Callable[[Tensor, Tensor], Tensor]

#: The networks LPIPS is published for, by its names for them, as torchvision calls them; the preferred ones first.
BACKBONES: Final[dict[Kind, str]] = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}


#: Of `alexnet-convolutions.safetensors`, which `benchmarks/lpips_network.py` writes: torchvision's AlexNet as far as
#: LPIPS looks through it.
ALEXNET_SHA256: Final = "54f03bc01deaf872f1d73c04429797303080adeb800682600b5586685294b37d"


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (N,) of each image in dB, peak 1; infinite where two are equal."""
    return -10 * (a.double() - b.double()).square().flatten(1).mean(1).log10()


def lpips() -> tuple[str, Likeness]:
    """("lpips_alex", the measure): LPIPS 0.1 (Zhang et al. 2018), 0 for equal images, the greater the less alike.

    It looks through AlexNet's convolutions (`alexnet_file`), or the first network of `BACKBONES` that is in torch
    hub's local cache. Another network would be another measure, so nothing stands in for them, and nothing is
    downloaded. Raises MissingExtraError, and WeightsError where none of them is there whole.
    """
    for package in ("torchmetrics", "torchvision"):
        if find_spec(package) is None:
            raise MissingExtraError(
                f"LPIPS needs {package}; run: pip install 'api-smooth[evaluate,torchvision]'"
            )
    kind: Kind = "alex"
    net: Any
    if (file := alexnet_file()).is_file():
        net = _through_convolutions(file)
    else:
        kind = _cached_backbone()
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        net = LearnedPerceptualImagePatchSimilarity(net_type=kind).net.eval()

    @torch.no_grad()
    def apart(a: Tensor, b: Tensor) -> Tensor:
        found: Tensor = net(a.float().contiguous(), b.float().contiguous(), normalize=True)
        return found.flatten()

    return f"lpips_{kind}", apart


def alexnet_file() -> Path:
    """Where AlexNet's convolutions are kept: beside torch hub's own networks."""
    return Path(torch.hub.get_dir()) / "checkpoints" / "alexnet-convolutions.safetensors"


def _through_convolutions(file: Path) -> Any:
    if hashlib.sha256(data := file.read_bytes()).hexdigest() != ALEXNET_SHA256:
        raise WeightsError(f"{file} is not the pinned one; delete it and run benchmarks/lpips_network.py")
    from safetensors.torch import load
    from torchmetrics.functional.image.lpips import _LPIPS

    net = _LPIPS(
        net="alex", pretrained=True, pnet_rand=True
    )  # its own layers pretrained, AlexNet filled in here
    weights = load(data)
    for number, conv in enumerate(m for m in net.net.modules() if isinstance(m, nn.Conv2d)):
        conv.load_state_dict({k: weights[f"conv{number}.{k}"] for k in ("weight", "bias")})
    return net.eval()


def _cached_backbone() -> Kind:
    absent = []
    for kind in BACKBONES:
        file, address = _published(kind)
        if not file.is_file():
            absent.append(address)
        elif not _has_digest(file):
            raise WeightsError(f"{file} is not the published one; delete it and fetch {address}")
        else:
            try:
                torch.load(file, map_location="cpu", weights_only=True)  # torchvision would open any pickle
            except Exception:
                raise WeightsError(
                    f"{file} holds more than plain weights; delete it and fetch {address}"
                ) from None
            return kind
    raise WeightsError(
        f"the network LPIPS looks through is not in {file.parent}; run benchmarks/lpips_network.py, "
        f"or put {absent[0]} there"
    )


def _published(kind: Kind) -> tuple[Path, str]:
    """(where torch hub keeps torchvision's weights of that network, where they come from)."""
    from torchvision import models

    address: str = models.get_model_weights(BACKBONES[kind]).DEFAULT.url
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(address).path).name, address


def _has_digest(file: Path) -> bool:
    """Whether the SHA-256 of `file` begins with the digits at the end of its name, as torch hub writes them."""
    told = re.search(r"-([0-9a-f]{8,})\.pth$", file.name)
    if told is None:
        return False
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest().startswith(told[1])
