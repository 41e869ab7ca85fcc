"""What limits a run where nobody has said a number: told before the first query, and kept by the run file."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import TOY, Terminal, objects, one_line, resume

from api_smoothing.cli import main
from api_smoothing.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("project")

DEAR = [*TOY, "--model", "usd=0.5"]
CHEAP = [*TOY, "--model", "usd=0.001"]


def header(path: str = "r.jsonl") -> dict[str, Any]:
    return json.loads(Path(path).read_text().splitlines()[0])["settings"]  # type: ignore[no-any-return]


def queries(capsys: pytest.CaptureFixture[str]) -> int:
    return sum(one["queries"] for one in objects(capsys))


@pytest.mark.parametrize(
    ("provider", "cap", "why"),
    [
        (CHEAP, 1_000, "where queries cost money"),
        (TOY, 1_000, "where their price is unknown"),
        (["--provider", "torchvision", "--denoiser", "none", "--size", "32"], 10_000, "where they are free"),
        (["--provider", "aws", "--denoiser", "none", "--sandbox"], 1_000, "where queries cost money"),
    ],
    ids=["paid", "unknown", "free", "rehearsed"],
)
def test_a_radius_has_a_cap(
    provider: list[str], cap: int, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cap follows the price, a rehearsal's the real service's; it is told first, and is in the file's header."""
    if "aws" in provider:
        pytest.importorskip("boto3")
    command = ["certify", "a.png", *provider, "--radius", "0.05", "--sigma", "0.12", "--output", "r.jsonl"]
    assert main(command) == 0
    assert f"at most {cap:,} queries an image, the cap {why}; -n N sets another" in capsys.readouterr().err
    assert header()["n"] == cap
    assert main([*command, "-n", str(cap)]) == 0
    assert "already in r.jsonl" in capsys.readouterr().err
    assert main([*command, "-n", "none"]) == 2  # another rule


def test_no_cap_needs_a_radius(capsys: pytest.CaptureFixture[str]) -> None:
    """-n none is the open rule; without a radius it never ends, which is told in one line."""
    assert main(["certify", "a.png", *TOY, "--radius", "0.25", "-n", "none", "--output", "r.jsonl"]) == 0
    assert header()["n"] is None
    for command in ("certify", "predict", "estimate"):
        capsys.readouterr()
        assert main([command, "a.png", *TOY, "-n", "none"]) == 2
        one_line(capsys.readouterr().err, "radius")


def test_a_fixed_number_is_nobodys_guess(capsys: pytest.CaptureFixture[str]) -> None:
    """With a radius the rules of a fixed n take none that was not given."""
    for method in ("fixed", "clopper-pearson"):
        assert main(["certify", "a.png", *TOY, "--radius", "0.25", "--method", method]) == 2
        assert f'method "{method}" needs n' in capsys.readouterr().err


def test_the_command_that_resumes_has_the_number(capsys: pytest.CaptureFixture[str]) -> None:
    """What goes on after a budget has the same rule, and the run file takes it."""
    command = ["certify", "a.png", *CHEAP, "--radius", "0.25", "--output", "r.jsonl", "--budget-usd", "0.03"]
    assert main(command) == 3
    again = resume(capsys.readouterr().err.splitlines()[-1])
    assert again[again.index("-n") + 1] == "1000"
    assert main(again) == 0


def test_a_run_without_a_budget_ends_at_five_dollars(capsys: pytest.CaptureFixture[str]) -> None:
    """It is said before the first query, holds over commands given again, and any budget takes its place."""
    command = ["predict", "a.png", *DEAR, "-n", "14", "--json"]
    for sent in (10, 0):
        assert main(command) == 3
        captured = capsys.readouterr()
        assert sum(one["queries"] for one in map(json.loads, captured.out.splitlines())) == sent
        assert "this run may cost $5.00, the limit where no budget is given; --budget-usd X" in captured.err
        assert ("this will cost $5.00" in captured.err) == (sent > 0)
    assert main([*command, "--budget-usd-day", "none"]) == 3  # of which the run's is no part
    assert queries(capsys) == 0
    assert main([*command, "--budget-queries", "12"]) == 3
    assert queries(capsys) == 2
    assert main([*command, "--budget-usd", "none"]) == 0
    captured = capsys.readouterr()
    assert "limit where no budget" not in captured.err
    [done] = map(json.loads, captured.out.splitlines())
    assert (done["queries"], done["n"]) == (2, 14)


