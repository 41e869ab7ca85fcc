"""Recipes: one TOML file a network, with every hyper-parameter of its training.

Each key is checked when the file is read: a slip of the pen must not come to light hours into a training.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from api_smoothing.errors import ConfigurationError, unknown
from api_smoothing.training.keys import Keys, Name, Number, check, check_value

Kind = Literal["classifier", "denoiser"]

RECIPES = Path(__file__).parent / "recipes"

_SIDE = 32  # pixels of CIFAR-10's images, and of crops where a recipe names no side


_COUNT, _WHOLE = Number(int, 1), Number(int, 0)
_POSITIVE, _LEAST_ZERO = Number(float, 0, above=True), Number(float, 0)
_SHARE, _DECAY = Number(float, 0, 1), Number(float, 0, 1, below=True)
_NAME = Name()

_SIGMA: Keys = {
    "low": _POSITIVE,
    "high": _POSITIVE,
    "focus?": _POSITIVE,
    "share?": _SHARE,
    "spread?": _LEAST_ZERO,
}
_SCHEDULE: Keys = {
    "start?": _LEAST_ZERO,
    "peak?": _DECAY,
    "end?": _LEAST_ZERO,
    "shape?": frozenset({"linear", "cosine"}),
}
_PHASE: Keys = {
    "name": _NAME,
    "objective": frozenset({"mse", "stability", "classification", "told", "prediction"}),
    "steps": _COUNT,
    "share": Number(float, 0, 1, above=True),
    "batch": _COUNT,
    "lr": _LEAST_ZERO,
    "clip": _POSITIVE,
    "decay": _DECAY,
    "sigma": _SIGMA,
    "schedule": _SCHEDULE,
    "optimizer?": str,
    "lr_rest?": _LEAST_ZERO,
    "betas?": [_DECAY],
    "side?": _COUNT,
    "sigma_range?": [_POSITIVE],
    "after?": _NAME,
    "blend?": _SHARE,
}
_ASKING: Keys = {  # classifiers
    "mse_weight": _LEAST_ZERO,
    "jitter": _WHOLE,
    "groups": _COUNT,
    "surrogates": [_NAME],
    "turn": [_NAME],
    "temperature?": _POSITIVE,
    "copies?": _COUNT,
    "consistency?": _LEAST_ZERO,
}
_OF_OBJECTIVE: Mapping[str, Keys] = {
    "stability": _ASKING,
    "classification": _ASKING,
    "told": _ASKING,
    "prediction": {"log_share": _SHARE},
}
_DENOISER: Keys = {
    "id": _NAME,
    "kind": str,
    "sigma_range": [_POSITIVE],
    "phase": [dict],
    "start?": _NAME,
    "architecture?": dict,  # its keys depend on its kind: `networks.create` says what is missing
    "channels?": [_COUNT],
    "blocks?": [_WHOLE],
    "width?": _COUNT,
    "data?": {"side?": _COUNT, "archives?": [_NAME], "holdout?": _WHOLE},
}
_TRAIN: Keys = {
    "epochs": _COUNT,
    "batch": _COUNT,
    "lr": _LEAST_ZERO,
    "weight_decay": _LEAST_ZERO,
    "label_smoothing": _SHARE,
    "translate": Number(int, 0, _SIDE - 1),
    "cutout": Number(int, 0, _SIDE),
    "schedule": _SCHEDULE,
    "average": {"decay": _DECAY, "every?": _COUNT, "pull?": bool},
}
_OF_CONVOLUTIONS: Keys = {
    "momentum": _DECAY,
    "bias_lr": _POSITIVE,
    "whiten_bias_epochs": _WHOLE,
}  # `Cifar10Net`
_CLASSIFIER: Keys = {
    "id": _NAME,
    "kind": str,
    "widths?": [_COUNT],
    "architecture?": dict,  # `kinds.make_classifier` says what is missing
    "classes?": [str],
    "data": {"holdout": _WHOLE, "holdout_seed": _WHOLE},
    "noise?": {"denoiser": str, "sigma": _SIGMA},
}


def recipe_names() -> list[str]:
    """The bundled recipes."""
    return sorted(file.stem for file in RECIPES.glob("*.toml"))


def recipe_text(name: str) -> str:
    """The TOML of the bundled recipe `name`. Raises ConfigurationError for another name."""
    if name not in recipe_names():
        raise ConfigurationError(unknown("recipe", name, recipe_names()))
    return (RECIPES / f"{name}.toml").read_text(encoding="utf-8")


def recipe_word(plan: Mapping[str, Any], kind: Kind, card: Path) -> str:
    """What to give as --recipe to train by `plan` again: the name of the bundled one, or the `card` that holds it."""
    name = str(plan["id"])
    bundled = name in recipe_names() and tomllib.loads(recipe_text(name)) == plan
    return name if bundled and plan["kind"] == kind else card.name


def read_recipe(recipe: str | Path | Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """The settings in a bundled recipe, in a .toml file, or on the card (.json) of weights that were trained here.

    Or those that are given themselves.

    Raises ConfigurationError, naming the key.
    """
    plan, name = _settings(recipe)
    if plan.get("kind") != kind:
        raise ConfigurationError(f"recipe {name} is for a {plan.get('kind')}, not a {kind}")
    try:
        if kind == "classifier":
            _check_classifier(plan)
        else:
            _check_denoiser(plan)
    except ConfigurationError as error:
        raise ConfigurationError(f"recipe {name}: {error}") from None
    return plan


def _check_classifier(plan: Mapping[str, Any]) -> None:
    if ("widths" in plan) == ("architecture" in plan):
        raise ConfigurationError("give either widths or an [architecture] with the network's kind")
    more = _OF_CONVOLUTIONS if "widths" in plan else {}
    check(plan, {**_CLASSIFIER, "train": {**_TRAIN, **more}}, "")
    _check_sizes(plan.get("architecture", {}), "architecture")
    _check_sigma(plan.get("noise", {}).get("sigma"), "noise.sigma")


def _settings(recipe: str | Path | Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """(what stands in the recipe, its name in messages)."""
    if isinstance(recipe, Mapping):
        return dict(recipe), str(recipe.get("id"))
    file = Path(recipe)
    if file.suffix == ".json":
        return _on_card(file), file.stem
    if file.suffix != ".toml":
        file = RECIPES / f"{recipe}.toml"
    if not file.is_file() or (file.parent == RECIPES and file.stem not in recipe_names()):
        raise ConfigurationError(
            f"{unknown('recipe', str(recipe), recipe_names())} Or give the path of a .toml file"
        )
    try:
        return tomllib.loads(file.read_text(encoding="utf-8")), file.stem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"recipe {file} is not valid TOML: {error}") from error


def _on_card(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))["training"]["recipe"]
    except FileNotFoundError:
        raise ConfigurationError(f"no card {file}; name the .json beside weights that train wrote") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        found = None
    if isinstance(found, str):
        return tomllib.loads(recipe_text(found))
    if not isinstance(found, dict):
        raise ConfigurationError(f"the card {file} holds no recipe; give a .toml file, or a bundled name")
    return found


def _check_denoiser(plan: Mapping[str, Any]) -> None:
    check(plan, _DENOISER, "")
    _check_range(plan["sigma_range"], "sigma_range")
    if "architecture" not in plan and (lacking := {"channels", "blocks", "width"} - set(plan)):
        raise ConfigurationError(
            f"{min(lacking)} is missing; give it, or an [architecture] with the network's kind"
        )
    _check_sizes(plan.get("architecture", {}), "architecture")
    if not plan["phase"]:
        raise ConfigurationError("it has no [[phase]]; give one")
    names: list[str] = []
    for phase in plan["phase"]:
        where = f"{phase.get('name', 'phase')}."
        check(phase, {**_PHASE, **_OF_OBJECTIVE.get(str(phase.get("objective")), {})}, where)
        _check_phase(phase, plan.get("data", {}).get("side", _SIDE), names, where)
        names.append(phase["name"])


def _check_sizes(table: Mapping[str, Any], where: str) -> None:
    """No number of an architecture is one that no network could have; `networks.create` knows the rest."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            _check_sizes(value, f"{where}.{key}")
        if key == "reader":
            check_value(value, _NAME, f"{where}.{key}")
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, float) or (isinstance(each, int) and not isinstance(each, bool)):
                least = _WHOLE if key == "blocks" and isinstance(value, list) else _POSITIVE
                if not least.holds(each):
                    raise ConfigurationError(f"{where}.{key} must be {least}, not {each}")


