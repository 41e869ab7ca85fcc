"""What the bundled denoisers certified: read off the cards, used by `plan`, told by docs/denoisers.md."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import objects

from api_smoothing.cli import main
from api_smoothing.cli.measured import READERS, at, measured
from api_smoothing.denoisers import registry

ROOT = Path(__file__).parents[2]


def test_every_certified_share_of_every_card_is_there() -> None:
    """None is lost, and none is of a reader that has no name."""
    cards = [registry.read_card(registry.WEIGHTS / f"{name}.safetensors") for name in registry.PINNED]
    shares = [
        share
        for card in cards
        for figures in card["quality"].values()
        for name, share in figures.items()
        if name.startswith("certified_")
    ]
    assert sorted(one.share for one in measured()) == sorted(shares)
    assert {one.reader for one in measured()} == set(READERS)


def test_a_share_is_of_the_radius_or_a_larger_one() -> None:
    """Never of a smaller one, which would promise too much; at a σ nobody measured there is nothing."""
    for radius in (0.0, 0.2, 0.25, 0.3):
        found = at(0.25, radius)
        assert found
        for one in found:
            rivals = [
                m for m in measured() if (m.denoiser, m.reader, m.sigma) == (one.denoiser, one.reader, 0.25)
            ]
            assert one.radius == min(m.radius for m in rivals if m.radius >= radius)
    assert at(0.25, 0.9) == []
    assert at(0.3, 0.1) == []


def test_plan_tells_them(capsys: pytest.CaptureFixture[str]) -> None:
    """The card's figure with its denoiser, reader and cap, in words and in JSON; none for other noise."""
    assert main(["plan", "--sigma", "0.25", "--radius", "0.25"]) == 0
    out = capsys.readouterr().out
    assert "51.0%   unet-cifar10, radius 0.25 within 10,000 answers, ResNet-56" in out
    assert main(["plan", "--sigma", "0.25", "--radius", "0.25", "--json"]) == 0
    (told,) = objects(capsys)
    assert (
        next(one["denoiser"] for one in told["measured"] if one["reader"] == "resnet56")
        == "recogniser-cifar10"
    )
    assert main(["plan", "--sigma", "0.3", "--radius", "0.25"]) == 0
    assert "What the bundled denoisers" not in capsys.readouterr().out


def test_plan_does_not_load_torch() -> None:
    """The cards are read as they lie there."""
    code = (
        "import sys; from api_smoothing.cli import main; main('plan --radius 0.25'.split()); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_the_table_to_choose_by_is_the_cards() -> None:
    """docs/denoisers.md opens with it: every figure of it, and every bundled denoiser."""
    text = (ROOT / "docs" / "denoisers.md").read_text(encoding="utf-8")
    table = text.split("| choose |")[1].split("\n\n")[0]
    rows = {row.split("|")[1].strip().strip("`"): row for row in table.splitlines() if row.startswith("| `")}
    assert set(rows) == set(registry.PINNED)
    for name, row in rows.items():
        cells = [cell.strip() for cell in row.strip().strip("|").split("|")]
        card = json.loads((registry.WEIGHTS / f"{name}.json").read_text(encoding="utf-8"))
        assert cells[1].startswith("32×32" if card["sizes"] == [32] else "photographs")
        speed = card["speed"]
        threads = "one core" if speed["threads"] == 1 else "two"
        assert cells[3] == f"{speed['images_per_second']:,.0f} ({threads})"
        reader = "resnet56" if card["sizes"] == [32] else "ten_way"
        for sigma, cell in zip((0.12, 0.25, 0.5), cells[4:], strict=True):
            found = [m for m in measured() if (m.denoiser, m.reader, m.sigma) == (name, reader, sigma)]
            told = ", ".join(f"{100 * m.share:.1f} at {m.radius:g}" for m in found if m.radius <= 0.5)
            assert cell == (told or "–")
