"""From query indices to outcomes: noise, denoiser, request, retries, drift."""

from api_smoothing.engine.sending.drift import Canary, Watch
from api_smoothing.engine.sending.outcome import FirstRequestGate, Open, Outcome, Usage
from api_smoothing.engine.sending.pipeline import Pipeline, encode, enlargement
from api_smoothing.engine.sending.sender import Sender
from api_smoothing.engine.sending.stopwatch import Stopwatch

__all__ = [
    "Canary",
    "FirstRequestGate",
    "Open",
    "Outcome",
    "Pipeline",
    "Sender",
    "Stopwatch",
    "Usage",
    "Watch",
    "encode",
    "enlargement",
]
