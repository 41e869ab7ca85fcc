"""Processes of their own to measure in: with this working tree, and a home that is nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def environment(home: Path | str) -> dict[str, str]:
    """The surroundings of a process whose installation and machine are the folder `home`."""
    return {
        **os.environ,
        "API_SMOOTH_HOME": str(home),
        "API_SMOOTH_MACHINE": str(home),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "NO_PROXY": "127.0.0.1,localhost",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }


def started(code: str, *words: str, home: Path | str, **more: Any) -> subprocess.Popen[str]:
    """Python running `code` with `words`; what it prints can be read."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env=environment(home),
        stdout=subprocess.PIPE,
        text=True,
        **more,
    )
