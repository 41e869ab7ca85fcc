"""Training a denoiser in phases, and writing it with a card of what it was measured to do."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from api_smoothing.convnet import CLASSES
from api_smoothing.denoisers.diffusion_net import DiffusionNet
from api_smoothing.denoisers.recogniser import Recogniser
from api_smoothing.digests import sha256_of
from api_smoothing.errors import ConfigurationError
from api_smoothing.training.cards import command_line, today, write_weights
from api_smoothing.training.data import ImageSet, load_images
from api_smoothing.training.diffusion import prediction_loss
from api_smoothing.training.held_out import HeldOut, own_pictures
from api_smoothing.training.loop import (
    Average,
    Draws,
    Loss,
    Order,
    Progress,
    Schedule,
    fit,
    generator,
    stream_of,
)
from api_smoothing.training.losses import (
    Images,
    Targets,
    fixed_targets,
    mse_loss,
    own_targets,
    surrogate_loss,
    told_targets,
    trained_in,
    true_targets,
)
from api_smoothing.training.measure import LEVELS, images_per_second, quality
from api_smoothing.training.networks import architecture, begin, compiled, create, finished, multiple, shipped
from api_smoothing.training.optimizers import make_optimizer
from api_smoothing.training.photographs import Photographs, load_photographs
from api_smoothing.training.recipe import read_recipe, recipe_names, recipe_word
from api_smoothing.training.state import claimed, read_state
from api_smoothing.training.surrogates import label_file, load_surrogate, own_labels
from api_smoothing.training.target import TARGET, Given, Target, load_target, recipe_for, suits

#: Minutes that tuning for a target takes at most, where neither a recipe nor another number is given.
TUNING: Final = 20.0


def train_denoiser(
    recipe: str | Path | Mapping[str, Any] | None,
    data: Path,
    out: Path,
    *,
    minutes: float | None = None,
    seed: int = 0,
    resume: bool = True,
    on_progress: Progress | None = None,
    surrogates: Path | None = None,
    device: str = "cpu",
    draws: Draws = "cpu",
    target: Given | Target | None = None,
) -> Path:
    """Train by `recipe` on the images in `data`; returns the weights written.

    A recipe is a bundled name, a .toml file, the card (.json) of weights that are to be trained again, or its settings.
    None tunes a bundled denoiser for the `target` (what `target.load_target` takes), in at most 20 minutes where
    `minutes` says no other: the model that will stand behind it is to answer denoised images as it answers clean ones,
    and is asked for gradients. Its agreement with itself on held-out images, before and after, goes on the card.

    Each phase starts from the averaged weights of the one before, or of the one it names as `after`, and writes
    `<id>-<phase>.safetensors` with a card into `out`, for the phase's own `sigma_range` if it has one, with a `blend`
    as `blended` with the one before. The last without a range of its own is also written as `<id>.safetensors`.
    `minutes` caps the whole, each phase getting its `share`. Surrogates are looked for in the folder `surrogates`, then
    in `out`. `device` is where it is trained ("cpu", "cuda", "cuda:0"). What is random is drawn on the CPU, so that a
    seed means the same everywhere, or, with `draws` "device", where it is trained, with the images: faster on a GPU,
    and another stream, which the card names. What a phase cannot do is refused before the first begins
    (ConfigurationError, WeightsError): each takes a step of a few images for trial. So is going on with a run in `out`
    of another recipe, stream, other images, surrogates or weights, and a second training there at the same time.
    """
    asked = None if target is None else load_target(target)
    if recipe is None:
        if asked is None:
            raise ConfigurationError("neither a recipe nor a target is given; name one of them")
        recipe, minutes = recipe_for(data), TUNING if minutes is None else minutes
    plan = read_recipe(recipe, "denoiser")
    suits([name for phase in plan["phase"] for name in phase.get("surrogates", [])], plan["id"], asked)
    stream = stream_of(device, draws)
    torch.manual_seed(seed)
    folders = [folder for folder in (surrogates, out) if folder is not None]
    net = create(architecture(plan))
    begin(net, plan, folders)
    images, held = hold_out(plan, training_images(plan, data), multiple(net))
    seen = sha256_of(images.tensors())
    net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if stream != "cpu":
        images = images.to(device)
    about = _About(plan=plan, data=data, held=held, folders=folders, out=out, seed=seed, minutes=minutes)
    about = replace(about, draws=stream, seen=seen, device=device, target=asked)
    ready = [_prepared(net, images, phase, about, seed + k) for k, phase in enumerate(plan["phase"])]
    if asked is not None:
        about = replace(about, before=_quality(copy.deepcopy(net).cpu(), about, plan["sigma_range"]))
    about = replace(about, compiled=compiled(net, device))
    with claimed(out / plan["id"]):
        return _train(net, ready, about, resume, on_progress)


def _train(
    net: nn.Module, ready: list[_Prepared], about: _About, resume: bool, on_progress: Progress | None
) -> Path:
    plan, out, phases = about.plan, about.out, about.plan["phase"]
    history: list[dict[str, Any]] = []
    states: dict[str, dict[str, Tensor]] = {}
    main = next((p for p in reversed(phases) if "sigma_range" not in p), phases[-1])
    written = out / f"{plan['id']}.safetensors"
    shares = max(1.0, sum(phase["share"] for phase in phases))
    for number, (phase, part) in enumerate(zip(phases, ready, strict=True)):
        folder = out / plan["id"] / phase["name"]
        before = {k: v.detach().clone() for k, v in net.state_dict().items()}
        if "after" in phase:
            net.load_state_dict(states[phase["after"]])
        asked = [_digest(surrogate, about) for surrogate in part.surrogates]
        of = {"images": about.seen, "surrogates": asked}
        average = Average(net, decay=phase["decay"])
        run = fit(
            net,
            _loss(net, part, phase, folder / label_file(of), about.device, on_progress),
            make_optimizer(net, phase),
            steps=phase["steps"],
            schedule=Schedule(**phase["schedule"]),
            average=average,
            folder=folder,
            settings=plan
            | {"phase": phases[: number + 1], "begins": sha256_of(net.state_dict()), "draws": about.draws}
            | of,
            seed=about.seed + number,
            clip=phase["clip"],
            resume=resume,
            minutes=None if about.minutes is None else about.minutes * phase["share"] / shares,
            on_progress=on_progress,
            name=f"{phase['name']} ({number + 1} of {len(phases)})",
            draws=about.device if about.draws != "cpu" else "cpu",
        )
        state = blended(before, average.state, phase["blend"]) if "blend" in phase else average.state
        net.load_state_dict(state)
        states[phase["name"]] = state
        history.append(_account(phase, run, part.images))
        files = [out / f"{plan['id']}-{phase['name']}.safetensors"]
        if phase is main:
            files.append(written)
        for file in files:
            _ship(state, history, file, about)
    return written


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """What is the same for all phases: what a card says of the whole, and what it is measured on."""

    plan: dict[str, Any]
    data: Path
    held: HeldOut | None  # own pictures that were kept apart
    folders: list[Path]
    out: Path
    seed: int
    minutes: float | None = None
    draws: str = "cpu"
    seen: str = ""  # sha256 of the images
    device: str = "cpu"
    compiled: bool = False
    target: Target | None = None
    before: dict[str, dict[str, float]] | None = None  # quality of what a target's tuning began with


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """What a phase trains on, in which order, and whom it asks."""

    images: Images
    order: Order
    surrogates: list[nn.Module]


def _prepared(net: nn.Module, images: Images, phase: dict[str, Any], about: _About, seed: int) -> _Prepared:
    """Refuses, before hours are spent on the first phase, what this one could not do."""
    objective, name = phase["objective"], phase["name"]
    for kind, needed in (("prediction", DiffusionNet), ("told", Recogniser)):
        if objective == kind and not isinstance(net, needed):
            raise ConfigurationError(
                f"phase {name}: the objective {objective} is not for this network; name mse, stability or "
                "classification (prediction is for a diffusion model, told for a recogniser)"
            )
    if isinstance(images, Photographs) and "side" in phase:
        images = replace(images, side=phase["side"])
    side, step = getattr(images, "side", 32), multiple(net)
    if side % step:
        raise ConfigurationError(
            f"phase {name}: images of side {side} do not fit the network; give a multiple of {step}"
        )
    if objective == "classification":
        true_targets(images, 1)
    surrogates = [
        about.target.checked(side, about.device).net
        if each == TARGET and about.target is not None
        else load_surrogate(each, about.folders)
        for each in phase.get("surrogates", [])
    ]
    order = Order(len(images), phase["batch"], seed)
    part = _Prepared(images=images, order=order, surrogates=surrogates)
    _try_a_step(net, part, phase, about)
    return part


def _try_a_step(net: nn.Module, part: _Prepared, phase: dict[str, Any], about: _About) -> None:
    """One loss of a few images, each shown to another surrogate, by a copy of the network."""
    few = min(max(2, len(part.surrogates)), phase["batch"])
    small = phase | {"batch": few, "groups": few, "turn": phase.get("surrogates", [])}
    trial = replace(part, order=Order(len(part.images), few, part.order.seed))
    drawn = about.device if about.draws != "cpu" else "cpu"
    try:
        with torch.no_grad():
            loss = _loss(copy.deepcopy(net).train(), trial, small, None, about.device)
            value = float(loss(0, generator(part.order.seed, 2, 0, device=drawn))[0])
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        why = " ".join(str(error).split())[:200]
        raise ConfigurationError(f"phase {phase['name']} cannot take a step: {why}; correct it") from error
    if not math.isfinite(value):
        raise ConfigurationError(
            f"phase {phase['name']}: the loss is {value} before the first step; look at its surrogates and weights"
        )


def blended(before: dict[str, Tensor], after: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """`share` of the weights `after` a phase and the rest of those `before` it (Wortsman et al. 2022, WiSE-FT).

    Halfway a network keeps more of what it could before, for classifiers it was not tuned with.
    """
    return {k: before[k].lerp(v, share) if v.is_floating_point() else v for k, v in after.items()}


def _loss(
    net: nn.Module,
    part: _Prepared,
    phase: dict[str, Any],
    cache: Path | None,
    device: str,
    on_progress: Progress | None = None,
) -> Loss:
    objective, images, order = phase["objective"], part.images, part.order
    if objective == "mse":
        return mse_loss(net, images, order, phase, device)
    if objective == "prediction" and isinstance(net, DiffusionNet):
        return prediction_loss(net, images, order, phase, device)
    nets = [surrogate.to(device) for surrogate in part.surrogates]
    if objective == "told":
        targets: Targets = told_targets
    elif objective == "classification":
        targets = true_targets(images, len(nets), device)
    elif isinstance(images, ImageSet) and cache is not None and TARGET not in phase["surrogates"]:
        targets = fixed_targets(own_labels(nets, images, cache, device, on_progress), device)
    else:
        targets = own_targets(nets)
    return surrogate_loss(net, images, order, phase, nets, targets, device)


def training_images(plan: dict[str, Any], folder: Path) -> Images:
    """What the recipe trains on, in `folder`: crops of photographs where its `[data]` has a `side`, or 32×32 images."""
    data = plan.get("data", {})
    if "side" in data:
        sides = [phase.get("side", data["side"]) for phase in plan["phase"]]
        return load_photographs(
            folder, side=data["side"], least=max(sides), archives=data.get("archives", ())
        )
    return load_images(folder)


def hold_out(plan: dict[str, Any], images: Images, step: int) -> tuple[Images, HeldOut | None]:
    """(what is trained on, the `holdout` pictures of the recipe's `[data]` that are not, in multiples of `step`)."""
    count = plan.get("data", {}).get("holdout", 0)
    if not count:
        return images, None
    if count >= len(images):
        raise ConfigurationError(
            f"data.holdout is {count} of {len(images)} images; leave some to train on, or give more"
        )
    order = torch.randperm(len(images), generator=generator(0, 6))
    apart = images.pick(order[-count:])
    return images.pick(order[:-count]), own_pictures(apart.centres(step), images.name)


def export_checkpoint(
    recipe: str | Path, data: Path, out: Path, phase: str, file: Path, surrogates: Path | None
) -> Path:
    """Write the averaged weights of a run still going as `file`, with a card: the best so far."""
    plan = read_recipe(recipe, "denoiser")
    state, meta = read_state(out / plan["id"] / phase, "average")
    images, held = hold_out(plan, training_images(plan, data), multiple(create(architecture(plan))))
    history = []
    for entry in plan["phase"]:
        run = read_state(out / plan["id"] / entry["name"], "net")[1]
        history.append(_account(entry, run, images))
        if entry["name"] == phase:
            break
    folders = [folder for folder in (surrogates, out) if folder is not None]
    about = _About(
        plan=plan, data=data, held=held, folders=folders, out=out, seed=meta["seed"] - len(history) + 1
    )
    return _ship(state, history, file, replace(about, draws=meta["settings"]["draws"]))


def _account(phase: dict[str, Any], run: dict[str, Any], images: Images) -> dict[str, Any]:
    return {
        "phase": phase["name"],
        "objective": phase["objective"],
        "surrogates": phase.get("surrogates", []),
        "data": images.name,
        "steps": run["step"],
        "images_seen": run["step"] * phase["batch"],
        "minutes": round(run["seconds"] / 60, 1),
        **{key: phase[key] for key in ("after", "blend") if key in phase},
    }


def _digest(surrogate: nn.Module, about: _About) -> str:
    target = about.target
    return (
        target.sha256 if target is not None and surrogate is target.net else sha256_of(surrogate.state_dict())
    )


def _quality(net: nn.Module, about: _About, span: list[float]) -> dict[str, dict[str, float]]:
    """What a card says of `net` for the noise of `span`; with a target, how it answers."""
    target, levels = about.target, [level for level in LEVELS if span[0] <= level <= span[1]]

    def judge(x: Tensor) -> Tensor:
        assert target is not None
        return target.net(x.to(about.device)).cpu()  # type: ignore[no-any-return]

    judged = None if target is None else judge
    return quality(net, about.data, about.folders, levels=levels, own=about.held, target=judged)


def _sigma_range(plan: dict[str, Any], history: list[dict[str, Any]]) -> list[float]:
    """What the network serves after the phases of `history`: the last one's own range, or the recipe's."""
    phase = plan["phase"][len(history) - 1]
    found: list[float] = phase.get("sigma_range", plan["sigma_range"])
    return found


def _trained_here(plan: dict[str, Any]) -> list[str]:
    named = {name for phase in plan["phase"] for name in phase.get("surrogates", [])}
    named.add(architecture(plan).get("reader"))
    return sorted(named & set(recipe_names()))


def _ship(state: dict[str, Tensor], history: list[dict[str, Any]], file: Path, about: _About) -> Path:
    plan = about.plan
    sizes = architecture(plan)
    span = _sigma_range(plan, history)
    trained = create(sizes)
    trained.load_state_dict({k: v.cpu() for k, v in state.items()})
    net = finished(trained)
    statistics = {k for k, _ in net.named_buffers()}  # of normalisations: may lie outside the range of fp16
    weights = {k: v if k in statistics else v.half() for k, v in net.state_dict().items()}
    net.load_state_dict({k: v.float() for k, v in weights.items()})  # measure what is shipped
    target = about.target
    card = {
        "id": file.stem,
        "architecture": shipped(trained, sizes),
        "parameters": sum(p.numel() for p in net.parameters()),
        "sigma_range": span,
        "sizes": [] if "side" in plan.get("data", {}) else [32],
        "multiple": multiple(net),
        **({"classes": list(sizes.get("classes", CLASSES))} if isinstance(net, Recogniser) else {}),
        "quality": _quality(net, about, span),
        "speed": images_per_second(net),
        "training": {
            "phases": history,
            "seed": about.seed,
            "minutes": about.minutes,
            "draws": about.draws,
            "device": about.device,
            "dtype": trained_in(about.device),
            "compiled": about.compiled,
            "images": about.seen,
            "recipe": plan,
            **({} if about.held is None else {"held_out": about.held.name}),
            **({} if target is None else {"target": {"name": target.name, "sha256": target.sha256}}),
            **({} if about.before is None else {"before": about.before}),
        },
        "created": today(),
        "commands": [
            *(command_line("classifier", name) for name in _trained_here(plan)),
            _command(file, about),
        ],
    }
    return write_weights(file, weights, card)


def _command(file: Path, about: _About) -> str:
    word = recipe_word(about.plan, "denoiser", file.with_suffix(".json"))
    line = command_line("denoiser", word, about.seed, about.minutes)
    line += " --surrogates NETS" if about.target is None else f" --target {about.target.words}"
    return line if about.draws == "cpu" else f"{line} --device {about.draws} --draws device"
