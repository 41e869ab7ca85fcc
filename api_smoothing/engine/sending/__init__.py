"""From query indices to outcomes: noise, denoiser, request, retries, drift."""

from api_smoothing.engine.sending.desk import Desk, Here, There
from api_smoothing.engine.sending.drift import Canary, Watch
from api_smoothing.engine.sending.noisy import AsIs, drawing
from api_smoothing.engine.sending.outcome import FirstRequestGate, Latency, Open, Outcome, in_words
from api_smoothing.engine.sending.pixels import Cleaner, encode, enlargement
from api_smoothing.engine.sending.sender import Sender
from api_smoothing.engine.sending.stopwatch import Stopwatch
from api_smoothing.engine.sending.stream import Draw, Query, Stream, Usage

__all__ = [
    "AsIs",
    "Canary",
    "Cleaner",
    "Desk",
    "Draw",
    "FirstRequestGate",
    "Here",
    "Latency",
    "Open",
    "Outcome",
    "Query",
    "Sender",
    "Stopwatch",
    "Stream",
    "There",
    "Usage",
    "Watch",
    "drawing",
    "encode",
    "enlargement",
    "in_words",
]
