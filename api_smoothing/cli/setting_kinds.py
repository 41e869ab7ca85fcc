"""What each setting may be: how it is read from text, what values it takes, and its line of help."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


def _whole(words: str, least: int | None) -> tuple[Callable[[str], Any], Callable[[Any], Any]]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
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


def _read_seed(text: str) -> Any:
    return text if text == "secret" else _reader(int, "a whole number from 0 on, or 'secret'")(text)


def _seed(value: Any) -> int | None:
    if value == "secret":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Expected("a whole number from 0 on, or 'secret'")
    return value


def _read_size(text: str) -> Any:
    sides = [_reader(int, "a side in pixels, or HEIGHTxWIDTH")(side) for side in text.lower().split("x")]
    return sides[0] if len(sides) == 1 else sides


def _size(value: Any) -> int | tuple[int, int]:
    sides = value if isinstance(value, list) else [value]
    whole = [side for side in sides if isinstance(side, int) and not isinstance(side, bool) and side >= 1]
    if len(whole) != len(sides) or len(sides) not in (1, 2):
        raise Expected("a side in pixels, or HEIGHTxWIDTH")
    return whole[0] if len(whole) == 1 else (whole[0], whole[1])


def _read_cache(text: str) -> Any:
    return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(text, text)


def _cache(value: Any) -> bool | str:
    if isinstance(value, bool) or (isinstance(value, str) and value):
        return value
    raise Expected("true, false, or a folder")


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


_POSITIVE: Final = _real("a number above 0", lambda v: v > 0)
_COUNT: Final = _whole("a whole number from 1 on", 1)

#: The settings by name.
KINDS: Final[Mapping[str, Kind]] = {
    "provider": Kind(str, _name, "P", "who answers (default: torchvision, which runs here)"),
    "model": Kind(str, _name, "M", "the provider's model; for torchvision a name or a checkpoint (cifar10)"),
    "sigma": Kind(*_POSITIVE, "S", "noise standard deviation σ, pixels in [0,1] (default: 0.25)"),
    "radius": Kind(*_POSITIVE, "R", "ℓ2 radius to certify, pixels in [0,1]; stops as soon as it is decided"),
    "n": Kind(*_COUNT, "N", "queries for the best radius; with --radius, the cap"),
    "n0": Kind(*_COUNT, "N0", "queries that only choose the class (methods clopper-pearson and runner-up)"),
    "alpha": Kind(
        *_real("a number above 0 and at most 0.1", lambda v: 0 < v <= 0.1),
        "A",
        "probability that the certificate is wrong (default: 0.001)",
    ),
    "method": Kind(
        str,
        _one_of(get_args(Method)),
        "M",
        "auto, sequential, fixed, clopper-pearson or runner-up (default: auto)",
    ),
    "noise": Kind(str, _one_of(get_args(Noise)), "NAME", "gaussian, uniform or laplace (default: gaussian)"),
    "denoiser": Kind(str, _denoiser, "D", "auto, a name, a weights file, or none (default: auto)"),
    "labels": Kind(str, _name, "L", "label map: a built-in name or a .toml file (default: top label)"),
    "seed": Kind(
        _read_seed, _seed, "K", "public, repeatable noise (default: the secret key of this machine)"
    ),
    "size": Kind(
        _read_size, _size, "SIDE", "side (or HEIGHTxWIDTH) the image is brought to before the noise"
    ),
    "device": Kind(str, _name, "DEV", "auto, cpu, cuda, … (default: auto)"),
    "budget_queries": Kind(*_whole("a whole number from 0 on", 0), "Q", "most queries this run may send"),
    "budget_usd": Kind(
        *_real("a number from 0 on", lambda v: v >= 0), "X", "most US dollars this run may spend"
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
    "cache": Kind(_read_cache, _cache, "DIR", "folder of the answers (default: api-smooth cache path)"),
}