def test_a_rehearsal_has_no_limit_in_dollars(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the sandbox nothing is charged, and nothing is said of dollars."""
    monkeypatch.setattr("api_smoothing.engine.estimate.defaults.USD", 0.01)
    pytest.importorskip("requests")
    command = ["predict", "0.png", "--provider", "http", "--model", "sandbox-json", "--denoiser", "none"]
    assert main([*command, "--sandbox", "-n", "20", "--json"]) == 0
    captured = capsys.readouterr()
    assert [one["queries"] for one in map(json.loads, captured.out.splitlines())] == [20]
    assert "dollar" not in captured.err
    assert "$" not in captured.err


def test_an_unknown_price_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody knows what a query costs no dollars are counted, which is one line of a run of several images."""
    assert main(["certify", "a.png", "b.png", *TOY, "-n", "20"]) == 0
    assert capsys.readouterr().err.count("the price of toy is unknown, so that no dollars are counted") == 1


@pytest.mark.usefixtures("before_midnight")
def test_a_day_has_one_budget_for_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """Different commands spend one day's dollars, each other's without a limit too; tomorrow the same one goes on."""
    assert main(["predict", "a.png", *CHEAP, "-n", "20", "--json"]) == 0
    limited = [*CHEAP, "--sigma", "0.3", "--budget-usd-day", "0.05", "--json"]
    assert main(["predict", "a.png", *limited, "-n", "20"]) == 0
    assert queries(capsys) == 40
    command = ["predict", "b.png", *limited, "-n", "30", "--budget-usd", "2"]
    assert main(command) == 3
    captured = capsys.readouterr()
    assert [one["queries"] for one in map(json.loads, captured.out.splitlines())] == [10]
    last = captured.err.splitlines()[-1]
    assert "the budget of the day is exhausted until 00:00 UTC" in last
    assert resume(last) == command
    assert main(["certify", "a.png", "b.png", *limited, "-n", "20", "--json"]) == 3
    assert "of the day" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "flags", "sent", "asked"),
    [
        ("n", [], 0, True),
        ("y", [], 20, True),
        ("n", ["--yes"], 20, False),
        ("n", ["--budget-usd", "1"], 0, False),
    ],
)
def test_a_terminal_is_asked_above_a_dollar(
    line: str,
    flags: list[str],
    sent: int,
    asked: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The range comes with the question, which a budget of a dollar or --yes spares; a no sends nothing."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(f"{line}\n"))
    monkeypatch.setattr(sys, "stderr", screen)
    command = ["certify", "a.png", *TOY, "--model", "usd=0.1", "-n", "20", "--json", *flags]
    assert main(command) == (3 if "--budget-usd" in flags else 0)
    assert sum(one["queries"] for one in objects(capsys)) == sent
    assert ("[y/N]" in screen.getvalue()) == asked
    assert ("nothing was sent" in screen.getvalue()) == (asked and not sent)
    if not flags:
        assert "this will cost $2.00; go on?" in screen.getvalue()


def test_nobody_is_asked_where_nobody_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal the range is printed, the budget is the limit, and the run goes on."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    command = ["certify", "a.png", *TOY, "--model", "usd=0.05", "--json"]
    assert main([*command, "--radius", "0.25"]) == 0
    captured = capsys.readouterr()
    assert "this will cost" in captured.err
    assert "to $5.00" in captured.err
    assert "[y/N]" not in captured.err
    assert sum(one["queries"] for one in map(json.loads, captured.out.splitlines())) > 0


def test_what_is_paid_is_not_asked_about_again(server: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """A run whose answers are all kept costs nothing, and says nothing of a price."""
    command = ["certify", "0.png", "-n", "20", "--json"]
    assert main(command) == 0
    assert "this will cost $0.02" in capsys.readouterr().err
    assert main(command) == 0
    assert "this will cost" not in capsys.readouterr().err


@pytest.mark.parametrize("labels", [[], ["--labels-present", "cat"]])
def test_a_label_question_has_the_same_cap(labels: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Presence has a capped rule too: its cap is told and kept as for the best label."""
    command = ["certify", "a.png", *CHEAP, "--radius", "0.25", "--output", "r.jsonl", *labels]
    assert main(command) == 0
    assert "at most 1,000 queries an image" in capsys.readouterr().err
    assert header()["n"] == 1000
