"""Training a classifier of 32×32 images and writing it in its shipped form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from api_smoothing.convnet import CLASSES, Cifar10Net, fold
from api_smoothing.denoisers import registry
from api_smoothing.digests import sha256_of
from api_smoothing.errors import ConfigurationError
from api_smoothing.training.cards import command_line, today, write_weights
from api_smoothing.training.data import ImageSet, load_images, split_off
from api_smoothing.training.kinds import make_classifier
from api_smoothing.training.loop import Average, Loss, Order, Progress, Schedule, fit, generator
from api_smoothing.training.losses import reduced, trained_in
from api_smoothing.training.measure import LEVELS
from api_smoothing.training.objectives import SigmaRange, add_noise, on_grid
from api_smoothing.training.recipe import read_recipe, recipe_word
from api_smoothing.training.state import claimed


def whiten(net: Cifar10Net, images: Tensor) -> None:
    """Set the first layer to the principal directions of 2×2 patches, scaled to unit variance, with both signs.

    `images` (n,3,32,32) in [0,1]. The layer's weight is frozen: it fixes the conditioning of all after it.
    """
    patches = F.unfold(4 * images - 2, 2).transpose(1, 2).reshape(-1, 12)
    values, vectors = torch.linalg.eigh(torch.cov(patches.T))
    rows = (vectors / (values + 5e-4).sqrt()).T.reshape(12, 3, 2, 2)
    with torch.no_grad():
        net.whiten.weight.copy_(torch.cat((rows, -rows)))
        nn.init.zeros_(net.whiten.bias)  # type: ignore[arg-type]
    net.whiten.weight.requires_grad_(False)


def _start(net: Cifar10Net) -> None:
    for conv in net.blocks.modules():
        if isinstance(conv, nn.Conv2d):
            nn.init.dirac_(conv.weight[: conv.in_channels].data)  # the first channels start as the identity


def crop_and_flip(
    images: Tensor, rows: Tensor, *, border: int, flip: Tensor, draw: torch.Generator
) -> Tensor:
    """Images of `rows`, each moved by up to `border` pixels and mirrored where `flip`.

    `images` (N,32+2·border,32+2·border,3) uint8, reflected at the border. Returns (n,3,32,32) float in [0,1].
    """
    n, side = len(rows), images.shape[1] - 2 * border
    top, left = torch.randint(0, 2 * border + 1, (2, n, 1), generator=draw)
    line = torch.arange(side).expand(n, side)
    column = torch.where(flip[:, None], line.flip(1), line) + left
    crop = images[rows[:, None, None], (line + top)[:, :, None], column[:, None, :]]
    return crop.permute(0, 3, 1, 2).float().div(255)


#: (clean images, the step's generator) → what the classifier is shown.
View = Callable[[Tensor, torch.Generator], Tensor]


def denoised_view(noise: Mapping[str, Any]) -> View:
    """Images as they look after noise of a drawn σ and the denoiser that `noise` names, clipped and in 8 bits.

    A classifier trained on these knows what a denoiser leaves of an image; `noise` has the denoiser and a σ range.
    """
    denoiser = registry.load(noise["denoiser"], dtype="auto")
    sigmas = SigmaRange(**noise["sigma"])

    @torch.no_grad()
    def view(clean: Tensor, draw: torch.Generator) -> Tensor:
        clean = clean.contiguous(memory_format=torch.channels_last)
        sigma = sigmas.draw(len(clean), draw)
        return on_grid(denoiser(add_noise(clean, sigma, draw), sigma))

    return view


def _loss(
    net: nn.Module, data: ImageSet, order: Order, train: dict[str, Any], seed: int, view: View | None
) -> Loss:
    border = int(train["translate"])
    padded = F.pad(data.images.permute(0, 3, 1, 2).float(), (border,) * 4, mode="reflect")
    padded = padded.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    mirrored = torch.rand(len(data), generator=generator(seed, 3)) < 0.5
    assert data.labels is not None
    labels = data.labels

    def loss(step: int, draw: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        epoch, rows = order.rows(step)
        flip = mirrored[rows] ^ bool(epoch % 2)  # each image alternates: both forms are seen equally often
        x = crop_and_flip(padded, rows, border=border, flip=flip, draw=draw)
        if side := int(train["cutout"]):
            x = cut_out(x, side, draw)
        if view is not None:
            x = view(x, draw)
        if isinstance(net, Cifar10Net):
            net.whiten.bias.requires_grad_(epoch < train["whiten_bias_epochs"])  # type: ignore[union-attr]
        with reduced(x):
            logits = net(x)
        y = labels[rows]
        value = F.cross_entropy(logits.float(), y, label_smoothing=train["label_smoothing"])
        return value, {"accuracy": float((logits.argmax(1) == y).float().mean())}

    return loss


def cut_out(x: Tensor, side: int, draw: torch.Generator) -> Tensor:
    """`x` with one side×side square of each image grey (DeVries & Taylor 2017)."""
    n, _, height, width = x.shape
    top = torch.randint(0, height - side + 1, (n, 1), generator=draw)
    left = torch.randint(0, width - side + 1, (n, 1), generator=draw)
    rows, columns = torch.arange(height), torch.arange(width)
    inside = ((rows >= top) & (rows < top + side))[:, :, None] & (
        (columns >= left) & (columns < left + side)
    )[:, None, :]
    return x.masked_fill(inside[:, None], 0.5)


@torch.no_grad()
def accuracy(
    net: nn.Module,
    data: ImageSet,
    *,
    dtype: torch.dtype = torch.float32,
    batch: int = 500,
    view: View | None = None,
) -> float:
    """The share of `data` that `net` labels as its labels say; `dtype` bfloat16 runs under autocast.

    With `view`, of what it makes of each image, one draw.
    """
    if data.labels is None:
        raise ConfigurationError(f"{data.name} has no labels; accuracy needs them")
    right = 0
    for k in range(0, len(data), batch):
        rows = slice(k, k + batch)
        x = data.floats(rows) if view is None else view(data.floats(rows), generator(0, 4, k))
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            right += int((net(x).argmax(1) == data.labels[rows]).sum())
    return right / len(data)


def train_classifier(
    recipe: str | Path | Mapping[str, Any],
    data: Path,
    out: Path,
    *,
    minutes: float | None = None,
    seed: int = 0,
    resume: bool = True,
    on_progress: Progress | None = None,
) -> Path:
    """Train by `recipe` (a bundled name, a .toml, or settings) on the folder or pack `data`; returns the weights.

    `out` receives the run (checkpoint, log) and, at the end, `<id>.safetensors` with its card.
    """
    plan = read_recipe(recipe, "classifier")
    train = plan["train"]
    rest, held = split_off(load_images(data), plan["data"]["holdout"], plan["data"]["holdout_seed"])
    if rest.labels is None:
        raise ConfigurationError(f"{data} has no labels; a classifier needs them")
    torch.manual_seed(seed)
    net = make_classifier(plan, len(plan.get("classes", CLASSES)))
    if isinstance(net, Cifar10Net):
        _start(net)
        whiten(net, rest.floats(slice(0, 5000)))
    net = net.to(memory_format=torch.channels_last)
    order = Order(len(rest), train["batch"], seed)
    optimizer = _optimizer(net, train)
    average = Average(net, **train["average"])
    with claimed(out / plan["id"]):
        run = fit(
            net,
            _loss(net, rest, order, train, seed, denoised_view(plan["noise"]) if "noise" in plan else None),
            optimizer,
            steps=order.steps_per_epoch * train["epochs"],
            schedule=Schedule(**train["schedule"]),
            average=average,
            folder=out / plan["id"],
            settings=plan | {"images": sha256_of(rest.tensors())},
            seed=seed,
            minutes=minutes,
            resume=resume,
            on_progress=on_progress,
            name=plan["id"],
        )
        net.load_state_dict(average.state)
        named = "CIFAR-10, 50,000 training images less the held-out ones"
        run["data"] = f"{len(rest)} images of {rest.name}" if "classes" in plan else named
        net = net.eval()
        return _ship(fold(net) if isinstance(net, Cifar10Net) else net, plan, run, held, data, out, minutes)


def _optimizer(net: nn.Module, train: Mapping[str, Any]) -> torch.optim.Optimizer:
    if not isinstance(net, Cifar10Net):
        return torch.optim.AdamW(net.parameters(), lr=train["lr"], weight_decay=train["weight_decay"])
    biases = [p for k, p in net.named_parameters() if "norm" in k and p.requires_grad]
    others = [p for k, p in net.named_parameters() if "norm" not in k and p.requires_grad]
    scale = float(train["bias_lr"])
    return torch.optim.SGD(
        [
            {"params": others, "lr": train["lr"], "weight_decay": train["weight_decay"]},
            {"params": biases, "lr": train["lr"] * scale, "weight_decay": train["weight_decay"] / scale},
        ],
        momentum=train["momentum"],
        nesterov=True,
    )


def _ship(
    net: nn.Module,
    plan: dict[str, Any],
    run: dict[str, Any],
    held: ImageSet,
    data: Path,
    out: Path,
    minutes: float | None,
) -> Path:
    weights = {k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    file = out / f"{plan['id']}.safetensors"
    net.load_state_dict({k: v.float() for k, v in weights.items()})  # measure what is shipped
    net = net.to(memory_format=torch.channels_last)
    sets = {"held-out": held}
    with suppress(ConfigurationError):  # the test images are optional
        sets["test"] = load_images(data, "test")
    sets = {name: part for name, part in sets.items() if len(part) and part.labels is not None}
    fast = _fast()
    figures: dict[str, dict[str, float]] = {
        f"{name} ({len(part)})": {
            "float32": accuracy(net, part),
            **({"bfloat16": accuracy(net, part, dtype=fast)} if fast != torch.float32 else {}),
            **_accuracy_after_noise(net, part, plan),
        }
        for name, part in sets.items()
    }
    card: dict[str, Any] = {
        "id": plan["id"],
        **{key: plan[key] for key in ("widths", "architecture") if key in plan},
        **({"classes": plan["classes"]} if "classes" in plan else {}),
        "parameters": sum(p.numel() for p in net.parameters()),
        "accuracy": figures,
        "training": {
            "data": run["data"],
            "split": plan["data"],
            "recipe": plan,
            "seed": run["seed"],
            "steps": run["step"],
            "minutes": round(run["seconds"] / 60, 1),
            "images": run["settings"]["images"],
            "noise": plan.get("noise", "none"),
        },
        "created": today(),
        "command": command_line(
            "classifier",
            recipe_word(plan, "classifier", file.with_suffix(".json")),
            run["seed"],
            minutes,
        ),
    }
    return write_weights(file, weights, card)


def _fast() -> torch.dtype:
    """What a CPU reads images in quickly; without bfloat16 arithmetic it would only imitate it, many times slower."""
    return torch.bfloat16 if trained_in("cpu") == "bf16" else torch.float32


def _accuracy_after_noise(net: nn.Module, data: ImageSet, plan: dict[str, Any]) -> dict[str, float]:
    """{"denoised at σ=…": accuracy} for the levels within the recipe's range; nothing for ordinary training."""
    if "noise" not in plan:
        return {}
    noise = plan["noise"]
    low, high = noise["sigma"]["low"], noise["sigma"]["high"]
    return {
        f"denoised at sigma {level:g}": accuracy(
            net,
            data,
            dtype=_fast(),
            view=denoised_view(noise | {"sigma": {"low": level, "high": level}}),
        )
        for level in LEVELS
        if low <= level <= high
    }
