"""A provider from outside has what a built-in has: label map, price, filter, sandbox. The toy, in an empty folder."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api_smoothing import LabelMap
from api_smoothing.adapters import registry
from api_smoothing.adapters.labels import filter_of
from api_smoothing.adapters.provider import Provider, SandboxDeclaration
from api_smoothing.engine.estimate.pricing import price
from api_smoothing.errors import ConfigurationError
from api_smoothing.sandbox import Sandbox, providers

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "tests" / "plugin"
QUICK = ["--provider", "toy", "--sigma", "0.12", "--seed", "1", "-n", "20", "--denoiser", "none", "--json"]

Run = Callable[..., Any]


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy is installed in this process."""
    monkeypatch.syspath_prepend(str(PLUGIN))


@pytest.fixture
def python(tmp_path: Path) -> Run:
    """Runs Python in a folder with one image in it, where the toy is installed, and returns what it prints as JSON."""
    folder = tmp_path / "empty"
    folder.mkdir()
    pixels = np.random.default_rng(5).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "x.png")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(PLUGIN), str(ROOT)]),
        "API_SMOOTH_HOME": str(tmp_path / "home"),
        "NO_PROXY": "127.0.0.1,localhost",
    }

    def run(*arguments: str) -> Any:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


@pytest.fixture
def command(python: Run) -> Run:
    """The same for `api-smooth`."""
    return lambda *arguments: python("-m", "api_smoothing", *arguments)


def test_it_is_certified_estimated_and_listed(command: Run) -> None:
    """`certify` asks it, `--dry-run` knows its price, and `providers` lists it with its credentials."""
    [certificate] = command("certify", "x.png", *QUICK)
    assert (certificate["label"], certificate["provider"], certificate["queries"]) == ("cat", "toy", 20)
    [estimate] = command("certify", "x.png", *QUICK, "--dry-run", "--options", "endpoint=http://127.0.0.1:9")
    assert estimate["usd_expected"] == pytest.approx(20 * 0.0007)
    found = {row["name"]: row for row in command("providers", "--json")}
    assert found["toy"]["credentials"] == {"found": False, "source": "set TOY_KEY"}


def test_its_sandbox_is_asked_and_read_by_its_own_words(command: Run) -> None:
    """`--sandbox` starts its server; its section of a built-in map reads the answers, and is part of the map's name."""
    sandbox = ["--sandbox", "--labels", "cifar10"]
    [certificate] = command("certify", "x.png", *QUICK, *sandbox)
    assert certificate["provider"] == "toy@sandbox"
    assert set(certificate["counts"]) <= set(LabelMap.load("cifar10").classes)
    assert certificate["label_map"].startswith("cifar10@")
    assert certificate["label_map"] != f"cifar10@{LabelMap.load('cifar10').sha256[:16]}"
    explain = ["labels", "explain", "x.png", "--provider", "toy", "--json", *sandbox]
    [whole] = command(*explain)
    [filtered] = command(*explain, "--options", "only=map")
    assert {row["counts_for"] for row in whole["labels"]} > {row["counts_for"] for row in filtered["labels"]}
    assert filtered["class"] == whole["class"] is not None
    assert whole["label_map"][: len(certificate["label_map"])] == certificate["label_map"]


def test_it_is_a_provider_of_the_facade(python: Run) -> None:
    """`SmoothedAPI("toy")` asks it, in this process or at a sandbox of its own."""
    code = """
import json
from api_smoothing import SmoothedAPI
from api_smoothing.sandbox import PROVIDERS, Sandbox
assert "toy" in PROVIDERS
with SmoothedAPI("toy", sigma=0.12, denoiser=None, seed=1) as api:
    print(json.dumps(api.certify("x.png", n=20).label))
with Sandbox("toy") as server:
    with SmoothedAPI("toy", sigma=0.12, denoiser=None, seed=1, labels="cifar10", **server.options()) as api:
        certificate = api.certify("x.png", n=20)
    print(json.dumps([certificate.provider, server.meter.billed - certificate.queries]))
    print(json.dumps(server.meter.micro_usd / server.meter.billed))
"""
    assert python("-c", code) == ["cat", ["toy@sandbox", 0], 700]


@pytest.mark.parametrize("name", [name for name in registry.BUILT_IN if name != "http"])
def test_its_section_is_nobody_elses(name: str, toy: None) -> None:
    """With a plugin's section for a built-in map installed, the map is the same for every built-in provider."""
    found = LabelMap.load("cifar10")
    assert "toy" in found.for_provider("toy").sections
    assert found.for_provider("toy").sha256 != found.sha256
    assert found.for_provider("toy").for_provider("toy").sha256 == found.for_provider("toy").sha256
    assert found.for_provider(name).sha256 == found.sha256
    assert filter_of(found, "toy")[:2] == ("Jumbo", "Motor")


