"""A provider's options as its loader means them: text from a shell becomes a number only where one is wanted."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, Final

from api_smoothing.adapters import registry
from api_smoothing.adapters.provider import resolve
from api_smoothing.errors import UnknownOption

_NUMBER: Final = re.compile(r"\b(int|float|bool)\b")
_TEXT: Final = re.compile(r"\b(str|Literal|Path)\b")


#: What the loader of local models takes, with the types; its module cannot be asked for it, as it brings torch.
LOCAL: Final = {
    "model": "str | Path | None",
    "arch": "str | None",
    "class_names": "Sequence[str] | None",
    "mean": "Sequence[float]",
    "std": "Sequence[float]",
    "top": "int",
}


def refuse_unknown_option(provider: str, option: str) -> None:
    """Raise UnknownOption for one that the local provider does not have."""
    if option not in LOCAL:
        raise UnknownOption(provider, option, [*LOCAL])


def as_meant(provider: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` with each value as the parameter of that name takes it, by its annotation, else by its default.

    What goes to further keywords of the loader stays text, for the loader to read. Of a list each item is read.
    """
    declared = registry.find(provider)
    if declared is None or not options:
        return dict(options)
    if declared.local:
        for option in options:
            refuse_unknown_option(provider, option)
        return {name: _meant(value, LOCAL[name]) for name, value in options.items()}
    parameters = inspect.signature(resolve(declared.load)).parameters
    return {name: _meant(value, _type_of(parameters.get(name))) for name, value in options.items()}


def _type_of(parameter: inspect.Parameter | None) -> str | None:
    """The type that a parameter states or has by its default, in words; None of what is left to the loader."""
    if parameter is None or parameter.kind is parameter.VAR_KEYWORD:
        return None
    stated = parameter.annotation is not parameter.empty
    return str(parameter.annotation) if stated else type(parameter.default).__name__


def _meant(value: Any, told: str | None) -> Any:
    if told is None:
        return value
    number, text = bool(_NUMBER.search(told)), bool(_TEXT.search(told))
    if isinstance(value, list):
        return [_number(item) for item in value] if number and not text else value
    if isinstance(value, str) and number and not text and "Sequence" in told:
        return [_number(value)]
    if isinstance(value, str):
        return value if text and not number else _number(value)
    if text and not number and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)  # a version in TOML, without its quotes
    return value


def _number(text: Any) -> Any:
    """The number or truth value that a text says, else the text."""
    if not isinstance(text, str):
        return text
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)
