from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "api_smoothing"
LIMIT_MB = 45

#: Who may import whom inside the package, besides the leaves, which all may.
MAY_IMPORT = {
    "certify": set(),
    "claims": {"certify"},
    "adapters": set(),
    "denoisers": set(),
    "engine": {"adapters", "denoisers", "certify", "images", "noise", "device_noise", "secret"},
    "training": {"adapters", "denoisers", "decode"},
    "sandbox": {"adapters", "decode"},
    "datasets": {"adapters", "decode", "images"},
    "evidence": {"certify", "runs"},
    "evaluation": {
        "certify",
        "claims",
        "corruptions",
        "datasets",
        "evidence",
        "images",
        "recorded",
        "report",
        "runs",
        "smoothed",
    },
    "cluster": {"adapters", "certify", "engine", "images", "smoothed"},
    "corruptions": {"datasets", "decode", "images"},
    "attacks": {
        "adapters",
        "denoisers",
        "certify",
        "claims",
        "datasets",
        "decode",
        "original",
        "recorded",  # attacks on the certificates of a run file
        "resize",
        "smoothed",
    },
    "defences": {
        "adapters",
        "attacks",
        "claims",
        "corruptions",
        "datasets",
        "denoisers",
        "images",
        "purification",
        "runs",
    },
    "recorded": {"claims", "certify", "runs"},
    "report": {"recorded", "claims", "certify", "denoisers", "images", "noise", "secret"},
}
LEAVES = {
    "mobilenet",
    "shown",
    "version",
    "results",
    "events",
    "errors",
    "precision",
    "private",
    "remote",
    "convnet",
    "digests",
    "eval_mode",
    "home",
    "interrupts",
    "testing",
}


