"""Look at the answers that are kept, or forget them.

Every answer a provider ever gave is kept, so that no query is paid twice. `clear` forgets them all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from api_smoothing.cli.settings import add_setting_flags, resolve_settings
from api_smoothing.errors import ConfigurationError

SUMMARY = "look at the answers kept, or forget them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("info", "path", "clear"), help="what to do")
    add_setting_flags(parser, ["cache"])
    parser.add_argument("--yes", action="store_true", help="clear without further question")
    parser.add_argument("--json", action="store_true", help="info as one JSON object")


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    folder = _folder(resolve_settings(args, ["cache"]).cache)
    if args.action == "path":
        print(folder)
        return 0
    answers, streams, size = _contents(folder)
    if args.action == "info":
        facts = {"folder": str(folder), "answers": answers, "streams": streams, "bytes": size}
        if args.json:
            print(json.dumps(facts))
        else:
            print(f"{folder}\n  {answers:,} answers in {streams:,} streams, {size / 1e6:.1f} MB")
        return 0
    if not args.yes:
        raise ConfigurationError(f"this forgets {answers:,} answers for good, paid ones too; add --yes")
    _clear(folder)
    print(f"{answers:,} answers forgotten")
    return 0


def _folder(cache: bool | str) -> Path:
    from api_smoothing.secret import home

    if cache is False:
        raise ConfigurationError("the cache is switched off; name a folder with --cache DIR")
    return home() / "votes" if cache is True else Path(cache)


def _contents(folder: Path) -> tuple[int, int, int]:
    """Answers, streams and bytes."""
    if not (folder / "cache.db").is_file():
        return 0, 0, 0
    from api_smoothing.engine.storage.answers import DiskCache

    with closing(DiskCache(folder)) as cache:
        counts = [answers for _, _, answers in cache.streams()]
        return sum(counts), len(counts), cache.size_bytes()


def _clear(folder: Path) -> None:
    if not (folder / "cache.db").is_file():
        return
    from api_smoothing.engine.storage.answers import DiskCache

    with closing(DiskCache(folder)) as cache:
        cache.clear()
