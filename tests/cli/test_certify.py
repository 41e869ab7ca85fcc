from __future__ import annotations

import hashlib
import importlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import TOY, objects, one_line, resume, start
from PIL import Image

from api_smoothing import runs
from api_smoothing.adapters import Verdict
from api_smoothing.cli import main
from api_smoothing.cli.commands.certify import thresholds_of
from api_smoothing.errors import ConfigurationError
from api_smoothing.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("project")


def test_json_is_one_certificate_a_line(certify: Any) -> None:
    """--json prints each image's certificate as one object a line, in order, and nothing else."""
    code, done, _ = certify("images", "-n", "50")
    assert code == 0
    assert [one["image"] for one in done] == ["images/a.png", "images/b.png", "images/c.png"]
    for one in done:
        assert (one["label"], one["votes"], one["n"], one["queries"]) == ("cat", 50, 50, 50)
        assert one["stopped"] == "n"
        assert one["seed"] == "public:7"


def test_people_get_a_block(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json each image is a short block that says label, radius, votes, α, why it stopped, and cost."""
    assert main(["certify", "images/a.png", *TOY, "--radius", "0.25"]) == 0
    block = capsys.readouterr().out
    assert block.startswith("images/a.png\n")
    for words in ["cat", "0.2500 ℓ2", "8×8", "0.25: reached", "α = 0.001", "queries sent", "public seed 7"]:
        assert words in block
    assert main(["certify", "images/a.png", *TOY, "--model", "share=0.5", "-n", "60"]) == 0, (
        "abstaining is done"
    )
    assert "abstained" in capsys.readouterr().out


def test_asking_again_costs_nothing(certify: Any) -> None:
    """The same question twice sends nothing the second time and gives the same votes."""
    _, [first], _ = certify("images/a.png", "-n", "80", "--model", "share=0.9")
    _, [again], _ = certify("images/a.png", "-n", "80", "--model", "share=0.9")
    assert (first["queries"], first["cached"]) == (80, 0)
    assert (again["queries"], again["cached"]) == (0, 80)
    assert again["counts"] == first["counts"]


def test_a_run_file_is_resumed(project: Path, certify: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Images in the run file are skipped; new ones are appended; other settings are refused."""
    command = ["certify", *TOY, "-n", "40", "--output", "run.jsonl"]
    assert main([*command, "images/a.png", "images/b.png"]) == 0
    assert main([*command, "images"]) == 0
    printed = capsys.readouterr()
    assert "2 of 3 images are already in run.jsonl" in printed.err
    lines = [json.loads(line) for line in Path("run.jsonl").read_text().splitlines()]
    assert [one["image"] for one in lines[1:]] == ["images/a.png", "images/b.png", "images/c.png"]
    assert lines[0]["settings"]["sigma"] == 0.25
    assert main([*command, "images", "--sigma", "0.5"]) == 2
    assert "run.jsonl was made with sigma = 0.25, this run has 0.5" in capsys.readouterr().err
    assert main([*command, "images", "-n", "41"]) == 2


def test_an_exhausted_budget_is_exit_3_and_resumable(
    certify: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 3 names the command that resumes; run until it is through, it has paid each query once."""
    code, done, error = certify("images", "-n", "50", "--budget-queries", "70")
    assert (code, [one["stopped"] for one in done]) == (3, ["n", "budget", "budget"])
    assert "the budget has 20 queries left, too little for another image: raise it; 1 of 3 images" in error
    sent, rounds = sum(one["queries"] for one in done), 1
    while code == 3:
        code = main(resume(error.splitlines()[-1]))
        printed = capsys.readouterr()
        done, error = [json.loads(line) for line in printed.out.splitlines()], printed.err
        sent, rounds = sent + sum(one["queries"] for one in done), rounds + 1
    assert (code, sent, rounds) == (0, 150, 3)
    assert [one["label"] for one in done] == ["cat"] * 3


def test_a_budget_too_small_for_anything_spends_nothing(certify: Any) -> None:
    """A fixed number of queries the budget cannot pay is not begun, and the message says to raise the budget."""
    code, [done], error = certify("images/a.png", "-n", "90", "--budget-queries", "40")
    assert (code, done["queries"], done["label"]) == (3, 0, None)
    assert "raise it" in error


def test_dollars_are_a_budget_too(certify: Any) -> None:
    """--budget-usd is never exceeded: what it cannot pay is not begun."""
    code, done, _ = certify("images", "-n", "50", "--model", "usd=0.01", "--budget-usd", "0.75")
    assert code == 3
    assert [(one["queries"], one["cost_usd"]) for one in done] == [(50, 0.5), (0, 0.0), (0, 0.0)]


def test_a_failing_provider_is_exit_4_and_keeps_what_is_paid(certify: Any) -> None:
    """When the provider fails for good: exit 4, one line with the provider's reason, no answer lost."""
    code, done, error = certify("images/a.png", "images/b.png", "-n", "50", "--model", "fail=70")
    assert code == 4
    assert "the key was revoked" in error
    assert f"{len(done)} of 2 images decided" in error
    assert len([line for line in error.splitlines() if "error" in line]) == 1
    code, done, _ = certify("images/a.png", "images/b.png", "-n", "50")
    assert code == 0
    assert sum(one["cached"] for one in done) == 70
    assert done[0]["cached"] >= done[1]["cached"]


def test_refusals_are_remembered_and_asked_again_on_request(certify: Any) -> None:
    """A run that failed stays failed at no cost, and says which flag asks the failures again."""
    line = ["images/a.png", "-n", "50", "--model", "refuse=0.4"]
    code, [first], error = certify(*line)
    assert (code, first["stopped"], first["failed"]) == (4, "failed", 3)
    assert "not this one" in error
    assert "--retry-failures" in error
    code, [again], error = certify(*line)
    assert (code, again["stopped"], again["queries"], again["n"]) == (4, "failed", 0, first["n"])
    assert "not this one" in error
    code, [retried], _ = certify("images/a.png", "-n", "50", "--retry-failures")
    assert (code, retried["label"], retried["failed"]) == (0, "cat", 0)
    assert retried["queries"] == 50 - retried["cached"]


def test_a_dry_run_sends_nothing(certify: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """--dry-run prints an estimate and asks the provider nothing."""
    code, [estimate], _ = certify("images", "-n", "50", "--model", "fail=0,usd=0.001", "--dry-run")
    assert code == 0
    assert estimate["images"] == 3
    assert estimate["queries_high"] == 150
    assert estimate["usd_high"] == pytest.approx(0.15)
    assert main(["estimate", "--count", "3", *TOY, "--radius", "0.25"]) == 0
    assert "nothing was sent" in capsys.readouterr().out


@pytest.mark.parametrize("size", ["30x45", "24", "32x33"])
@pytest.mark.parametrize("denoiser", ["auto", "unet-natural", "unet-cifar10"])
def test_a_dry_run_takes_the_sizes_that_a_run_takes(
    certify: Any, capsys: pytest.CaptureFixture[str], size: str, denoiser: str
) -> None:
    """What is priced is certified, in as many queries, and what is refused is refused in the same line."""
    line = ["images/a.png", "-n", "12", "--size", size, "--denoiser", denoiser, "--device", "cpu"]
    dry, priced, why_not = certify(*line, "--dry-run")
    code, found, error = certify(*line)
    assert code == dry == (2 if denoiser == "unet-cifar10" else 0)
    if code:
        assert error == why_not
        assert "for sides 32, not" in error
    else:
        assert (priced[0]["queries_high"], found[0]["n"]) == (12, 12)
        assert found[0]["space"] == [
            int(side) for side in (size if "x" in size else f"{size}x{size}").split("x")
        ]


def test_one_bad_image_costs_no_query(project: Path, certify: Any) -> None:
    """All images are opened before the first query: a bad last one is refused while nothing is spent."""
    (project / "images" / "z.png").write_text("no image")
    code, done, error = certify("images", "-n", "50")
    assert (code, done) == (2, [])
    assert "z.png" in error
    _, done, _ = certify("images/a.png", "-n", "50")
    assert done[0]["cached"] == 0


def test_kill_9_loses_no_paid_answer(project: Path, certify: Any) -> None:
    """Killed in the middle and run again: every query is asked once, and the certificate is the undisturbed one."""
    asked = ["--model", "share=0.9", "-n", "600", "images/a.png"]
    process = start("certify", *TOY, *asked, "--json", told=(signal.SIGKILL, 200))
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    _, [again], _ = certify(*asked)
    assert 100 <= again["cached"] < 200, "but for those under way"
    assert again["queries"] > 0
    assert again["queries"] + again["cached"] == 600
    _, [undisturbed], _ = certify("--model", "share=0.9", "--cache", "other", "-n", "600", "images/a.png")
    assert undisturbed["queries"] == 600
    assert again["counts"] == undisturbed["counts"]
    assert again["radius"] == undisturbed["radius"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_a_run_resumably(
    number: int, code: int, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Interrupted by Ctrl-C, a manager or a hang-up: its exit code, one line that says how to resume, and it does."""
    asked = ["--model", "share=0.9", "-n", "600", "images/a.png"]
    process = start("certify", *TOY, *asked, "--json", told=(number, 60))
    out, error = process.communicate(timeout=120)
    assert process.returncode == code
    assert out == ""
    assert "Traceback" not in error
    assert "interrupted; 0 of 1 image decided, all answers are kept" in error.splitlines()[-1]
    assert main(resume(error.splitlines()[-1])) == 0
    done = json.loads(capsys.readouterr().out)
    assert 60 <= done["cached"] < 600
    assert done["queries"] + done["cached"] == 600


def test_a_closed_pipe_is_quiet(project: Path) -> None:
    """`api-smooth certify … --json | head -1` ends without a word."""
    process = start("certify", *TOY, "--model", "delay=0.01", "--json", "-n", "40", "images")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["label"] == "cat"
    process.stdout.close()
    assert process.stderr is not None
    error = process.stderr.read()
    process.wait(timeout=60)
    assert "Traceback" not in error
    assert "error" not in error.lower()


def test_presence_without_money_is_exit_3(server: Sandbox) -> None:
    """A presence run that its budget did not allow one query is exit code 3, not done."""
    command = ["certify", "0.png", "-n", "30", "--labels-present", "dog", "--budget-queries", "0"]
    assert main(command) == 3


def present(server: Sandbox, budget: int) -> int:
    """Certify two classes, cat for sure and dog on the margin, into one run file."""

    def classifier(images: Sequence[Any]) -> list[dict[str, float]]:
        draws = [hashlib.sha256(image.tobytes()).digest() for image in images]
        return [{"cat": 0.97 * (d[0] < 235), "dog": 0.97 * (d[1] < 20)} for d in draws]

    server.classifier = classifier
    labels = ["--labels", "cifar10", "--labels-present", "cat,dog"]
    run = ["--radius", "0.2", "--budget-queries", str(budget), "--output", "r.jsonl"]
    return main(["certify", "0.png", *labels, *run])


def lines(path: Path = Path("r.jsonl")) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()[1:]]


def test_a_label_that_the_budget_left_open_is_asked_again(server: Sandbox) -> None:
    """With more money the labels that were left open are decided, although another one was given up."""
    assert present(server, 50) == 3
    assert {line["stopped"] for line in lines()} == {"budget", "futile"}
    asked = server.meter.images
    present(server, 5000)
    assert server.meter.images > asked


def test_a_killed_run_file_gets_the_labels_it_lacks(server: Sandbox) -> None:
    """A run killed between two labels of one image writes the second one when it is given again."""
    present(server, 5000)
    complete = {tuple(line["counts"]) for line in lines()}
    path = Path("r.jsonl")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    present(server, 5000)
    assert {tuple(line["counts"]) for line in lines()} == complete


def test_a_label_that_is_never_reported_is_not_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    """Every label named has a certificate, one that abstains where no answer reports the label."""
    assert main(["certify", "a.png", *TOY, "-n", "40", "--labels-present", "cat,unicorn", "--json"]) == 0
    found = objects(capsys)
    assert [one["label"] for one in found] == ["cat", None]
    assert "unicorn" in found[1]["counts"] or "unicorn" in found[1]["reason"]


@pytest.mark.parametrize("labels", ["", " ", "cat,", ":0.7"])
def test_an_empty_label_is_refused(labels: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--labels-present without a name is a slip, and costs nothing."""
    assert main(["certify", "a.png", *TOY, "-n", "40", "--labels-present", labels]) == 2
    one_line(capsys.readouterr().err, "--labels-present")


def test_presence_never_loses_an_image(server: Sandbox) -> None:
    """An image in which no label has half the votes has its line and its cost, on the screen and in the file."""

    def classifier(images: Sequence[Any]) -> list[dict[str, float]]:
        draws = [hashlib.sha256(image.tobytes()).digest() for image in images]
        return [{"cat": 0.97 * (d[0] < 80), "dog": 0.97 * (d[1] < 60)} for d in draws]

    server.classifier = classifier
    command = [
        "certify",
        "0.png",
        "-n",
        "60",
        "--labels-present",
        "all",
        "--labels",
        "cifar10",
        "--output",
        "r.jsonl",
    ]
    assert main(command) == 0
    (line,) = lines()
    assert (line["label"], line["n"], line["kind"]) == (None, 60, "present")
    assert line["queries"] >= 60
    assert line["reason"]
    assert main(command) == 0
    assert lines() == [line], "nothing new was paid"


def test_what_was_paid_leaves_a_line_though_its_label_is_known(server: Sandbox) -> None:
    """Every query paid is in some line of the file, also where the first label was decided by an earlier command."""
    for budget in (40, 90, 5000):
        present(server, budget)
    assert sum(line["queries"] for line in lines()) == server.meter.images


def test_an_abstention_about_presence_names_the_label(capsys: pytest.CaptureFixture[str]) -> None:
    """Of several blocks about one image, each says which label it is about, certified or not."""
    command = ["certify", "a.png", *TOY, "--radius", "0.25", "--budget-queries", "20"]
    assert main([*command, "--labels-present", "cat"]) == 3
    assert "cat" in capsys.readouterr().out


def test_the_error_line_has_the_providers_reason(
    no_waits: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When every query fails, the line that says so also says why, in the provider's words."""
    toy = importlib.import_module("toy_provider").Toy
    offline = Verdict(kind="transient", message="no connection: the cable is out", sent=False)
    monkeypatch.setattr(toy, "verdict", lambda self, error: offline)
    assert main(["certify", "a.png", *TOY, "--model", "fail=0", "--radius", "0.25", "--json"]) == 4
    [line] = [line for line in capsys.readouterr().err.splitlines() if "api-smooth: error:" in line]
    assert "the cable is out" in line


def test_a_canary_that_gets_no_answer_says_why(
    no_waits: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the first query is a canary and fails, the line has the reason, as it has for any other query."""
    plugin = importlib.import_module("toy_provider")
    load = plugin.load

    def watched(**options: Any) -> Any:
        toy = load(**options)
        toy.card = replace(toy.card, drift="canary")
        return toy

    offline = Verdict(kind="transient", message="no connection: the cable is out", sent=False)
    monkeypatch.setattr(plugin, "load", watched)
    monkeypatch.setattr(plugin.Toy, "verdict", lambda self, error: offline)
    assert main(["certify", "a.png", *TOY, "--model", "fail=0", "--radius", "0.25"]) == 4
    [line] = [line for line in capsys.readouterr().err.splitlines() if "api-smooth: error:" in line]
    assert "the cable is out" in line


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text there")
def test_a_file_whose_name_is_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    """A photograph with a name in another encoding is certified, and found again in a run file."""
    odd = os.fsdecode(b"caf\xe9.png")
    Path("a.png").rename(odd)
    assert main(["certify", odd, *TOY, "-n", "40", "--json"]) == 0
    assert "caf" in objects(capsys)[0]["image"]
    command = ["certify", odd, *TOY, "-n", "40", "--output", "run.jsonl"]
    assert main(command) == 0
    assert main(command) == 0
    assert "1 of 1 image is already in run.jsonl" in capsys.readouterr().err


def test_absence_from_the_command_line(certify: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """--labels-absent certifies that a name of the provider is not reported; another name is refused for nothing."""
    line = ["images/a.png", "-n", "60", "--labels-absent", "dog"]
    code, found, _ = certify(*line)
    assert (code, (found[0]["label"], found[0]["kind"])) == (0, ("not: dog", "absent"))
    code, found, _ = certify(
        "images/b.png", "-n", "60", "--labels-present", "cat:0.5", "--labels-absent", "dog:0.4"
    )
    assert {one["label"]: one["threshold"] for one in found if one["label"]} == {"cat": 0.5, "not: dog": 0.4}
    code, found, error = certify("images/a.png", "-n", "60", "--labels-absent", "Dog")
    assert (code, found) == (2, [])
    assert "did you mean 'dog'?" in error


@pytest.mark.parametrize(
    ("present", "absent", "told"),
    [
        (None, "all", "takes names"),
        ("all", "dog:0.3", "every label has the score 0.5"),
        ("dog:0.5", "dog:0.4", "two scores"),
        (None, ",", "--labels-absent"),
    ],
)
def test_absences_that_cannot_be_meant_are_refused(present: str | None, absent: str, told: str) -> None:
    """Two scores for one label, or no name, are refused in one line."""
    with pytest.raises(ConfigurationError, match=told):
        thresholds_of(present, absent)


def test_images_of_a_run_share_what_is_known(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A copy a step away is answered by its neighbour; the run file says under which settings, and is gone on with."""
    near = np.array(Image.open("a.png"))
    near[0, 0, 0] ^= 1
    Image.fromarray(near).save("near.png")
    command = ["certify", "a.png", "near.png", "b.png", *TOY, "-n", "60", "--output", "run.jsonl"]
    shared = [*command, "--reuse", "ball", "--prior", "learn"]
    assert main(shared) == 0
    first, second, third = runs.read("run.jsonl")
    assert (second.parent, second.queries) == (first.image_sha256, 0)
    assert first.queries == third.queries == 60
    assert runs.header("run.jsonl").settings.items() >= {"reuse": "ball", "prior": "learn"}.items()
    Path("part.jsonl").write_text("".join(Path("run.jsonl").read_text().splitlines(keepends=True)[:2]))
    part = [word.replace("run.jsonl", "part.jsonl") for word in shared]
    assert main(part) == 0  # as if it had been stopped after the first image
    resumed = list(runs.read("part.jsonl"))
    assert [(one.image, one.parent) for one in resumed] == [
        (one.image, one.parent) for one in (first, second, third)
    ]
    assert main(shared) == 0
    assert "3 of 3 images are already in run.jsonl" in capsys.readouterr().err
    assert main(command) == 2
    assert 'made with prior = "learn", this run has null' in capsys.readouterr().err
