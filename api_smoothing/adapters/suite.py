"""The conformance suite of adapters, under its public name; see `testing`."""

from api_smoothing.adapters.testing.suite import FAULTS, HEAVY, AdapterSuite

__all__ = ["FAULTS", "HEAVY", "AdapterSuite"]
