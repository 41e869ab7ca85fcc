"""A data set through a provider: what is asked, written down, counted, and gone on with."""

from __future__ import annotations

import hashlib
import json
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import api_smoothing.evidence.verify as verifier
from api_smoothing import Budget, Evaluation, SmoothedAPI, evaluate, runs
from api_smoothing.adapters import AdapterCard, Answer, EncodedImage, Label, Verdict
from api_smoothing.adapters.local.adapter import CallableAdapter
from api_smoothing.claims import intervals
from api_smoothing.errors import ConfigurationError, DiskError, DriftError, ImageError, UnreachableRadiusError
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
        found = evaluate(smoothed(), folder, output=out, **asked)
        checked = verifier.check(str(out))
        assert (checked["faults"], checked["queries"]) == ([], found.summary.queries)
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


@pytest.mark.parametrize(
    "asked",
    [
        {"n": 5},
        {"n": 40, "radii": (0, 0.1, 0.5)},
        {"n": 1.5},
        {"n": True},
        {"radii": (0.1,), "at_least": 0.0},
        {"radii": (0.1,), "at_least": float("nan")},
        {"radii": (0.1,), "at_least": 0.5, "confidence": 0.3, "n": 50},
    ],
)
def test_what_cannot_be_asked_costs_nothing_and_binds_no_file(asked: dict[str, Any], tmp_path: Path) -> None:
    """It is refused before the first query, and leaves no run file that would refuse the corrected command."""
    out, model = tmp_path / "run.jsonl", Model()
    with pytest.raises(ConfigurationError):
        evaluate(smoothed(model), [(picture("easy", 0), "cat")], output=out, **asked)
    assert (model.asked, out.exists()) == (0, False)


@pytest.mark.parametrize("clean", [True, False])
def test_an_image_that_has_changed_is_not_asked_about(folder: Path, tmp_path: Path, clean: bool) -> None:
    """The run is committed to other pixels; once they are back it goes on, and can be verified."""
    image, out = folder / "cat" / "3.png", tmp_path / "run.jsonl"
    before = image.read_bytes()

    def exchange(event: Event) -> None:
        if isinstance(event, DataSetOpened):
            Image.fromarray(picture("easy", 99)).save(image)

    with pytest.raises(ImageError, match=r"cat/3\.png has changed"):
        evaluate(smoothed(), folder, radii=(0,), n=40, output=out, clean=clean, observers=(exchange,))
    told = {line["image_sha256"] for line in map(json.loads, out.open()) if "answers" in line}
    assert told <= {one["image_sha256"] for one in read_run(out).planned}
    image.write_bytes(before)
    found = evaluate(smoothed(), folder, radii=(0,), n=40, output=out, clean=clean)
    assert found.summary.images == 9
    assert verifier.check(str(out))["faults"] == []


class Service:
    """A paid service that says "cat", and refuses for good what a draw from its bytes says, until it has healed."""

    def __init__(self, refused: float) -> None:
        self.refused = refused
        self.card = AdapterCard(name="picky", fingerprint="picky/1", labels=("cat",), usd_per_query=0.001)

    def label(self, images: Sequence[EncodedImage], /) -> list[Answer | Verdict]:
        return [self._answer(image.data) for image in images]

    def verdict(self, error: Exception, /) -> Verdict:
        return Verdict(kind="fatal", message=str(error))

    def _answer(self, data: bytes) -> Answer | Verdict:
        if hashlib.sha256(data).digest()[0] < 256 * self.refused:
            return Verdict(kind="refused", message="not this one")
        return Answer(labels=(Label(name="cat"),))


def test_what_failed_may_be_asked_again_and_verified(tmp_path: Path) -> None:
    """--retry-failures on the same file: votes and unsmoothed answers that failed are asked for, and told."""
    out, images = tmp_path / "run.jsonl", [(picture("easy", number), "cat") for number in range(4)]

    def session(refused: float, **options: Any) -> Evaluation:
        options = {
            **{"cache": tmp_path / "cache", "store": None, "budget": Budget(usd=None)},
            "concurrency": 1,  # where the first to come are refused, a run ends
            **options,
        }
        with smoothed(Service(refused), **options) as api:
            return evaluate(api, images, radii=(0, 0.05), n=40, output=out)

    first = session(0.6)
    assert (first.summary.failed.k, first.summary.radii[0].certified.k) == (4, 0)
    assert first.summary.clean is not None
    assert first.summary.clean.k < 4
    assert verifier.check(str(out))["faults"] == []
    again = session(0.0, retry_failures=True)
    assert (again.summary.failed.k, again.summary.radii[0].certified.k) == (0, 4)
    assert again.summary.clean is not None
    assert again.summary.clean.k == 4
    assert verifier.check(str(out))["faults"] == []


