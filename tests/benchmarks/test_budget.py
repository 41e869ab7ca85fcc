"""The benchmark of budgets under kill -9, made small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "budget.py"


@pytest.mark.slow
def test_a_budget_holds_over_killed_processes() -> None:
    """Processes that share a run, fail, are killed and start again stay within its budget and lose no answer."""
    pytest.importorskip("boto3")
    small = ["--processes", "2", "--threads", "4", "--images", "2", "--n", "40", "--kills", "1"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), *small], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
