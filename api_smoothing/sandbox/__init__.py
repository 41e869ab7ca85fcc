"""Servers on loopback that speak each provider's real wire protocol, with a classifier of ours behind them.

For rehearsals and tests without an account: `with Sandbox("aws") as sandbox: SmoothedAPI("aws", **sandbox.options())`.
"""

from __future__ import annotations

from api_smoothing.sandbox.faults import KINDS, Faults
from api_smoothing.sandbox.meter import Meter, Request
from api_smoothing.sandbox.server import Sandbox, providers

__all__ = ["KINDS", "PROVIDERS", "Faults", "Meter", "Request", "Sandbox", "providers"]


def __getattr__(name: str) -> tuple[str, ...]:
    """`PROVIDERS`, those with a sandbox at the moment: plugins may come."""
    if name == "PROVIDERS":
        return providers()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
