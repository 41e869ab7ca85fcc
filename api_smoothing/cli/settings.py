"""Where a setting comes from: flag > API_SMOOTH_* > ./api-smooth.toml > the user's file > default."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

from api_smoothing.errors import ConfigurationError

PROJECT_FILE: Final = Path("api-smooth.toml")
Method = Literal["auto", "sequential", "fixed", "clopper-pearson"]
Noise = Literal["gaussian", "uniform", "laplace"]

#: Variables of the same prefix that are no settings.
RESERVED: Final = frozenset({"HOME", "DEBUG"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One run's settings, all sources merged. Units and meanings are those of `SmoothedAPI`."""

    provider: str = "torchvision"
    model: str | None = None
    sigma: float = 0.25
    radius: float | None = None
    n: int | None = None
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
    cache: bool | str = True
    run: str | None = None
    rate: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class _Expected(Exception):
    """What a value should have been, in words that follow "must be"."""


@dataclass(frozen=True, slots=True)
class _Kind:
    read: Callable[[str], Any]  # from a flag or a variable; ValueError or _Expected when it cannot be
    check: Callable[[Any], Any]  # typed values, from there or from TOML; _Expected when out of range
    metavar: str
    help: str


def _real(words: str, accept: Callable[[float], bool]) -> tuple[Callable[[str], Any], Callable[[Any], Any]]:
    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _Expected(words)
        if not math.isfinite(value) or not accept(value):
            raise _Expected(words)
        return float(value)

    return _reader(float, words), check


def _whole(words: str, least: int | None) -> tuple[Callable[[str], Any], Callable[[Any], Any]]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
            raise _Expected(words)
        return value

    return _reader(int, words), check


