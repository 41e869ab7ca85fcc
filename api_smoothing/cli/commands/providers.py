"""List the providers, or check one by sending it a single image.

The list looks at cards, prices and variables only: nothing is sent, and no provider's package is imported. `check`
says what its one image costs, and asks before it goes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from api_smoothing.cli.json_output import print_json
from api_smoothing.cli.settings import add_setting_flags
from api_smoothing.cli.smoothing import add_sandbox_flag, open_adapter, settings_of
from api_smoothing.errors import ConfigurationError, ImageError, ProviderError
from api_smoothing.shown import shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from api_smoothing.adapters import AdapterCard, Answer

SUMMARY = "list the providers, or check one with one image"
EXAMPLE = "api-smooth providers check aws --sandbox"
SETTINGS = ("model", "rate", "options", "device")

_SIDE: Final = 224
_SHOWN: Final = 20  # labels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("check",), help="send one image to the provider NAME")
    parser.add_argument("name", nargs="?", metavar="NAME", help="the provider to check")
    parser.add_argument("--yes", action="store_true", help="check without further question")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, and nothing else")
    add_setting_flags(parser, SETTINGS)
    add_sandbox_flag(parser)


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    if args.action is None:
        for name in ("yes", "sandbox", *SETTINGS):
            if getattr(args, name):
                raise ConfigurationError(f"--{name} goes with: api-smooth providers check NAME")
        return _list(as_json=args.json)
    if args.name is None:
        raise ConfigurationError("name the provider to check: api-smooth providers check NAME")
    return _check(args)


def _list(*, as_json: bool) -> int:
    from datetime import date

    from api_smoothing.cli.overview import HEADINGS, overview

    rows = overview()
    if as_json:
        for row in rows:
            print_json(row.to_dict())
        return 0
    lines = [HEADINGS, *(tuple(map(shown, row.cells())) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print()
    for row in rows:
        for number, remark in enumerate(row.remarks(date.today())):
            print(f"{'' if number else row.name:<{widths[0]}}  {shown(remark)}")
    return 0


def _check(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from api_smoothing import images
    from api_smoothing.cli.consent import agreed
    from api_smoothing.engine.estimate.pricing import dollars, price
    from api_smoothing.engine.single import ask_once

    args.provider = args.name
    with open_adapter(settings_of(args, ("provider", "labels", *SETTINGS)), sandbox=args.sandbox) as adapter:
        card, cost = adapter.card, price(adapter.card)
        loaded = replace(images.load(_photograph(card)), source="the picture of the check")
        if not agreed(card, free=args.sandbox, yes=args.yes):
            return 0
        try:
            reply = ask_once(adapter, loaded)
        except ImageError as error:  # the image is ours, so it is the provider that fails the check
            raise ProviderError(str(error)) from None
    answer, seconds = reply.answer, reply.seconds
    usd = 0.0 if args.sandbox else cost.micro_usd / 1e6
    charge = "nothing, as this is the sandbox" if args.sandbox else dollars(usd)
    if args.json:
        labels = [{"name": label.name, "score": label.score, "id": label.id} for label in answer.labels]
        facts = {
            "provider": card.provider,
            "model_version": answer.model_version,
            "seconds": round(seconds, 3),
        }
        print_json({**facts, "usd": usd, "labels": labels})
        return 0
    print(f"{shown(card.provider)} answered in {seconds:.2f} s, for {charge}")
    print(f"  version  {shown(answer.model_version or 'not told')}")
    for number, label in enumerate(_describe(answer)):
        print(f"  {'' if number else 'labels':<7}  {shown(label)}")
    return 0


def _photograph(card: AdapterCard) -> NDArray[np.uint8]:
    """The engine's canary, uint8 (side, side, 3): 224 pixels, or the model's own side, or what the provider takes."""
    import math

    import numpy as np
    from PIL import Image

    from api_smoothing.engine.sending.drift import picture

    side = min(card.native_side or _SIDE, card.max_side or _SIDE)
    if card.max_image_bytes is not None:
        side = min(
            side, math.isqrt(max(3, card.max_image_bytes - 1024) // 3)
        )  # a PNG adds less than 1024 bytes
    return np.asarray(Image.fromarray(picture()).resize((side, side), Image.Resampling.BOX))


def _describe(answer: Answer) -> list[str]:
    """The labels, a line each."""
    lines = [
        "  ".join(
            part
            for part in ("" if label.score is None else f"{label.score:.3f}", label.name, label.id)
            if part
        )
        for label in answer.labels[:_SHOWN]
    ]
    left = len(answer.labels) - len(lines)
    return [*lines, *([f"and {left} more"] if left else [])] or ["none"]
