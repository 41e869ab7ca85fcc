"""Label maps: which there are, what stands in one, and how it reads what a provider says about an image.

`explain` sends exactly one query: the image as it is, without noise. It says first what that costs.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from api_smoothing.cli.json_output import print_json
from api_smoothing.cli.settings import add_setting_flags
from api_smoothing.cli.smoothing import add_sandbox_flag, open_adapter, settings_of
from api_smoothing.errors import ConfigurationError
from api_smoothing.shown import shown

if TYPE_CHECKING:
    from api_smoothing.adapters.base import Answer
    from api_smoothing.adapters.labels import LabelMap, Words

SUMMARY = "look at label maps, and at how they read an answer"
EXAMPLE = "api-smooth labels show cifar10 > my.toml"
SETTINGS = ("provider", "model", "labels", "size", "device", "rate", "options")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list | show | explain")
    listing = actions.add_parser(
        "list",
        help="the built-in label maps",
        description="The built-in label maps.",
        epilog="example: api-smooth labels list",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    show = actions.add_parser(
        "show",
        help="the words of one",
        description="The words of a label map, as the file that --labels reads: a start for one of your own.",
        epilog=f"example: {EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    show.add_argument("map", metavar="MAP", help="a built-in name or a .toml file")
    show.add_argument(
        "--provider", metavar="P", help="in a table, only the words that count for this provider"
    )
    explain = actions.add_parser(
        "explain",
        help="how an answer is read; sends one query",
        description="What the provider says about an image, and how it is read. Sends one query.",
        epilog="example: api-smooth labels explain cat.png --provider google --labels cifar10 --sandbox",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    explain.add_argument("image", metavar="IMAGE", help="an image file")
    add_setting_flags(explain, SETTINGS)
    add_sandbox_flag(explain)
    explain.add_argument("--yes", action="store_true", help="send a query that costs money without asking")
    for action in (listing, show, explain):
        action.add_argument("--json", action="store_true", help="JSON, and nothing else")


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    return {"list": _list, "show": _show, "explain": _explain}[args.action](args)


def _list(args: argparse.Namespace) -> int:
    from api_smoothing.adapters.labels.file import built_in
    from api_smoothing.adapters.labels.label_map import LabelMap

    for name in built_in():
        found = LabelMap.load(name)
        if args.json:
            facts = {"name": name, "about": found.about, "classes": list(found.classes)}
            print_json({**facts, "sha256": found.sha256})
        else:
            print(f"{name:<16} {len(found.classes):>3} classes  {found.sha256[:16]}  {found.about}")
    return 0


def _show(args: argparse.Namespace) -> int:
    from api_smoothing.adapters import registry
    from api_smoothing.adapters.labels.file import text_of
    from api_smoothing.adapters.labels.label_map import LabelMap

    found, provider = LabelMap.load(args.map), args.provider
    filters = False
    if provider is not None:
        if provider not in (known := registry.vocabularies()):
            raise ConfigurationError(
                f"--provider: maps have sections for {', '.join(known)}, not for {provider!r}"
            )
        found = found.for_provider(provider)
        filters = registry.provider(provider).filter is not None
    if args.json:
        facts: dict[str, Any] = {"name": found.name, "sha256": found.sha256}
        facts["classes"] = {name: dict(_sections(found, name, provider)) for name in found.classes}
        facts |= {"order": list(found.order or found.classes), "ignore": list(found.ignore)}
        facts |= {"other": found.other, "none": found.none}
        if filters:
            facts["only"] = found.names_for(provider)
        print_json(facts)
        return 0
    if provider is None:
        print(f"# {found.name}, sha256 {found.sha256}. To make it your own, change `name` and what you like.")
        print(
            "# A class has the words that count for it with every provider; [classes.CLASS.PROVIDER] those of one;"
        )
        print("# `parents` are what a label may stand below. More: docs/formats.md. Use: --labels FILE.")
        print(f"\n{text_of(args.map).strip()}")
        return 0
    print(f"{found.name}  sha256 {found.sha256}")
    for name in found.order or found.classes:
        print(f"\n{shown(name)}")
        for section, words in _sections(found, name, provider):
            for key, value in words.items():
                _print_wrapped(f"  {section:<12} {key:<10} ", _joined(value))
    print(f"\nthe rest: {found.other or 'no label'}; an answer without labels: {_empty(found)}")
    if found.ignore:
        _print_wrapped("ignored: ", ", ".join(found.ignore))
    print("equal scores go to the class that stands first here")
    if filters:
        print(
            f"with --options only=map {provider} looks for these alone (it may refuse names it does not know):"
        )
        _print_wrapped("  ", ", ".join(found.names_for(provider)))
    return 0


def _explain(args: argparse.Namespace) -> int:
    from api_smoothing import images
    from api_smoothing.adapters.labels.explanation import explain
    from api_smoothing.adapters.labels.label_map import LabelMap, TopLabel, kinds_of
    from api_smoothing.cli.consent import agreed
    from api_smoothing.engine.estimate.pricing import price
    from api_smoothing.engine.single import ask_once

    settings = settings_of(args, SETTINGS)
    found = None if settings.labels is None else LabelMap.load(settings.labels)
    with open_adapter(settings, sandbox=args.sandbox) as adapter:
        loaded = images.load(args.image, size=settings.size or adapter.card.native_side)
        read = None if found is None else found.for_provider(adapter.card.name)
        usd = 0.0 if args.sandbox else price(adapter.card).usd(1)
        if not agreed(adapter.card, free=args.sandbox, yes=args.yes):
            return 0
        answer = ask_once(adapter, loaded).answer
    kinds = kinds_of(adapter.card.name)
    rows = explain(answer, read, kinds)
    label = TopLabel(kinds)(answer) if read is None else read(answer)
    facts: dict[str, Any] = {
        "image": loaded.source,
        "provider": adapter.card.provider,
        "model_version": answer.model_version,
        "label_map": None if read is None else f"{read.name}@{read.sha256}",
        "class": label,
        "usd": usd,
    }
    if args.json:
        print_json({**facts, "labels": [row.to_dict() for row in rows]})
        return 0
    version = shown(answer.model_version or "no version told")
    print(f"{shown(loaded.source)}: {shown(adapter.card.provider)} ({version})")
    cells = [("score", "label", "parents", "counts for", "because")]
    for row in rows:
        name = row.name if row.id in (None, row.name) else f"{row.name} ({row.id})"
        score = "" if row.score is None else f"{row.score:.4f}"
        why = f"{row.why}, which needs {row.threshold:g}" if row.counts_for and row.threshold else row.why
        cells.append((score, name, ", ".join(row.parents), row.counts_for or "–", why))
    for line, won in zip(_table(cells), [False, *(row.won for row in rows)], strict=True):
        print(f"{'→' if won else ' '} {line}")
    print(f"class: {'none' if label is None else shown(label)}{shown(_reason(rows, answer, read))}")
    return 0


def _reason(rows: Sequence[Any], answer: Answer, read: LabelMap | None) -> str:
    """Why the answer has its class, where no single label says so."""
    for row in rows:
        if row.won:
            return f" ({row.tie})" if row.tie else ""
    if read is None or not answer.labels:
        return " (the answer has no labels)"
    return " (no label counts for a class)"


def _sections(found: LabelMap, name: str, provider: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The words of one class by section, "all" first, those of other providers left out."""
    yield "all", _words(found.classes[name])
    for section, classes in found.sections.items():
        if name in classes and provider in (None, section):
            yield section, _words(classes[name])


def _words(words: Words) -> dict[str, Any]:
    keys = ("labels", "ids", "parents", "threshold", "thresholds")
    values = {key: getattr(words, key) for key in keys}
    return {
        key: list(v) if isinstance(v, tuple) else v for key, v in values.items() if v not in ((), None, {})
    }


def _joined(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{word} {score:g}" for word, score in value.items())
    return ", ".join(value) if isinstance(value, list) else f"{value:g}"


def _print_wrapped(head: str, text: str) -> None:
    indent = " " * len(head)
    print(textwrap.fill(head + shown(text), 110, subsequent_indent=indent, break_on_hyphens=False))


def _empty(found: LabelMap) -> str:
    return (found.other if found.none is None else found.none) or "no label"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows in columns as wide as they need; the last column is as it is."""
    rows = [[shown(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]
