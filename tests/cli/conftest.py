"""Folders in which commands are given."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import PLUGIN, TOY
from PIL import Image

from api_smoothing.cli import main
from api_smoothing.home import home
from api_smoothing.sandbox import Sandbox
from api_smoothing.sandbox.classifier import scripted_brain

Objects = list[dict[str, Any]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two photographs, and three in `images`, where the toy provider is installed."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    folder = tmp_path / "project"
    (folder / "images").mkdir(parents=True)
    for seed, name in [(0, "a"), (1, "b"), (0, "images/a"), (1, "images/b"), (2, "images/c")]:
        pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with two images, without a proxy."""
    monkeypatch.chdir(tmp_path)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    for k in range(2):
        Image.fromarray(np.full((96, 96, 3), (90 + k, 150, 235), np.uint8)).save(f"{k}.png")
    return tmp_path


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """What the command line takes for the real service of "http"."""
    pytest.importorskip("requests")
    with Sandbox("http", classifier=scripted_brain({"cat": 1.0})) as running:
        place = f'endpoint = "{running.endpoint}"'
        settings = 'provider = "http"\nmodel = "sandbox-json"\ndenoiser = "none"\nseed = 1\nrate = 10000\n'
        home().mkdir(exist_ok=True, mode=0o700)
        (home() / "config.toml").write_text(f"{settings}options = {{{place}}}\n")
        monkeypatch.setenv("SANDBOX_KEY", running.key)
        yield running


@pytest.fixture
def certify(project: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Objects, str]]:
    """Runs `certify --json` and returns exit code, objects printed, and standard error."""

    def run(*arguments: str) -> tuple[int, Objects, str]:
        code = main(["certify", *TOY, "--json", *arguments])
        printed = capsys.readouterr()
        return code, [json.loads(line) for line in printed.out.splitlines()], printed.err

    return run
