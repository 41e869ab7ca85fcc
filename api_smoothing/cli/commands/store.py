"""Prepare, check or look at the database that several machines share.

`init` makes the tables once, as a role that may create a schema, and with --grant lets another role, which may create
nothing, run with them. `check` says whether a run could begin, `info` what is kept and how far away the server is.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from api_smoothing.cli.settings import add_setting_flags, resolve_settings
from api_smoothing.errors import ConfigurationError
from api_smoothing.shown import shown

if TYPE_CHECKING:
    from api_smoothing.engine.storage.postgres.server import Server

SUMMARY = "prepare, check or look at the database that several machines share"
EXAMPLE = "api-smooth store check --store postgresql://me@db.example/smooth"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("init", "check", "info"), help="what to do")
    add_setting_flags(parser, ["store"])
    parser.add_argument("--grant", metavar="ROLE", help="with init: a role that may run, and create nothing")
    parser.add_argument("--json", action="store_true", help="info as one JSON object")


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    url = resolve_settings(args, ["store"]).store
    if url is None:
        raise ConfigurationError(
            "no database is named: give --store postgresql://USER@HOST/DATABASE, or set API_SMOOTH_STORE"
        )
    if args.grant is not None and args.action != "init":
        raise ConfigurationError("--grant goes with init")
    from api_smoothing.engine.storage.postgres import schema
    from api_smoothing.engine.storage.postgres.storage import connect

    with closing(connect(url)) as server:
        where = shown(server.address.shown)
        if args.action == "init":
            new = schema.create(server, grant=args.grant)
            granted = f"; {shown(args.grant)} may run with them" if args.grant else ""
            print(f"{where}: {'tables made' if new else 'the tables were there already'}{granted}")
        elif args.action == "check":
            schema.check(server)
            print(f"{where}: ready")
        else:
            schema.check(server)
            _tell(_facts(url, server), as_json=args.json)
    return 0


def _facts(url: str, server: Server) -> dict[str, Any]:
    """What there is to know of the database."""
    from api_smoothing.engine.storage import open_database
    from api_smoothing.engine.storage.postgres import schema

    with closing(open_database(url)) as storage:
        found, seed = storage.contents(), storage.seed(None).label
    trips = []
    for _ in range(5):
        began = time.perf_counter()
        server.call("SELECT 1")
        trips.append(time.perf_counter() - began)
    [(postgres,)] = server.call("SHOW server_version")
    [(runs, spent, holders)] = server.call(_USE)
    return {
        "store": server.address.shown,
        "version": schema.version(server),
        "postgresql": postgres,
        "trip_ms": round(1000 * min(trips), 2),
        "seed": seed,
        "answers": found.answers,
        "streams": found.streams,
        "bytes": found.size_bytes,
        "runs": runs,
        "usd_spent": spent / 1e6,
        "asking": holders,
    }


def _tell(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts))
        return
    print(
        f"{shown(facts['store'])}\n"
        f"  version {facts['version']}, PostgreSQL {facts['postgresql']}, {facts['trip_ms']:.1f} ms away\n"
        f"  {facts['answers']:,} answers in {facts['streams']:,} streams, {facts['bytes'] / 1e6:.1f} MB\n"
        f"  {facts['runs']:,} runs, ${facts['usd_spent']:,.4f} spent; {facts['asking']:,} asking now\n"
        f"  noise from {facts['seed']}"
    )


_USE = """
SELECT (SELECT count(*) FROM api_smooth.runs), (SELECT COALESCE(sum(micro_usd), 0)::bigint FROM api_smooth.runs),
    (SELECT count(*) FROM api_smooth.holders WHERE until > api_smooth.clock())
"""
