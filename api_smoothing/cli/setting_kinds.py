"""What each setting may be: how it is read from text, what values it takes, and its line of help."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

Method = Literal["auto", "sequential", "fixed", "clopper-pearson", "runner-up"]
Noise = Literal["gaussian", "uniform", "laplace"]


class Expected(Exception):
    """What a value should have been, in words that follow "must be"."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How a setting is written, checked, and explained."""

    read: Callable[[str], Any]  # from a flag or a variable; ValueError or Expected when it cannot be
    check: Callable[[Any], Any]  # typed values, from there or from TOML; Expected when out of range
    metavar: str
    help: str


def _real(words: str, accept: Callable[[float], bool]) -> tuple[Callable[[str], Any], Callable[[Any], Any]]:
    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Expected(words)
        if not math.isfinite(value) or not accept(value):
            raise Expected(words)
        return float(value)

    return _reader(float, words), check


def _whole(
    words: str, least: int, most: float = math.inf
) -> tuple[Callable[[str], Any], Callable[[Any], Any]]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise Expected(words)
        return value

    return _reader(int, words), check


def _reader(convert: Callable[[str], Any], words: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return convert(text)
        except ValueError:
            raise Expected(words) from None

    return read


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Expected("a name, in quotes")
    return value


def _one_of(names: tuple[str, ...]) -> Callable[[Any], Any]:
    def check(value: Any) -> str:
        if value not in names:
            raise Expected(f"one of {', '.join(names)}")
        return str(value)

    return check


def _denoiser(value: Any) -> str | None:
    return None if _name(value).lower() == "none" else _name(value)


def _or_none(words: str, number: Callable[[Any], Any]) -> tuple[Callable[[str], Any], Callable[[Any], Any]]:
    """Dollars, or "none" for as many as there are, written out: infinitely many."""

    def check(value: Any) -> float:
        if value == "none" or value == math.inf:
            return math.inf
        try:
            return float(number(value))
        except Expected:
            raise Expected(words) from None

    return lambda text: text if text == "none" else _reader(float, words)(text), check


def _read_n(text: str) -> Any:
    return text if text in ("auto", "none") else _reader(int, _N)(text)


def _n(value: Any) -> int | str | None:
    if value in ("auto", "none"):
        return None if value == "none" else "auto"
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST:
        raise Expected(_N)
    return value


def _read_seed(text: str) -> Any:
    return text if text == "secret" else _reader(int, "a whole number from 0 on, or 'secret'")(text)


def _seed(value: Any) -> int | None:
    if value == "secret":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Expected("a whole number from 0 on, or 'secret'")
    return value


_SIDES: Final = "a side of 1 to 8192 pixels, or HEIGHTxWIDTH"  # as `images.load` has it


def _read_size(text: str) -> Any:
    sides = [_reader(int, _SIDES)(side) for side in text.lower().split("x")]
    return sides[0] if len(sides) == 1 else sides


def _size(value: Any) -> int | tuple[int, int]:
    sides = value if isinstance(value, list) else [value]
    whole = [
        side for side in sides if isinstance(side, int) and not isinstance(side, bool) and 1 <= side <= 8192
    ]
    if len(whole) != len(sides) or len(sides) not in (1, 2):
        raise Expected(_SIDES)
    return whole[0] if len(whole) == 1 else (whole[0], whole[1])


def _read_cache(text: str) -> Any:
    return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(text, text)


def _cache(value: Any) -> bool | str:
    if isinstance(value, bool) or (isinstance(value, str) and value and not Path(value).is_file()):
        return value
    raise Expected("true, false, or a folder")


def _store(value: Any) -> str:
    if isinstance(value, str) and value.startswith(("postgresql://", "postgres://")):
        return value
    raise Expected("the URL of a database, postgresql://USER@HOST/DATABASE")


def _read_options(text: str) -> Any:
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(equals and name.strip() for name, equals, _ in pairs):
        raise Expected("NAME=VALUE[,NAME=VALUE…]")
    return {name.strip(): _option(value.strip()) for name, _, value in pairs}


def _option(text: str) -> str | list[str]:
    """Several items separated by |, or text; which of them are numbers the provider says (`cli.options`)."""
    return [part.strip() for part in text.split("|") if part.strip()] if "|" in text else text


def _options(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise Expected("a table of the provider's options")
    return value


_MOST: Final = 10**9  # queries nobody means
_N: Final = "a whole number from 1 on, at most a billion, 'auto', or 'none'"
_USD: Final = _or_none("a number from 0 on, or 'none'", _real("", lambda v: v >= 0)[1])
_POSITIVE: Final = _real("a number above 0", lambda v: v > 0)
_COUNT: Final = _whole("a whole number from 1 on, at most a billion", 1, _MOST)

#: The settings by name.
KINDS: Final[Mapping[str, Kind]] = {
    "provider": Kind(str, _name, "P", "who answers (default: torchvision, which runs here)"),
    "model": Kind(str, _name, "M", "the provider's model; for torchvision a name or a checkpoint (cifar10)"),
    "sigma": Kind(*_POSITIVE, "S", "noise standard deviation σ, pixels in [0,1] (default: 0.25)"),
    "radius": Kind(
        *_POSITIVE,
        "R",
        "radius to certify, pixels in [0,1], ℓ2 (ℓ1 with uniform or laplace noise); stops once it is decided",
    ),
    "n": Kind(
        _read_n,
        _n,
        "N",
        "queries for the best radius (default: 100); with --radius the cap (default: 1,000 where queries cost money or "
        "their price is unknown, 10,000 where they are free, never fewer than the radius needs); none: no cap",
    ),
    "n0": Kind(*_COUNT, "N0", "queries that only choose the class (methods clopper-pearson and runner-up)"),
    "alpha": Kind(
        *_real("a number above 0 (1e-100 or more) and at most 0.1", lambda v: 1e-100 <= v <= 0.1),
        "A",
        "probability that the certificate is wrong (default: 0.001)",
    ),
    "method": Kind(
        str,
        _one_of(get_args(Method)),
        "M",
        "auto, sequential, fixed, clopper-pearson or runner-up (default: auto)",
    ),
    "noise": Kind(
        str,
        _one_of(get_args(Noise)),
        "NAME",
        "gaussian for ℓ2 radii, uniform or laplace for ℓ1 (default: gaussian)",
    ),
    "denoiser": Kind(str, _denoiser, "D", "auto, a name, a weights file, or none (default: auto)"),
    "labels": Kind(str, _name, "L", "label map: a built-in name or a .toml file (default: top label)"),
    "seed": Kind(
        _read_seed, _seed, "K", "public, repeatable noise (default: the secret key of this machine)"
    ),
    "size": Kind(
        _read_size, _size, "SIDE", "side (or HEIGHTxWIDTH) the image is brought to before the noise"
    ),
    "device": Kind(str, _name, "DEV", "auto, cpu, cuda, cuda:all, … (default: auto)"),
    "budget_queries": Kind(*_whole("a whole number from 0 on", 0), "Q", "most queries this run may send"),
    "budget_usd": Kind(
        *_USD,
        "X",
        "most US dollars this run may spend; none: no limit (default without a budget: 5 where a query has a price)",
    ),
    "budget_usd_day": Kind(
        *_USD, "Y", "most US dollars all runs of the account may spend in a day (UTC); none: no limit"
    ),
    "run": Kind(
        str, _name, "NAME", "name of the run the budget is for (default: this command on these images)"
    ),
    "rate": Kind(
        *_POSITIVE, "I", "images a second the account may send (default: the provider's usual quota)"
    ),
    "options": Kind(
        _read_options,
        _options,
        "K=V,…",
        "the provider's own options, such as region=eu-west-1 or only=Cat|Dog",
    ),
    "prior": Kind(
        str, _one_of(("learn",)), "learn", "shape the rule by what the images done before have taught"
    ),
    "reuse": Kind(
        str,
        _one_of(("ball",)),
        "ball",
        "an image that is certified answers for those within its radius, free",
    ),
    "store": Kind(
        str,
        _store,
        "URL",
        "postgresql://… of the database that several machines keep answers, budgets and quotas in (default: a folder)",
    ),
    "store_wait": Kind(
        *_real("a number of seconds from 0 on", lambda v: v >= 0),
        "S",
        "seconds that a run waits for a database that has gone away (default: 60)",
    ),
    "cache": Kind(_read_cache, _cache, "DIR", "folder of the answers (default: api-smooth cache path)"),
}


def norm_of(noise: str) -> str:
    """The norm of the radii that a noise certifies, as it is shown."""
    return "ℓ2" if noise == "gaussian" else "ℓ1"
