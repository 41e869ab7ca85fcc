"""List the denoisers there are: the bundled ones with their cards, then those other packages add."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from api_smoothing.cli.json_output import print_json
from api_smoothing.shown import shown

SUMMARY = "list the denoisers"
EXAMPLE = "api-smooth denoisers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object a line: the whole cards")


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    from api_smoothing.denoisers import registry

    bundled = [
        registry.read_card(registry.WEIGHTS / f"{name}.safetensors") for name in sorted(registry.PINNED)
    ]
    others = [name for name in registry.names() if name not in registry.PINNED]
    if args.json:
        for card in [*bundled, *({"id": name} for name in others)]:
            print_json(card)
        return 0
    rows = [("name", "sides", "σ", "MB", "PSNR in dB at σ"), *map(_row, bundled)]
    rows += [(shown(name), "", "", "", "from another package") for name in others]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print(
            "  ".join(
                [*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]
            ).rstrip()
        )
    return 0


def _row(card: dict[str, Any]) -> tuple[str, str, str, str, str]:
    low, high = card["sigma_range"]
    psnr = {
        float(sigma): figure
        for sigma, figures in card["quality"].items()
        for name, figure in figures.items()
        if name.lower().startswith("psnr")
    }
    return (
        card["id"],
        ", ".join(map(str, card["sizes"])) or "any",
        f"{low:g}–{high:g}",
        f"{card['bytes'] / 1e6:.1f}" if "bytes" in card else "",
        ", ".join(f"{figure:.1f} at {sigma:g}" for sigma, figure in sorted(psnr.items())),
    )
