"""Answers in the run file as the engine counts them: every one, in order, kept ones as kept, across kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
from at_image import AtImage
from torch import Tensor

from api_smoothing import Budget, SmoothedAPI, evidence, runs
from api_smoothing.certify import Spec
from api_smoothing.events import Event
from api_smoothing.evidence.verify import check
from api_smoothing.sandbox import Sandbox
from api_smoothing.sandbox.classifier import scripted_brain

PICTURES = [np.random.default_rng(k).integers(0, 256, (6, 6, 3), np.uint8) for k in range(6)]


def brightness(batch: Tensor) -> list[str]:
    """Bright or dark by the first pixel's red, which noise moves."""
    return ["bright" if float(x[0, 0, 0]) > 0.5 else "dark" for x in batch]


def evaluate(
    path: Path,
    api_of: Any,
    pictures: Sequence[np.ndarray],
    spec: Spec,
    *,
    again: bool = False,
    price: float = 0.0,
) -> list[Event]:
    """Certify the pictures into a run file, as an evaluation does; a finished line ends it. Returns the events."""
    told: list[Event] = []
    writer: list[evidence.Writer] = []

    def observe(event: Event) -> None:
        told.append(event)
        for each in writer:
            each(event)

    with api_of(observers=[observe]) as api, runs.open(path, api.settings()) as run:
        items = [
            {"id": f"{k}", "path": None, "truth": None, "image_sha256": api.digest(picture)}
            for k, picture in enumerate(pictures)
        ]
        evidence.commit(run, items, spec=spec, price_usd=price)
        with evidence.Writer(run) as made:
            writer.append(made)
            for item, found in zip(
                items, api.certify_many(pictures, radius=spec.radius, n=spec.n), strict=True
            ):
                run.append(replace(found, item={"id": item["id"], "path": None, "truth": None}))
        evidence.finish(run, seconds=1.0)
    return told


@pytest.mark.parametrize(
    ("asked", "method"),
    [
        ({"n": 60}, "auto"),
        ({"radius": 0.1, "n": 80}, "auto"),
        ({"n": 60}, "sequential"),
        ({"n": 60}, "clopper-pearson"),
    ],
    ids=["no-split", "capped", "anytime", "cohen"],
)
def test_a_run_of_the_engine_verifies(asked: dict[str, Any], method: Any, tmp_path: Path) -> None:
    """Many images at once, one of them twice: what the engine counted is derived again from the file alone."""
    path, pictures = tmp_path / "run.jsonl", [*PICTURES, PICTURES[0]]

    def api_of(**options: Any) -> SmoothedAPI:
        return SmoothedAPI(brightness, sigma=0.25, denoiser=None, seed=3, method=method, **options)

    evaluate(path, api_of, pictures, Spec(sigma=0.25, method=method, **asked))
    found = check(str(path))
    assert found["faults"] == []
    assert (found["certificates"], found["images"]) == (7, 7)
    read = list(runs.read(path))
    assert [one.item["id"] for one in read if one.item] == [f"{k}" for k in range(7)]
    assert all("chain" not in one.extra for one in read)


def test_what_the_cache_gives_is_told_as_kept(tmp_path: Path) -> None:
    """A second run about the same pictures asks nothing, and says so of every answer."""
    with Sandbox("aws", classifier=scripted_brain({"cat": 0.9, "dog": 0.1})) as sandbox:

        def api_of(**options: Any) -> SmoothedAPI:
            return SmoothedAPI(
                "aws", denoiser=None, labels="cifar10", sigma=0.25, seed=3, rate=10_000,
                budget=Budget(usd=None), **sandbox.options(), **options,
            )  # fmt: skip

        pictures = [np.kron(p, np.ones((16, 16, 1), np.uint8)) for p in PICTURES[:2]]
        for name, kinds in (("first", {"asked"}), ("second", {"kept"})):
            path = tmp_path / f"{name}.jsonl"
            evaluate(path, api_of, pictures, Spec(sigma=0.25, n=60), price=0.001)
            assert check(str(path))["faults"] == []
            answers = [
                answer
                for line in map(json.loads, path.read_text().splitlines())
                if line["schema"] == "api-smooth/answers/1"
                for answer in line["answers"]
            ]
            assert len(answers) == 120
            assert {answer[2] for answer in answers} == kinds
            assert all(len(answer) == (5 if name == "first" else 4) for answer in answers), "the request's id"


def test_a_writer_needs_a_commitment(tmp_path: Path) -> None:
    """Without one there is nothing that answers could be evidence of."""
    with runs.open(tmp_path / "run.jsonl", {}) as run, pytest.raises(ValueError, match="commit"):
        evidence.Writer(run)


CHILD = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_writer as t
options, path = json.loads(sys.argv[2]), Path(sys.argv[3])
def api_of(**more):
    return t.SmoothedAPI("aws", denoiser=None, labels="cifar10", sigma=0.25, seed=3, rate=10_000,
                         budget=t.Budget(usd=None), **options, **more)
pictures = [t.np.kron(p, t.np.ones((16, 16, 1), t.np.uint8)) for p in t.PICTURES[:3]]
t.evaluate(path, api_of, pictures, t.Spec(sigma=0.25, n=80), price=0.001)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_and_verifies(tmp_path: Path) -> None:
    """kill -9 among the answers, twice: the next run tells them as kept, asks for the others, and pays none twice."""
    path = tmp_path / "run.jsonl"
    brain, children = scripted_brain({"cat": 0.9, "dog": 0.1}), SimpleQueue[subprocess.Popen[bytes]]()

    def kill() -> None:
        child = children.get()
        child.kill()
        child.wait()

    environment = os.environ | {"PYTHONWARNINGS": "ignore", "PYTHONPATH": os.pathsep.join(sys.path)}
    with Sandbox("aws", classifier=brain) as sandbox:
        command = [
            sys.executable,
            "-c",
            CHILD,
            str(Path(__file__).parent),
            json.dumps(sandbox.options()),
            str(path),
        ]
        for image in (60, 90):
            sandbox.classifier = AtImage(brain, image, kill)
            child = subprocess.Popen(command, env=environment)
            children.put(child)
            assert child.wait() == -signal.SIGKILL
        sandbox.classifier = brain
        assert not check(str(path))["verified"], "it is not finished"
        subprocess.run(command, check=True, env=environment)
        found = check(str(path))
        assert found["faults"] == []
        answers = [
            (line["image_sha256"], *answer[:3])
            for line in map(json.loads, path.read_text().splitlines())
            if line["schema"] == "api-smooth/answers/1"
            for answer in line["answers"]
        ]
        asked = [(image, number) for image, number, _, how in answers if how == "asked"]
        assert len(asked) == len(set(asked)), "no answer was asked for twice"
        assert any(how == "kept" for *_, how in answers)
        assert len({(image, number) for image, number, *_ in answers}) == 240
