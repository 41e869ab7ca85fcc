"""The purification benchmark: its methods keep to the image range, and its runs resume."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from api_smoothing import denoisers
from api_smoothing.attacks import PGD
from api_smoothing.denoisers.paths import Paths
from api_smoothing.denoisers.reverse import Reverse
from api_smoothing.denoisers.wrapped import WrappedDenoiser
from api_smoothing.errors import ConfigurationError
from api_smoothing.training.data import ImageSet
from api_smoothing.training.likeness import psnr, ssim
from api_smoothing.training.objectives import on_grid

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
BOTH = {"psnr": psnr, "ssim": ssim}


@pytest.fixture(scope="module")
def bench() -> Iterator[SimpleNamespace]:
    """The scripts `defences` and `purification`."""
    names = ("defences", "purification")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield SimpleNamespace(**{name: import_module(name) for name in names})
    for name in names:
        sys.modules.pop(name)


class Toy(nn.Module):
    """Tells by the mean of the upper half less that of the lower one, and by nothing else."""

    def forward(self, x: Tensor) -> Tensor:
        upper, lower = x.chunk(2, 2)
        apart = 20 * (upper - lower).mean((1, 2, 3))
        return torch.stack((apart, -apart), 1)


def pictures(count: int = 6) -> ImageSet:
    """Images (count,16,16,3), in turns a little brighter above (label 0) and below (label 1); some pixels 0 or 255."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(60, 196, (count, 16, 16, 3), generator=draw, dtype=torch.uint8)
    labels = torch.arange(count) % 2
    images = images // 4 + 104
    for k, label in enumerate(labels.tolist()):
        images[k, 8 * label : 8 * label + 8] += 8
        images[k, [0, 15], :2], images[k, [0, 15], 2:4] = 0, 255
    return ImageSet(images=images, labels=labels, name="toy")


def smoother() -> WrappedDenoiser:
    """Means of 3×3 pixels: a denoiser of a sort."""

    def mean(x: Tensor, sigma: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)

    return denoisers.wrap(mean, id="mean@1", sigma_range=(0.02, 1.0))


def floats(images: ImageSet) -> tuple[Tensor, Tensor]:
    assert images.labels is not None
    return images.floats(slice(None)).contiguous(), images.labels


# The methods


@pytest.mark.parametrize("method", ["oneshot", "multistep", "vote", "guided"])
def test_a_method_gives_8_bit_images_row_by_row(bench: SimpleNamespace, method: str) -> None:
    """Purified images are multiples of 1/255 in [0,1], nearer to the clean ones than the noise, each on its own."""
    clean, _ = floats(pictures())
    options = bench.defences.Options(sigma=0.3, steps=3, paths=3)
    purify = bench.defences.purifier(method, smoother(), Toy(), options)

    def ask(rows: slice) -> Tensor:
        draws = [torch.Generator().manual_seed(k) for k in range(6)[rows]]
        found: Tensor = bench.defences.purified(purify, clean[rows], 0.3, draws)
        return found

    found = ask(slice(None))
    assert torch.allclose(found * 255, (found * 255).round(), atol=1e-3)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert float((found - clean).square().mean()) < 0.8 * 0.3**2
    torch.testing.assert_close(ask(slice(2, 4)), found[2:4], rtol=0, atol=1.01 / 255)


