"""Gates: chance fails no build, a real fall does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from api_smoothing import SmoothedAPI
from api_smoothing.errors import ConfigurationError
from api_smoothing.recorded.gate import Gate, at_least, check_same_images, no_worse_than, write_junit
from api_smoothing.recorded.run import Run
from api_smoothing.results import RunHeader


def run_of(right: list[bool], name: str = "a") -> Run:
    """A run of so many images, of which some are certified at 0.1 with the true label."""
    api = SmoothedAPI(lambda x: ["cat"] * len(x), denoiser=None, seed=0, store="memory")
    grey = np.full((8, 8, 3), 128, np.uint8)
    found = api.certify(grey, n=40)
    assert found.radius > 0.1
    certificates = [
        replace(found, item={"id": f"{i}", "path": None, "truth": "cat" if hit else "dog"})
        for i, hit in enumerate(right)
    ]
    header = RunHeader(settings=api.settings(), version="0", created="")
    return Run(
        path=f"{name}.jsonl",
        header=header,
        certificates=tuple(certificates),
        clean={},
        unreadable={},
        planned=(),
    )


def as_truth(run: Run) -> Run:
    """The same run with the truth "cat" everywhere, and what was wrong abstained."""
    found = [
        replace(
            one, item={**one.item, "truth": "cat"}, label=one.label if one.item["truth"] == "cat" else None
        )  # type: ignore[index,typeddict-item]
        for one in run.certificates
    ]
    return replace(run, certificates=tuple(found))


def test_the_gate_is_the_exact_test_for_pairs() -> None:
    """Equal runs pass; ten images that fell and none that rose do not; nor does a floor that is clearly missed."""
    before = as_truth(run_of([True] * 40))
    same, fell = as_truth(run_of([True] * 40, "b")), as_truth(run_of([True] * 30 + [False] * 10, "c"))
    chance = as_truth(run_of([True] * 38 + [False] * 2, "d"))
    assert no_worse_than(before, same, 0.1).passed
    assert no_worse_than(before, chance, 0.1).passed
    found = no_worse_than(before, fell, 0.1)
    assert (found.passed, found.p_value) == (False, pytest.approx(2**-10))
    assert no_worse_than(before, fell, 0.1, max_drop=0.25).passed
    assert at_least(fell, 0.1, 0.75).passed
    assert not at_least(fell, 0.1, 0.95).passed
    assert "10" in found.why


def test_images_that_cannot_be_read_any_more_do_not_pass_a_gate() -> None:
    """They count as failed, as in the table; what the baseline could not read is no gain."""
    whole = as_truth(run_of([True] * 12))
    lost = {f"{i}": "damaged" for i in range(2, 12)}
    two = replace(whole, certificates=whole.certificates[:2], unreadable=lost, path="b.jsonl")
    found = no_worse_than(whole, two, 0.1)
    assert (found.passed, found.p_value) == (False, pytest.approx(2**-10))
    assert "12 of 12 before, 2 now: 10 lost, 0 gained" in found.why
    back = no_worse_than(two, whole, 0.1)
    assert (back.passed, "2 of 2 before, 2 now: 0 lost, 0 gained" in back.why) == (True, True)


def test_runs_of_other_images_cannot_be_compared() -> None:
    """No image in common, or other labels, are one line."""
    before = as_truth(run_of([True] * 3))
    moved = replace(
        before,
        certificates=tuple(
            replace(one, item={**one.item, "id": f"x{one.item['id']}"}) for one in before.certificates
        ),  # type: ignore[index,typeddict-item]
    )
    with pytest.raises(ConfigurationError, match="no image in common"):
        no_worse_than(before, moved, 0.1)
    with pytest.raises(ConfigurationError, match="same labels"):
        no_worse_than(before, run_of([False] * 3), 0.1)


def test_junit_is_what_build_servers_read(tmp_path: Path) -> None:
    """A case a gate, with the reason where it failed; a hostile name breaks nothing."""
    gates = [
        Gate(name="a <b>\x00", passed=True, why="fine"),
        Gate(name="b", passed=False, why='fell & "rose"'),
    ]
    write_junit(tmp_path / "j.xml", gates, name="x", seconds=1.5)
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [case.find("failure") is not None for case in suite] == [False, True]
    with pytest.raises(ConfigurationError, match="cannot write"):
        write_junit(tmp_path / "no" / "j.xml", gates, name="x", seconds=1.5)


def test_other_pixels_under_the_same_id_are_refused() -> None:
    """An image that was exchanged is no pair; one that could not be read in either run is passed over."""
    before = as_truth(run_of([True] * 3))
    first = before.certificates[0]
    other = replace(before, certificates=(replace(first, image_sha256="0" * 64), *before.certificates[1:]))
    with pytest.raises(
        ConfigurationError, match=r"^0 has other pixels here than in a.jsonl: compare runs of the same"
    ):
        no_worse_than(before, other, 0.1)
    check_same_images(before, {"0": None, "1": before.certificates[1].image_sha256, "new": "1" * 64})
