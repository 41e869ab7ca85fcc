"""Recipes: one TOML file a network, with every hyper-parameter of its training."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from api_smoothing.errors import ConfigurationError

RECIPES = Path(__file__).parent / "recipes"


def recipe_names() -> list[str]:
    """The bundled recipes."""
    return sorted(file.stem for file in RECIPES.glob("*.toml"))


def read_recipe(recipe: str | Path, kind: Literal["classifier", "denoiser"]) -> dict[str, Any]:
    """The settings in a bundled recipe, or in a .toml file. Raises ConfigurationError."""
    file = Path(recipe)
    if file.suffix != ".toml":
        file = RECIPES / f"{recipe}.toml"
    if not file.is_file():
        raise ConfigurationError(
            f"no recipe {recipe}; bundled are {', '.join(recipe_names())}, or give a .toml"
        )
    try:
        plan = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"recipe {file} is not valid TOML: {error}") from error
    if plan.get("kind") != kind:
        raise ConfigurationError(f"recipe {file.stem} is for a {plan.get('kind')}, not a {kind}")
    return plan
