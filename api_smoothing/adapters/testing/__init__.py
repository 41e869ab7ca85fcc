"""The laws every adapter keeps, for whoever writes one."""

from api_smoothing.adapters.testing.suite import FAULTS, HEAVY, AdapterSuite

__all__ = ["FAULTS", "HEAVY", "AdapterSuite"]