@pytest.fixture(scope="module")
def imports() -> Iterator[ModuleType]:
    """benchmarks/imports.py, which reads and prints the import graph."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield import_module("imports")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from the sdist as an installer would, without a network."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    pytest.importorskip("build")
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_has_one_package(wheel: zipfile.ZipFile) -> None:
    """Nothing is installed at top level but api_smoothing: `adapters` belongs to another distribution."""
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"api_smoothing"}


def test_the_wheel_has_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    """Code, weights with their cards, recipes, label maps and py.typed are all inside; caches are not."""
    here = {
        str(file.relative_to(ROOT))
        for file in PACKAGE.rglob("*")
        if file.is_file() and file.suffix not in {".pyc", ".part"}
    }
    inside = {name for name in wheel.namelist() if name.startswith("api_smoothing/")}
    assert inside == here
    for needed in ["py.typed", "adapters/labels/maps/cifar10.toml", "training/recipes/cifar10.toml"]:
        assert f"api_smoothing/{needed}" in inside
    weights = [name for name in inside if name.endswith(".safetensors")]
    assert "api_smoothing/adapters/local/weights/cifar10.safetensors" in weights
    assert any(name.startswith("api_smoothing/denoisers/weights/") for name in weights)
    for name in weights:
        assert name.replace(".safetensors", ".json") in inside, "weights without a card"


def test_the_wheel_is_small(wheel: zipfile.ZipFile) -> None:
    """The whole download stays under the limit."""
    assert sum(info.compress_size for info in wheel.infolist()) < LIMIT_MB * 1e6


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    """The command, the licence and the typing marker are in the metadata."""
    read = {Path(name).name: name for name in wheel.namelist() if ".dist-info/" in name}
    assert "api-smooth = api_smoothing.cli:main" in wheel.read(read["entry_points.txt"]).decode()
    metadata = wheel.read(read["METADATA"]).decode()
    assert "License-Expression: MIT" in metadata
    assert "Requires-Python: >=3.11" in metadata


def test_one_version() -> None:
    """pyproject.toml, the package and the changelog agree on the version."""
    from api_smoothing import __version__

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("name", ["adapters", "denoisers"])
def test_the_links_at_the_top_point_into_the_package(name: str) -> None:
    """adapters and denoisers are one step from the root, as links only; a checkout may be without them."""
    link = ROOT / name
    if not os.path.lexists(link):
        pytest.skip("this checkout has no links")
    assert link.is_symlink()
    assert link.resolve() == PACKAGE / name


def imports_of(file: Path) -> set[str]:
    """The parts of the package that `file` imports, at any depth of the code; type-checking ones too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = file.relative_to(ROOT).with_suffix("").parts[: -node.level]
            names = [".".join([*base, node.module or alias.name]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            whole = node.module == "api_smoothing"
            names = [f"api_smoothing.{a.name}" for a in node.names] if whole else [node.module or ""]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("api_smoothing.")}
    return found


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_parts_import_only_what_lies_below(part: str) -> None:
    """The layers hold: never upward, never sideways between adapters, denoisers and certify."""
    for file in (PACKAGE / part).rglob("*.py"):
        assert imports_of(file) <= MAY_IMPORT[part] | LEAVES | {part}, file


def test_no_files_import_one_another_in_a_circle(imports: ModuleType) -> None:
    """The import graph has no circle: not between files, at any depth of the code, nor between parts."""
    facts = imports.facts_of(ROOT, None)
    assert facts["circles"] == []
    assert facts["circles_of_parts"] == []
    assert facts["upward"] == []


def test_the_rooms_of_adapters_are_few_arrows_apart(imports: ModuleType) -> None:
    """A provider imports what one from elsewhere can, not another one; what crosses rooms is half of what were 113."""
    facts = imports.facts_of(ROOT, "adapters")
    pairs = [tuple(pair.split(" -> ")) for pair in facts["rooms"]]
    folders = {
        file.parent.name for file in PACKAGE.glob("adapters/*/__init__.py") if "PROVIDER" in file.read_text()
    }
    assert len(folders) == 6
    assert {to for room, to in pairs if room in folders} <= {"__init__", "_transport"}
    assert not [pair for pair in pairs if pair[1] in folders], "the registry knows them by name only"
    assert {to for _, to in pairs} <= set(imports.REASONS)
    assert facts["crossing"] <= 113 // 2


def test_the_rooms_of_the_engine_are_few_arrows_apart(imports: ModuleType) -> None:
    """What crosses the engine's rooms is at most half of the 47 arrows that were, each with a reason."""
    facts = imports.facts_of(ROOT, "engine")
    assert facts["crossing"] <= 47 // 2
    assert {pair.split(" -> ")[1] for pair in facts["rooms"]} <= set(imports.REASONS)


def test_the_graph_sees_every_way_to_import(imports: ModuleType, tmp_path: Path) -> None:
    """Imports in functions, under TYPE_CHECKING, relative ones and those of a package's names are arrows."""
    package = tmp_path / "api_smoothing"
    files = {
        "__init__.py": "",
        "a/__init__.py": "from .one import x",
        "a/one.py": "def f():\n    from api_smoothing import b",
        "b.py": "if TYPE_CHECKING:\n    import api_smoothing.a.two as two",
        "a/two.py": "from api_smoothing.a import one, name\nfrom ..b import y",
    }
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    graph = imports.read_graph(tmp_path)
    arrows = {
        ("a", "a.one"),
        ("a.one", "b"),
        ("b", "a.two"),
        ("a.two", "a.one"),
        ("a.two", "a"),
        ("a.two", "b"),
    }
    assert graph.arrows == arrows
    assert graph.circles() == [["a", "a.one", "a.two", "b"]]
    assert graph.within("a").arrows == {("", "one"), ("two", "one"), ("two", "")}


def test_statistics_import_numpy_and_scipy_special_only() -> None:
    """certify/ and claims/ are pure mathematics: besides the standard library, numpy and scipy.special."""
    for file in [*(PACKAGE / "certify").rglob("*.py"), *(PACKAGE / "claims").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [
                    f"{node.module}.{a.name}" if node.module == "scipy" else node.module or ""
                    for a in node.names
                ]
            for name in names:
                top = name.split(".")[0]
                allowed = top in sys.stdlib_module_names or top in {"numpy", "api_smoothing"}
                assert allowed or name.startswith("scipy.special"), f"{file}: {name}"


def test_ray_is_imported_in_one_file() -> None:
    """Whoever does not use a cluster needs no Ray, and another engine takes the place of one file."""
    for file in PACKAGE.rglob("*.py"):
        names = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert "ray" not in names or file == PACKAGE / "cluster" / "on_ray.py"


def test_nothing_is_unpickled() -> None:
    """No file of the package uses pickle, and torch.load is always told weights_only."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not {a.name for a in node.names} & {"pickle", "dill", "joblib", "cloudpickle"}, file
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert "weights_only=True" in ast.unparse(node), file


#: Tests that lie with a room and not with one of its modules, and why.
OF_A_ROOM = {
    "adapters/test_hostile.py": "one law of every provider's client: what is no answer is one line, and no vote",
    "adapters/test_plugin.py": "a provider of another package needs registry, labels, prices, sandbox and command",
    "adapters/test_wires.py": "one law of every provider's wire.py: what it writes, its adapter reads",
    "engine/storage/test_namespaces.py": "two containers with one folder need the whole facade, twice",
    "engine/storage/test_storage.py": "one suite for both storages",
    "training/test_resume.py": "a run that is killed in its second phase needs the loop, the phases and the command",
}


def test_tests_mirror_the_modules() -> None:
    """A test file in a folder named after a room is named after a module of it; a command's lies in cli."""
    tests = Path(__file__).parent
    strays = []
    for file in tests.rglob("test_*.py"):
        name = str(file.relative_to(tests))
        room = PACKAGE / Path(name).parent
        if room == PACKAGE or not (room / "__init__.py").is_file() or name in OF_A_ROOM:
            continue
        places = [room, room / "commands"] if room.name == "cli" else [room]
        module = file.stem.removeprefix("test_")
        if not any((p / f"{module}.py").is_file() or (p / module / "__init__.py").is_file() for p in places):
            strays.append(name)
    assert not strays
    assert all((tests / name).is_file() for name in OF_A_ROOM)
