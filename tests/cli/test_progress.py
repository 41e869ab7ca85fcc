from __future__ import annotations

import io

import pytest
from command_line import Terminal

from api_smoothing.cli import progress
from api_smoothing.events import ImageStarted, TurnAwaited, VotesCounted


def votes(n: int) -> VotesCounted:
    return VotesCounted(
        image="cat.png", index=0, n=n, sent=n, cached=0, leader="cat", leader_votes=n - 1, cost_usd=0.0
    )


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands until it is moved."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_terminal_gets_one_line_that_updates(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal every update returns to the start of the same line, which never wraps."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    observer = progress.Progress(stream, 1, summaries=False)
    observer(ImageStarted(image="cat.png", index=0, planned=None))
    for n in (10, 20, 30):
        clock[0] += 1
        observer(votes(n))
    observer.clear()
    assert "\n" not in stream.getvalue()
    shown = stream.getvalue().split("\r\x1b[K")
    assert any("20 votes, cat 95.0%" in line for line in shown)
    assert "30 votes" in shown[-2]
    assert shown[-1] == ""
    assert max(map(len, shown)) < 40


def test_no_terminal_gets_plain_lines_now_and_then(clock: list[float]) -> None:
    """Elsewhere progress is plain lines, without control characters and not too many."""
    stream = io.StringIO()
    observer = progress.Progress(stream, 3, summaries=True)
    observer(ImageStarted(image="cat.png", index=0, planned=None))
    for n in range(1, 101):
        clock[0] += 0.25
        observer(votes(10 * n))
    lines = stream.getvalue().splitlines()
    assert 1 <= len(lines) <= 3
    assert lines[0].startswith("[1/3] cat.png: 400 votes, cat 99.8%, 40 queries/s")
    assert "\r" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_long_wait_for_a_turn_is_said(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for others with the account, or for a low rate, reads so in a line that stays."""
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal() if terminal else io.StringIO()
    progress.Progress(stream, 1, summaries=False)(TurnAwaited(provider="aws", seconds=101.6))
    assert "waiting 102 s for a turn in the rate of aws" in stream.getvalue()
    assert stream.getvalue().endswith("\n")