def test_its_section_is_for_the_map_it_was_written_for(toy: None) -> None:
    """A map of the same name with other words stays what its author wrote."""
    found = replace(LabelMap.load("cifar10"), ignore=())
    assert found.name == "cifar10"
    assert found.for_provider("toy").sha256 == found.sha256


OWN = '[classes.cat]\nlabels = ["cat"]\n[classes.cat.toy]\nlabels = ["Kitty"]\n'


def test_a_users_map_may_have_a_section_for_it(
    tmp_path: Path, toy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A section for an installed plugin is read; without the plugin the line says what is missing."""
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    assert LabelMap.load(path).for_provider("toy").sections["toy"]["cat"].labels == ("Kitty",)
    monkeypatch.setattr(registry, "_plugins", dict)
    with pytest.raises(
        ConfigurationError, match=r"unknown key classes\.cat\.toy: no provider toy .* is installed"
    ):
        LabelMap.load(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[classes.kat.toy]\nlabels = ["Kitty"]', "did you mean cat"),
        ('[classes.cat.aws]\nlabels = ["Kitty"]', "unknown key classes.cat.aws"),
        ('other = "x"', "unknown key other"),
        ("[classes", "not valid TOML"),
        ("", "names no class"),
        ("[classes.cat]", "must have a table"),
        ("classes.cat = 3", "must have a table"),
        ('[classes.cat.toy]\nlabels = ["cardigan"]', "in ignore"),
        ('[classes.cat.toy]\nlabels = ["x"]\n[classes.dog.toy]\nlabels = ["x"]', "keep it in one"),
    ],
)
def test_a_section_has_only_words_of_its_own(text: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin's file adds words to classes that are there, and changes nothing else; a slip is one line."""
    monkeypatch.setattr("api_smoothing.adapters.labels.label_map.text_of", lambda resource: text)
    declared = Provider(name="toy", load="x:y", vocabulary=True, label_maps={"cifar10": "toy:section.toml"})
    monkeypatch.setattr(registry, "find", lambda name: declared)
    with pytest.raises(ConfigurationError, match=says) as error:
        LabelMap.load("cifar10").for_provider("toy")
    assert "toy:section.toml" in str(error.value)


def test_its_prices_are_its_own(toy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin's price table is found by its name; it cannot set the price of another provider."""
    card = registry.load("toy", endpoint="http://127.0.0.1:9").card
    assert price(card).micro_usd == 700
    monkeypatch.setattr(
        "api_smoothing.engine.estimate.pricing.text_of",
        lambda resource: '["aws/detect-labels"]\ntiers = []\nas_of = 2026-11-01\nsource = "mine"\n',
    )
    with pytest.raises(ConfigurationError, match=r"must be called .toy/"):
        price(card)


def test_a_provider_without_a_sandbox_has_none(toy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandboxes are those declared, at any moment; another name is refused with the list of them."""
    assert providers() == ("aws", "azure", "clarifai", "google", "http", "openai", "toy")
    with pytest.raises(
        ConfigurationError, match="did you mean aws or azure or clarifai or google or http or openai or toy"
    ):
        Sandbox("torchvision")
    monkeypatch.setattr(registry, "_plugins", dict)
    with pytest.raises(ConfigurationError, match="unknown sandbox 'toy'"):
        Sandbox("toy")


def test_as_a_built_in_it_touches_three_places(tmp_path: Path) -> None:
    """Its folder, one line in the registry, one extra: then every part finds it, and the layers hold.

    A front end of its sandbox that is more than a few lines stands with the others, where its declaration names it.
    """
    root = copy_with_toy(tmp_path / "checkout")
    changed = compare(root / "api_smoothing", ROOT / "api_smoothing")
    assert changed == {"adapters/toy", "adapters/registry.py", "sandbox/toy.py"}
    code = """
import json
from api_smoothing import LabelMap, SmoothedAPI
from api_smoothing.adapters import registry
from api_smoothing.cli.overview import overview
from api_smoothing.engine.estimate.pricing import price
from api_smoothing.sandbox import Sandbox
import api_smoothing
print(json.dumps(api_smoothing.__file__))
print(json.dumps([row.extra for row in overview() if row.name == "toy"]))
print(json.dumps(price(registry.load("toy", endpoint="http://127.0.0.1:9").card).micro_usd))
with Sandbox("toy") as server:
    with SmoothedAPI("toy", sigma=0.12, denoiser=None, seed=1, labels="cifar10", **server.options()) as api:
        print(json.dumps(api.certify(np.zeros((32, 32, 3), np.uint8), n=20).provider))
"""
    environment = {**os.environ, "PYTHONPATH": str(root), "NO_PROXY": "127.0.0.1,localhost"}
    done = subprocess.run(
        [sys.executable, "-c", "import numpy as np" + code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    where, *found = map(json.loads, done.stdout.splitlines())
    assert Path(where).is_relative_to(root)
    assert found == [["toy"], 700, "toy@sandbox"]
    graph = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "imports.py"), "--root", str(root), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    facts = json.loads(graph.stdout)
    assert facts["upward"] == facts["circles_of_parts"] == []
    assert not [circle for circle in facts["circles"] if any("toy" in name for name in circle)]


def copy_with_toy(root: Path) -> Path:
    """A copy of the package, with the toy moved in: its folder, its line, its extra, and its sandbox's front end."""
    package, folder = root / "api_smoothing", root / "api_smoothing" / "adapters" / "toy"
    ignored = shutil.ignore_patterns("__pycache__", "*diffusion*.safetensors", "*unet*.safetensors")
    shutil.copytree(ROOT / "api_smoothing", package, ignore=ignored)
    (root / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "test_package.py", root / "tests")
    shutil.copytree(PLUGIN / "toy_provider", folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "front.py").rename(package / "sandbox" / "toy.py")
    for file in [*folder.iterdir(), package / "sandbox" / "toy.py"]:
        text = file.read_text().replace("toy_provider.front:", "api_smoothing.sandbox.toy:")
        file.write_text(text.replace("toy_provider", "api_smoothing.adapters.toy"))
    replace_in(
        folder / "__init__.py", '    name="toy",\n    load', '    name="toy",\n    extra="toy",\n    load'
    )
    http = '    "http": "api_smoothing.adapters.http:PROVIDER",\n'
    replace_in(package / "adapters" / "registry.py", http, http + http.replace("http", "toy"))
    shutil.copy(ROOT / "pyproject.toml", root)
    replace_in(root / "pyproject.toml", "\nray = [", '\ntoy = ["toy-sdk"]\nray = [')
    return root


def replace_in(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def compare(ours: Path, theirs: Path) -> set[str]:
    """What differs between two folders, by path below them; a folder that only one has is one difference."""
    found, waiting = set(), [filecmp.dircmp(ours, theirs, ignore=["__pycache__"])]
    while waiting:
        here = waiting.pop()
        place = Path(here.left).relative_to(ours)
        found |= {str(place / name) for name in [*here.left_only, *here.diff_files]}
        waiting += here.subdirs.values()
    return found


def test_no_other_file_names_the_providers(toy: None) -> None:
    """Outside of its folder, its sandbox and the registry, no code tells one built-in provider from another."""
    package = ROOT / "api_smoothing"
    remote = [name for name in registry.BUILT_IN if not registry.provider(name).local and name != "http"]
    for file in package.rglob("*.py"):
        inside = file.relative_to(package).parts
        if inside[0] == "sandbox" or inside == ("adapters", "registry.py") or inside[:2] in HOMES:
            continue
        text = file.read_text("utf-8")
        assert not [name for name in remote if f'"{name}"' in text], file


HOMES = {("adapters", name) for name in registry.BUILT_IN}


def test_a_declaration_is_plain_data() -> None:
    """Everything but the name and the loader has a default, so that a declaration says only what is special."""
    bare = Provider(name="x", load="x:load")
    assert bare.sandbox is None
    assert (bare.vocabulary, bare.local, bare.heavy, bare.label_maps) == (False, False, (), {})
    sandbox = SandboxDeclaration(front="x:Front", version="1")
    assert sandbox.options("there", "k") == {"endpoint": "there", "endpoint_id": "sandbox", "key": "k"}
    assert sandbox.environment("there", "k") == {}


def test_the_loader_is_called_as_the_guide_says(
    toy: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By keywords, with what was given alone; text is a number where the parameter is one; a wrong name is refused."""
    import toy_provider

    from api_smoothing import SmoothedAPI
    from api_smoothing.cli import main

    made, calls = toy_provider.load, list[dict[str, Any]]()

    def load(*, model: str = "", level: int = 3, word: str = "", rate: float | None = None) -> Any:
        given = {"model": model, "level": level, "word": word, "rate": rate}
        defaults = {"model": "", "level": 3, "word": "", "rate": None}
        calls.append({name: value for name, value in given.items() if value != defaults[name]})
        return made(model)

    monkeypatch.setattr(toy_provider, "load", load)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("x.png")
    command = ["certify", "x.png", *QUICK]
    assert main(command) == 0
    assert calls
    assert all(call == {} for call in calls)
    calls.clear()
    assert main([*command, "--model", "share=1", "--rate", "100", "--options", "level=7,word=7"]) == 0
    assert all(call == {"model": "share=1", "level": 7, "word": "7", "rate": 100.0} for call in calls)
    calls.clear()
    with SmoothedAPI("toy", denoiser=None, level=2):
        assert calls == [{"level": 2}]
    assert main([*command, "--options", "levl=7"]) == 2
    assert calls == [{"level": 2}]
