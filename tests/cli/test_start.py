from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from api_smoothing.cli import main

FORBIDDEN = [
    "torch", "torchvision", "numpy", "scipy", "PIL", "safetensors", "diskcache", "tenacity", "matplotlib",
    "boto3", "botocore", "google", "azure", "clarifai", "clarifai_grpc", "grpc", "requests", "diffusers",
    "hypothesis", "pytest",
]  # fmt: skip


def loaded_by(code: str) -> set[str]:
    """The forbidden modules a fresh interpreter has after running `code`."""
    program = f"{code}\nimport sys; print('\\n'.join(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stderr.split()} & set(FORBIDDEN)


@pytest.mark.parametrize(
    "code",
    [
        "import api_smoothing",
        "from api_smoothing.cli import main; main(['--help'])",
        "from api_smoothing.cli import main; main(['certify', '--help'])",
        "from api_smoothing.cli import main; main(['certify', 'x.png', '--sigma', '0'])",
        "from api_smoothing.cli import main; main(['cache', 'path'])",
        "from api_smoothing import adapters; adapters.names()",
        "from api_smoothing import denoisers; denoisers.names()",
    ],
)
def test_light_things_stay_light(code: str) -> None:
    """Importing the package, help, refused settings and lists of names load no heavy module and no SDK."""
    assert not loaded_by(code.replace("main([", "_ = main(["))


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Each file in commands/ is a command; help names it, and its own help says what it takes."""
    import api_smoothing.cli.commands as commands

    names = sorted(file.stem for file in Path(commands.__path__[0]).glob("[a-z]*.py"))
    assert {"certify", "predict", "plan", "estimate", "train", "denoisers", "cache"} <= set(names)
    assert main(["--help"]) == 0
    listing = capsys.readouterr().out
    for name in names:
        assert f"\n  {name} " in listing
        assert main([name, "--help"]) == 0
        assert capsys.readouterr().out.startswith(f"usage: api-smooth {name}")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the package's version."""
    from api_smoothing import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"api-smooth {__version__}\n"


def test_module_and_command_are_the_same() -> None:
    """`python -m api_smoothing` is the command, exit code included."""
    command = [sys.executable, "-m", "api_smoothing", "certfy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "api-smooth: error: unknown command 'certfy'; did you mean certify?\n"


def test_an_unexpected_exception_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even a bug is one line; API_SMOOTH_DEBUG=1 adds the traceback."""

    def broken(*_: object) -> str:
        raise ZeroDivisionError("a bug\nin two lines")

    monkeypatch.setattr("api_smoothing.cli.commands.cache._folder", broken)
    assert main(["cache", "path"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "please report" in error
    assert "ZeroDivisionError: a bug in two lines" in error
    monkeypatch.setenv("API_SMOOTH_DEBUG", "1")
    assert main(["cache", "path"]) == 1
    assert "Traceback" in capsys.readouterr().err
