"""What the documents and the help tell to type does what they say.

A block of commands or Python runs as it stands, in a folder with a photograph, unless an HTML comment before
it says otherwise: `<!-- not run: REASON -->`, or `<!-- run in the sandbox -->` where a service is asked.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from api_smoothing.cli import main
from api_smoothing.cli.entry import build_parser

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")),
)
LANGUAGES = ("console", "python", "sh", "bash", "shell", "pycon")

_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S
)
_NOT_RUN, _SANDBOX = "not run: ", "run in the sandbox"
#: Commands in a help that go on until somebody stops them, need a server, or a file that another one has made: their
#: words are looked at, and no more.
_PARSED = ("report", "sandbox", "store", "train", "verify")


@dataclass(frozen=True)
class Block:
    """One block of a document, and how it is marked."""

    where: str
    language: str
    mark: str
    text: str


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for found in _BLOCK.finditer(text):
            if found["language"] in LANGUAGES:
                line = text.count("\n", 0, found.start("language")) + 1
                mark = found["mark"] or ""
                mark = mark if mark.startswith(_NOT_RUN) or mark == _SANDBOX else ""
                yield Block(f"{page}:{line}", found["language"], mark, found["text"])


RUN = [block for block in blocks() if not block.mark.startswith(_NOT_RUN)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader may stand: with a photograph under the names that the documents use."""
    skimage = pytest.importorskip("skimage")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    monkeypatch.chdir(tmp_path)
    photograph = Path(skimage.__file__).parent / "data" / "chelsea.png"
    shutil.copy(photograph, "chelsea.png")
    shutil.copy(photograph, "cat.png")
    with Image.open(photograph) as image:
        image.save("cat.jpg", quality=95)
    return tmp_path


def in_the_sandbox(command: str) -> str:
    """The command, asking the sandbox where it would ask a service."""
    asks = "--provider" in command and "--dry-run" not in command and "--sandbox" not in command
    return f"{command} --sandbox" if asks else command


def commands_of(block: Block) -> Iterator[tuple[str, str]]:
    """Each command of a console block, without its remark, and what the block shows of its output."""
    for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
        line, _, shown = part.partition("\n")
        yield re.sub(r"\s+# .*", "", line).strip(), shown.strip("\n")


def output_of(command: str) -> str:
    """What a command prints. One with a pipe or a file is given to a shell."""
    if not set(command) & set("|>&;"):
        program, *words = shlex.split(command)
        assert program == "api-smooth"
        out, error = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            code = main(words)
        assert code == 0, error.getvalue()
        return out.getvalue()
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.replace("api-smooth", f"{sys.executable} -m api_smoothing")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def masked(text: str) -> str:
    """Without the numbers, which another processor may round to others, and without how far apart words stand."""
    return re.sub(r"[ \t]+", " ", re.sub(r"\d[\d.,]*", "#", text)).strip()


class _Service:
    """The `my_service` of the documents."""

    @staticmethod
    def labels(images: Any) -> list[str]:
        return ["cat"] * len(images)


@pytest.mark.parametrize("block", RUN, ids=[block.where for block in RUN])
def test_a_block_does_what_it_says(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command ends well and prints what is shown; Python runs with the names that the text takes for granted."""
    if block.language == "python":
        given = {"my_service": _Service, "paths": ["cat.png"], "pytest": pytest, "load": None}
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(block.text, block.where, "exec"), {"__name__": "document", **given})
        return
    if block.mark == _SANDBOX:  # small and quick, as it is the commands that are tried
        for name, value in {"SIZE": "32", "DENOISER": "none", "RATE": "10000"}.items():
            monkeypatch.setenv(f"API_SMOOTH_{name}", value)
    found = list(commands_of(block))
    assert found, "a console block has commands that begin with $"
    for command, shown in found:
        printed = output_of(in_the_sandbox(command) if block.mark == _SANDBOX else command)
        if shown and "plan" in command:
            assert printed.strip("\n") == shown
        elif shown:
            assert masked(printed) == masked(shown)


def test_what_is_not_run_says_why() -> None:
    """The blocks that are left out, each with its reason: few, and known here."""
    left = {block.where.partition(":")[0]: 0 for block in blocks() if block.mark.startswith(_NOT_RUN)}
    for block in blocks():
        if block.mark.startswith(_NOT_RUN):
            assert len(block.mark) > len(_NOT_RUN) + 5
            left[block.where.partition(":")[0]] += 1
    assert left == {
        "README.md": 3,
        "CONTRIBUTING.md": 1,
        "docs/defences.md": 1,
        "docs/denoisers.md": 4,
        "docs/evaluate.md": 4,
        "docs/scale.md": 1,
        "docs/settings.md": 1,
        "docs/store.md": 1,
    }


def helps() -> Iterator[tuple[str, str]]:
    """(the command, its help) of the program, of every command and of every command within one."""

    def below(parser: Any) -> Iterator[tuple[str, str]]:
        yield parser.prog, parser.format_help()
        for action in parser._subparsers._group_actions if parser._subparsers else ():
            for inner in action.choices.values():
                yield from below(inner)

    yield from below(build_parser())


@pytest.mark.parametrize(("program", "text"), list(helps()), ids=[program for program, _ in helps()])
def test_the_example_of_a_help_works(
    program: str, text: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each help ends with one command that runs as it stands."""
    examples = re.findall(r"^example: (.*(?:\n  .*)*)", text, flags=re.M)
    assert len(examples) == 1, f"{program} --help has no example"
    command = " ".join(examples[0].split())
    assert command.startswith(program)
    words = shlex.split(command)[1:]
    if words[0] in _PARSED:
        assert build_parser().parse_args(words)._run
        return
    monkeypatch.setenv("API_SMOOTH_SIZE", "32")
    output_of(command)
