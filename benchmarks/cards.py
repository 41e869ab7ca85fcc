"""Putting measured figures on the card beside a weights file; the weights stay as they are."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from api_smoothing.denoisers.registry import read_card
from api_smoothing.errors import ConfigurationError


def own_card(name: str) -> Path:
    """The weights file called `name`, whose card may be rewritten. Raises ConfigurationError, WeightsError."""
    file = Path(name)
    if file.suffix != ".safetensors" or not file.is_file():
        raise ConfigurationError(f"--write needs the path of a .safetensors file with its card, not {name}")
    read_card(file)
    return file


def rewrite(file: Path, quality: Mapping[str, Mapping[str, float]], **more: Any) -> None:
    """Put `quality`, figures by σ, and `more` on the card beside `file`, whole or not at all; all else stays."""
    card, facts = file.with_suffix(".json"), read_card(file)
    known = facts.get("quality", {})
    merged = known | {sigma: {**known.get(sigma, {}), **figures} for sigma, figures in quality.items()}
    part = card.with_name(card.name + ".part")
    whole = facts | {"quality": merged} | more
    part.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, card)
