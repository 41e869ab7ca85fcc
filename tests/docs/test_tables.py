"""Tables and pictures of the documents that say what the code does: held against the code."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from api_smoothing import errors
from api_smoothing.adapters import registry
from api_smoothing.adapters.http.description import describe, secrets_of, shipped
from api_smoothing.adapters.labels import file as labels_file
from api_smoothing.adapters.labels.label_map import LabelMap
from api_smoothing.adapters.local.adapter import CallableAdapter, ModuleAdapter
from api_smoothing.adapters.provider import resolve
from api_smoothing.certify.plan import min_queries
from api_smoothing.certify.radius import threshold
from api_smoothing.cli.overall_help import EXIT_CODES
from api_smoothing.cli.stopping import SIGNALS
from api_smoothing.engine.estimate import pricing

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def script(name: str) -> ModuleType:
    """A script of docs/, as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(text: str, mark: str = "") -> list[list[str]]:
    """The cells of the first table after `mark`, without its head."""
    after = text.partition(mark)[2] if mark else text
    table = re.search(r"^\|.*\n\|[-|]+\|\n((?:\|.*\n)+)", after, flags=re.M)
    assert table, mark
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table[1].splitlines()]


def codes(cell: str) -> list[str]:
    """What stands in a cell as code."""
    return re.findall(r"`([^`]+)`", cell)


def block(name: str, mark: str) -> str:
    """The first block of TOML after `mark`."""
    found = re.search(r"```toml\n(.*?)```", page(name).partition(mark)[2], flags=re.S)
    assert found
    return found[1]


def test_settings_are_those_of_the_command_line() -> None:
    """The table is what `python docs/tables.py` writes."""
    assert script("tables").with_tables(page("settings.md")) == page("settings.md")


def variables_in_the_code() -> Iterator[str]:
    """Every name of a variable that stands in the package, and those that endpoints take keys from."""
    own = re.compile(
        r"(API_SMOOTH|AWS|AZURE|VISION|GOOGLE|CLOUDSDK|CLARIFAI|XDG)(_[A-Z0-9]+)+|(LOCAL)?APPDATA"
    )
    for file in (ROOT / "api_smoothing").rglob("*.py"):
        if "sandbox" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and own.fullmatch(node.value):
                yield node.value
    for name in shipped():
        yield from secrets_of(name)


def test_variables_are_those_that_are_read() -> None:
    """Each variable that the code names has its row, and no other has."""
    told = [
        name for row in rows(page("settings.md"), "<!-- checked: variables -->") for name in codes(row[0])
    ]
    assert len(told) == len(set(told))
    found = {*variables_in_the_code()} - {"AWS_EC2_METADATA_DISABLED"}  # said to boto3, of a sandbox
    assert set(told) == found


def test_exit_codes_are_those_that_are_returned() -> None:
    """Those of the errors, of signals, of Ctrl-C, of a closed pipe, of what nobody foresaw, and of success."""
    told = [
        int(code)
        for row in rows(page("settings.md"), "<!-- checked: exit codes -->")
        for code in row[0].split(", ")
    ]
    tree = [
        kind
        for kind in vars(errors).values()
        if inspect.isclass(kind) and issubclass(kind, errors.ApiSmoothError)
    ]
    signals = {128 + number for number in SIGNALS} | {128 + 2}
    assert sorted(told) == sorted({0, 1, 141, *signals, *(kind.exit_code for kind in tree)})


def test_exit_codes_of_the_help_are_those_of_the_page() -> None:
    """`--help` tells every code but the one of a closed pipe, and the README those that end a command by itself."""
    page_has = {
        int(code)
        for row in rows(page("settings.md"), "<!-- checked: exit codes -->")
        for code in row[0].split(", ")
    }
    helped = {int(code) for code in re.findall(r"(?<!\d)\d+(?!\d)", EXIT_CODES)}
    assert helped == page_has - {141}
    readme = re.search(
        r"^\[Exit codes\]\([^)]*\): (.*?)\. ",
        (ROOT / "README.md").read_text(encoding="utf-8"),
        flags=re.M | re.S,
    )
    assert readme
    assert {int(code) for code in re.findall(r"\d+", readme[1])} == helped - {129, 143}


