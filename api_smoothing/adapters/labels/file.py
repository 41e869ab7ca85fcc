"""Label maps as TOML: finding them, and checking every key before it can be misread."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from api_smoothing.adapters import registry
from api_smoothing.adapters.labels.words import Words
from api_smoothing.errors import ConfigurationError, unknown

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_KEYS: Final = ("name", "about", "other", "none", "order", "ignore", "classes")
_LISTS: Final = ("labels", "ids", "parents")
_WORD_KEYS: Final = (*_LISTS, "threshold", "thresholds")


def built_in() -> list[str]:
    """The names of the maps that come with the package."""
    return sorted(f.name.removesuffix(".toml") for f in _maps().iterdir() if f.name.endswith(".toml"))


def _maps() -> Traversable:
    """The folder of the built-in maps."""
    from importlib import resources

    return resources.files("api_smoothing.adapters.labels") / "maps"


def read(source: str | Path) -> tuple[Mapping[str, Any], str]:
    """The content of a built-in map by name, or of a .toml file, and how to call it in messages."""
    return _toml(text_of(source), str(source)), str(source)


def text_of(source: str | Path) -> str:
    """The TOML of a built-in map by name, or of a .toml file, comments included. Raises ConfigurationError."""
    path = Path(source)
    if path.suffix == ".toml":
        try:
            return path.read_text("utf-8")
        except OSError as error:
            raise ConfigurationError(f"cannot read label map {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigurationError(f"label map {path} is not UTF-8 text") from None
    elif str(source) in built_in():
        return (_maps() / f"{source}.toml").read_text("utf-8")
    raise ConfigurationError(
        f"{unknown('label map', str(source), list(built_in()))} Or give the path of a .toml file"
    )


def parse(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of a LabelMap.

    At the top: `name`, `about` (a sentence), `other` and `none` (names of classes), `order` (every class once),
    `ignore` (labels). A table [classes.NAME] has `labels`, `ids` and `parents` (lists), `threshold` (a score in
    [0, 1]) and `thresholds` (a table from single words to scores); [classes.NAME.PROVIDER] has the same for one
    of the providers with a vocabulary. Raises ConfigurationError naming `where` and the key.
    """
    check, providers = _Check(f"label map {where}"), registry.vocabularies()
    check.keys(content, _KEYS, "")
    tables = content.get("classes")
    if not isinstance(tables, dict) or not tables:
        raise check.error("names no class; add a table [classes.NAME]")
    classes: dict[str, Words] = {}
    sections: dict[str, dict[str, Words]] = {}
    for name, table in tables.items():
        if not name.strip() or not isinstance(table, dict):
            raise check.error(f"classes.{name or chr(34) * 2} must be a table with labels, ids or parents")
        check.class_keys(table, providers, f"classes.{name}.")
        classes[name] = check.words(table, f"classes.{name}")
        for provider in providers:
            if provider in table:
                words = check.words(table[provider], f"classes.{name}.{provider}", within=classes[name])
                sections.setdefault(provider, {})[name] = words
        if not any(_all_of(w) for w in (classes[name], *(s[name] for s in sections.values() if name in s))):
            raise check.error(f'[classes.{name}] needs labels = ["…"], ids or parents')
    ignore = check.texts(content, "ignore", "")
    check.apart(classes, "", dict.fromkeys(ignore, "ignore"))
    for provider, section in sections.items():
        check.apart(section, f".{provider}", dict.fromkeys(ignore, "ignore"))
    return {
        "name": check.text(content, "name") or Path(where).stem,
        "about": check.text(content, "about") or "",
        "classes": classes,
        "sections": sections,
        "order": check.order(content, list(classes)),
        "ignore": ignore,
        "other": check.text(content, "other"),
        "none": check.text(content, "none"),
    }


def section_of(
    text: str, where: str, *, provider: str, classes: Mapping[str, Words], ignore: Iterable[str] = ()
) -> dict[str, Words]:
    """What a provider's own file adds to a map of these classes: tables [classes.NAME.PROVIDER], and nothing else.

    Raises ConfigurationError naming `where` and the key.
    """
    check, content = _Check(f"label map section {where}"), _toml(text, where)
    check.keys(content, ("classes",), "")
    section, tables = {}, content.get("classes")
    if not isinstance(tables, dict):
        raise check.error(f"names no class; add a table [classes.NAME.{provider}]")
    for name, table in tables.items():
        check.keys([name], classes, "classes.")
        if not isinstance(table, dict) or not table:
            raise check.error(f"classes.{name} must have a table [classes.{name}.{provider}]")
        check.keys(table, (provider,), f"classes.{name}.")
        section[name] = check.words(table[provider], f"classes.{name}.{provider}", within=classes[name])
    check.apart(section, f".{provider}", dict.fromkeys(ignore, "ignore"))
    return section


