"""Training a denoiser in phases, and writing it with a card of what it was measured to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from api_smoothing.denoisers.diffusion_net import DiffusionNet
from api_smoothing.errors import ConfigurationError
from api_smoothing.training.cards import command_line, today, write_weights
from api_smoothing.training.data import ImageSet, load_images
from api_smoothing.training.diffusion import prediction_loss
from api_smoothing.training.loop import Average, Loss, Order, Progress, Schedule, fit, read_state
from api_smoothing.training.measure import LEVELS, images_per_second, quality
from api_smoothing.training.networks import architecture, create, estimate, finished, multiple
from api_smoothing.training.objectives import SigmaRange, add_noise, jitter, on_grid, weighted_mse
from api_smoothing.training.recipe import read_recipe, recipe_names
from api_smoothing.training.surrogates import load_surrogate, own_labels


def _batch(
    data: ImageSet, rows: Tensor, sigmas: SigmaRange, draw: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """(clean, noisy, σ) of one step; half of the images are mirrored."""
    clean = data.floats(rows)
    flip = torch.rand(len(rows), generator=draw) < 0.5
    clean = torch.where(flip[:, None, None, None], clean.flip(3), clean).contiguous(
        memory_format=torch.channels_last
    )
    sigma = sigmas.draw(len(rows), draw)
    return clean, add_noise(clean, sigma, draw), sigma


def mse_loss(net: nn.Module, data: ImageSet, order: Order, phase: dict[str, Any]) -> Loss:
    """The first phase: closeness to the clean image at every σ."""
    sigmas = SigmaRange(**phase["sigma"])

    def loss(step: int, draw: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        clean, noisy, sigma = _batch(data, order.rows(step)[1], sigmas, draw)
        with torch.autocast("cpu", torch.bfloat16):
            out = estimate(net, noisy, sigma)
        return weighted_mse(out, clean, sigma), {}

    return loss


def stability_loss(
    net: nn.Module,
    data: ImageSet,
    order: Order,
    phase: dict[str, Any],
    surrogates: list[nn.Module],
    labels: Tensor,
) -> Loss:
    """The second phase: each surrogate must answer as it does on the clean image.

    A batch is split into `groups`, each shown to the next surrogate of `turn`.
    """
    sigmas, weight, border = SigmaRange(**phase["sigma"]), float(phase["mse_weight"]), int(phase["jitter"])
    turn = [phase["surrogates"].index(name) for name in phase["turn"]]
    groups = int(phase["groups"])

    def loss(step: int, draw: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = order.rows(step)[1]
        clean, noisy, sigma = _batch(data, rows, sigmas, draw)
        with torch.autocast("cpu", torch.bfloat16):
            out = estimate(net, noisy, sigma)
        seen = jitter(on_grid(out), border, draw)
        stable, kept = out.new_zeros(()), 0.0
        for k, (part, chosen) in enumerate(zip(seen.chunk(groups), rows.chunk(groups), strict=True)):
            who = turn[(step * groups + k) % len(turn)]
            with torch.autocast("cpu", torch.bfloat16):
                logits = surrogates[who](part).float()
            target = labels[who, chosen]
            stable = stable + F.cross_entropy(logits, target, reduction="sum") / len(rows)
            kept += float((logits.argmax(1) == target).sum()) / len(rows)
        close = weighted_mse(out, clean, sigma)
        return stable + weight * close, {
            "mse": float(close.detach()),
            "stability": float(stable.detach()),
            "kept": kept,
        }

    return loss


def train_denoiser(
    recipe: str | Path,
    data: Path,
    out: Path,
    *,
    minutes: float | None = None,
    seed: int = 0,
    resume: bool = True,
    on_progress: Progress | None = None,
    surrogates: Path | None = None,
) -> Path:
    """Train by `recipe` (a bundled name or a .toml) on the images in `data`; returns the weights written.

    Each phase starts from the averaged weights of the one before and writes `<id>-<phase>.safetensors` with a
    card into `out`; the last one is also written as `<id>.safetensors`. `minutes` caps the whole, each phase
    getting its `share`. Surrogates are looked for in the folder `surrogates`, then in `out`.
    """
    plan = read_recipe(recipe, "denoiser")
    images = load_images(data)
    torch.manual_seed(seed)
    net = create(architecture(plan))
    net = net.to(memory_format=torch.channels_last)
    folders = [folder for folder in (surrogates, out) if folder is not None]
    history: list[dict[str, Any]] = []
    written = out / f"{plan['id']}.safetensors"
    for number, phase in enumerate(plan["phase"]):
        folder = out / plan["id"] / phase["name"]
        order = Order(len(images), phase["batch"], seed + number)
        if phase["objective"] == "stability":
            names = phase["surrogates"]
            nets = [load_surrogate(name, folders) for name in names]
            folder.mkdir(parents=True, exist_ok=True)
            labels = own_labels(names, nets, images, folder / "labels.safetensors")
            loss = stability_loss(net, images, order, phase, nets, labels)
        elif phase["objective"] == "mse":
            loss = mse_loss(net, images, order, phase)
        elif phase["objective"] == "prediction" and isinstance(net, DiffusionNet):
            loss = prediction_loss(net, images, order, phase)
        else:
            raise ConfigurationError(
                f"objective {phase['objective']} is unknown, or not for this network; name mse or stability, "
                "or prediction for a diffusion model"
            )
        average = Average(net, decay=phase["decay"])
        optimizer = torch.optim.AdamW(
            net.parameters(),
            lr=phase["lr"],
            betas=tuple(phase.get("betas", (0.9, 0.98))),
            weight_decay=0.0,
            foreach=True,
        )
        run = fit(
            net,
            loss,
            optimizer,
            steps=phase["steps"],
            schedule=Schedule(**phase["schedule"]),
            average=average,
            folder=folder,
            settings=plan | {"phase": plan["phase"][: number + 1]},
            seed=seed + number,
            clip=phase["clip"],
            resume=resume,
            minutes=None if minutes is None else minutes * phase["share"],
            on_progress=on_progress,
        )
        net.load_state_dict(average.state)
        history.append(_account(phase, run, images))
        _ship(
            average.state,
            plan,
            history,
            data,
            folders,
            out / f"{plan['id']}-{phase['name']}.safetensors",
            seed,
        )
        if phase is plan["phase"][-1]:
            _ship(average.state, plan, history, data, folders, written, seed)
    return written


def export_checkpoint(
    recipe: str | Path, data: Path, out: Path, phase: str, file: Path, surrogates: Path | None
) -> Path:
    """Write the averaged weights of a run still going as `file`, with a card: the best so far."""
    plan = read_recipe(recipe, "denoiser")
    state, meta = read_state(out / plan["id"] / phase / "state.safetensors", "average")
    images = load_images(data)
    history = []
    for entry in plan["phase"]:
        run = read_state(out / plan["id"] / entry["name"] / "state.safetensors", "net")[1]
        history.append(_account(entry, run, images))
        if entry["name"] == phase:
            break
    folders = [folder for folder in (surrogates, out) if folder is not None]
    return _ship(state, plan, history, data, folders, file, meta["seed"])


def _account(phase: dict[str, Any], run: dict[str, Any], images: ImageSet) -> dict[str, Any]:
    return {
        "phase": phase["name"],
        "objective": phase["objective"],
        "surrogates": phase.get("surrogates", []),
        "data": images.name,
        "steps": run["step"],
        "images_seen": run["step"] * phase["batch"],
        "minutes": round(run["seconds"] / 60, 1),
    }


def _trained_here(plan: dict[str, Any]) -> list[str]:
    named = {name for phase in plan["phase"] for name in phase.get("surrogates", [])}
    return sorted(named & set(recipe_names()))


def _ship(
    state: dict[str, Tensor],
    plan: dict[str, Any],
    history: list[dict[str, Any]],
    data: Path,
    folders: list[Path],
    file: Path,
    seed: int,
) -> Path:
    sizes = architecture(plan)
    trained = create(sizes)
    trained.load_state_dict(state)
    net = finished(trained)
    statistics = {k for k, _ in net.named_buffers()}  # of normalisations: may lie outside the range of fp16
    weights = {k: v if k in statistics else v.half() for k, v in net.state_dict().items()}
    net.load_state_dict({k: v.float() for k, v in weights.items()})  # measure what is shipped
    low, high = plan["sigma_range"]
    card = {
        "id": file.stem,
        "architecture": sizes,
        "parameters": sum(p.numel() for p in net.parameters()),
        "sigma_range": plan["sigma_range"],
        "sizes": [32],
        "multiple": multiple(net),
        "quality": quality(net, data, folders, levels=[level for level in LEVELS if low <= level <= high]),
        "speed": images_per_second(net),
        "training": {"phases": history, "seed": seed, "recipe": plan["id"]},
        "created": today(),
        "commands": [
            *(command_line("classifier", name, 0) for name in _trained_here(plan)),
            command_line("denoiser", plan["id"], seed) + " --surrogates NETS",
        ],
    }
    return write_weights(file, weights, card)
