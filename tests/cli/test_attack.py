"""`api-smooth attack`: the table, the JSON, the images and the exit code say what the attacks came to."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from run_files import certificates, settings, write

from api_smoothing.attacks import Ball
from api_smoothing.attacks.outcome import Attacked, Attempt, Verdict, Votes
from api_smoothing.cli import main
from api_smoothing.cli.commands import attack
from api_smoothing.convnet import CLASSES
from api_smoothing.datasets import DataSet

LOCAL = "--provider torchvision --model cifar10 --denoiser none --sigma 0.05 --seed 1 --device cpu"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A picture of a cat at 32×32 that the bundled classifier knows, and a grey one."""
    chelsea = pytest.importorskip("skimage.data").chelsea()
    cat = Image.fromarray(chelsea).crop((75, 0, 375, 300)).resize((32, 32), Image.Resampling.BOX)
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    cat.save(tmp_path / "photos" / "cat" / "a.png")
    cat.convert("L").save(tmp_path / "photos" / "cat" / "grey.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(["attack", *line.split(), *LOCAL.split()])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_answers_are_attacked_and_images_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each image that is written lies in its ball, and is one of those the JSON counts."""
    code, out, _ = run("photos --attack pgd-linf --eps 0.03 --steps 5 --restarts 1 --json -o out", capsys)
    facts: dict[str, Any] = json.loads(out)
    assert (code, facts["attack"], facts["smoothed"], facts["verdict"]) == (0, "pgd-linf", False, None)
    assert facts["right"]["n"] == len(facts["images"]) == 2
    turned = [one for one in facts["images"] if one["distance"] is not None]
    assert facts["turned"]["k"] == len(turned) >= 1
    assert len(list(Path("out").rglob("*.png"))) == len(turned)
    for one in turned:
        before, after = (np.asarray(Image.open(path)) for path in (one["path"], Path("out") / one["id"]))
        assert Ball(norm="linf", radius=0.03).holds(before, after)
        assert one["distance"] <= 0.03


def test_certificates_are_attacked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has certified ≤ true ≤ attack for each image, the totals the count against α and the power."""
    line = "photos/cat/a.png --smoothed -n 150 --steps 4 --restarts 1 --eot 4 --votes 200 --factors 1,20"
    code, out, _ = run(line, capsys)
    assert code == 0
    head, row, turned, inside, power, followed = out.splitlines()
    assert head.split() == ["image", "label", "certified", "≤", "true", "≤", "attack", "queries"]
    name, label, certified, attack, *_ = row.split()
    assert name == "a.png"
    assert label in CLASSES
    assert 0 < float(certified) < float(attack)
    assert turned.startswith("turned: 1 of 1 (95 % interval 2.5%")
    assert inside.startswith("inside the certified radius: 0 of 1 turned")
    assert "α allows that (p = 1)" in inside
    assert power == "the same attack at 20 times the radius: 1 of 1 turned"
    assert followed == "followed: its own gradients"


def test_certificates_that_do_not_hold_are_exit_code_1(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A count that α cannot explain is said, and fails a build."""
    from api_smoothing import attacks

    broken = Attempt(factor=1, radius=0.2, distance=0.2, votes=Votes(k=0, other=9, n=9), turned=True)
    one = Attacked(id="a.png", path=None, label="cat", right=None, norm="l2", certified=0.2, alpha=0.001,
                   attempts=(broken,), distance=0.2)  # fmt: skip
    monkeypatch.setattr(attacks, "attack_certificates", lambda *a, **k: iter([one, one]))
    code, out, _ = run("photos --smoothed", capsys)
    assert code == 1
    assert "these certificates do not hold" in out


def test_a_budget_that_is_spent_is_exit_code_3(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is left over is told, with the command that goes on."""
    line = "photos --attack hopskipjump --queries 20 --budget-queries 15 --run r"
    code, out, error = run(line, capsys)
    assert code == 3
    assert "1 of 2 images attacked" in error
    assert "--budget-queries" in error
    assert "a.png" in out


def test_what_the_first_image_was_asked_is_not_forgotten(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A budget or a user that ends its attack leaves answers, which are kept and were paid for."""
    line = "photos/cat/a.png --attack square --eps 1/255 --queries 30 --run r"
    code, out, error = run(f"{line} --budget-queries 5", capsys)
    assert code == 3
    assert "0 of 1 images attacked, all answers are kept" in error
    assert "none found" not in out

    def interrupted(*args: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("api_smoothing.attacks.search.Search.replies", interrupted)
    code, _, error = run(line, capsys)
    assert code == 130
    assert "all answers are kept" in error


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("photos --smoothed --attack square", "--smoothed certifies in ℓ2"),
        ("photos --attack square --radius 1", "square takes --eps"),
        ("photos --attack square-l2 --eps 1", "square-l2 takes --radius"),
        ("photos --eps 0.1", "pgd-l2 takes --radius"),
        ("photos --attack square --from cifar10", "--from lends gradients"),
        ("photos --from nowhere", "nowhere"),
        ("photos --smoothed --narrow -1", "--narrow must be"),
        ("photos --smoothed --path random", "resampled"),
        ("gone.jsonl", "gone.jsonl"),
        ("photos --attack hopskipjump --eps 0.1", "hopskipjump has none"),
        ("photos --smoothed --factors 1,x", "--factors must be numbers"),
        ("photos --attack pgd", "pgd-l2"),
        ("nowhere", "no such file"),
        ("photos --smoothed --noise laplace", "Gaussian"),
        ("photos --attack pgd-linf --eps -1", "radius of an attack"),
        ("photos --attack pgd-linf --eps 8", "give levels of 255 as 8/255"),
        ("photos --attack pgd-linf --eps 8/0", "invalid number value: '8/0'"),
        ("photos --attack square --queries 0", "queries of an attack"),
        ("photos --steps 0", "steps of an attack"),
        ("photos --smoothed --steps 0", "steps of an attack"),
        ("photos --smoothed --eot 0", "eot of an attack"),
        ("photos --smoothed --votes 0", "votes of an attack"),
        ("photos --smoothed --factors nan", "--factors must be numbers"),
        ("photos --smoothed --factors 1,inf", "--factors must be numbers"),
    ],
)
def test_a_slip_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str], line: str, words: str) -> None:
    """What cannot be is said before anything is asked."""
    code, out, error = run(line, capsys)
    assert (code, out) == (2, "")
    assert words in error.splitlines()[-1]


