"""`api-smooth labels`: what maps there are, and how one reads an image."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from label_maps import CAT, CIFAR10, says
from paid_service import Service
from PIL import Image

from api_smoothing import LabelMap
from api_smoothing.adapters.labels.file import built_in
from api_smoothing.cli import main
from api_smoothing.cli.commands import labels as command


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A paid service behind the command, in a folder with one image."""
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "x.png")
    monkeypatch.chdir(tmp_path)
    acme = Service(CAT, name="torchvision/acme")

    @contextmanager
    def open_acme(*_: object, **__: object) -> Iterator[Service]:
        yield acme

    monkeypatch.setattr(command, "open_adapter", open_acme)
    return acme


def test_explain_asks_before_it_pays(
    service: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query that costs money is sent with --yes or a yes at a terminal, and not otherwise."""
    assert main(["labels", "explain", "x.png"]) == 2
    printed = capsys.readouterr().err
    assert "one query to torchvision/acme costs $0.002;" in printed
    assert "--yes" in printed
    assert service.sent == []

    class Terminal:
        def __init__(self, line: str) -> None:
            self.line = line

        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return self.line

    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert main(["labels", "explain", "x.png"]) == 0
    assert "nothing was sent" in capsys.readouterr().err
    assert service.sent == []
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert main(["labels", "explain", "x.png"]) == 0
    assert len(service.sent) == 1


def test_explain_shows_what_was_said_and_how_it_was_read(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    """The JSON has the answer, its class and the map's digest; the table marks the label that decided."""
    assert main(["labels", "explain", "x.png", "--labels", "cifar10", "--yes", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert (found["class"], found["usd"], found["provider"]) == ("cat", 0.002, "torchvision/acme")
    assert found["label_map"] == f"cifar10@{LabelMap.load('cifar10').sha256}"
    assert [row["counts_for"] for row in found["labels"]] == ["cat", None]
    assert main(["labels", "explain", "x.png", "--yes"]) == 0
    out = capsys.readouterr().out
    assert "→ 0.9000  sofa" in out
    assert "class: sofa (as high as tabby: equal scores go by id, then name)" in out
    service.outcomes = (says(),)
    assert main(["labels", "explain", "x.png", "--yes"]) == 0
    assert "class: none (the answer has no labels)" in capsys.readouterr().out


def test_a_bad_map_or_image_costs_nothing(service: Service) -> None:
    """What can be checked is checked before the query is sent."""
    assert main(["labels", "explain", "x.png", "--labels", "cifar", "--yes"]) == 2
    assert main(["labels", "explain", "missing.png", "--yes"]) == 2
    assert service.sent == []


def test_list_and_show_print_the_maps(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Built-in maps are listed; one is shown whole or for a provider, with the filter it could apply itself."""
    assert main(["labels", "list", "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [found["name"] for found in listed] == built_in()
    assert listed[0]["classes"] == CIFAR10
    assert main(["labels", "show", "cifar10", "--provider", "aws"]) == 0
    out = capsys.readouterr().out
    assert listed[0]["sha256"] in out
    assert "--options only=map" in out
    assert "Airplane, Airliner, Jet" in out
    assert "/m/01yrx" not in out
    assert main(["labels", "show", "cifar10", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["classes"]["cat"]["google"]["ids"][0] == "/m/01yrx"
    assert main(["labels", "show", "cifar10", "--provider", "acme"]) == 2
    assert main(["labels", "list"]) == 0


@pytest.mark.parametrize("name", built_in())
def test_what_show_prints_is_a_map_to_start_from(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """In a file it is the same map, with its comments, which --labels reads; so is what is shown of that file."""
    assert main(["labels", "show", name]) == 0
    own = tmp_path / "my.toml"
    own.write_text(capsys.readouterr().out, encoding="utf-8")
    assert own.read_text(encoding="utf-8").startswith("# ")
    assert LabelMap.load(own).sha256 == LabelMap.load(name).sha256
    assert main(["labels", "show", str(own)]) == 0
    own.write_text(capsys.readouterr().out, encoding="utf-8")
    assert main(["estimate", "--count", "1", "--provider", "aws", "-n", "20", "--labels", str(own)]) == 0
