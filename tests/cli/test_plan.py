"""`api-smooth plan`: what is within reach, and which σ suits an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import objects
from PIL import Image

from api_smoothing.cli import main

pytestmark = pytest.mark.usefixtures("project")


@pytest.fixture
def image(tmp_path: Path) -> str:
    """A flat picture of 32 pixels: every copy is read alike, at any σ or none."""
    path = tmp_path / "flat.png"
    Image.fromarray(np.full((32, 32, 3), 120, np.uint8)).save(path)
    return str(path)


def test_sigmas_are_compared_for_an_image_best_first(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each σ has its agreeing copies, the chance of the radius, queries, and dollars at the provider's price."""
    code = main(["plan", image, "--provider", "google", "--size", "32", "--radius", "0.1", "--json"])
    (told,) = objects(capsys)
    assert code == 0
    assert {one["sigma"] for one in told["sigmas"]} == {0.12, 0.25, 0.5, 1.0}
    assert [round(-one["chance"], 1) for one in told["sigmas"]] == sorted(
        round(-one["chance"], 1) for one in told["sigmas"]
    )
    for one in told["sigmas"]:
        assert 0 < one["votes"] <= one["of"] == 20
        assert one["radius"] == 0.1
        assert one["usd"] == pytest.approx(0.0015 * one["queries"])


def test_nothing_is_sent_and_no_account_is_needed(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a radius the largest likely ones are compared; the words say who was asked."""
    assert main(["plan", image, "--size", "32", "-n", "100"]) == 0
    out = capsys.readouterr().out
    assert "the largest likely radius" in out
    assert "free run of the model itself" in out


def test_without_an_image_it_is_the_table_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    """Radii by the number of answers, at the σ asked for."""
    assert main(["plan", "--radius", "0.25"]) == 0
    assert "largest radius, if all agree" in capsys.readouterr().out
