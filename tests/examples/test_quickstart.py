from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_quickstart_certifies_the_cat() -> None:
    """The README's first command certifies that the photograph shows a cat, from the bundled parts alone."""
    pytest.importorskip("skimage")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "quickstart.py")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    assert "This is a cat, and it is certified" in done.stdout
    assert "wrong with probability at most 0.001" in done.stdout


def test_the_readme_runs_what_ci_runs() -> None:
    """The README's second command installs and tests as .ci/run does."""
    script = (ROOT / ".ci" / "run").read_text()
    for words in ["'.[dev,torchvision]'", ".venv/bin/pytest"]:
        assert words in README
        assert words in script


def test_the_readme_names_every_command() -> None:
    """Each command of the command line has its row in the README, and no other has."""
    import api_smoothing.cli.commands as commands

    names = {file.stem for file in Path(commands.__path__[0]).glob("[a-z]*.py")}
    rows = re.findall(r"^\| `.*?\|", README, flags=re.M)
    assert {name for row in rows for name in re.findall(r"`(\w+)[` ]", row)} == names
