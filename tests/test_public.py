"""What `api_smoothing` offers by name: all of it there, all of it documented, and nothing else promised."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import api_smoothing

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docs/example.py")),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "examples").glob("*.py"),
]


def test_the_package_says_what_is_public() -> None:
    """The names in the package's docstring are those it exports, and each has a docstring of its own."""
    told = re.findall(r"^(\w+)  +\S", api_smoothing.__doc__ or "", re.MULTILINE)
    assert sorted([*told, "__version__"]) == api_smoothing.__all__
    assert dir(api_smoothing) == api_smoothing.__all__
    for name in told:
        assert getattr(api_smoothing, name).__doc__, name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_import_what_is_public(document: Path) -> None:
    """What the documentation takes from the top of the package is exported, or is a package of plugins' names."""
    for names in re.findall(
        r"^from api_smoothing import (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE
    ):
        found = {name.split(" as ")[0].strip() for name in names.strip("() ").split(",")}
        assert found <= {*api_smoothing.__all__, "adapters", "denoisers"}, document


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A slip of the fingers is told as one."""
    with pytest.raises(AttributeError, match="certfy"):
        _ = api_smoothing.certfy  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "first", ["import api_smoothing.purification", "import api_smoothing.runs", "import api_smoothing.cli"]
)
def test_a_public_name_means_one_thing(first: str) -> None:
    """`purify` is the function and `runs` the module, whatever was imported before."""
    code = f"{first}; import api_smoothing; from api_smoothing import purify, runs, errors, events"
    code += (
        "; print(callable(purify) and purify is api_smoothing.purify, type(runs).__name__, events.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "module", "api_smoothing.events"]


def test_modules_are_modules() -> None:
    """errors, events and runs are reached as attributes, without an import of their own."""
    assert all(isinstance(getattr(api_smoothing, name), ModuleType) for name in ("errors", "events", "runs"))