def test_answers_of_a_session_that_was_cut_off_are_in_the_table(tmp_path: Path) -> None:
    """They were paid, and the certificate that counts them calls them cached; what is left is told of such a file."""
    out, images = tmp_path / "run.jsonl", [(picture("easy", number), "cat") for number in range(3)]

    def stop(event: Event) -> None:
        if isinstance(event, ImageCertified) and event.index == 1:
            raise KeyboardInterrupt

    model = Model()
    with smoothed(model, concurrency=1) as api:
        with pytest.raises(KeyboardInterrupt):
            evaluate(api, images, radii=(0,), n=40, output=out, observers=(stop,))
        cut_off = Evaluation.read(out)
        assert (cut_off.left, cut_off.summary.queries) == (2, model.asked)
        found = evaluate(api, images, radii=(0,), n=40, output=out)
    assert (Evaluation.read(out).left, found.summary.queries) == (0, model.asked)
    checked = verifier.check(str(out))
    assert (checked["faults"], checked["queries"]) == ([], model.asked)


def test_unsmoothed_answers_that_were_left_out_are_asked_for(tmp_path: Path) -> None:
    """Going on without --no-clean, clean accuracy is of all images and not of those that were left."""
    out, images = tmp_path / "run.jsonl", [(picture("easy", number), "cat") for number in range(3)]
    api = smoothed()
    assert evaluate(api, images, radii=(0,), n=40, output=out, clean=False).summary.clean is None
    found = evaluate(api, images, radii=(0,), n=40, output=out).summary.clean
    assert found is not None
    assert (found.k, found.n) == (3, 3)
    assert verifier.check(str(out))["faults"] == []


def test_an_image_the_budget_cut_short_is_written_down_once(tmp_path: Path) -> None:
    """One that comes later and is paid already does not make the session look as though it had money."""
    api, out = smoothed(budget=Budget(queries=200)), tmp_path / "run.jsonl"
    known, new = (picture("easy", 1), "cat"), (picture("vain", 2), "cat")
    evaluate(api, [known], radii=(0.1,), n=1000, clean=False)
    found = evaluate(api, [new, known], radii=(0.1,), n=None, clean=False, output=out)
    assert found.out_of_budget
    items = [one.item["id"] for one in runs.read(out) if one.item is not None]
    assert len(items) == len(set(items)) > 0
    assert Evaluation.read(out).out_of_budget


def test_a_claim_that_is_not_paid_for_says_what_is_known(tmp_path: Path) -> None:
    """Its state is open, in the file as well."""
    images = [(picture("hard", number), "cat") for number in range(30)]
    found = evaluate(
        smoothed(budget=Budget(queries=70)), images, radii=(0.1,), at_least=0.9, output=tmp_path / "run.jsonl"
    )
    assert found.out_of_budget
    assert found.claim is not None
    assert found.claim["state"] == "open"
    assert found.claim["looked"] == len(images) - found.left


