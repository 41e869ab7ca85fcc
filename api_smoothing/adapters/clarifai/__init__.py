"""Clarifai through its gRPC client."""

from api_smoothing.adapters.clarifai.account import credentials
from api_smoothing.adapters.clarifai.adapter import Clarifai, load

__all__ = ["Clarifai", "credentials", "load"]
