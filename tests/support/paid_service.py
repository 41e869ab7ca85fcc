"""A paid service for tests of single requests."""

from __future__ import annotations

from typing import Any

from api_smoothing.adapters import AdapterCard, Answer, Verdict


class Service:
    """A paid service that keeps what it was sent and returns, or raises, what it was given."""

    def __init__(self, *outcomes: Answer | Verdict | Exception, **facts: Any) -> None:
        self.outcomes, self.sent = outcomes, list[Any]()
        self.card = AdapterCard(
            name=facts.pop("name", "acme"), fingerprint="acme/1", **{"usd_per_query": 0.002, **facts}
        )

    def label(self, images: Any, /) -> list[Any]:
        self.sent.append(images)
        if isinstance(self.outcomes[0], Exception):
            raise self.outcomes[0]
        return list(self.outcomes)

    def verdict(self, error: Exception, /) -> Verdict:
        kind: Any = str(error)
        return Verdict(kind=kind, message=f"it is {kind}", retry_after=7.0)
