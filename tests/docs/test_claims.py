"""What the documents name in passing, outside of blocks that run: commands, flags, files, keywords and benchmarks."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

import api_smoothing
from api_smoothing import SmoothedAPI
from api_smoothing.adapters import registry
from api_smoothing.adapters.local.adapter import CallableAdapter, ModuleAdapter
from api_smoothing.adapters.provider import resolve
from api_smoothing.cli.entry import build_parser

ROOT = Path(__file__).parents[2]
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")),
         *sorted((ROOT / "docs").glob("*.md"))]  # fmt: skip
#: Flags of other programs, which the documents tell to type.
FOREIGN = {"--index-url", "--strict", "--to", "--execute", "--inplace"}
FOREIGN_FILES = {"randomized_smoothing.py", "make_cifar_c.py"}  # of ART, of robustness


def spans(page: Path) -> Iterator[str]:
    """What stands as code within the text, and each line of the blocks."""
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^```\w*\n(.*?)^```$", text, flags=re.M | re.S):
        yield from found[1].splitlines()
    prose = re.sub(r"^```\w*\n.*?^```$", "", text, flags=re.M | re.S)
    yield from (" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose))


def words_of(command: str) -> list[str]:
    """The words of a command up to a pipe, a remark or what is left out."""
    kept = re.split(r"\s(?:#|\||>|&&|…)", command)[0]
    return [
        word for word in shlex.split(kept.replace("…", "X").replace("\\|", "|")) if word not in ("[", "]")
    ]


@cache
def flags() -> frozenset[str]:
    """Every flag of every command."""
    found: set[str] = set()

    def below(parser: Any) -> None:
        found.update(parser._option_string_actions)
        for action in parser._subparsers._group_actions if parser._subparsers else ():
            for inner in action.choices.values():
                below(inner)

    below(build_parser())
    return frozenset(found)


@cache
def of_scripts() -> str:
    """The text of all benchmarks and examples."""
    files = (file for folder in ("benchmarks", "examples") for file in (ROOT / folder).rglob("*.py"))
    return "".join(file.read_text(encoding="utf-8") for file in sorted(files))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_that_are_named_are_commands(page: Path) -> None:
    """An `api-smooth …` begins with commands there are and has flags that those take."""
    for span in spans(page):
        if not (start := re.match(r"(?:\$ )?(api-smooth [a-z].*)", span)):
            continue
        parser, taken = build_parser(), words_of(start[1])[1:]
        while taken and parser._subparsers is not None and not taken[0].startswith("-"):
            choices: Any = parser._subparsers._group_actions[0].choices
            if taken[0].isupper():
                break
            assert taken[0] in choices, f"{page.name}: {span}"
            parser, taken = choices[taken[0]], taken[1:]
        for word in taken:
            flag = word.split("=")[0]
            if re.fullmatch(r"--?[a-z][a-z0-9-]*", flag) and not parser._subparsers:
                assert flag in parser._option_string_actions, f"{page.name}: {span}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_flags_that_are_named_are_flags(page: Path) -> None:
    """A `--flag` in the text is one of some command, or of a script of ours where the page names such."""
    for span in spans(page):
        told = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", span))
        if "api-smooth" not in span and re.search("benchmarks|examples", page.read_text(encoding="utf-8")):
            # A script may make its flags from the names of a table.
            told -= {
                flag for flag in told if any(f in of_scripts() for f in (f'"{flag}"', f'"{flag[2:]}": ('))
            }
        assert told - FOREIGN <= flags(), f"{page.name}: {span}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_benchmarks_that_are_named_are_there(page: Path) -> None:
    """A `python benchmarks/X.py --flags` is a script that has those flags; `python -m benchmarks X` a measurement."""
    main = (ROOT / "benchmarks" / "__main__.py").read_text(encoding="utf-8")
    for span in spans(page):
        for name, rest in re.findall(r"python (?:benchmarks/|-m benchmarks\.)(\w+)(?:\.py)?([^;]*)", span):
            source = (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")
            for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest):
                made = (
                    'add_argument(f"--{' in source and flag[2:] in source
                )  # of the names of a table's fields
                assert f'"{flag}"' in source or made, f"{page.name}: {span}"
        for name in re.findall(r"python -m benchmarks ([a-z_]+)", span):
            assert f'"{name}"' in main, f"{page.name}: {span}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_are_there(page: Path) -> None:
    """A module, a test or a script that the text names is in the repository."""
    paths = {str(path.relative_to(ROOT)) for top in ("api_smoothing", "tests", "benchmarks", "docs", "examples", ".ci")
             for path in (ROOT / top).rglob("*")}  # fmt: skip
    for span in spans(page):
        for name in re.findall(r"(?<![\w/.*~$])((?:[a-z_]+/)*[a-z_]+\.py)\b(?!\w)", span):
            if name in FOREIGN_FILES:
                continue
            assert any(path == name or path.endswith(f"/{name}") for path in paths), f"{page.name}: {name}"


def keywords() -> set[str]:
    """What `SmoothedAPI` takes, with the options of every provider and of functions and modules."""
    made = [SmoothedAPI, CallableAdapter, ModuleAdapter]
    loaders = [resolve(registry.provider(name).load) for name in registry.names()]
    folder = resources.files("api_smoothing.adapters.http") / "endpoints"
    variables = tomllib.loads((folder / "openai.toml").read_text("utf-8"))["variables"]
    return {*variables, *(name for one in [*made, *loaders] for name in inspect.signature(one).parameters)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_that_is_named_is_there(page: Path) -> None:
    """Keywords of `SmoothedAPI` and `Budget`, methods of an `api` and names of the package are called so."""
    for span in spans(page):
        for call in re.findall(r"\b(?:SmoothedAPI|Budget|api\.\w+)\([^()]*\)", span):
            try:
                node = ast.parse(call.replace("…", "None"), mode="eval").body
            except SyntaxError:
                continue
            assert isinstance(node, ast.Call)
            given = {keyword.arg for keyword in node.keywords if keyword.arg}
            if isinstance(node.func, ast.Attribute):
                method = getattr(SmoothedAPI, node.func.attr, None)
                assert method is not None, f"{page.name}: {span}"
                known = {*inspect.signature(method).parameters}
            elif isinstance(node.func, ast.Name) and node.func.id == "Budget":
                known = {*inspect.signature(api_smoothing.Budget).parameters}
            else:
                known = keywords()
            assert given <= known, f"{page.name}: {span}"
        for name in re.findall(r"\bapi_smoothing\.([a-z_]+)", span):
            assert name in api_smoothing.__all__ or (ROOT / "api_smoothing" / name).is_dir() or (
                ROOT / "api_smoothing" / f"{name}.py").is_file(), f"{page.name}: {span}"  # fmt: skip


def test_the_example_of_an_endpoint_is_one(tmp_path: Path) -> None:
    """The description in the docstring of `adapters.http.schema`, which explains every key, can be read."""
    from api_smoothing.adapters.http import schema
    from api_smoothing.adapters.http.description import describe

    example = (schema.__doc__ or "").partition("```toml\n")[2].partition("```")[0]
    either = {"text", "ending", "unfinished", "field", "form"}  # goes with what the example does not have
    lines = [line for line in example.splitlines() if line.split(" =")[0] not in either]
    path = tmp_path / "acme.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    assert describe(path, {}).secrets == ("ACME_KEY",)


def test_a_dry_run_loads_no_torch(tmp_path: Path) -> None:
    """What `--dry-run` promises of its start."""
    import subprocess

    from PIL import Image

    Image.new("RGB", (96, 96)).save(tmp_path / "a.png")
    code = ("import sys; from api_smoothing.cli import main; "
            "main(['certify', 'a.png', '--provider', 'aws', '--radius', '0.1', '--dry-run']); "
            "sys.exit('torch' in sys.modules)")  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
