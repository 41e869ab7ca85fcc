"""Where the database is: a postgresql:// URL, which may hold secrets, and how it is shown without them."""

from __future__ import annotations

import re
from typing import Any, Final

from api_smoothing.errors import ConfigurationError

#: Seconds that a run waits for a database that has gone away, unless told otherwise.
WAIT_SECONDS: Final = 60.0

_USER: Final = re.compile(
    r"^(\w+:/*[^:/@?]*):.*@", re.DOTALL
)  # greedy: an @ in a password may not be escaped
_PARAMETER: Final = re.compile(r"([?&](?:ssl)?password=)[^&]*", re.IGNORECASE)
_SECRETS: Final = ("password", "sslpassword")
_SHORT: Final = 4  # characters of a secret below which taking it out of a text would only spoil that

#: What a connection has unless its URL says otherwise: one that is cut off is noticed within 15 seconds.
_DEFAULTS: Final = {
    "application_name": "api-smooth",
    "connect_timeout": "10",
    "keepalives_idle": "5",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}


def is_address(text: str) -> bool:
    """Whether `text` is meant as the URL of a database."""
    return text.startswith(("postgresql:", "postgres:"))


def masked(url: str) -> str:
    """`url` with *** in place of passwords: those of the user, and of the key of a client's certificate."""
    return _PARAMETER.sub(r"\1***", _USER.sub(r"\1:***@", url))


class Address:
    """A URL as libpq reads it, and what of it may be shown. Raises ConfigurationError, one line, without a secret."""

    def __init__(self, url: str) -> None:
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict

        self.shown = masked(url)
        try:
            given: dict[str, Any] = conninfo_to_dict(url)
        except ProgrammingError:  # whose text may quote a piece of the password
            raise _unreadable(self.shown) from None
        named = [str(given.get(name, "")) for name in ("host", "port", "dbname", "user")]
        if any("@" in text for text in named[:3]) or not re.fullmatch(r"[\d,]*", named[1]):
            raise _unreadable(self.shown)
        self.parameters = {**_DEFAULTS, **given}
        self._secrets = [str(given[name]) for name in _SECRETS if len(str(given.get(name, ""))) >= _SHORT]

    def without_secrets(self, text: str) -> str:
        """`text`, such as a message of the server's, on one line."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())


def _unreadable(shown: str) -> ConfigurationError:
    return ConfigurationError(
        f"{shown} cannot be read as postgresql://USER:PASSWORD@HOST:PORT/DATABASE: in user and password write @ as "
        f"%40, : as %3A, / as %2F and % as %25"
    )