def test_vote_gives_an_image_with_the_majoritys_label(bench: SimpleNamespace) -> None:
    """The classifier's label of the elected image is the one it gives to most of the paths."""
    noisy = 0.5 + 0.3 * torch.randn((40, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    options = bench.defences.Options(sigma=0.3, steps=3, paths=3)
    elect = bench.defences.purifier("vote", smoother(), Toy(), options)
    ends = on_grid(Paths(reverse=Reverse(denoiser=smoother(), steps=3), paths_per_query=3).paths(noisy, 0.3))
    labels = torch.stack([Toy()(end).argmax(1) for end in ends])
    most = labels.mode(0).values
    assert (most != labels[0]).any()
    elected = elect(noisy, noisy)
    assert torch.equal(Toy()(elected).argmax(1), most)
    assert all(any(torch.equal(elected[k], end[k]) for end in ends) for k in range(40))


def test_an_unknown_method_is_named(bench: SimpleNamespace) -> None:
    """A method that is not known is a ConfigurationError that lists those that are."""
    with pytest.raises(ConfigurationError, match="none, oneshot"):
        bench.defences.purifier("magic", smoother(), Toy(), bench.defences.Options())


# The run


def run(bench: SimpleNamespace, file: Path | None = None, **changes: Any) -> list[dict[str, Any]]:
    """Two methods and both norms on six images, two a batch."""
    options = bench.defences.Options(sigma=0.2, steps=2, paths=2)
    names = changes.pop("methods", ("none", "oneshot"))
    given: dict[str, Any] = {
        "batch": 2,
        "file": file,
        "settings": {"sigma": 0.2},
        "attacks": [PGD(norm=norm, radius=r, steps=5) for norm, r in (("linf", 8 / 255), ("l2", 0.9))],
    } | changes
    methods = {name: bench.defences.purifier(name, smoother(), Toy(), options) for name in names}
    rows: list[dict[str, Any]] = bench.purification.run(
        pictures(), 10, Toy(), methods, given.pop("attacks"), BOTH, options, **given
    )
    return rows


def timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without what took how long."""
    copy: list[dict[str, Any]] = json.loads(json.dumps(rows))
    for row in copy:
        for figures in row["methods"].values():
            figures.pop("seconds", None)
    return copy


def test_the_undefended_classifier_falls(bench: SimpleNamespace) -> None:
    """Without a method clean images are answered truly and attacked ones not; each figure has one value an image."""
    rows = run(bench)
    assert [(row["first"], row["count"]) for row in rows] == [(10, 2), (12, 2), (14, 2)]
    means = bench.purification.summary(rows)
    assert (means["none"]["clean"], means["none"]["pgd_linf"], means["none"]["pgd_l2"]) == (1, 0, 0)
    assert set(means["oneshot"]) == {"clean", "pgd_linf", "pgd_l2", "psnr", "ssim", "seconds"}
    assert means["oneshot"]["psnr"] > 15
    assert all(len(values) == 2 for values in rows[0]["methods"]["oneshot"].values())


def test_a_broken_run_goes_on(bench: SimpleNamespace, tmp_path: Path) -> None:
    """After a stop in mid-line the finished batches are kept, and the figures are those of an unbroken run."""
    file = tmp_path / "rows.jsonl"
    whole = run(bench, file)
    lines = file.read_bytes().splitlines(keepends=True)
    assert len(lines) == 4
    marked = lines[1].replace(b'"count": 2', b'"count": 2, "kept": true')
    file.write_bytes(lines[0] + marked + lines[2][:40])
    rows = run(bench, file)
    assert [row.pop("kept", False) for row in rows] == [True, False, False]
    assert timeless(rows) == timeless(whole)
    assert len(file.read_bytes().splitlines()) == 4
    assert run(bench, file)[1:] == rows[1:]


def test_rows_of_other_settings_are_refused(bench: SimpleNamespace, tmp_path: Path) -> None:
    """A file of other settings, or of something else, is left as it is, in one line."""
    file = tmp_path / "rows.jsonl"
    run(bench, file)
    for content in (file.read_bytes(), b"notes\n"):
        file.write_bytes(content)
        with pytest.raises(ConfigurationError, match="another --json"):
            run(bench, file, settings={"sigma": 0.3})
        assert file.read_bytes() == content


def test_the_figures_do_not_depend_on_the_batch(bench: SimpleNamespace) -> None:
    """An image has the same noise, attack and answer in any batch."""
    one, all_ = (bench.purification.summary(timeless(run(bench, batch=size))) for size in (1, 6))
    for name, figures in one.items():
        assert figures == pytest.approx(all_[name], abs=1e-3)


def test_an_attack_may_see_the_defence(bench: SimpleNamespace) -> None:
    """An attack that sees the defence is given, for each method, scores of the defended model, with fresh noise."""
    seen = []

    class Spy:
        name, sees_defence = "spy", True

        def __call__(self, images: Tensor, labels: Tensor, model: Any) -> Tensor:
            seen.append((model(images), model(images)))
            return 1 - images

    rows = run(bench, attacks=[Spy()], batch=6)
    bare = Toy()(floats(pictures())[0])
    (first, again), (defended, fresh) = seen
    assert torch.equal(first, bare)
    assert torch.equal(first, again)
    assert not torch.equal(defended, bare)
    assert not torch.equal(defended, fresh)
    assert sum(rows[0]["methods"]["none"]["spy"]) == 0


def test_it_runs_from_the_command_line(
    bench: SimpleNamespace,
    shared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On two real images ResNet-56 falls to the attack, and the table has a line a method."""
    line = f"x --data {shared / 'data'} --denoiser unet-cifar10 --first 500 --images 2 --methods none,oneshot"
    monkeypatch.setattr("sys.argv", [*line.split(), "--json", str(tmp_path / "out.jsonl")])
    assert bench.purification.main() == 0
    table = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in table] == ["method", "none", "oneshot", "2"]
    assert table[1].split()[1:] == ["1", "0", "0"]
    row = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[1])
    assert (row["first"], row["count"]) == (500, 2)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--denoiser nobody", "nobody"),
        ("--denoiser unet-cifar10 --methods magic", "magic"),
        ("--denoiser unet-cifar10 --first 5000", "no images from 5000"),
        ("--denoiser unet-cifar10 --json no/rows.jsonl", "no such folder"),
    ],
)
def test_a_slip_is_one_line(
    line: str,
    words: str,
    bench: SimpleNamespace,
    shared: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What cannot be is said in one line before anything is computed."""
    monkeypatch.setattr("sys.argv", ["x", "--data", str(shared / "data"), *line.split()])
    assert bench.purification.main() == 2
    assert words in capsys.readouterr().err.splitlines()[-1]
