"""What a provider's wire format says of a request that breaks it. For servers that speak the format."""

from __future__ import annotations


class BadRequest(Exception):
    """A request that the service refuses, in the service's words: HTTP status, code, message, and finer code."""

    def __init__(self, code: str, message: str, *, status: int = 400, inner: str | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status, self.inner = code, message, status, inner
