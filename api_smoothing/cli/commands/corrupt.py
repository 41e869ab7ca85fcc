"""Corrupt images as CIFAR-10-C does: fifteen corruptions at five severities, with its parameters, at any size.

The copies go to DIR/CORRUPTION/SEVERITY/, which is a data set again; labels that are not the names of its folders are
in labels.csv there. Chance comes from the image and --seed: a command that is given again writes the same pixels. In
images larger than 32×32, blurs, shifts and flakes grow with the shorter side. Frost is drawn, not photographed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from api_smoothing.cli.datasets import add_dataset_flags, open_named
from api_smoothing.cli.json_output import print_json
from api_smoothing.cli.smoothing import complain
from api_smoothing.errors import ConfigurationError
from api_smoothing.shown import shown

if TYPE_CHECKING:
    from api_smoothing.datasets import Example

SUMMARY = "write images with noise, blur, weather and compression"
EXAMPLE = "api-smooth corrupt cat.png --corruption fog --severity 3 --output foggy"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", nargs="+", metavar="DATASET|IMAGE", help="a data set, or images and folders"
    )
    parser.add_argument(
        "--corruption",
        action="append",
        metavar="NAME",
        help="fog, gaussian_noise, …; may be repeated (default: all)",
    )
    parser.add_argument("--severity", default="1..5", metavar="S", help="3, 1..5 or 1,3,5 (default: 1..5)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another draw of each (default: 0)")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="the folder to write to")
    parser.add_argument(
        "--sheet", type=Path, metavar="OUT.png", help="the first image under all of them, on one page"
    )
    add_dataset_flags(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object, and nothing else")


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    from api_smoothing.corruptions import NAMES, check, write

    levels = severities(args.severity)
    names = list(NAMES) if args.corruption in (None, ["all"]) else list(dict.fromkeys(args.corruption))
    for name in names:
        check(name, levels[0])
    if args.output is None and args.sheet is None:
        raise ConfigurationError("where to? Give --output DIR, --sheet OUT.png, or both")
    _check_sheet(args.sheet)
    data = open_named(args, args.source)
    if args.sheet is not None:
        _write_sheet(data[0], args.sheet, args.seed)
    failed: dict[str, str] = {}
    if args.output is not None:
        failed = write(data, names, levels, args.output, seed=args.seed, tell=complain)
    written = 0 if args.output is None else (len(data) - len(failed)) * len(names) * len(levels)
    facts = {
        "images": len(data),
        "written": written,
        "output": None if args.output is None else str(args.output),
        "sheet": None if args.sheet is None else str(args.sheet),
        "corruptions": names,
        "severities": levels,
        "seed": args.seed,
        "failed": failed,
    }
    if args.json:
        print_json(facts)
    else:
        for line in _describe(facts):
            print(line)
    return 2 if failed else 0


def severities(text: str, flag: str = "--severity") -> list[int]:
    """Severities from "3", "1..5" or "1,3,5". Raises ConfigurationError, naming the `flag`."""
    try:
        if ".." in text:
            first, last = map(int, text.split(".."))
            found = list(range(first, last + 1))
        else:
            found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        found = []
    if not found or not 1 <= found[0] <= found[-1] <= 5:
        raise ConfigurationError(f"{flag} {text!r} must be from 1 to 5: as 3, 1..5 or 1,3,5")
    return found


def _check_sheet(path: Path | None) -> None:
    if path is not None and path.suffix.lower() != ".png":
        raise ConfigurationError(f"--sheet {path} must end in .png: other formats change the pixels")


def _write_sheet(example: Example, path: Path, seed: int) -> None:
    from PIL import Image

    from api_smoothing.corruptions import contact_sheet

    if example.path is not None and path.resolve() == Path(example.path).resolve():
        raise ConfigurationError(f"--sheet {path} is the image itself; give another name")
    sheet = Image.fromarray(contact_sheet(example.read(), seed=seed))
    sheet.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)  # to look at: small comes first


def _describe(facts: Mapping[str, object]) -> Iterator[str]:
    if facts["sheet"] is not None:
        yield f"{shown(str(facts['sheet']))}: the first image under every corruption"
    if facts["output"] is not None:
        corruptions, levels = facts["corruptions"], facts["severities"]
        assert isinstance(corruptions, list)
        assert isinstance(levels, list)
        what = f"{len(corruptions)} corruption{'s' * (len(corruptions) > 1)}"
        how = f"{len(levels)} severit{'y' if len(levels) == 1 else 'ies'}"
        written = facts["written"]
        yield f"{shown(str(facts['output']))}: {written:,} image{'s' * (written != 1)}, {what} at {how}"
