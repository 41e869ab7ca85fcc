"""A data set through a provider: what is asked, written down, counted, and gone on with."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import api_smoothing.evidence.verify as verifier
from api_smoothing import Budget, Evaluation, SmoothedAPI, evaluate, runs
from api_smoothing.claims import intervals
from api_smoothing.errors import ConfigurationError
from api_smoothing.events import DataSetOpened, Event, ImageCertified
from api_smoothing.recorded import certified_at, read_run

SHARES = {"easy": 1.0, "hard": 0.8, "vain": 0.5}  # of the votes for "cat", by the colour of an image


class Model:
    """Answers "cat" with a share that an image's red says, else "dog"; counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, x: torch.Tensor) -> list[str]:
        self.asked += len(x)
        uniform = (x[:, 1:].double().mean((1, 2, 3)) * 1e5) % 1.0
        red = x[:, 0].double().mean((1, 2))
        shares = [1.0 if r > 0.66 else 0.8 if r > 0.33 else 0.5 for r in red.tolist()]
        return ["cat" if u < s else "dog" for u, s in zip(uniform.tolist(), shares, strict=True)]


def picture(kind: str, number: int) -> np.ndarray[Any, Any]:
    """16×16 pixels of one kind, no two alike."""
    red = {"easy": 220, "hard": 128, "vain": 40}[kind]
    pixels = np.full((16, 16, 3), 128, np.uint8)
    pixels[..., 0], pixels[0, 0] = red, (red, number, 255 - number)
    return pixels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six cats, easy, hard and in vain, two dogs that are no dogs, and a file that is no image."""
    kinds = ["easy", "hard", "vain", "easy", "easy", "hard"]
    for label, names in (("cat", kinds), ("dog", ["easy", "vain"])):
        (tmp_path / "set" / label).mkdir(parents=True)
        for number, kind in enumerate(names):
            pixels = picture(kind, number + 50 * (label == "dog"))
            Image.fromarray(pixels).save(tmp_path / "set" / label / f"{number}.png")
    (tmp_path / "set" / "cat" / "broken.png").write_bytes(b"\x89PNG no more")
    return tmp_path / "set"


def smoothed(model: Any = None, **options: Any) -> SmoothedAPI:
    return SmoothedAPI(
        model or Model(), **{"denoiser": None, "seed": 0, "sigma": 0.25, "store": "memory", **options}
    )


def test_the_table_is_what_the_lines_of_the_file_say(folder: Path, tmp_path: Path) -> None:
    """Every share and its interval, recomputed from the run file alone."""
    out = tmp_path / "run.jsonl"
    found = evaluate(smoothed(), folder, radii=(0, 0.1, 0.25), n=200, output=out)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    certificates = [line for line in lines if line["schema"].startswith("api-smooth/certificate")]
    clean = [line for line in lines if line["schema"] == "api-smooth/clean/1"]
    assert len(certificates) == len(clean) == 8
    for at in found.summary.radii:
        k = sum(
            one["label"] == one["item"]["truth"] and one["radius"] >= at.radius
            for one in certificates
            if one["label"] is not None
        )
        assert (at.certified.k, at.certified.n) == (k, 9), "the broken image counts, and is not certified"
        assert (at.certified.low, at.certified.high) == intervals.exact(k, 9)
    assert found.summary.failed.k == 1
    assert found.summary.queries == sum(line["queries"] for line in certificates + clean)
    right = [one["radius"] for one in certificates if one["label"] == one["item"]["truth"]]
    assert found.summary.acr == pytest.approx(sum(right) / 9)
    assert found.summary.clean is not None
    assert (found.summary.clean.n, found.summary.reference) == (8, "truth")
    assert "certified right at 0.25" in found.table()
    assert Evaluation.read(out).to_json() == found.to_json()


def test_what_it_writes_can_be_verified(folder: Path, tmp_path: Path) -> None:
    """The check that imports nothing of ours derives every number again, of each kind of question."""
    for number, asked in enumerate(
        [{"n": 120}, {"radii": (0.1,)}, {"radii": (0, 0.05)}, {"radii": (0.1,), "at_least": 0.3}]
    ):
        out = tmp_path / f"{number}.jsonl"
        evaluate(smoothed(), folder, output=out, **asked)
        assert verifier.check(str(out))["faults"] == []
    script = Path(verifier.__file__)
    assert "api_smoothing" not in " ".join(
        line for line in script.read_text().splitlines() if line.startswith(("import", "from"))
    )
    assert runpy.run_path(str(script))["check"](str(out))["verified"]


def test_a_picture_that_is_there_twice_is_paid_once(tmp_path: Path) -> None:
    """Its votes serve both places, and the file can be verified."""
    model, out = Model(), tmp_path / "run.jsonl"
    twice = [(picture("easy", 0), "cat"), (picture("easy", 1), "cat"), (picture("easy", 0), "cat")]
    found = evaluate(smoothed(model), twice, radii=(0,), n=50, output=out)
    assert model.asked == 2 * 51
    assert [one.cached for one in found.run.certificates] == [0, 0, 50]
    assert verifier.check(str(out))["faults"] == []


def test_an_interrupted_run_goes_on_with_what_is_missing(folder: Path, tmp_path: Path) -> None:
    """Decided images are not asked again; the table is that of a run that was not disturbed."""
    alone = Model()
    undisturbed = evaluate(smoothed(alone), folder, radii=(0, 0.1), n=100).summary.to_dict()
    done = 0

    def stop(event: Event) -> None:
        nonlocal done
        if isinstance(event, ImageCertified):
            done += 1
            if done == 4:
                raise KeyboardInterrupt

    out, model = tmp_path / "run.jsonl", Model()
    api = smoothed(model, concurrency=1)
    with pytest.raises(KeyboardInterrupt):
        evaluate(api, folder, radii=(0, 0.1), n=100, output=out, observers=(stop,))
    assert len(list(runs.read(out))) == 3
    assert read_run(out).left is None, "it did not come to its end"
    told: list[DataSetOpened] = []

    def listen(event: Event) -> None:
        if isinstance(event, DataSetOpened):
            told.append(event)

    resumed = evaluate(api, folder, radii=(0, 0.1), n=100, output=out, observers=(listen,))
    assert [(one.images, one.left) for one in told] == [(9, 5)]
    assert model.asked == alone.asked
    differ = {"seconds", "name", "queries", "cached"}
    theirs = resumed.summary.to_dict()
    assert {k: v for k, v in theirs.items() if k not in differ} == {
        k: v for k, v in undisturbed.items() if k not in differ
    }
    assert verifier.check(str(out))["faults"] == []
    again = evaluate(api, folder, radii=(0, 0.1), n=100, output=out)
    assert model.asked == alone.asked
    assert again.summary.acr == resumed.summary.acr


def test_other_settings_are_another_run(folder: Path, tmp_path: Path) -> None:
    """A file of other radii, images or settings is refused before anything is asked."""
    out = tmp_path / "run.jsonl"
    evaluate(smoothed(), folder, radii=(0, 0.1), n=50, output=out)
    size = out.stat().st_size
    for api, asked in (
        (smoothed(), {"radii": (0, 0.2), "n": 50}),
        (smoothed(), {"radii": (0, 0.1), "n": 50, "limit": 3}),
        (smoothed(sigma=0.5), {"radii": (0, 0.1), "n": 50}),
        (smoothed(epoch="2026-12"), {"radii": (0, 0.1), "n": 50}),
    ):
        with pytest.raises(ConfigurationError, match="another file"):
            evaluate(api, folder, output=out, **asked)
    assert out.stat().st_size == size


def test_labels_that_are_no_class_are_told_and_never_right(tmp_path: Path) -> None:
    """The label map places the set's words; an image of another one is asked about, and counts as wrong."""
    images = [(picture("easy", 0), "cat"), (picture("easy", 1), "unicorn")]
    told: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, DataSetOpened):
            told.extend(event.told)

    class Named(Model):
        pass

    from api_smoothing import LabelMap

    labels = tmp_path / "map.toml"
    labels.write_text('name = "pets"\n[classes.cat]\nlabels = ["cat"]\n[classes.dog]\nlabels = ["dog"]\n')
    api = smoothed(labels=LabelMap.load(labels))
    found = evaluate(api, images, radii=(0,), n=60, observers=(listen,))
    assert any("unicorn" in line for line in told)
    assert (found.summary.unmapped, found.summary.radii[0].certified.k) == (1, 1)


