"""Looks: which questions were asked of each stream's votes, by whichever machine."""

from __future__ import annotations

from typing import Final

from api_smoothing.engine.storage.postgres.server import Server


class ServerLooks:
    """The `Looks` in a database. A look that cannot be written raises before anything was asked."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def record(self, stream: str, question: str) -> tuple[str, ...]:
        return tuple(text for (text,) in self._server.call(_RECORD, (stream, question)))

    def of(self, stream: str) -> tuple[str, ...]:
        return tuple(text for (text,) in self._server.call(_OF, (stream,)))

    def close(self) -> None:
        """The connections are the storage's."""


_RECORD: Final = "SELECT * FROM api_smooth.look(%s, %s)"
_OF: Final = "SELECT question FROM api_smooth.looks WHERE stream = %s ORDER BY look"
