"""What this program keeps in a database: made by `store init`, and checked before anything is asked."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from api_smoothing.engine.storage.postgres.server import Server
from api_smoothing.errors import ConfigurationError

#: Of all that is in `schema/`.
VERSION: Final = 1
_PARTS: Final = ("base", "answers", "budgets", "looks", "turns")
#: Of PostgreSQL: the first in which an element of an array has fields that can be set.
_LEAST_SERVER: Final = 14


def create(server: Server, *, grant: str | None = None) -> bool:
    """Have the schema in the database, whole or not at all, and let the role `grant` run with it; whether it is new.

    Raises ConfigurationError, one line, for a schema of another version, which stays as it is.
    """
    [(number,)] = server.call("SELECT current_setting('server_version_num')::integer")
    if number // 10_000 < _LEAST_SERVER:
        raise ConfigurationError(
            f"{server.address.shown} is PostgreSQL {number // 10_000}; api-smooth needs {_LEAST_SERVER} or later"
        )
    found = version(server)
    statements = _GRANTS if grant is not None else ()
    if found is None:
        made = [files(__package__).joinpath("schema", f"{part}.sql").read_text("utf-8") for part in _PARTS]
        statements = ("CREATE SCHEMA api_smooth", *made, _VERSION, *statements)
    else:
        refuse_other(server, found)
    server.script([statement.replace("%ROLE%", _quoted(grant or "")) for statement in statements])
    return found is None


def version(server: Server) -> int | None:
    """The schema's version; None where there is none."""
    [(there,)] = server.call(
        "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = 'api_smooth')"
    )
    if not there:
        return None
    [(found,)] = server.call("SELECT version FROM api_smooth.version")
    return int(found)


def check(server: Server) -> None:
    """Raise ConfigurationError, one line, unless the database has this version's schema and takes what we write."""
    found = version(server)
    if found is None:
        raise ConfigurationError(
            f"{server.address.shown} has no tables of api-smooth: run `api-smooth store init` there once, as a role "
            f"that may create a schema"
        )
    refuse_other(server, found)
    if lacking := [name for (name,) in server.call(_LACKING)]:
        raise ConfigurationError(
            f"{server.address.shown}: this role may not write to {lacking[0]}: have the owner run "
            f"`api-smooth store init --grant ROLE`"
        )
    [(standby,)] = server.call("SELECT pg_is_in_recovery()")
    if standby:
        raise ConfigurationError(
            f"{server.address.shown} is a standby, which can only be read: name the server that is written to"
        )


def refuse_other(server: Server, found: int) -> None:
    """Raise ConfigurationError for tables of another version than this program's."""
    if found > VERSION:
        raise ConfigurationError(
            f"{server.address.shown} has tables of a later api-smooth (version {found}, this one knows {VERSION}): "
            f"update api-smooth on this machine"
        )
    if found < VERSION:
        raise ConfigurationError(
            f"{server.address.shown} has tables of an earlier api-smooth (version {found}, this one needs {VERSION}): "
            f"run `api-smooth store init` once, as their owner"
        )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_VERSION: Final = f"INSERT INTO api_smooth.version VALUES ({VERSION}, api_smooth.clock())"  # noqa: S608
#: All that a run needs. Nothing is created, and neither the schema's version nor its secrets can be changed.
_GRANTS: Final = (
    "GRANT USAGE ON SCHEMA api_smooth TO %ROLE%",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON api_smooth.answers, api_smooth.failures, api_smooth.facts, "
    "api_smooth.holders, api_smooth.claims, api_smooth.runs, api_smooth.days, api_smooth.entries, api_smooth.quotas, "
    "api_smooth.pauses, api_smooth.paces TO %ROLE%",
    "GRANT SELECT, INSERT ON api_smooth.looks TO %ROLE%",
    "GRANT SELECT ON api_smooth.version, api_smooth.secrets TO %ROLE%",
)
_LACKING: Final = """
SELECT relname FROM pg_catalog.pg_class WHERE relnamespace = 'api_smooth'::regnamespace AND relkind = 'r'
AND NOT has_table_privilege(oid, CASE WHEN relname IN ('version', 'secrets') THEN 'SELECT' ELSE 'INSERT' END)
ORDER BY relname
"""
