"""`python -m api_smoothing.training classifier|denoiser RECIPE DATA OUT`: the same calls as `api-smooth train`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from api_smoothing.errors import ApiSmoothError
from api_smoothing.training import train_classifier, train_denoiser


def _show(figures: Mapping[str, Any]) -> None:
    print(
        "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items()),
        flush=True,
    )


def main() -> int:
    """Train one network; progress goes to standard output as plain lines."""
    parser = argparse.ArgumentParser(prog="python -m api_smoothing.training")
    parser.add_argument("kind", choices=("classifier", "denoiser"))
    parser.add_argument("recipe")
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--surrogates", type=Path)
    parser.add_argument("--no-resume", action="store_true")
    a = parser.parse_args()
    common: dict[str, Any] = {
        "minutes": a.minutes,
        "seed": a.seed,
        "resume": not a.no_resume,
        "on_progress": _show,
    }
    try:
        if a.kind == "classifier":
            print(train_classifier(a.recipe, a.data, a.out, **common))
        else:
            print(train_denoiser(a.recipe, a.data, a.out, surrogates=a.surrogates, **common))
    except ApiSmoothError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
