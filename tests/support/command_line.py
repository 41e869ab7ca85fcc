"""What tests of the command line share: the toy provider, and what is read from what a command prints."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PLUGIN = Path(__file__).parents[1] / "plugin"
TOY = ["--provider", "toy", "--denoiser", "none", "--seed", "7", "--sigma", "0.25"]


def objects(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def resume(error: str) -> list[str]:
    """The arguments of the command a message names."""
    return shlex.split(error.strip().split("resume with: api-smooth ")[1])


def one_line(error: str, *words: str) -> None:
    """Nothing but one line, without a program's own words, that has these."""
    assert error.count("\n") == 1
    assert "internal error" not in error
    for word in words:
        assert word in error


def start(*arguments: str, told: tuple[int, int] = (0, 0)) -> subprocess.Popen[str]:
    """The command in a process of its own, as a user would have it.

    `told` is a signal, and the number of the toy's query that it comes at.
    """
    number, query = told
    path = os.pathsep.join([str(PLUGIN), str(Path(__file__).parents[2])])
    return subprocess.Popen(
        [sys.executable, "-m", "api_smoothing", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "TOY_SIGNAL": f"{int(number)}@{query}"},
        preexec_fn=_as_from_a_terminal,
    )


def _as_from_a_terminal() -> None:
    """A job started in the background ignores SIGINT, one under nohup SIGHUP, and their children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True