SECTIONS = re.split(r"^## ", page("options.md"), flags=re.M)[1:]
OF_PROVIDERS = {text.partition("\n")[0]: text for text in SECTIONS}


def options_of(text: str) -> dict[str, str]:
    """The options that a table lists, with what stands as their default."""
    return {name: row[1] for row in rows(text) for name in codes(row[0])}


def variables_of(name: str) -> set[str]:
    """The variables of the endpoint's description that a provider is."""
    folder = resources.files("api_smoothing.adapters.http") / "endpoints"
    return (
        set(tomllib.loads((folder / f"{name}.toml").read_text("utf-8"))["variables"])
        if name in shipped()
        else set()
    )


def is_built_in(name: str) -> bool:
    return resolve(registry.provider(name).load).__module__.startswith("api_smoothing.")


@pytest.mark.parametrize("name", [name for name in registry.names() if is_built_in(name)])
def test_options_are_those_of_the_loader(name: str) -> None:
    """Each option of a provider has its row with its default, and no other has."""
    told = options_of(OF_PROVIDERS[name])
    taken = {
        option: parameter.default
        for option, parameter in inspect.signature(resolve(registry.provider(name).load)).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    }
    assert set(taken) <= set(told)
    assert set(told) - set(taken) <= variables_of(name), (
        "what is not the loader's is a variable of its description"
    )
    for option, default in taken.items():
        usual = "–" if default in (None, ()) else "ImageNet's" if option in ("mean", "std") else str(default)
        assert told[option].strip("`") == usual, option


def test_options_of_functions_and_modules_are_theirs() -> None:
    """Each keyword of the two adapters has its row, with whom it is for; `device` has a flag."""
    told = {
        name: row[1] for row in rows(OF_PROVIDERS["Functions and modules of yours"]) for name in codes(row[0])
    }
    taken = {
        kind: {*inspect.signature(adapter).parameters} - {"function", "module", "device"}
        for kind, adapter in (("callable", CallableAdapter), ("module", ModuleAdapter))
    }
    for kind, names in taken.items():
        assert {name for name, whom in told.items() if whom in ("both", kind)} == names


def test_the_label_map_of_the_formats_is_one(tmp_path: Path) -> None:
    """The example is read, and every key there is has its row."""
    path = tmp_path / "pets.toml"
    path.write_text(block("formats.md", "## Label maps"), encoding="utf-8")
    assert list(LabelMap.load(path).classes) == ["cat", "dog"]
    told = {name for row in rows(page("formats.md"), "## Label maps") for name in codes(row[0])}
    assert told == {*labels_file._KEYS, *labels_file._WORD_KEYS}


def test_the_prices_of_the_formats_are_some(tmp_path: Path) -> None:
    """The example is read, and every field there is has its row."""
    path = tmp_path / "pricing.toml"
    path.write_text(block("formats.md", "## Prices"), encoding="utf-8")
    (found,) = pricing._read(path.read_text(encoding="utf-8"), "example").values()
    assert found.micro_usd == 900
    told = {name for row in rows(page("formats.md"), "## Prices") for name in codes(row[0])}
    assert told == {field.name for field in fields(pricing.Price)} - {"key"}


def test_the_lines_of_a_run_file_are_told() -> None:
    """Each kind of line that a run file may have stands in the formats or, with its fields, in the evidence."""
    package = ROOT / "api_smoothing"
    sources = [
        *package.glob("evidence/*.py"),
        *package.glob("evaluation/*.py"),
        *package.glob("recorded/*.py"),
        package / "runs.py",
        package / "results.py",
    ]
    kinds = {
        kind
        for file in sources
        for kind in re.findall(r"api-smooth/([a-z]+)/1", file.read_text(encoding="utf-8"))
    }
    kinds -= {"summary", "prior"}  # of an object, not of a line
    assert {"run", "certificate", "answers"} <= kinds
    for kind in kinds:
        assert re.search(rf"\b{kind}\b", page("formats.md").partition("## Run files")[2]), kind
        assert f"`api-smooth/{kind}/1`" in page("formats.md") + page("evidence.md"), kind


