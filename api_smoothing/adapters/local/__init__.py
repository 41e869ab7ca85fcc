"""Models in this process: callables, modules, torchvision's networks and the bundled classifier."""

from api_smoothing.adapters.local.adapter import CallableAdapter, ModuleAdapter

__all__ = ["CallableAdapter", "ModuleAdapter"]
