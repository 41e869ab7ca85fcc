"""Where a setting comes from: flag > API_SMOOTH_* > ./api-smooth.toml > the user's file > default."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from api_smoothing.cli.setting_kinds import KINDS, Expected, Method, Noise
from api_smoothing.errors import ConfigurationError
from api_smoothing.private import refuse_writable

PROJECT_FILE: Final = Path("api-smooth.toml")

#: Options that say where a provider is, or as whom to ask it.
_DECIDES: Final = re.compile(
    r"endpoint|url|profile|key|secret|token|password|credential|\bpat\b", re.IGNORECASE
)

#: Variables of the same prefix that are no settings.
RESERVED: Final = frozenset({"HOME", "MACHINE", "DEBUG"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One run's settings, all sources merged. Units and meanings are those of `SmoothedAPI`.

    Of budgets None is one that nobody has set; without bounds it is infinite.
    """

    provider: str = "torchvision"
    model: str | None = None
    sigma: float = 0.25
    radius: float | None = None
    n: int | Literal["auto"] | None = "auto"
    n0: int | None = None
    alpha: float = 0.001
    method: Method = "auto"
    noise: Noise = "gaussian"
    denoiser: str | None = "auto"
    labels: str | None = None
    seed: int | None = None
    size: int | tuple[int, int] | None = None
    device: str = "auto"
    budget_queries: int | None = None
    budget_usd: float | None = None
    budget_usd_day: float | None = None
    cache: bool | str = True
    store: str | None = None
    store_wait: float = 60.0
    run: str | None = None
    rate: float | None = None
    prior: Literal["learn"] | None = None
    reuse: Literal["ball"] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def add_setting_flags(parser: argparse.ArgumentParser, names: Iterable[str], **lines: str) -> None:
    """Give `parser` the flags of these settings. Their values stay text until `resolve_settings`.

    `lines` are other lines of help, by the name of the setting.
    """
    for name in names:
        if name == "cache":
            parser.add_argument(
                "--no-cache", dest="cache", action="store_const", const="false", help="keep no answers"
            )
        kind = KINDS[name]
        flags = [f"--{name.replace('_', '-')}"] if len(name) > 1 else [f"-{name}", f"--{name}"]
        parser.add_argument(*flags, dest=name, metavar=kind.metavar, help=lines.get(name, kind.help))


def resolve_settings(args: argparse.Namespace, names: Collection[str]) -> Settings:
    """Merge all sources for the settings in `names`; the others keep their defaults.

    Raises ConfigurationError naming the flag, the variable, or the file and key that is wrong. Every source
    is checked in full, even where a stronger one wins: a typo must not wait for the day it counts.
    """
    from api_smoothing.home import settings_file

    merged: dict[str, Any] = {}
    own = settings_file("config.toml")
    refuse_writable(own)
    merged |= _from_file(own)
    merged |= _harmless(_from_file(PROJECT_FILE), own)
    merged |= _from_environment(os.environ)
    merged |= _from_flags(args)
    return Settings(**{name: value for name, value in merged.items() if name in names})


def deciding(values: Mapping[str, Any]) -> list[str]:
    """The settings among `values` that decide where a key goes, or as whom one asks."""
    named = [f"options.{name}" for name in values.get("options") or {} if _DECIDES.search(name)]
    if values.get("store") is not None:  # whose seed decides what noise is drawn
        named.append("store")
    if str(values.get("model", "")).endswith(".toml"):  # the description of an endpoint has an address
        named.append("model")
    return named


def _harmless(values: dict[str, Any], own: Path) -> dict[str, Any]:
    """What a file of the folder one happens to stand in may say. Raises ConfigurationError for the rest.

    The folder may be somebody else's.
    """
    if named := deciding(values):
        raise ConfigurationError(
            f"{PROJECT_FILE} in this folder sets {named[0]}, which decides where {_goes(named[0])}: give it by a flag "
            f"or a variable, or in {own}"
        )
    return values


def _goes(name: str) -> str:
    return "answers and budgets go" if name == "store" else "a key goes"


def _from_flags(args: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(args, name, None) for name in KINDS}
    return {
        name: _value(name, text, f"{'-' if len(name) == 1 else '--'}{name.replace('_', '-')}")
        for name, text in given.items()
        if text is not None
    }


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    prefix = "API_SMOOTH_"
    values = {}
    for variable in sorted(environment):
        if variable.startswith(prefix) and (key := variable.removeprefix(prefix)) not in RESERVED:
            name = key.lower()
            if name not in KINDS:
                raise ConfigurationError(f"the variable {variable} is no setting{_nearest(name)}")
            values[name] = _value(name, environment[variable], variable)
    return values


def _from_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    import tomllib

    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from None
    values = {}
    for name, value in table.items():
        if name not in KINDS:
            raise ConfigurationError(f"{path}: {name} is no setting{_nearest(name)}")
        values[name] = _value(name, value, f"{path}: {name}", typed=True)
    return values


def _value(name: str, value: Any, where: str, *, typed: bool = False) -> Any:
    kind = KINDS[name]
    try:
        return kind.check(value if typed else kind.read(value))
    except Expected as expected:
        told = "" if name in ("options", "store") else f", not {value!r}"  # these may hold a secret
        raise ConfigurationError(f"{where} must be {expected}{told}") from None


def _nearest(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, KINDS, n=1)
    return f"; did you mean {near[0]}?" if near else f"; settings are {', '.join(KINDS)}"