def _reader(convert: Callable[[str], Any], words: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return convert(text)
        except ValueError:
            raise _Expected(words) from None

    return read


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _Expected("a name, in quotes")
    return value


def _one_of(names: tuple[str, ...]) -> Callable[[Any], Any]:
    def check(value: Any) -> str:
        if value not in names:
            raise _Expected(f"one of {', '.join(names)}")
        return str(value)

    return check


def _denoiser(value: Any) -> str | None:
    return None if _name(value).lower() == "none" else _name(value)


def _read_seed(text: str) -> Any:
    return text if text == "secret" else _reader(int, "a whole number from 0 on, or 'secret'")(text)


def _seed(value: Any) -> int | None:
    if value == "secret":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _Expected("a whole number from 0 on, or 'secret'")
    return value


def _read_size(text: str) -> Any:
    sides = [_reader(int, "a side in pixels, or HEIGHTxWIDTH")(side) for side in text.lower().split("x")]
    return sides[0] if len(sides) == 1 else sides


def _size(value: Any) -> int | tuple[int, int]:
    sides = value if isinstance(value, list) else [value]
    whole = [side for side in sides if isinstance(side, int) and not isinstance(side, bool) and side >= 1]
    if len(whole) != len(sides) or len(sides) not in (1, 2):
        raise _Expected("a side in pixels, or HEIGHTxWIDTH")
    return whole[0] if len(whole) == 1 else (whole[0], whole[1])


def _read_cache(text: str) -> Any:
    return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(text, text)


def _cache(value: Any) -> bool | str:
    if isinstance(value, bool) or (isinstance(value, str) and value):
        return value
    raise _Expected("true, false, or a folder")


def _read_options(text: str) -> Any:
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(equals and name.strip() for name, equals, _ in pairs):
        raise _Expected("NAME=VALUE[,NAME=VALUE…]")
    return {name.strip(): _option(value.strip()) for name, _, value in pairs}


def _option(text: str) -> Any:
    """A number, a truth value, several names separated by |, or text."""
    if "|" in text:
        return [part.strip() for part in text.split("|") if part.strip()]
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def _options(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise _Expected("a table of the provider's options")
    return value


_POSITIVE: Final = _real("a number above 0", lambda v: v > 0)
_COUNT: Final = _whole("a whole number from 1 on", 1)

_KINDS: Final[Mapping[str, _Kind]] = {
    "provider": _Kind(str, _name, "P", "who answers (default: torchvision, which runs here)"),
    "model": _Kind(str, _name, "M", "the provider's model; for torchvision a name or a checkpoint (cifar10)"),
    "sigma": _Kind(*_POSITIVE, "S", "noise standard deviation σ, pixels in [0,1] (default: 0.25)"),
    "radius": _Kind(*_POSITIVE, "R", "ℓ2 radius to certify, pixels in [0,1]; stops as soon as it is decided"),
    "n": _Kind(*_COUNT, "N", "queries for the best radius; with --radius, the cap"),
    "n0": _Kind(*_COUNT, "N0", "queries that only choose the class (method clopper-pearson)"),
    "alpha": _Kind(
        *_real("a number above 0 and at most 0.1", lambda v: 0 < v <= 0.1),
        "A",
        "probability that the certificate is wrong (default: 0.001)",
    ),
    "method": _Kind(
        str, _one_of(get_args(Method)), "M", "auto, sequential, fixed or clopper-pearson (default: auto)"
    ),
    "noise": _Kind(str, _one_of(get_args(Noise)), "NAME", "gaussian, uniform or laplace (default: gaussian)"),
    "denoiser": _Kind(str, _denoiser, "D", "auto, a name, a weights file, or none (default: auto)"),
    "labels": _Kind(str, _name, "L", "label map: a built-in name or a .toml file (default: top label)"),
    "seed": _Kind(
        _read_seed, _seed, "K", "public, repeatable noise (default: the secret key of this machine)"
    ),
    "size": _Kind(
        _read_size, _size, "SIDE", "side (or HEIGHTxWIDTH) the image is brought to before the noise"
    ),
    "device": _Kind(str, _name, "DEV", "auto, cpu, cuda, … (default: auto)"),
    "budget_queries": _Kind(*_whole("a whole number from 0 on", 0), "Q", "most queries this run may send"),
    "budget_usd": _Kind(
        *_real("a number from 0 on", lambda v: v >= 0), "X", "most US dollars this run may spend"
    ),
    "run": _Kind(
        str, _name, "NAME", "name of the run the budget is for (default: this command on these images)"
    ),
    "rate": _Kind(
        *_POSITIVE, "I", "images a second the account may send (default: the provider's usual quota)"
    ),
    "options": _Kind(
        _read_options,
        _options,
        "K=V,…",
        "the provider's own options, such as region=eu-west-1 or only=Cat|Dog",
    ),
    "cache": _Kind(_read_cache, _cache, "DIR", "folder of the answers (default: api-smooth cache path)"),
}


def add_setting_flags(parser: argparse.ArgumentParser, names: Iterable[str]) -> None:
    """Give `parser` the flags of these settings. Their values stay text until `resolve_settings`."""
    for name in names:
        if name == "cache":
            parser.add_argument(
                "--no-cache", dest="cache", action="store_const", const="false", help="keep no answers"
            )
        kind = _KINDS[name]
        flag = f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"
        parser.add_argument(flag, dest=name, metavar=kind.metavar, help=kind.help)


def resolve_settings(args: argparse.Namespace, names: Collection[str]) -> Settings:
    """Merge all sources for the settings in `names`; the others keep their defaults.

    Raises ConfigurationError naming the flag, the variable, or the file and key that is wrong. Every source
    is checked in full, even where a stronger one wins: a typo must not wait for the day it counts.
    """
    from api_smoothing.secret import home

    merged: dict[str, Any] = {}
    for path in (home() / "config.toml", PROJECT_FILE):
        merged |= _from_file(path)
    merged |= _from_environment(os.environ)
    merged |= _from_flags(args)
    return Settings(**{name: value for name, value in merged.items() if name in names})


def _from_flags(args: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(args, name, None) for name in _KINDS}
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
            if name not in _KINDS:
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
        if name not in _KINDS:
            raise ConfigurationError(f"{path}: {name} is no setting{_nearest(name)}")
        values[name] = _value(name, value, f"{path}: {name}", typed=True)
    return values


def _value(name: str, value: Any, where: str, *, typed: bool = False) -> Any:
    kind = _KINDS[name]
    try:
        return kind.check(value if typed else kind.read(value))
    except _Expected as expected:
        told = "" if name == "options" else f", not {value!r}"  # options may hold a key
        raise ConfigurationError(f"{where} must be {expected}{told}") from None


def _nearest(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, _KINDS, n=1)
    return f"; did you mean {near[0]}?" if near else f"; settings are {', '.join(_KINDS)}"
