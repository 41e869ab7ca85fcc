"""Runs the commands of the README's example and puts what they print into it: `python docs/example.py`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from skimage import data

README = Path(__file__).parents[1] / "README.md"
START, END = "<!-- example: written by docs/example.py -->", "<!-- end of example -->"
COMMANDS = [
    "api-smooth certify chelsea.png --sigma 0.12 --radius 0.1 --seed 7",
    "api-smooth certify chelsea.png --sigma 0.12 --radius 0.1 --seed 7 | grep cost",
    "api-smooth plan --radius 0.25",
]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(Path(data.__file__).parent / "chelsea.png", folder)
        shown = "\n".join(f"$ {command}\n{run(command, folder)}" for command in COMMANDS)
    before, rest = README.read_text(encoding="utf-8").split(START)
    after = rest.split(END)[1]
    text = f"{before}{START}\n```console\n{shown}```\n{END}{after}"
    README.write_text(text, encoding="utf-8")
    print(shown)


def run(command: str, folder: str) -> str:
    """What the command prints, with answers kept in `folder`."""
    path = os.pathsep.join([str(README.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command.replace("api-smooth", f"{sys.executable} -m api_smoothing"),
        shell=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "API_SMOOTH_HOME": f"{folder}/home"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return done.stdout


if __name__ == "__main__":
    main()
