"""One question before a query that costs money, the same in every command."""

from __future__ import annotations

import io
import sys

import pytest

from api_smoothing.adapters import AdapterCard
from api_smoothing.cli.consent import agreed
from api_smoothing.errors import ConfigurationError

DEAR = AdapterCard(name="fake", fingerprint="1", usd_per_query=0.0015)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))


@pytest.mark.parametrize(
    ("card", "free", "yes", "says"),
    [
        (AdapterCard(name="here", fingerprint="1", accepts="tensor", usd_per_query=1.0), False, False, ""),
        (AdapterCard(name="gratis", fingerprint="1"), False, False, "one query to gratis, free of charge"),
        (DEAR, True, False, "one query to fake, free of charge"),
        (DEAR, False, True, "one query to fake costs $0.0015"),
    ],
)
def test_what_needs_no_question_is_said_and_sent(
    card: AdapterCard, free: bool, yes: bool, says: str, nobody: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A local model, a free query, and one agreed to beforehand go without a question."""
    assert agreed(card, free=free, yes=yes)
    printed = capsys.readouterr()
    assert says in printed.err
    assert bool(printed.err) == bool(says)
    assert printed.out == ""


def test_nobody_to_ask_is_a_no(nobody: None) -> None:
    """Where standard input is no terminal, whatever it holds, the price and the flag are told."""
    with pytest.raises(ConfigurationError, match=r"costs \$0.0015.*--yes"):
        agreed(DEAR)


@pytest.mark.parametrize(
    ("line", "sent"), [("y", True), (" YES ", True), ("n", False), ("", False), ("yep", False)]
)
def test_only_a_clear_yes_sends(
    line: str, sent: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At a terminal the price comes first; anything but a yes sends nothing, and says so."""
    monkeypatch.setattr(sys, "stdin", Terminal(f"{line}\n"))
    assert agreed(DEAR) == sent
    assert ("nothing was sent" in capsys.readouterr().err) == (not sent)
