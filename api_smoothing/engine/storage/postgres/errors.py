"""What a database refuses, in our words: what ends a run, what is a setting, and what passes by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from api_smoothing.engine.storage.postgres.address import Address
from api_smoothing.errors import ApiSmoothError, ConfigurationError, DiskError

if TYPE_CHECKING:
    import psycopg

#: Passes by itself: shutting down, starting up, too many connections, and what is tried again at once.
_PASSES: Final = ("57P01", "57P02", "57P03", "53300", "40001", "40P01", "55P03")
_SOON: Final = ("40001", "40P01")
_WITHOUT_SCHEMA: Final = ("3F000", "42P01", "42883", "42704")
#: What a server, or libpq, says where it lets nobody in (an error without a code), and why that is.
_REFUSED: Final = {
    "password": "the password is wrong or missing",
    "certificate": "the certificates do not fit",
    "SSL": "the TLS settings do not fit",
    "pg_hba.conf": "its server does not let this user in from here",
    '" does not exist': "there is no such user or database",
}


class StoreError(DiskError):
    """The database does not take what must be kept. It ends a run, as a full disk does, and nothing paid is lost."""


def passes(error: psycopg.Error) -> bool:
    """Whether the same call may succeed later: the server is away, or busy."""
    import psycopg

    if error.sqlstate is not None:
        return error.sqlstate in _PASSES or error.sqlstate.startswith("08")
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)


def at_once(error: psycopg.Error) -> bool:
    """Whether the same call may succeed when it is made again, as it only met another one."""
    return error.sqlstate in _SOON


def refused_entry(error: psycopg.Error, address: Address) -> ConfigurationError | None:
    """What is wrong with the settings, where a connection failed though the server was there; else None."""
    text = str(error)
    why = next((told for word, told in _REFUSED.items() if word in text), None)
    if why is None:
        return None
    told = address.without_secrets(text.rpartition("FATAL:")[2])
    return ConfigurationError(f"{address.shown} cannot be used, as {why} ({told})")


def unreachable(error: psycopg.Error, address: Address, waited: float = 0.0) -> StoreError:
    """The error for a server that is not there, or no longer."""
    first = str(error).strip().partition("\n")[0] or type(error).__name__
    why = address.without_secrets(first.removeprefix("connection failed: "))
    since = f" for {waited:.0f} s" if waited >= 1 else ""
    return StoreError(f"the database {address.shown} does not answer{since} ({why})")


def in_our_words(error: psycopg.Error, address: Address) -> ApiSmoothError:
    """The error for a call that the server refused."""
    state, told = error.sqlstate or "", address.without_secrets(str(error).partition("\n")[0])
    if state in _WITHOUT_SCHEMA:
        return ConfigurationError(
            f"{address.shown} has not what this version of api-smooth keeps there ({told}): run `api-smooth store init`"
        )
    if state == "42501" and "for database" in told:
        return ConfigurationError(
            f"{address.shown}: this role may not make the tables ({told}): run `api-smooth store init` as one that may "
            f"create a schema"
        )
    if state == "42501":
        return ConfigurationError(
            f"{address.shown}: this role has too few rights ({told}): have the owner run "
            f"`api-smooth store init --grant ROLE`"
        )
    if state == "25006":
        return StoreError(
            f"{address.shown} can only be read, as a standby can ({told}): name the server that is written to"
        )
    if state.startswith("53"):
        return StoreError(f"the database {address.shown} cannot write ({told}): give its server space")
    return StoreError(f"the database {address.shown} refused a call ({state} {told})")
