"""The scripts that complete the command in a shell, read by the shells themselves."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from api_smoothing.cli import main
from api_smoothing.cli.commands.completion import SHELLS
from api_smoothing.cli.entry import build_parser

pytest.importorskip("shtab")


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Path]:
    """The script of each shell, in a file."""
    files = {}
    for shell in SHELLS:
        assert main(["completion", shell]) == 0
        files[shell] = tmp_path / f"completion.{shell}"
        files[shell].write_text(capsys.readouterr().out, encoding="utf-8")
    return files


def completed(script: Path, line: str) -> set[str]:
    """What bash offers where the line ends, at the Tab key."""
    words = line.split(" ")
    program = f"""
    source {shlex.quote(str(script))}
    COMP_WORDS=({" ".join(map(shlex.quote, words))})
    COMP_CWORD={len(words) - 1}
    _shtab_api_smooth api-smooth {shlex.quote(words[-1])} {shlex.quote(words[-2])}
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    done = subprocess.run(
        ["bash", "--norc", "-c", program], capture_output=True, text=True, check=True, cwd=script.parent
    )
    assert "error" not in done.stderr
    return set(done.stdout.split())


def test_bash_completes_every_flag_of_every_command(script: dict[str, Path]) -> None:
    """After "--" of each command bash offers its flags, all of them, and no other."""
    commands = next(a.choices for a in build_parser()._actions if isinstance(a.choices, dict))
    assert completed(script["bash"], "api-smooth ") >= set(commands)
    for name, parser in commands.items():
        if not any(isinstance(action.choices, dict) for action in parser._actions):
            flags = {flag for flag in parser._option_string_actions if flag.startswith("--")}
            assert completed(script["bash"], f"api-smooth {name} --") == flags, name


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("api-smooth certify cat.png --rad", {"--radius"}),
        ("api-smooth certify --sigma 0.12 cat.png --labels-a", {"--labels-absent"}),
        ("api-smooth certify cat.png --provider a", {"aws", "azure"}),
        ("api-smooth certify cat.png --method r", {"runner-up"}),
        ("api-smooth certify cat.png --denoiser recog", {"recogniser-cifar10"}),
        ("api-smooth certify cat.png --labels cif", {"cifar10"}),
        ("api-smooth labels exp", {"explain"}),
        ("api-smooth labels explain --provider goo", {"google"}),
        ("api-smooth train denoiser --surr", {"--surrogates"}),
        ("api-smooth cache re", {"repair"}),
        ("api-smooth completion f", {"fish"}),
    ],
)
def test_bash_completes_names(script: dict[str, Path], line: str, offered: set[str]) -> None:
    """Flags after images, sub-commands, and the names that a flag takes."""
    assert completed(script["bash"], line) == offered


def test_bash_completes_files(script: dict[str, Path]) -> None:
    """Where an image or a file stands, the files of the folder are offered."""
    for name in ("cat.png", "cats.toml"):
        (script["bash"].parent / name).touch()
    assert completed(script["bash"], "api-smooth certify ca") == {"cat.png", "cats.toml"}
    assert completed(script["bash"], "api-smooth certify cat.png --output ca") == {"cat.png", "cats.toml"}


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_reads_its_script(script: dict[str, Path], shell: str) -> None:
    """The shell finds no slip in it, and it names a flag of every command."""
    text = script[shell].read_text(encoding="utf-8")
    assert all(word in text for word in ("budget-usd", "surrogates", "recogniser-cifar10"))
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    check = "--no-execute" if shell == "fish" else "-n"
    done = subprocess.run([shell, check, str(script[shell])], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_other_command_pays_for_it() -> None:
    """shtab is imported by `completion` alone."""
    code = "import sys; from api_smoothing.cli.entry import build_parser; build_parser(); print('shtab' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "False\n"
    )