def test_without_labels_the_unsmoothed_answer_is_what_counts() -> None:
    """As in the 2020 paper's table of vendors: how often the smoothed answer is the plain one, certified."""
    found = evaluate(smoothed(), [picture("easy", 0), picture("easy", 1)], radii=(0, 0.1), n=100)
    assert found.summary.reference == "unsmoothed"
    assert found.summary.agreement is not None
    assert found.summary.agreement.n == 2
    assert found.summary.clean is None
    assert "certified as unsmoothed at 0.1" in found.table()


def test_a_spent_budget_leaves_the_last_images(folder: Path, tmp_path: Path) -> None:
    """What is decided counts; the rest is said to be left, and a larger budget goes on with it."""
    out, model = tmp_path / "run.jsonl", Model()
    first = evaluate(smoothed(model, budget=Budget(queries=350)), folder, radii=(0,), n=100, output=out)
    assert (first.out_of_budget, first.summary.planned) == (True, 9)
    assert first.left > 0
    assert model.asked <= 350
    assert verifier.check(str(out))["faults"] == []
    rest = evaluate(smoothed(model), folder, radii=(0,), n=100, output=out)
    assert (rest.left, rest.summary.images) == (0, 9)
    assert verifier.check(str(out))["faults"] == []


def test_a_budget_buys_the_most_over_all_images(folder: Path) -> None:
    """With one radius and a budget the cap on an image's answers is lower than the usual one, and is told."""
    told: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, DataSetOpened):
            told.extend(event.told)

    found = evaluate(
        smoothed(budget=Budget(queries=600)), folder, radii=(0.1,), clean=False, observers=(listen,)
    )
    cap = found.run.header.settings["n"]
    assert cap < 10_000
    assert any(f"at most {cap:,} queries an image, so that the budget goes furthest" in line for line in told)
    assert found.summary.queries <= 600