def _toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"label map {where} is not valid TOML: {error}") from None


class _Check:
    """Reads values of one file; every error begins with the file and names the key."""

    def __init__(self, where: str) -> None:
        self._where = where

    def error(self, text: str) -> ConfigurationError:
        return ConfigurationError(f"{self._where}: {text}")

    def keys(self, table: Iterable[str], known: Iterable[str], prefix: str) -> None:
        known = list(known)
        for key in table:
            if key not in known:
                raise self.error(f"unknown key {prefix}{key}; {_nearest(key, known)}")

    def class_keys(self, table: Mapping[str, Any], providers: list[str], prefix: str) -> None:
        """The keys of a class: words, and a table a provider with a vocabulary."""
        known = [*_WORD_KEYS, *providers]
        for key, value in table.items():
            if isinstance(value, dict) and key not in known:
                why = f"no provider {key} with a vocabulary is installed"
                raise self.error(f"unknown key {prefix}{key}: {why}; {_nearest(key, known)}")
        self.keys(table, known, prefix)

    def text(self, table: Mapping[str, Any], key: str) -> str | None:
        value = table.get(key)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise self.error(f"{key} must be a text in quotes, not {value!r}")
        return value

    def texts(self, table: Mapping[str, Any], key: str, prefix: str) -> tuple[str, ...]:
        value = table.get(key, [])
        given = key in table
        if not isinstance(value, list) or not all(isinstance(v, str) and v.strip() for v in value):
            raise self.error(f'{prefix}{key} must be a list of texts, as in {key} = ["…"]')
        if given and not value:
            raise self.error(f"{prefix}{key} is empty; fill it or leave it out")
        return tuple(value)

    def score(self, value: Any, key: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise self.error(f"{key} must be a score in [0, 1], not {value!r}")
        return float(value)

    def words(self, table: Any, key: str, *, within: Words | None = None) -> Words:
        """One table of words; `within` is the general one of a section, whose words may get thresholds too."""
        if not isinstance(table, dict):
            raise self.error(f"{key} must be a table")
        if within is not None:
            self.keys(table, _WORD_KEYS, f"{key}.")
        labels, ids, parents = (self.texts(table, name, f"{key}.") for name in _LISTS)
        words = Words(labels=labels, ids=ids, parents=parents)
        single = table.get("thresholds", {})
        if not isinstance(single, dict):
            raise self.error(f"{key}.thresholds must be a table, as in thresholds = {{ word = 0.5 }}")
        self.keys(single, {**_all_of(words), **_all_of(within or words)}, f"{key}.thresholds.")
        return replace(
            words,
            threshold=self.score(table["threshold"], f"{key}.threshold") if "threshold" in table else None,
            thresholds={
                word: self.score(value, f"{key}.thresholds.{word}") for word, value in single.items()
            },
        )

    def order(self, table: Mapping[str, Any], classes: list[str]) -> tuple[str, ...]:
        order = self.texts(table, "order", "")
        for place, name in enumerate(order):
            if name not in classes:
                raise self.error(f"order names {name}, which is no class; {_nearest(name, classes)}")
            if name in order[:place]:
                raise self.error(f"order names {name} twice")
        if order and (missing := [name for name in classes if name not in order]):
            raise self.error(f"order leaves out {missing[0]}; name every class once")
        return order

    def apart(self, section: Mapping[str, Words], suffix: str, seen: Mapping[str, str]) -> None:
        """No word may mean two classes of one section in the same way: the second could never win."""
        for kind in _LISTS:
            owners = dict(seen) if kind == "labels" else {}
            for name, words in section.items():
                for word in getattr(words, kind):
                    if owners.setdefault(word, name) != name:
                        place = f"classes.{name}{suffix}.{kind}"
                        raise self.error(f"{word!r} is in {place} and in {owners[word]}; keep it in one")


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"use {', '.join(known[:8])}{', …' if known[8:] else ''}"


def _all_of(words: Words) -> dict[str, None]:
    return dict.fromkeys((*words.labels, *words.ids, *words.parents))
