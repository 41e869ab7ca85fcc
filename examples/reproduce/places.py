"""The two sets of images on which defences are compared, each with its classifiers and its denoisers."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from api_smoothing.convnet import CLASSES
from api_smoothing.training.data import load_images
from api_smoothing.training.surrogates import CifarResNet
from reproduce import adversarial, inputs
from reproduce.cells import Cells

BARE = "none"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A set of images, the classifiers that are attacked on it, and the defences it has; `method` is the paper's.

    `defences` maps what `api_smoothing.defences.load` takes to what a table calls it; `pairs` gives so many of the
    images, `network` a classifier by name.
    """

    name: str
    title: str
    images: int
    size: int
    victims: Sequence[str]
    defences: Mapping[str, str]
    method: str
    classes: Sequence[str]
    pairs: Callable[[int], list[inputs.Pair]]
    network: Callable[[str], nn.Module]
    noise: tuple[float, float]  # σ that the denoiser of `method` was trained for
    differs: Sequence[str]
    missing: Sequence[str]

    @property
    def main(self) -> str:
        """The classifier of the pages that show one."""
        return self.victims[0]

    @property
    def has_trained(self) -> bool:
        """Whether a classifier trained against attacks is among the victims."""
        return any(map(is_trained, self.victims))

    def before(self, victim: str) -> list[str]:
        """The defences that stand before a classifier: one that was trained against attacks has none."""
        return [BARE] if is_trained(victim) else list(self.defences)

    def row(self, victim: str, defence: str) -> str:
        """What a table calls that defence of that classifier."""
        return "adversarial training (AT), no purification" if is_trained(victim) else self.defences[defence]


def is_trained(victim: str) -> bool:
    """Whether a classifier was trained against attacks."""
    return victim.endswith("-at")


def cifar10(args: argparse.Namespace, cells: Cells) -> Place:
    """CIFAR-10's test images, with the bundled diffusion model."""
    return Place(
        name="cifar10",
        title="CIFAR-10",
        images=args.images,
        size=32,
        victims=args.victims,
        defences={
            BARE: "no defence",
            "jpeg-75": "JPEG, quality 75",
            "bits-5": "bit depth 5",
            "densepure": "DensePure-like: 5 paths vote",
            "diffusion": "one step of the diffusion model",
            "denoised": "one step of `unet-cifar10`",
            "guided": "**distribution transfer**: guided, 8 steps",
        },
        method="guided",
        classes=CLASSES,
        pairs=functools.partial(inputs.cifar10, args.data),
        network=functools.partial(_of_cifar10, args, cells),
        noise=(0.02, 1.0),
        differs=[
            "`diffusion-cifar10` has 2.8 M parameters and noise of σ = 0.1, in 8 steps (the paper: forward iterations "
            "470 of a schedule that is not stated; the size of the model is not told here)",
            "CIFAR-10's ResNets of pytorch_resnet_cifar10 stand for the paper's victims",
        ],
        missing=[
            "victims: ResNet-18, WRN-28-10, MobileNetV2 and ShuffleNetV2 of CIFAR-10 (no weights of them here)",
            "defences: AT-ALP, TRADES, TRADES-AWP, MACER, EBM-Defense (no code or weights of them here)",
        ],
    )


def photographs(args: argparse.Namespace, cells: Cells) -> Place:
    """Imagenette's validation photographs, with the bundled denoiser of photographs."""
    return Place(
        name="photographs",
        title="Imagenette",
        images=args.photographs,
        size=args.side,
        victims=args.photographic_victims,
        defences={
            BARE: "no defence",
            "jpeg-75": "JPEG, quality 75",
            "bits-5": "bit depth 5",
            "densepure?denoiser=unet-natural": "DensePure-like: 5 paths vote",
            "denoised": "one step of `unet-natural`",
            "guided?denoiser=unet-natural": "**distribution transfer**: guided, 8 steps of `unet-natural`",
        },
        method="guided?denoiser=unet-natural",
        classes=[f"{k}" for k in inputs.IMAGENETTE],
        pairs=lambda count: [(x, f"{k}") for x, k in inputs.photographs(args.data, count)],
        network=functools.partial(inputs.photographic, args.data),
        noise=(0.05, 1.0),
        differs=[
            f"Imagenette's ten classes at {args.side} pixels stand for ImageNet30",
            "a U-Net for photographs, told σ, stands for a diffusion model: σ = 0.1, in 8 steps",
        ],
        missing=[
            "victims: ShuffleNetV2, ResNet-18 and Inception-ResNetV2 of ImageNet30 (no weights of them here)",
            "an adversarially trained classifier of photographs",
        ],
    )


#: By name, as pages have it.
SETS: dict[str, Callable[[argparse.Namespace, Cells], Place]] = {
    "cifar10": cifar10,
    "photographs": photographs,
}


def trained_by(args: argparse.Namespace) -> dict[str, int]:
    """What the training against attacks depends on."""
    sizes = {key: getattr(args, f"at_{key}") for key in ("images", "steps", "inner", "batch")}
    return {**sizes, "seed": args.seed}


def _of_cifar10(args: argparse.Namespace, cells: Cells, name: str) -> nn.Module:
    """A classifier by name; "resnet20-at" is trained here, from the pretrained ResNet-20."""
    if not is_trained(name):
        return inputs.classifier(args.data, name)
    settings = trained_by(args)
    file = cells.file(name, settings, "") / "weights.pth"
    cells.get(name, settings, functools.partial(_train, args, name, file), always=True)
    net = CifarResNet(3).eval().fuse()
    net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return net.requires_grad_(False)


def _train(args: argparse.Namespace, name: str, file: Path) -> str:
    images = load_images(args.data / "cifar10", "train").pick(torch.arange(args.at_images))
    net = inputs.classifier(args.data, name.removesuffix("-at"))
    done = adversarial.train(
        net,
        images,
        file.parent,
        steps=args.at_steps,
        batch=args.at_batch,
        inner=args.at_inner,
        seed=args.seed,
    )
    torch.save(done.state_dict(), file)
    return file.name
