"""`compare`: who is attacked, who is right, and a run file that is gone on with and never computed twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_defences import NAMES, Darker, Toy, pictures, smoother

from api_smoothing import compare
from api_smoothing.attacks import PGD
from api_smoothing.attacks.victim import on_8_bits
from api_smoothing.defences import Comparison, Cost, Denoised
from api_smoothing.defences.comparison import WORST
from api_smoothing.errors import ConfigurationError

ATTACKS = ("none", "pgd-linf-12/255")
QUICK: dict[str, Any] = {"attacks": ATTACKS, "class_names": NAMES, "steps": 4, "eot": 2, "batch": 3}


def smoothing(copies: int = 1, sigma: float = 0.1) -> Denoised:
    return Denoised(name=f"smooth-{copies}-{sigma}", denoiser=smoother(), sigma=sigma, copies=copies)


def timeless(found: Comparison) -> Any:
    values = json.loads(found.to_json())
    for cell in values["cells"]:
        cell.pop("seconds")
    return values


def test_the_bare_classifier_falls() -> None:
    """All right as they are, none under attack; behind a defence images are farther from the clean ones."""
    found = compare(pictures(), Toy(), ["none", Darker()], **QUICK)
    assert (found.cell("none", "none").k, found.cell("none", "none").n) == (4, 4)
    assert found.cell("none", "pgd-linf-12/255").k == 0
    assert found.cell("none", "none").psnr is None
    assert found.cell("darker", "none").psnr == pytest.approx(48.13, abs=0.01)  # one level
    attacked = found.cell("none", "pgd-linf-12/255")
    assert attacked.loss_before is not None
    assert attacked.loss_before > 1 > (found.cell("none", "none").loss_after or 9)
    assert (found.reference, found.images, found.defences[1].cost.evaluations) == ("truth", 4, 2)


class Red:
    """Leaves the red channel alone, three times: an ℓ2 attack that knows it is √3 times as strong."""

    name, cost, random = "red", Cost(), False

    def purify(self, images: torch.Tensor, seed: int) -> torch.Tensor:
        return self.differentiable()(images)  # type: ignore[no-any-return]

    def differentiable(self) -> torch.nn.Module:
        class Module(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return on_8_bits(x[:, :1].expand(-1, 3, -1, -1))

        return Module()


def test_an_adaptive_attack_sees_the_defence() -> None:
    """Half the difference is 5 levels. A radius of 51 is 3.7 in each of 192 values, and 6.4 in each of 64."""
    image = np.full((8, 8, 3), 120, np.uint8)
    image[:4] += 10
    given = {**QUICK, "attacks": ["pgd-l2-0.2"], "steps": 10}
    found = compare([(image, "up")], Toy(), ["none", Red()], adaptive=True, **given)
    assert found.cell("red", "pgd-l2-0.2").k == 1
    assert found.cell("red", "adaptive pgd-l2-0.2").k == 0
    assert found.cell("none", "adaptive pgd-l2-0.2").k == 1
    assert found.cell("red", WORST).k == 0


def test_an_adaptive_attack_averages_chance_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """`eot` draws a step for a defence that has chance, one for one that has none."""
    from api_smoothing.attacks.pgd import PGD

    seen = []
    real = PGD.__call__

    def spy(self: PGD, *args: Any) -> Any:
        seen.append(self.eot)
        return real(self, *args)

    monkeypatch.setattr(PGD, "__call__", spy)
    given = {**QUICK, "attacks": ["pgd-linf-2/255"]}
    compare(pictures(2), Toy(), ["none", smoothing(), "jpeg-75"], adaptive=True, **given)
    assert seen == [1, 1, 2, 1]  # bare; behind none, behind the denoiser, behind JPEG


def test_copies_vote() -> None:
    """Behind copies the label is the one of most; the cost is a query each."""
    found = compare(pictures(), Toy(), ["none", smoothing(copies=5, sigma=0.05)], **QUICK)
    cell = found.cell("smooth-5-0.05", "none")
    assert (cell.k, cell.n, found.defences[1].cost.queries) == (4, 4, 5)


def test_corruptions_are_conditions() -> None:
    """Those of the room of corruptions, at the severity that was named."""
    from api_smoothing.corruptions import corrupt

    (image, label), *_ = pictures()
    found = compare([(image, label)], Toy(), ["none"], **{**QUICK, "attacks": (), "corruptions": ["fog:5"]})
    apart = (corrupt(image, "fog", 5).astype(float) - image) / 255
    assert [row.mse for row in found.rows] == [pytest.approx((apart**2).mean(), rel=1e-5)]


def test_without_labels_the_answer_as_it_is_counts() -> None:
    """Nobody is wrong then as they are, and all are attacked."""
    found = compare([image for image, _ in pictures()], Toy(), ["none"], **QUICK)
    assert (found.reference, found.cell("none", "none").k) == ("answer", 4)
    assert found.cell("none", "pgd-linf-12/255").k == 0

    assert "as bare" in found.table()
    assert "right" not in found.table()


def test_what_works_in_place_changes_nothing_for_others() -> None:
    """Neither a defence nor an attack is given the images that the next one gets."""

    class Blank(Darker):
        def purify(self, images: Any, seed: int, /) -> Any:
            return images.zero_()

    class Erased:
        name = "erased"

        def __call__(self, images: Any, labels: Any, model: Any) -> Any:
            labels.zero_()
            return images.zero_()

    blank = Blank(name="blank")
    given = {**QUICK, "attacks": [Erased(), "none"]}
    found = compare(pictures(), Toy(), ["none", blank, "bits-8"], **given)
    assert [found.cell(name, "none").k for name in ("none", "bits-8")] == [4, 4]
    assert found.cell("none", "none").psnr is None  # the clean image, still
    compare(pictures(), Toy(), ["none", blank], adaptive=True, **QUICK)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda images: images + 0.001, "multiples of 1/255"),
        (lambda images: images * torch.nan, "multiples of 1/255"),
        (lambda images: images + 1, "outside"),
        (lambda images: images[:1], r"gave \(1, 3, 8, 8\) for images \(3, 3, 8, 8\)"),
        (lambda images: None, "gave NoneType"),
    ],
)
def test_what_an_attack_promises_is_checked(made: Any, why: str) -> None:
    """An image that no file can hold is none that a defence has to stand."""

    class Odd:
        name = "odd"

        def __call__(self, images: Any, labels: Any, model: Any) -> Any:
            return made(images)

    with pytest.raises(ConfigurationError, match=f"the attack odd .*{why}"):
        compare(pictures(), Toy(), ["none"], **{**QUICK, "attacks": [Odd()]})


def test_an_attack_object_is_known_by_its_settings(tmp_path: Path) -> None:
    """A weak one's images are not taken for those of a strong one, in one comparison or in a file that goes on."""
    weak, strong = (PGD(norm="l2", radius=0.5, steps=steps) for steps in (1, 30))
    given = {**QUICK, "attacks": [weak, strong]}
    assert len(compare(pictures(1), Toy(), ["none"], **given).conditions) == 2
    file = tmp_path / "run.jsonl"
    seen = []
    for attack in (weak, strong):
        model = Toy()
        compare(pictures(1), model, ["none"], output=file, **{**QUICK, "attacks": [attack]})
        seen.append(model.seen)
    assert seen[1] > 0