def _check_phase(phase: Mapping[str, Any], side: int, before: list[str], where: str) -> None:
    """What the keys of one phase say together, and to the recipe's `side` and the names of the phases `before` it."""
    from api_smoothing.training.optimizers import check_optimizer  # brings torch

    check_optimizer(phase)
    if phase["name"] in before:
        raise ConfigurationError(f"two phases are named {phase['name']}; rename one")
    if "after" in phase and phase["after"] not in before:
        raise ConfigurationError(
            f"phase {phase['name']} comes after {phase['after']}, which is no phase before it; name one"
        )
    if "sigma_range" in phase:
        _check_range(phase["sigma_range"], f"{where}sigma_range")
    _check_sigma(phase["sigma"], f"{where}sigma")
    if len(phase.get("betas", (0, 0))) != 2:
        raise ConfigurationError(f"{where}betas must be two numbers, not {phase['betas']}")
    if phase.get("groups", 1) > phase["batch"]:
        raise ConfigurationError(f"{where}groups must be at most batch, {phase['batch']}, for one image each")
    if phase.get("jitter", 0) >= (least := phase.get("side", side)):
        raise ConfigurationError(f"{where}jitter must be below the side of the images, {least} pixels")
    for key in ("surrogates", "turn"):
        if key in phase and not phase[key]:
            raise ConfigurationError(
                f"{where}{key} is empty; name the classifiers, as often as they are asked"
            )
    if strangers := [name for name in phase.get("turn", []) if name not in phase["surrogates"]]:
        raise ConfigurationError(
            f"{where}turn names {strangers[0]}, which is not in surrogates; add it there"
        )


def _check_sigma(sigma: Mapping[str, Any] | None, where: str) -> None:
    if sigma is not None:
        _check_range([sigma["low"], sigma["high"]], where)


def _check_range(ends: list[float], where: str) -> None:
    if not (len(ends) == 2 and 0 < ends[0] <= ends[1]):
        raise ConfigurationError(f"{where} must be two numbers above 0, the lower first, not {ends}")