def test_a_claim_ends_when_it_is_proved_or_refuted(tmp_path: Path) -> None:
    """Easy images prove it before all are asked, hopeless ones refute it; the file says so, in random order."""
    easy = [(picture("easy", number), "cat") for number in range(60)]
    vain = [(picture("vain", number), "cat") for number in range(60)]
    proved = evaluate(smoothed(), easy, radii=(0.1,), at_least=0.5, output=tmp_path / "a.jsonl")
    assert proved.claim is not None
    assert (proved.claim["state"], proved.out_of_budget) == ("proved", False)
    assert 0 < proved.left < 60
    assert proved.claim["lower"] >= 0.5
    order = [one["id"] for one in read_run(tmp_path / "a.jsonl").planned]
    assert order != sorted(order)
    refuted = evaluate(smoothed(), vain, radii=(0.1,), at_least=0.5, output=tmp_path / "b.jsonl")
    assert refuted.claim is not None
    assert refuted.claim["state"] == "refuted"
    assert refuted.left > 0
    for name in ("a", "b"):
        assert verifier.check(str(tmp_path / f"{name}.jsonl"))["faults"] == []


def test_a_claim_speaks_of_one_classifier_and_one_radius() -> None:
    """Several radii, or answers of neighbours, are no claim."""
    with pytest.raises(ConfigurationError, match="one radius"):
        evaluate(smoothed(), [picture("easy", 0)], at_least=0.5)
    with pytest.raises(ConfigurationError, match="reuse"):
        evaluate(smoothed(reuse="ball"), [picture("easy", 0)], radii=(0.1,), at_least=0.5)


def test_a_round_of_fresh_votes_has_noise_of_its_own() -> None:
    """Another epoch asks afresh; the same one is the same votes."""
    image = picture("hard", 1)
    api, other, same = smoothed(), smoothed(epoch="b"), smoothed(epoch="b")
    votes = [next(one.certify_many([image], radii=(0,), n=200)) for one in (api, other, same)]
    assert votes[0].counts != votes[1].counts
    assert votes[1].counts == votes[2].counts
    assert (votes[0].epoch, votes[1].epoch) == (None, "b")
    with pytest.raises(ConfigurationError, match="epoch"):
        smoothed(epoch=" ")


def test_certified_at_reads_the_radius_that_was_asked_about() -> None:
    """Of several radii each has its own label; a larger one that is reached stands for all below."""
    found = next(smoothed().certify_many([picture("easy", 0)], radii=(0.0, 0.1), n="auto"))
    assert [certified_at(found, r) for r in (0.0, 0.05, 0.1, 5.0)] == ["cat", "cat", "cat", None]
