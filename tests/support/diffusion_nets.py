"""A diffusion network small enough for a test."""

from __future__ import annotations

TINY = {
    "kind": "diffusion",
    "channels": [8, 8],
    "blocks": [1, 1],
    "width": 16,
    "prediction": "epsilon",
    "schedule": {"kind": "linear", "steps": 1000},
}
