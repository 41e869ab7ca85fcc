"""From query indices to outcomes: noise, denoiser, request, retries, drift."""

from api_smoothing.engine.sending.drift import Canary, Watch
from api_smoothing.engine.sending.outcome import FirstRequestGate, Open, Outcome, Usage
from api_smoothing.engine.sending.pipeline import Pipeline, encode, enlargement
from api_smoothing.engine.sending.sender import Sender

__all__ = [
    "Canary",
    "FirstRequestGate",
    "Open",
    "Outcome",
    "Pipeline",
    "Sender",
    "Usage",
    "Watch",
    "encode",
    "enlargement",
]
