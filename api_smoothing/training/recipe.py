"""Recipes: one TOML file a network, with every hyper-parameter of its training.

Each key is checked when the file is read: a slip of the pen must not come to light hours into a training.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from api_smoothing.errors import ConfigurationError, unknown

RECIPES = Path(__file__).parent / "recipes"

#: What a key holds: a type, [type] for a list of it, a table of further keys, or one of a few words. "?" at a key's
#: end: it may be left out.
Keys = Mapping[str, "type | list[type] | Keys | frozenset[str]"]

_SIGMA: Keys = {"low": float, "high": float, "focus?": float, "share?": float, "spread?": float}
_SCHEDULE: Keys = {
    "start?": float,
    "peak?": float,
    "end?": float,
    "shape?": frozenset({"linear", "cosine"}),
}
_PHASE: Keys = {
    "name": str,
    "objective": frozenset({"mse", "stability", "classification", "told", "prediction"}),
    "steps": int,
    "share": float,
    "batch": int,
    "lr": float,
    "clip": float,
    "decay": float,
    "sigma": _SIGMA,
    "schedule": _SCHEDULE,
    "optimizer?": str,
    "lr_rest?": float,
    "betas?": [float],
    "side?": int,
    "sigma_range?": [float],
    "after?": str,
    "blend?": float,
}
_ASKING: Keys = {  # classifiers
    "mse_weight": float,
    "jitter": int,
    "groups": int,
    "surrogates": [str],
    "turn": [str],
    "temperature?": float,
}
_OF_OBJECTIVE: Mapping[str, Keys] = {
    "stability": _ASKING,
    "classification": _ASKING,
    "told": _ASKING,
    "prediction": {"log_share": float},
}
_DENOISER: Keys = {
    "id": str,
    "kind": str,
    "sigma_range": [float],
    "phase": [dict],
    "start?": str,
    "architecture?": dict,  # its keys depend on its kind: `networks.create` says what is missing
    "channels?": [int],
    "blocks?": [int],
    "width?": int,
    "data?": {"side": int, "archives?": [str]},
}
_CLASSIFIER: Keys = {
    "id": str,
    "kind": str,
    "widths": [int],
    "data": {"holdout": int, "holdout_seed": int},
    "train": {
        "epochs": int,
        "batch": int,
        "lr": float,
        "momentum": float,
        "weight_decay": float,
        "bias_lr": float,
        "label_smoothing": float,
        "whiten_bias_epochs": int,
        "translate": int,
        "cutout": int,
        "schedule": _SCHEDULE,
        "average": {"decay": float, "every?": int, "pull?": bool},
    },
    "noise?": {"denoiser": str, "sigma": _SIGMA},
}
_TYPES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", dict: "a table"}


def recipe_names() -> list[str]:
    """The bundled recipes."""
    return sorted(file.stem for file in RECIPES.glob("*.toml"))


def read_recipe(recipe: str | Path, kind: Literal["classifier", "denoiser"]) -> dict[str, Any]:
    """The settings in a bundled recipe, or in a .toml file. Raises ConfigurationError, naming the key."""
    file = Path(recipe)
    if file.suffix != ".toml":
        file = RECIPES / f"{recipe}.toml"
    if not file.is_file():
        raise ConfigurationError(
            f"{unknown('recipe', str(recipe), recipe_names())} Or give the path of a .toml file"
        )
    try:
        plan = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"recipe {file} is not valid TOML: {error}") from error
    if plan.get("kind") != kind:
        raise ConfigurationError(f"recipe {file.stem} is for a {plan.get('kind')}, not a {kind}")
    try:
        if kind == "classifier":
            _check(plan, _CLASSIFIER, "")
        else:
            _check_denoiser(plan)
    except ConfigurationError as error:
        raise ConfigurationError(f"recipe {file.stem}: {error}") from None
    return plan


def _check(table: object, keys: Keys, where: str) -> None:
    """Every key of `table` is known and holds what it should, and none is missing; `where` is its name and a dot."""
    if not isinstance(table, Mapping):
        raise ConfigurationError(f"{where.removesuffix('.')} must be a table")
    needed = {key for key in keys if not key.endswith("?")}
    known = {key.removesuffix("?"): what for key, what in keys.items()}
    for key, value in table.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise ConfigurationError(f"unknown key {where}{key}; {hint}")
        what = known[key]
        if isinstance(what, Mapping):
            _check(value, what, f"{where}{key}.")
        elif isinstance(what, frozenset):
            if value not in sorted(what):
                raise ConfigurationError(f"{where}{key} is {value!r}; name {', '.join(sorted(what))}")
        elif isinstance(what, list):
            if not isinstance(value, list) or not all(_is(each, what[0]) for each in value):
                raise ConfigurationError(
                    f"{where}{key} must be a list, each {_TYPES[what[0]]}, not {value!r}"
                )
        elif not _is(value, what):
            raise ConfigurationError(f"{where}{key} must be {_TYPES[what]}, not {value!r}")
    if missing := sorted(needed - set(table)):
        raise ConfigurationError(f"{where}{missing[0]} is missing; give it")


def _is(value: object, what: type) -> bool:
    if isinstance(value, bool):
        return what is bool
    return isinstance(value, int | float if what is float else what)


def _check_denoiser(plan: Mapping[str, Any]) -> None:
    _check(plan, _DENOISER, "")
    _check_range(plan["sigma_range"], "sigma_range")
    if "architecture" not in plan and (lacking := {"channels", "blocks", "width"} - set(plan)):
        raise ConfigurationError(
            f"{min(lacking)} is missing; give it, or an [architecture] with the network's kind"
        )
    if plan.get("data", {}).get("side", 1) < 1:
        raise ConfigurationError(f"data.side must be 1 or more, not {plan['data']['side']}")
    if not plan["phase"]:
        raise ConfigurationError("it has no [[phase]]; give one")
    names: list[str] = []
    for phase in plan["phase"]:
        where = f"{phase.get('name', 'phase')}."
        _check(phase, {**_PHASE, **_OF_OBJECTIVE.get(str(phase.get("objective")), {})}, where)
        _check_phase(phase, names, where)
        names.append(phase["name"])


def _check_phase(phase: Mapping[str, Any], before: list[str], where: str) -> None:
    """What the keys of one phase say together, and to the names of those `before` it."""
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
    _check_range([phase["sigma"]["low"], phase["sigma"]["high"]], f"{where}sigma")
    for key in ("batch", "groups", "side"):
        if phase.get(key, 1) < 1:
            raise ConfigurationError(f"{where}{key} must be 1 or more, not {phase[key]}")
    if strangers := [name for name in phase.get("turn", []) if name not in phase["surrogates"]]:
        raise ConfigurationError(
            f"{where}turn names {strangers[0]}, which is not in surrogates; add it there"
        )
    if "turn" in phase and not phase["turn"]:
        raise ConfigurationError(f"{where}turn is empty; name the surrogates in the order they are asked")


def _check_range(ends: list[float], where: str) -> None:
    if not (len(ends) == 2 and 0 < ends[0] <= ends[1]):
        raise ConfigurationError(f"{where} must be two numbers above 0, the lower first, not {ends}")