def test_scores_that_are_no_numbers_are_refused() -> None:
    """Not the class that happens to stand first."""

    class Broken(Toy):
        def forward(self, x: Any) -> Any:
            return super().forward(x) * torch.nan

    with pytest.raises(ConfigurationError, match="no finite numbers"):
        compare(pictures(), Broken(), ["none"], **QUICK)


def test_images_that_cannot_be_used_are_counted() -> None:
    """Labels that are no class, and files that are no images."""
    given = [*pictures(2), (pictures()[0][0], "sideways"), (b"no image", "up")]
    found = compare(given, Toy(), ["none"], **QUICK)
    assert (found.images, found.left_out, len(found.unreadable)) == (2, 1, 1)
    assert any("sideways" in line for line in found.told)


def test_images_of_several_sizes_go_in_their_own_batches() -> None:
    """And the numbers are those of each on its own."""
    mixed = [*pictures(2), *pictures(2, side=12), *pictures(1)]
    found = compare([(image, label) for image, label in mixed[:4]], Toy(), ["none", "bits-3"], **QUICK)
    assert found.cell("bits-3", "none").n == 4


# The run file


def test_a_run_goes_on(tmp_path: Path) -> None:
    """What is there is not computed again; images, defences and conditions may be added; read it is the same."""
    file, net, darker = tmp_path / "run.jsonl", Toy(), Darker()
    compare(pictures(3), net, ["none", darker], output=file, **{**QUICK, "attacks": ["none"]})
    before, calls = net.seen, darker.calls
    again = compare(pictures(3), net, ["none", darker], output=file, **{**QUICK, "attacks": ["none"]})
    assert (net.seen, darker.calls) == (before, calls)
    lines = file.read_bytes().splitlines()
    assert len(lines) == 1 + 3 * 2 + 1
    more = compare(pictures(6), net, ["none", darker, smoothing()], output=file, **QUICK)
    assert file.read_bytes().splitlines()[: len(lines)] == lines
    assert again.cell("darker", "none").n == 3
    assert timeless(Comparison.read(file)) == timeless(more)
    assert timeless(more) == timeless(compare(pictures(6), Toy(), ["none", Darker(), smoothing()], **QUICK))