def test_a_run_file_is_attacked_and_joined_in_the_report(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`evaluate`, `attack RUN`, `report RUN`: the settings are the run's, both sides stand in the table."""
    known = "--provider torchvision --model cifar10 --denoiser none --sigma 0.05 --seed 1 --device cpu"
    assert (
        main(["evaluate", "photos", "--radii", "0", "-n", "80", "--output", "run.jsonl", *known.split()]) == 0
    )
    capsys.readouterr()
    line = "attack run.jsonl --steps 4 --restarts 1 --eot 4 --votes 200 --factors 1,20 --narrow 1"
    outs = []
    for _ in range(2):
        assert main(line.split()) == 0
        printed = capsys.readouterr()
        outs.append(printed.out)
        assert "written: run.attacks.jsonl" in printed.err
    assert outs[0] == outs[1], "the second time nothing is attacked"
    assert "inside the certified radius: 0 of 2 turned" in outs[0]
    assert "followed: its own gradients" in outs[0]
    assert main(["report", "run.jsonl"]) == 0
    table = capsys.readouterr().out
    assert "| attacked: turned inside the certified radius | 0 of 2 |" in table
    Path("run.attacks.jsonl").unlink()
    assert main([*line.split(), "--limit", "1"]) == 0
    assert "inside the certified radius: 0 of 1 turned" in capsys.readouterr().out
    assert main([*line.split(), "--sample", "1"]) == 2
    assert "--limit K takes the first" in capsys.readouterr().err
    assert main([*line.split(), "--sigma", "0.1"]) == 2
    assert "give the run's settings" in capsys.readouterr().err


def test_the_settings_of_a_run_stand_for_flags(tmp_path: Path) -> None:
    """Those that no flag gives; a run of the sandbox is attacked there."""
    own = settings(
        provider="google@sandbox", label_map="cifar10@abc", sigma=0.5, size=[32, 48], denoiser=None
    )
    path = write(tmp_path / "run.jsonl", own, certificates(2, own, seed=1))
    parser = argparse.ArgumentParser()
    attack.add_arguments(parser)
    args = parser.parse_args([str(path), "photos", "--sigma", "0.3"])
    assert attack._run_of(args) is not None
    assert (args.provider, args.sandbox, args.labels, args.denoiser) == ("google", True, "cifar10", "none")
    assert (args.sigma, args.size, args.smoothed, args.source) == ("0.3", "32x48", True, ["photos"])


def test_a_service_is_attacked_by_the_gradients_of_a_twin(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sandbox of a provider that gives none: images are made at home, and each is one query there."""
    service = "--provider google --labels cifar10 --sandbox --denoiser none --sigma 0.05 --seed 1 --size 32"
    line = "attack photos/cat/a.png --attack pgd-linf --eps 0.06 --steps 5 --restarts 1"
    assert main([*line.split(), *service.split()]) == 2
    assert "--from" in capsys.readouterr().err
    assert main([*line.split(), *service.split(), "--from", "cifar10", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    (one,) = facts["images"]
    assert facts["from"] == ["cifar10"]
    if not one.get("reason"):
        assert one["queries"] == 2
        assert one["gradients"] == "gradients of cifar10"


def test_a_break_is_loud(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that α allows is no exit code 1, and stands in capitals in its row."""
    from api_smoothing import attacks

    broken = Attempt(factor=1, radius=0.2, distance=0.2, votes=Votes(k=0, other=9, n=9), turned=True)
    one = Attacked(id="a.png", path=None, label="cat", right=None, norm="l2", certified=0.2, alpha=0.1,
                   attempts=(broken,), distance=0.2)  # fmt: skip
    monkeypatch.setattr(attacks, "attack_certificates", lambda *a, **k: iter([one]))
    code, out, _ = run("photos/cat/a.png --smoothed", capsys)
    assert code == 0
    assert "TURNED INSIDE ITS CERTIFIED RADIUS" in out


def test_what_was_not_attacked_is_not_said_to_hold() -> None:
    """An image that is right but has a reason not to be attacked stands apart from those that were not turned."""
    plain = Attacked(id="a", path=None, label="cat", right=True, norm="l2")
    done = [plain, replace(plain, distance=0.1), replace(plain, reason="no class of the twins"),
            replace(plain, right=False, reason="wrong as it is")]  # fmt: skip
    args = argparse.Namespace(attack="pgd-l2", smoothed=False, lenders=None, output=None)
    lines = list(attack._totals(args, done, None))
    assert lines[1] == "right: 3 of 4; right and not turned: 1; right and not attacked: 1"
    facts = attack._facts(args, DataSet(name="x", examples=()), done, None)
    assert (facts["right_and_not_turned"], facts["right_and_not_attacked"]) == (1, 1)


@pytest.mark.parametrize(
    ("radius", "power", "said"),
    [
        (None, 3, "the same attack at 4 times the radius: 3 of 5 turned"),
        (
            None,
            2,
            "the same attack at 4 times the radius: 2 of 5 turned, so that a clean count inside says little",
        ),
        (0.7, 3, "the same attack at radius 0.7, beyond the certified one: 3 of 5 turned"),
    ],
)
def test_where_the_power_was_seen_is_told(radius: float | None, power: int, said: str) -> None:
    """At the radius that was attacked, and what a weak attack is worth."""
    found = Verdict(images=5, turned=0, level=0.001, p_value=1, low=0, high=0.5, power=power, outside=5)
    args = argparse.Namespace(smoothed=True, factors="1,4", radius=radius, output=None)
    assert said in list(attack._totals(args, [], found))


@pytest.mark.parametrize(("text", "value"), [("8/255", 8 / 255), ("0.03", 0.03), ("1e-2", 0.01)])
def test_a_radius_may_be_a_fraction(text: str, value: float) -> None:
    """As papers write it."""
    assert attack.number(text) == value


def test_an_image_is_not_written_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--output may not be the folder that is attacked."""
    line = "photos --attack pgd-linf --eps 0.1 --steps 3 --restarts 1 -o photos"
    code, out, error = run(line, capsys)
    assert code == 2
    assert "would write over" in error
    assert "turned: " in out, "what the queries have shown is told all the same"
    (folder / "file").write_bytes(b"")
    code, out, error = run("photos/cat/a.png --attack pgd-linf --eps 0.1 --steps 3 -o file", capsys)
    assert code == 2
    assert "turned: 1 of 1" in out
