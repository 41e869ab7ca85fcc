"""What a run is bound to before its first query, and what happens where it is bound to something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from api_smoothing import evidence, runs
from api_smoothing.certify import Spec
from api_smoothing.errors import ConfigurationError

SETTINGS = {"sigma": 0.25, "seed": "secret:0123456789abcdef"}
SPEC = Spec(sigma=0.25, n=100)
IMAGES = [{"id": f"{k}", "path": f"{k}.png", "truth": "cat", "image_sha256": f"{k}" * 64} for k in range(5)]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_plan_and_the_images_are_chained_to_the_settings(tmp_path: Path) -> None:
    """First the commitment, then a line an image, in order; another seed in the header gives another chain."""
    chains = []
    for seed in ("secret:0123456789abcdef", "public:7"):
        path = tmp_path / f"{seed[:6]}.jsonl"
        with runs.open(path, SETTINGS | {"seed": seed}) as run:
            evidence.commit(run, IMAGES, spec=SPEC, price_usd=0.001, radii=(0.0, 0.25))
        header, commitment, *planned = lines(path)
        assert commitment["schema"] == runs.COMMITMENT
        assert (commitment["plan"]["rule"], commitment["plan"]["n"], commitment["plan"]["alpha"]) == (
            "no-split/1",
            100,
            0.001,
        )
        assert (commitment["items"], commitment["price_usd"]) == (5, 0.001)
        assert [line["id"] for line in planned] == [image["id"] for image in IMAGES]
        assert "chain" not in header
        chains.append(commitment["chain"])
    assert chains[0] != chains[1]


@pytest.mark.parametrize("whole", [2, 4, 6])
def test_a_commitment_that_was_cut_off_is_completed(whole: int, tmp_path: Path) -> None:
    """Killed among the images' lines: the next run writes the rest, and the file is as one written at once."""
    path, apart = tmp_path / "run.jsonl", tmp_path / "apart.jsonl"
    with runs.open(path, SETTINGS) as run:
        evidence.commit(run, IMAGES, spec=SPEC, price_usd=0.001)
    once = path.read_bytes()
    kept = once.splitlines(keepends=True)
    apart.write_bytes(b"".join(kept[:whole]) + kept[whole][:20])
    with runs.open(apart, SETTINGS) as run:
        evidence.commit(run, IMAGES, spec=SPEC, price_usd=0.001)
        evidence.commit(run, IMAGES, spec=SPEC, price_usd=0.001)
    assert apart.read_bytes() == once


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"images": IMAGES[::-1]}, "other images, or another order of them"),
        ({"images": IMAGES[:-1]}, "items = 5, this run has items = 4"),
        ({"spec": Spec(sigma=0.25, n=200)}, "'n': 100.*'n': 200"),
        ({"price_usd": 0.002}, "price_usd = 0.001"),
    ],
)
def test_a_file_that_is_bound_to_something_else_is_refused(
    change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    """Other images, another order, plan or price: one line, and not a byte is written."""
    path = tmp_path / "run.jsonl"
    with runs.open(path, SETTINGS) as run:
        evidence.commit(run, IMAGES, spec=SPEC, price_usd=0.001)
    before = path.read_bytes()
    asked = {"images": IMAGES, "spec": SPEC, "price_usd": 0.001} | change
    with runs.open(path, SETTINGS) as run, pytest.raises(ConfigurationError, match=says):
        evidence.commit(run, asked["images"], spec=asked["spec"], price_usd=asked["price_usd"])
    assert path.read_bytes() == before


def test_the_end_says_how_many_images_were_left(tmp_path: Path) -> None:
    """A finished run has a last line, with what the caller says of why."""
    path = tmp_path / "run.jsonl"
    with runs.open(path, SETTINGS) as run:
        evidence.commit(run, IMAGES, spec=SPEC, price_usd=0.001)
        evidence.finish(run, seconds=2.5, left=5, why="budget")
    last = lines(path)[-1]
    assert (last["schema"], last["left"], last["why"]) == ("api-smooth/finished/1", 5, "budget")
