"""The flags that name a data set, and opening it; what it has to tell goes to standard error."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from api_smoothing.cli.smoothing import complain

if TYPE_CHECKING:
    from api_smoothing.datasets import DataSet


def add_dataset_flags(parser: argparse.ArgumentParser) -> None:
    """--limit, --sample, --sample-seed, --column-path, --column-label, --classes."""
    parser.add_argument("--limit", type=int, metavar="K", help="the first K images only")
    parser.add_argument("--sample", type=int, metavar="K", help="K images drawn at random, each at most once")
    parser.add_argument(
        "--sample-seed", type=int, metavar="N", help="which ones; alone, it shuffles all (default: 0)"
    )
    parser.add_argument(
        "--column-path", metavar="NAME", help="column of paths, or array of images (default: told)"
    )
    parser.add_argument("--column-label", metavar="NAME", help="column or array of labels (default: told)")
    parser.add_argument(
        "--classes", type=Path, metavar="FILE", help="names of labels that are numbers, one a line"
    )


def open_named(args: argparse.Namespace, sources: Sequence[str]) -> DataSet:
    """The data set that stands on the command line: one source, or several images and folders of images."""
    from api_smoothing.cli.inputs import find_images
    from api_smoothing.datasets import open_dataset

    data = open_dataset(
        sources[0] if len(sources) == 1 else find_images(sources),
        limit=args.limit,
        sample=args.sample,
        sample_seed=args.sample_seed,
        column_path=args.column_path,
        column_label=args.column_label,
        classes=args.classes,
    )
    for line in data.told:
        complain(line)
    return data