def rewritten(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> list[str]:
    """The faults of the file after `change` of every line, with the chain made anew, as a forger would."""
    lines = [change(json.loads(line)) for line in path.read_text().splitlines()]
    chain = runs.chained("", lines[0])
    for line in lines[1:]:
        chain = line["chain"] = runs.chained(chain, line)
    forged = path.with_name("forged.jsonl")
    forged.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return list(verifier.check(str(forged))["faults"])


def test_a_forger_cannot_hide_an_image_or_a_round(tmp_path: Path) -> None:
    """One that was read is not passed off as unreadable; certificates are of the epoch that the header names."""
    out, images = tmp_path / "run.jsonl", [(picture(kind, 1), "cat") for kind in ("easy", "vain")]
    evaluate(smoothed(epoch="b"), images, radii=(0,), n=40, output=out)

    def hide(line: dict[str, Any]) -> dict[str, Any]:
        if line.get("item", {}) != {"id": "1", "path": None, "truth": "cat"}:
            return line
        return {
            "schema": "api-smooth/unreadable/1",
            "created": "",
            "item": "1",
            "path": None,
            "reason": "broken",
        }

    def rename(line: dict[str, Any]) -> dict[str, Any]:
        return {**line, "settings": {**line["settings"], "epoch": "c"}} if "settings" in line else line

    assert rewritten(out, lambda line: line) == []
    assert any("said not to be readable" in fault for fault in rewritten(out, hide))
    assert any("epoch is b, and not c" in fault for fault in rewritten(out, rename))


def test_a_forger_cannot_sharpen_a_claim_or_a_radius(tmp_path: Path) -> None:
    """Sentence, bounds and number of images of a claim are derived again, and so is the radius in the original."""
    out, images = tmp_path / "run.jsonl", [(picture("easy", number), "cat") for number in range(40)]
    assert evaluate(smoothed(), images, radii=(0.1,), at_least=0.3, output=out).claim is not None

    def forged(schema: str, **values: Any) -> list[str]:
        return rewritten(out, lambda line: {**line, **values} if line["schema"].startswith(schema) else line)

    assert forged("api-smooth/claim") == []
    for name, value in (
        ("lower", 0.99),
        ("upper", 0.5),
        ("at_least", 0.2),
        ("population", 20),
        ("state", "refuted"),
    ):
        assert any(name in fault for fault in forged("api-smooth/claim", **{name: value})), name
    sharper = "proved: at least 0.99 of the 40 images are right and robust"
    assert any("statement" in fault for fault in forged("api-smooth/claim", statement=sharper))
    assert forged("api-smooth/clean", label="dog") == [], "there is none: labels are known"
    assert any("radius_original" in fault for fault in forged("api-smooth/certificate", radius_original=0.2))
    assert any("runner_up" in fault for fault in forged("api-smooth/certificate", runner_up="bird"))
    assert any("norm" in fault for fault in forged("api-smooth/certificate", norm="l1"))


def test_a_claim_about_unsmoothed_answers_is_checked_as_such(tmp_path: Path) -> None:
    """Without labels the answers about the images as they are count, as the file tells them."""
    out, images = tmp_path / "run.jsonl", [picture("easy", number) for number in range(40)]
    found = evaluate(smoothed(), images, radii=(0.1,), at_least=0.3, output=out)
    assert found.claim is not None
    assert found.claim["reference"] == "unsmoothed"
    assert verifier.check(str(out))["faults"] == []
    assert rewritten(
        out, lambda line: {**line, "label": "dog"} if line["schema"].startswith("api-smooth/clean") else line
    )


def test_answers_for_a_neighbour_are_said_not_to_be_checked(tmp_path: Path) -> None:
    """In one line, however many there are; everything else about the file is checked."""
    out, first = tmp_path / "run.jsonl", picture("easy", 3)
    near = [first.copy() for _ in range(3)]
    for number, pixels in enumerate(near):
        pixels[5, 5, 2] += number
    evaluate(smoothed(reuse="ball"), [(one, "cat") for one in near], radii=(0,), n=60, output=out)
    assert [one.parent is not None for one in runs.read(out)] == [False, True, True]
    faults = verifier.check(str(out))["faults"]
    assert faults == ["not checked: 2 answers for a neighbour (reuse): no distance is in the file"]


def test_images_decided_before_answer_for_their_neighbours(tmp_path: Path) -> None:
    """A run that is gone on with by another process pays for no more than one that was never stopped."""
    out, model = tmp_path / "run.jsonl", Model()
    near = [picture("easy", 3) for _ in range(3)]
    for number, pixels in enumerate(near):
        pixels[5, 5, 2] += number

    def stop(event: Event) -> None:
        if isinstance(event, ImageCertified) and event.index == 1:
            raise KeyboardInterrupt

    def session(**options: Any) -> None:
        named = CallableAdapter(model, fingerprint="by red")
        with smoothed(named, reuse="ball") as api:
            evaluate(api, [(one, "cat") for one in near], radii=(0,), n=60, output=out, **options)

    with pytest.raises(KeyboardInterrupt):
        session(observers=(stop,))
    assert len(list(runs.read(out))) == 1
    asked = model.asked
    session(clean=False)
    assert [one.parent is not None for one in runs.read(out)] == [False, True, True]
    assert model.asked <= asked + 3, "what the model says of them without noise"


def test_the_runner_up_rule_is_derived_again(tmp_path: Path) -> None:
    """Votes that split between several classes: the radius from both bounds, and none that is larger."""
    out = tmp_path / "run.jsonl"
    api = smoothed(method="runner-up", sigma=0.25)
    images = [(picture(kind, number), "cat") for number, kind in enumerate(("easy", "hard", "hard", "vain"))]
    evaluate(api, images, radii=(0, 0.1), n=200, output=out)
    found = [one for one in runs.read(out) if one.label is not None]
    assert {one.rule for one in found} == {"runner-up/1"}
    with pytest.raises(UnreachableRadiusError, match="if all agree they reach"):
        evaluate(api, images, radii=(0.9,), n=200)
    assert verifier.check(str(out))["faults"] == []
    for name, factor in (("p_lower", 1.001), ("radius", 1.001), ("linf_radius", 1.01)):
        faults = rewritten(
            out,
            lambda line, name=name, factor=factor: (
                {**line, name: line[name] * factor} if line.get(name) else line
            ),
        )
        assert any(name in fault for fault in faults), name


def test_a_full_disk_is_one_line_and_the_run_goes_on(tmp_path: Path) -> None:
    """The error names the file; with room again the table is the undisturbed one, and the file is evidence."""
    resource = pytest.importorskip("resource")
    images = [(picture(kind, number), "cat") for number, kind in enumerate(("easy", "vain", "easy"))]
    whole = evaluate(smoothed(), images, radii=(0, 0.1), n=60, output=tmp_path / "whole.jsonl")
    size = (tmp_path / "whole.jsonl").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for part in (0.2, 0.9):
        out = tmp_path / f"{part}.jsonl"
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(part * size), before[1]))
        try:
            with pytest.raises(DiskError, match=rf"cannot write .*{part}\.jsonl: .*; free some space"):
                evaluate(smoothed(), images, radii=(0, 0.1), n=60, output=out)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        again = evaluate(smoothed(), images, radii=(0, 0.1), n=60, output=out)
        assert again.summary.radii == whole.summary.radii
        assert (again.summary.acr, again.summary.abstained) == (whole.summary.acr, whole.summary.abstained)
        assert verifier.check(str(out))["faults"] == []