def test_the_endpoint_of_the_formats_is_one(tmp_path: Path) -> None:
    """The smallest description is read."""
    path = tmp_path / "mine.toml"
    path.write_text(block("formats.md", "## Endpoints"), encoding="utf-8")
    assert describe(path, {}).secrets == ("MY_KEY",)


def test_the_keys_of_an_endpoint_are_told() -> None:
    """Every key of the full example in `http.schema` stands in the table."""
    from api_smoothing.adapters.http import schema

    told = " ".join(" ".join(row) for row in rows(page("formats.md"), "## Endpoints"))
    example = (schema.__doc__ or "").partition("```toml")[2].partition("```")[0]
    section, keys = "", set()
    for line in example.splitlines():
        if head := re.match(r"\[(\w+)\]", line):
            section = head[1]
        elif (key := re.match(r"(\w+) = ", line)) and section not in ("variables", "headers", "query"):
            keys.add(key[1])
    assert len(keys) > 25
    assert not [key for key in keys if f"`{key}`" not in told]


def test_the_project_file_of_the_formats_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example settings are settings."""
    import argparse

    from api_smoothing.cli.setting_kinds import KINDS
    from api_smoothing.cli.settings import resolve_settings

    monkeypatch.chdir(tmp_path)
    Path("api-smooth.toml").write_text(block("formats.md", "## Settings"), encoding="utf-8")
    found = resolve_settings(argparse.Namespace(), [*KINDS])
    assert (found.provider, found.sigma, found.budget_usd) == ("aws", 0.12, 2.0)


def test_what_a_ratio_takes_is_what_it_takes() -> None:
    """Share and fewest answers of each ratio of radius to σ, computed again."""
    for ratio, share, fewest in rows(page("choosing.md"), "<!-- checked: radius over sigma -->"):
        target = float(ratio) * 0.25
        assert share == f"{100 * threshold(target, sigma=0.25):.2f} %"
        assert fewest == f"{min_queries(target, alpha=0.001, sigma=0.25):,}"


def test_the_curve_is_drawn_from_the_table() -> None:
    """docs/curve.svg is what `python docs/curve.py` draws from the README as it is."""
    curve = script("curve")
    assert curve.drawing() == (DOCS / "curve.svg").read_text(encoding="utf-8")
    assert [len(curve.figures(row)) for row in curve.CURVES] == [3, 4, 2, 3]


@pytest.mark.parametrize("side", [32, 224])
@pytest.mark.parametrize("radius", [0.25, 0.5, 1.0])
def test_a_change_that_is_shown_is_as_long_as_it_says(side: int, radius: float) -> None:
    """What the picture shows as a norm of r is at most r, and within a hundredth of it, spread and gathered."""
    visible = script("visible")
    image: Any = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    for changed in (visible.spread(image, radius), visible.gathered(image, radius, (side // 2, side // 2))):
        assert radius - 0.01 < visible.norm(changed, image) <= radius + 1e-12


def test_the_picture_says_what_is_measured() -> None:
    """The norms in docs/visible.svg are those that it is about."""
    text = (DOCS / "visible.svg").read_text(encoding="utf-8")
    assert [text.count(f">{radius:.2f}, in ") for radius in script("visible").RADII] == [4, 4, 4]


def test_scripts_of_the_documents_start() -> None:
    """Each script of docs/ says what it is for, and compiles."""
    for file in DOCS.glob("*.py"):
        assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))), file.name
    done = subprocess.run(
        [sys.executable, str(DOCS / "tables.py")], capture_output=True, text=True, check=True
    )
    assert "| `sigma` |" in done.stdout


def test_the_picture_of_the_idea_is_the_example_of_the_readme() -> None:
    """docs/idea.svg shows the noise, the radius and the votes of the README's first certificate."""
    idea, text = script("idea"), (DOCS / "idea.svg").read_text(encoding="utf-8")
    votes = re.search(r"votes +(\d+ of \d+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert votes
    for told in (f"+ noise, σ = {idea.SIGMA:g}<", f"R = {idea.RADIUS:g}<", f">{votes[1]} votes<"):
        assert told in text