def test_a_run_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    """In mid-line and in mid-batch: the figures are those of an unbroken run, adaptive attacks too."""
    file, given = tmp_path / "run.jsonl", {**QUICK, "adaptive": True}
    whole = compare(pictures(5), Toy(), ["none", smoothing()], output=file, **given)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:12]) + lines[12][:30])
    assert timeless(compare(pictures(5), Toy(), ["none", smoothing()], output=file, **given)) == timeless(
        whole
    )


def test_other_settings_and_other_weights_are_another_run(tmp_path: Path) -> None:
    """A file of another model or seed is refused; rows of a denoiser of another identity do not count."""
    file = tmp_path / "run.jsonl"
    compare(pictures(2), Toy(), ["none"], output=file, **QUICK)
    with pytest.raises(ConfigurationError, match="seed"):
        compare(pictures(2), Toy(), ["none"], output=file, seed=1, **QUICK)
    with pytest.raises(ConfigurationError, match="model"):
        compare(pictures(2), torch.nn.Identity(), ["none"], output=file, **QUICK)
    darker = Darker()
    compare(pictures(2), Toy(), ["none", darker], output=file, **QUICK)
    other = Darker()
    other.identity = "other weights"  # type: ignore[attr-defined]
    compare(pictures(2), Toy(), ["none", other], output=file, **QUICK)
    assert other.calls > 0


def test_a_file_without_a_comparison_is_told(tmp_path: Path) -> None:
    """Such as the one of an evaluation."""
    from api_smoothing import runs

    with runs.open(tmp_path / "run.jsonl", {}):
        pass
    with pytest.raises(ConfigurationError, match="no comparison"):
        Comparison.read(tmp_path / "run.jsonl")


@pytest.mark.parametrize(
    ("defences", "given", "why"),
    [
        ([], {}, "defences are a list"),
        ("none", {}, "defences are a list"),
        (["none", "none"], {}, "two defences are called 'none'"),
        ([3], {}, "no defence"),
        (["none"], {"batch": 0}, "batch"),
        (["none"], {"device": "warp"}, "device 'warp' is not available"),
        (["none"], {"attacks": ["magic"]}, "magic"),
        (["none"], {"class_names": ["one"]}, "2 scores for 1"),
    ],
)
def test_a_slip_is_one_line(defences: Any, given: Any, why: str) -> None:
    """Before anything is attacked."""
    with pytest.raises(ConfigurationError, match=why):
        compare([pictures()[0][0]], Toy(), defences, **{**QUICK, **given})


def test_the_noise_of_the_verdict_is_not_the_attacks() -> None:
    """The attack draws from a generator of its own, and leaves torch's as it was."""
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    compare(pictures(2), Toy(), ["none", smoothing()], adaptive=True, **QUICK)
    assert torch.equal(torch.rand(1), before)


def test_a_batch_decides_nothing_of_the_bare_attack() -> None:
    """An image has the same attack, noise and answer in any batch."""
    one, all_ = (
        compare(pictures(4), Toy(), ["none", smoothing()], **{**QUICK, "batch": size}) for size in (1, 4)
    )
    others = {row.key: row for row in all_.rows}
    assert len(one.rows) == len(others) == 4 * 2 * 2
    for row in one.rows:
        assert row.label == others[row.key].label
        assert row.loss_after == pytest.approx(others[row.key].loss_after, abs=1e-3)
