"""Make the sandboxes' classifier of photographs, or measure it.

    python benchmarks/photographic_classifier.py --data DIR [--write]

DIR is a folder with `weights/mobilenet_v1_050_160.npz` (MobileNetV1 0.5 at 160 pixels, Apache-2.0) and `photos/`. The
network keeps its convolutions; its last layer is cut to Imagenette's ten classes and taught further on the 1,500
training photographs, also blurred and with the noise a denoiser leaves. Reported is the share of the 500 validation
photographs that are read right, none of which is trained on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from certified_accuracy import loader
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from api_smoothing.mobilenet import MobileNetV1
from api_smoothing.sandbox.photographs import WEIGHTS, load_imagenette_net
from api_smoothing.training.mobilenet import read

CLASSES = {
    0: "tench",
    217: "springer",
    482: "cassette-player",
    491: "chain-saw",
    497: "church",
    566: "french-horn",
    569: "garbage-truck",
    571: "gas-pump",
    574: "golf-ball",
    701: "parachute",
}
STEPS, RATE, KEEP = 300, 2e-3, 1e-3


def images_of(data: Path, name: str) -> tuple[Tensor, Tensor]:
    """float32 (N,3,160,160) in [0,1] and the class of each, 0 to 9."""
    order = {index: number for number, index in enumerate(CLASSES)}
    pixels, labels = [], []
    for _, label, picture in loader(data).photos(name):
        short = min(picture.size)
        box = [(side - short) // 2 for side in picture.size]
        square = picture.crop((box[0], box[1], box[0] + short, box[1] + short)).resize((224, 224))
        x = torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1)[None].float() / 255
        pixels.append(F.interpolate(x, size=(160, 160), mode="bilinear", antialias=True, align_corners=False))
        labels.append(order[label])
    return torch.cat(pixels), torch.tensor(labels)


def features(net: MobileNetV1, images: Tensor) -> Tensor:
    """(N,512): what the last layer sees."""
    last, net.layers[-1] = net.layers[-1], torch.nn.Identity()
    with torch.inference_mode():
        found = torch.cat([net(part) for part in images.split(32)])
    net.layers[-1] = last
    return found.clone()


def taught(net: MobileNetV1, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (10,512,1,1) and biases (10,) of the last layer: ImageNet's rows, taught further."""
    torch.manual_seed(0)
    rows = torch.tensor(list(CLASSES))
    weight = net.layers[-1].weight.data[rows].flatten(1).clone().requires_grad_(True)
    bias = net.layers[-1].bias.data[rows].clone().requires_grad_(True)
    first = weight.detach().clone()
    softer = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    noisy = (softer + 0.03 * torch.randn(images.shape)).clamp(0, 1)
    x = torch.cat([features(net, part) for part in (images, images.flip(3), softer, noisy)])
    y = labels.repeat(4)
    optimizer = torch.optim.AdamW([weight, bias], lr=RATE, weight_decay=0.0)
    for _ in range(STEPS):
        pick = torch.randint(len(x), (256,))
        loss = F.cross_entropy(x[pick] @ weight.T + bias, y[pick], label_smoothing=0.05)
        loss = loss + KEEP * (weight - first).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return weight.detach()[:, :, None, None], bias.detach()


def accuracy(net: MobileNetV1, images: Tensor, labels: Tensor) -> float:
    """The share of `images` that are read right."""
    with torch.inference_mode():
        found = torch.cat([net(part).argmax(1) for part in images.split(32)])
    return round(float((found == labels).float().mean()), 4)


def write(net: MobileNetV1, facts: dict[str, Any]) -> None:
    """The weights in half precision, and their card."""
    arrays = {}
    for k, layer in enumerate(net.layers):
        arrays |= {f"w{k:02d}": layer.weight.data.half(), f"b{k:02d}": layer.bias.data.half()}
    data = save({name: tensor.contiguous() for name, tensor in arrays.items()})
    WEIGHTS.parent.mkdir(exist_ok=True)
    WEIGHTS.write_bytes(data)
    card = {"id": "imagenette", "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), **facts}
    WEIGHTS.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
    print(f"{WEIGHTS.name}: {len(data):,} bytes, sha256 {card['sha256']}: pin it in sandbox/photographs.py")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--write", action="store_true", help="make it anew")
    args = parser.parse_args(argv)
    images, labels = images_of(args.data, "imagenette_ilsvrcval500")
    if not args.write:
        print(f"{accuracy(load_imagenette_net(), images, labels):.1%} of {len(images)} photographs")
        return
    net = read(args.data / "weights" / "mobilenet_v1_050_160.npz").eval()
    weight, bias = taught(net, *images_of(args.data, "imagenette_train1500"))
    head = torch.nn.Conv2d(512, 10, 1)
    head.weight.data, head.bias.data = weight, bias
    net.layers[-1] = head
    for layer in net.layers:  # measure what is shipped
        layer.weight.data, layer.bias.data = layer.weight.data.half().float(), layer.bias.data.half().float()
    found = accuracy(net, images, labels)
    print(f"{found:.1%} of {len(images)} photographs")
    write(
        net,
        {
            "classes": list(CLASSES.values()),
            "strides": net.strides,
            "side": net.side,
            "parameters": sum(p.numel() for p in net.parameters()),
            "accuracy": {"500 ImageNet validation photographs of Imagenette's classes": found},
            "made_from": "MobileNetV1 0.5 at 160 pixels, google-coral/test_data, Apache-2.0",
            "training": "the last layer alone, on 1,500 Imagenette training photographs",
            "created": date.today().isoformat(),
            "command": "python benchmarks/photographic_classifier.py --data DIR --write",
        },
    )


if __name__ == "__main__":
    main()
