"""Google Cloud Vision through its own client."""

from api_smoothing.adapters.google.account import credentials
from api_smoothing.adapters.google.adapter import FEATURES, GoogleVision, load

__all__ = ["FEATURES", "GoogleVision", "credentials", "load"]
