"""Check a run file from the file alone: nothing is asked, and nothing outside the file is read.

Derived again from the answers in it: every vote count, bound, radius, error and dollar, a claim, the chain of hashes,
and what was committed to before the first query. Each fault is a line. Exit code 0: verified, 1: not verified, 2: no
run file that can be read. `python PATH/TO/verify.py RUN` does the same without this package: see docs/evidence.md.

With --chain, a hash that was published while the run was made must stand in the file: then nobody can have written it
anew since.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from api_smoothing.errors import ConfigurationError
from api_smoothing.shown import shown

SUMMARY = "check a run file that says what it is evidence of"
EXAMPLE = "api-smooth verify run.jsonl"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run file, as evaluate writes it")
    parser.add_argument(
        "--chain",
        action="append",
        default=[],
        metavar="HASH",
        help="a chain that was published (may be repeated)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, and nothing else")


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    from api_smoothing.evidence.verify import Fault, check

    try:
        found = check(args.run, *args.chain)
    except OSError as error:
        raise ConfigurationError(f"cannot read {args.run}: {error.strerror}") from None
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError, Fault):
        raise ConfigurationError(f"{args.run} is no run file that can be read") from None
    if args.json:
        print(json.dumps(found))
    else:
        for fault in found["faults"]:
            print(shown(fault))
        print(_told(found))
    return 0 if found["verified"] else 1


def _told(found: dict[str, object]) -> str:
    said = "verified" if found["verified"] else "not verified"
    return (
        f"{said}: {found['certificates']} certificates of {found['images']} images, {found['queries']} queries, "
        f"${found['usd']:.4f}; chain {found['chain']}"
    )
