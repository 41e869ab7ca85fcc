"""Attacks on a run file's certificates: the same images, the same model, and each once however often it is cut off."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from half_space import HalfSpace
from PIL import Image

from api_smoothing import Budget, SmoothedAPI
from api_smoothing.attacks import Attacked, Holding, attack_run, verdict
from api_smoothing.datasets.base import Example
from api_smoothing.errors import ConfigurationError
from api_smoothing.evaluation import evaluate
from api_smoothing.recorded import attacks_on, read_run
from api_smoothing.recorded.attacked import file_beside, read

QUICK = Holding(steps=6, restarts=1, eot=4, votes=200, narrow=2)
NET = HalfSpace(8)


def opened(**options: Any) -> SmoothedAPI:
    settings = {"denoiser": None, "store": "memory", "seed": 0, "sigma": 0.08, "class_names": ["up", "down"]}
    return SmoothedAPI(NET, **{**settings, **options})


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    """A run about four pictures, one of them on the plane and one grey."""
    pictures = {
        "a": NET.at(0.2),
        "b": NET.at(0.3),
        "c": np.full((8, 8, 3), 127, np.uint8),
        "d": np.full((8, 8), 128, np.uint8) + np.uint8(24) * (NET.w.sum(2) > 0).astype(np.uint8),
    }
    (tmp_path / "pictures").mkdir()
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{name}.png")
    with opened() as api:
        evaluate(api, tmp_path / "pictures", radii=(0.05,), n=200, output=tmp_path / "run.jsonl")
    return tmp_path / "run.jsonl"


def examples(run_file: Path) -> dict[str, Example]:
    certificates = read_run(run_file).certificates
    return {
        one.item["id"]: Example(id=one.item["id"], image=one.item["path"])
        for one in certificates
        if one.item is not None
    }


def attack(run_file: Path, holding: Holding = QUICK, **options: Any) -> list[Attacked]:
    with opened(**options) as api:
        return list(attack_run(api, read_run(run_file), examples(run_file), holding, file_beside(run_file)))


def test_certified_true_attacked(run_file: Path) -> None:
    """For each image the three stand in order, in the run's order, and both sides are joined from the files alone."""
    done = attack(run_file)
    assert [one.id for one in done] == ["a.png", "b.png", "c.png", "d.png"]
    assert done[2].reason
    found = attacks_on(read_run(run_file))
    assert found is not None
    assert [one.item for one in found.images] == ["a.png", "b.png", "d.png"]
    for one, exact in zip(
        found.images[:2], (NET.distance(NET.at(0.2)), NET.distance(NET.at(0.3))), strict=True
    ):
        assert one.attacked is not None
        assert one.certified <= exact <= one.attacked < 2 * exact
        assert not one.broken
    assert found.power == (2, 3), "a grey ball holds little of what tells these apart"
    assert found.holds
    assert found.level == pytest.approx(0.001 + QUICK.error)
    assert found.p_value == verdict(done).p_value


def test_it_goes_on_where_it_was_killed(run_file: Path) -> None:
    """A line that was cut off is done again; what is done is not, and comes out the same."""
    whole = attack(run_file)
    file = file_beside(run_file)
    lines = file.read_bytes()
    cut = lines[: lines.rstrip(b"\n").rfind(b"\n") + 50]
    file.write_bytes(cut)
    assert len(read(file)[1]) == 2
    again = attack(run_file)
    assert file.read_bytes() == lines
    assert [one.to_dict() for one in again] == [one.to_dict() for one in whole]
    assert again[0].image is None, "it was not attacked again"
    assert again[3].attempts[0].image is not None


def test_a_spent_budget_ends_it_and_a_larger_one_goes_on(run_file: Path) -> None:
    """What was voted on is written; nothing is paid twice."""
    options = {"budget": Budget(queries=250, run="attacks")}
    assert len(attack(run_file, **options)) < 4
    kept = file_beside(run_file).read_bytes()
    assert len(attack(run_file)) == 4
    assert file_beside(run_file).read_bytes().startswith(kept)


def test_other_settings_are_refused(run_file: Path) -> None:
    """Attacks of another kind are another file; a model, a noise or a denoiser of another run attacks nothing."""
    attack(run_file)
    with pytest.raises(ConfigurationError, match="steps 6, not 7"):
        attack(run_file, replace(QUICK, steps=7))
    with pytest.raises(ConfigurationError, match=r"has sigma 0\.08, this has 0\.1"):
        attack(run_file, sigma=0.1)


def test_an_image_that_has_changed_is_not_attacked(run_file: Path) -> None:
    """Its certificate is of other pixels; one whose file is gone is told as well."""
    Image.fromarray(NET.at(0.25)).save(run_file.parent / "pictures" / "a.png")
    (run_file.parent / "pictures" / "b.png").unlink()
    first, second, *_ = attack(run_file)
    assert "another image than the one that was certified" in first.reason
    assert "b.png" in second.reason
    found = attacks_on(read_run(run_file))
    assert found is not None
    assert [one.item for one in found.images] == ["d.png"]


def test_a_false_certificate_is_counted(run_file: Path) -> None:
    """Radii half as large again as the truth in the run file: the count says that they do not hold."""
    lines = [json.loads(line) for line in run_file.read_text().splitlines()]
    for line in lines:
        if line.get("label") == "up" and "radius_original" in line:
            scale = {"a.png": 0.2, "b.png": 0.3}.get(line["item"]["id"])
            line["radius_original"] = 1.5 * scale if scale else line["radius_original"]
    run_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = attack(run_file)
    found = attacks_on(read_run(run_file))
    assert found is not None
    assert found.broken == 2
    assert not found.holds
    assert not verdict(done).holds