class Versions:
    """A paid service whose answers name the version of its model."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.card = AdapterCard(
            name="moody", fingerprint="moody/1", labels=("cat",), usd_per_query=0.001, drift="version"
        )

    def label(self, images: Sequence[EncodedImage], /) -> list[Answer | Verdict]:
        return [Answer(labels=(Label(name="cat"),), model_version=self.version) for _ in images]

    def verdict(self, error: Exception, /) -> Verdict:
        return Verdict(kind="fatal", message=str(error))


def test_one_table_speaks_of_one_model(tmp_path: Path) -> None:
    """A run that is gone on with after the model changed ends before it would mix both; another output begins anew."""
    images = [(picture("easy", number), "cat") for number in range(4)]

    def run(version: str, queries: int, name: str, epoch: str | None = None) -> Evaluation:
        there = {"store": None, "cache": tmp_path / "cache", "budget": Budget(queries=queries)}
        api = smoothed(Versions(version), epoch=epoch, **there)
        with api:
            return evaluate(api, images, radii=(0,), n=40, output=tmp_path / name, clean=False)

    assert run("1", 90, "run.jsonl").left == 2
    for _ in range(2):
        with pytest.raises(DriftError, match="the model is 2 now, and 1 has the certificates of this run"):
            run("2", 1000, "run.jsonl")
    assert [one.model_version for one in runs.read(tmp_path / "run.jsonl")] == ["1", "1"]
    with pytest.raises(DriftError, match="--epoch"):
        run("2", 1000, "kept.jsonl")  # where kept answers are the old model's
    found = run("2", 1000, "new.jsonl", epoch="next").run.certificates
    assert [one.model_version for one in found] == ["2"] * 4


def test_images_of_every_kind_are_evidence(tmp_path: Path) -> None:
    """16 bits, grey, alpha, a palette, resized or not: the radius for the image as given is checked for each."""
    grey = np.arange(20 * 24, dtype=np.uint16).reshape(20, 24) * 130
    colour = Image.fromarray(np.stack([grey // 256] * 3, axis=-1).astype(np.uint8))
    kinds = {
        "sixteen.png": Image.fromarray(grey), "grey.png": colour.convert("L"), "alpha.png": colour.convert("RGBA"),
        "palette.png": colour.convert("P"), "colour.png": colour,
    }  # fmt: skip
    for name, image in kinds.items():
        image.save(tmp_path / name)
    images = [(str(tmp_path / name), "cat") for name in kinds]
    for size in (None, 16):
        out = tmp_path / f"{size}.jsonl"
        evaluate(smoothed(lambda x: ["cat"] * len(x), size=size), images, radii=(0,), n=40, output=out)
        found = {Path(one.image).stem: one for one in runs.read(out)}
        assert found["palette"].radius_original == 0.0 < found["colour"].radius_original
        assert found["sixteen"].original == "grey"
        assert verifier.check(str(out))["faults"] == []
