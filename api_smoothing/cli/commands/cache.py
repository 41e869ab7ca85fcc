"""Look at the answers that are kept, or forget them.

Every answer a provider ever gave is kept, so that no query is paid twice. `clear` forgets them all; `repair` forgets
those alone that something else has changed, and sets damaged files aside.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from api_smoothing.cli.settings import add_setting_flags, resolve_settings
from api_smoothing.cli.storage import open_storage
from api_smoothing.cli.text import number_of
from api_smoothing.errors import ConfigurationError
from api_smoothing.home import answers_folder, home
from api_smoothing.shown import shown

if TYPE_CHECKING:
    from api_smoothing.engine.storage import FolderStorage
    from api_smoothing.engine.storage.base import Contents
    from api_smoothing.engine.storage.postgres.storage import PostgresStorage

SUMMARY = "look at the answers kept, or forget them"
EXAMPLE = "api-smooth cache info"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("info", "path", "clear", "repair"), help="what to do")
    add_setting_flags(parser, ["cache", "store"])
    parser.add_argument("--yes", action="store_true", help="clear or repair without further question")
    parser.add_argument("--json", action="store_true", help="info as one JSON object")


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    settings = resolve_settings(args, ["cache", "store"])
    place = str(_folder(settings.cache)) if settings.store is None else _masked(settings.store)
    if args.action == "path":
        print(place)
        return 0
    with open_storage(settings) as storage:
        if args.action == "repair":
            _repair(cast("FolderStorage | PostgresStorage", storage), sure=args.yes)
        elif args.action == "info":
            _tell(place, storage.contents(), as_json=args.json)
        else:
            answers = storage.contents().answers
            if not args.yes:
                raise ConfigurationError(
                    f"this forgets {answers:,} answers for good, paid ones too; add --yes"
                )
            storage.clear()
            print(f"{answers:,} answers forgotten")
    return 0


def _masked(url: str) -> str:
    from api_smoothing.engine.storage import masked

    return masked(url)


def _repair(storage: FolderStorage | PostgresStorage, *, sure: bool) -> None:
    if not sure:
        raise ConfigurationError(
            "this forgets answers that were changed, which are then asked and paid again, and sets damaged files "
            "aside, with what they say of budgets spent; add --yes"
        )
    answers, aside = storage.repair()
    for path in aside:
        print(f"set aside: {shown(str(path))}")
    print(f"{number_of(answers, 'answer')} forgotten")


def _folder(chosen: bool | str) -> Path:
    """Where the answers lie."""
    if chosen is False:
        raise ConfigurationError("the cache is switched off; name a folder with --cache DIR")
    return answers_folder(home()) if chosen is True else Path(chosen)


def _tell(place: str, found: Contents, *, as_json: bool) -> None:
    if as_json:
        facts = {"answers": found.answers, "streams": found.streams, "bytes": found.size_bytes}
        print(json.dumps({"folder": place, **facts}))
        return
    size = f"{found.size_bytes / 1e6:.1f} MB"
    print(f"{shown(place)}\n  {found.answers:,} answers in {found.streams:,} streams, {size}")
