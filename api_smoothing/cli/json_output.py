"""JSON on standard output that reads back as it was meant, whatever the stream can show."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Mapping
from typing import Any

from api_smoothing.results import one_line
from api_smoothing.shown import shown_json


def print_json(value: Mapping[str, Any]) -> None:
    """Print one object on one line, at once. Letters beyond ASCII are escaped unless the stream is UTF-8."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    text = one_object(value, plain=codecs.lookup(encoding).name == "utf-8")
    print(text, flush=True)


def one_object(value: Mapping[str, Any], *, plain: bool = True) -> str:
    """`value` as JSON in one line; letters as they are if `plain`, else, and where UTF-8 has none, escaped."""
    return one_line(value) if plain else shown_json(json.dumps(value, allow_nan=False))
