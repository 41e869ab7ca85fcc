"""The figures on a denoiser's card: each is what its name says, and of images kept for choosing."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from api_smoothing import denoisers
from api_smoothing.denoisers.unet import UNet
from api_smoothing.errors import ConfigurationError, WeightsError
from api_smoothing.training import likeness
from api_smoothing.training.cards import write_weights
from api_smoothing.training.held_out import IMAGENETTE, PHOTOGRAPHS, HeldOut, held_out
from api_smoothing.training.likeness import psnr, ssim
from api_smoothing.training.measure import beside_dncnn, clean_accuracy, measure, quality

BOTH = {"psnr": psnr, "ssim": ssim}


def flat(*levels: float) -> Tensor:
    """Images (N,3,16,16), each of one value."""
    return torch.tensor(levels)[:, None, None, None].expand(-1, 3, 16, 16)


def kept(levels: list[int], side: int = 32) -> HeldOut:
    """Held-out images of one 8-bit value each; the label is 1 from 128 on."""
    values = torch.tensor(levels, dtype=torch.uint8)
    images = values[:, None, None, None].expand(-1, side, side, 3).contiguous()
    return HeldOut(name="flat", images=images, labels=(values >= 128).long(), questions={"": None})


def judge(x: Tensor) -> Tensor:
    """Scores (N,2) for dark and bright."""
    bright = x.float().mean((1, 2, 3)) - 0.5
    return torch.stack((-bright, bright), 1)


# How like two images are


def test_psnr_is_of_each_image() -> None:
    """An error of 0.1 everywhere is 20 dB, one of 0.01 is 40 dB, and none is infinitely many."""
    a, b = flat(0.5, 0.3, 0.7), flat(0.6, 0.31, 0.7)
    assert psnr(a, b).tolist() == pytest.approx([20, 40, math.inf], abs=1e-4)


def test_ssim_of_flat_images_is_their_luminance_term() -> None:
    """Without structure SSIM is (2ab + C₁)/(a² + b² + C₁), which is 1 for equal images only."""
    found = ssim(flat(0.2, 0.5, 0.9), flat(0.4, 0.5, 0.1)).tolist()
    by_hand = [(2 * a * b + 1e-4) / (a * a + b * b + 1e-4) for a, b in ((0.2, 0.4), (0.5, 0.5), (0.9, 0.1))]
    assert found == pytest.approx(by_hand, abs=1e-4)


def test_ssim_is_the_mean_over_windows() -> None:
    """SSIM is what equation 13 of Wang et al. 2004 gives, window by window."""
    draw = np.random.default_rng(0)
    a = draw.random((12, 13))
    b = np.clip(a + 0.2 * draw.standard_normal(a.shape), 0, 1)
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    weights = np.outer(line, line) / line.sum() ** 2
    values = []
    for i in range(2):
        for j in range(3):
            p, q = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
            mp, mq = (weights * p).sum(), (weights * q).sum()
            vp, vq = (weights * (p - mp) ** 2).sum(), (weights * (q - mq) ** 2).sum()
            cov = (weights * (p - mp) * (q - mq)).sum()
            values.append(
                (2 * mp * mq + 1e-4) * (2 * cov + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4))
            )
    x, y = (torch.from_numpy(image).float().expand(1, 3, -1, -1) for image in (a, b))
    assert float(ssim(x, y)) == pytest.approx(float(np.mean(values)), abs=1e-5)


def test_ssim_and_psnr_are_those_of_torchmetrics() -> None:
    """Another library gives the same figures, where its SSIM leaves out windows that reach beyond the image."""
    library = pytest.importorskip("torchmetrics.functional.image")
    draw = torch.Generator().manual_seed(0)
    a = torch.rand(3, 3, 32, 32, generator=draw)
    b = (a + 0.1 * torch.randn(a.shape, generator=draw)).clamp(0, 1)
    _, places = library.structural_similarity_index_measure(
        a, b, data_range=1.0, reduction="none", return_full_image=True
    )
    inside = places[:, :, 5:-5, 5:-5].flatten(1).mean(1)
    torch.testing.assert_close(ssim(a, b), inside, rtol=0, atol=1e-5)
    theirs = library.peak_signal_noise_ratio(a, b, data_range=1.0, reduction="none", dim=(1, 2, 3))
    torch.testing.assert_close(psnr(a, b).float(), theirs, rtol=0, atol=1e-4)


# LPIPS


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch hub, where nothing may be downloaded."""
    pytest.importorskip("torchmetrics")
    pytest.importorskip("torchvision")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("downloads")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_lpips_is_left_out_without_its_network(cache: Path) -> None:
    """Without the published network in the cache LPIPS is refused in one line that says what to fetch."""
    with pytest.raises(
        WeightsError, match=r"lpips_network.*put https.*alexnet-owt-7be5be79\.pth there"
    ) as caught:
        likeness.lpips()
    assert "\n" not in str(caught.value)


def test_another_network_is_not_passed_off_as_lpips(cache: Path) -> None:
    """A file of the published name with other contents is refused."""
    (cache / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"other weights")
    with pytest.raises(WeightsError, match="not the published one"):
        likeness.lpips()


def test_other_convolutions_are_not_passed_off_as_alexnets(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Convolutions in a file of the right name are refused by their digest; the pinned ones are looked through."""
    from safetensors.torch import save
    from torchmetrics.functional.image.lpips import _LPIPS

    torch.manual_seed(0)
    plain = _LPIPS(net="alex", pretrained=True, pnet_rand=True).eval()
    convs = [m for m in plain.net.modules() if isinstance(m, nn.Conv2d)]
    data = save({f"conv{n}.{k}": v for n, conv in enumerate(convs) for k, v in conv.state_dict().items()})
    likeness.alexnet_file().write_bytes(data)
    assert likeness.alexnet_file().parent == cache
    with pytest.raises(WeightsError, match="not the pinned one"):
        likeness.lpips()
    monkeypatch.setattr(likeness, "ALEXNET_SHA256", hashlib.sha256(data).hexdigest())
    name, apart = likeness.lpips()
    a, b = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    assert name == "lpips_alex"
    with torch.no_grad():
        torch.testing.assert_close(apart(a, b), plain(a, b, normalize=True).flatten())


def test_a_file_is_known_by_the_digest_in_its_name(tmp_path: Path) -> None:
    """The digits at the end of the name are the first of the SHA-256, as torch hub writes them."""
    assert not likeness._has_digest(tmp_path / "noname.pth")
    for name, sound in (("a-ba7816bf.pth", True), ("a-ba7816b0.pth", False)):
        (tmp_path / name).write_bytes(b"abc")
        assert likeness._has_digest(tmp_path / name) is sound


def test_lpips_looks_through_the_cached_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 for equal images, symmetric, greater for more noise, one number a row, and of the network in the cache."""
    from torchvision import models

    torch.manual_seed(0)
    net = models.squeezenet1_1(weights=None)
    torch.save(net.state_dict(), cache / "squeezenet1_1-b8a52dc0.pth")
    monkeypatch.setattr(likeness, "_has_digest", lambda file: True)
    name, apart = likeness.lpips()
    assert name == "lpips_squeeze"
    draw = torch.Generator().manual_seed(1)
    a = torch.rand(2, 3, 40, 40, generator=draw)
    near, far = ((a + s * torch.randn(a.shape, generator=draw)).clamp(0, 1) for s in (0.02, 0.3))
    assert apart(a, a).tolist() == [0, 0]
    torch.testing.assert_close(apart(a, far), apart(far, a))
    torch.testing.assert_close(apart(a, far)[1:], apart(a[1:], far[1:]))
    assert (apart(a, near) < apart(a, far)).all()
    nn.init.normal_(net.features[0].weight)
    torch.save(net.state_dict(), cache / "squeezenet1_1-b8a52dc0.pth")
    assert not torch.allclose(likeness.lpips()[1](a, far), apart(a, far))


def test_lpips_gives_the_published_figures() -> None:
    """With the published network, random images have the distance its publishers and users print."""
    pytest.importorskip("torchmetrics")
    pytest.importorskip("torchvision")
    try:
        name, apart = likeness.lpips()
    except WeightsError as error:
        pytest.skip(str(error))
    draw = torch.Generator().manual_seed(42)
    a, b = (torch.rand(2, 3, 100, 100, generator=draw) for _ in range(2))
    if (
        likeness.alexnet_file().is_file()
    ):  # the ends of the first row of torchvision's AlexNet, as people print it
        row = load_file(likeness.alexnet_file())["conv0.weight"][0, 0, 0].tolist()
        assert row[:3] + row[-3:] == pytest.approx(
            [0.11864, 0.094069, 0.095435, 0.055822, 0.021575, 0.049963], abs=1e-5
        )
    if name == "lpips_squeeze":  # the documentation of torchmetrics 1.9
        assert apart(a, b).tolist() == pytest.approx([0.1024, 0.0938], abs=1e-3)
    else:
        assert 0.05 < float(apart(a, b).mean()) < 0.6


# The table


def test_a_constant_denoiser_is_as_far_as_its_constant() -> None:
    """PSNR is the mean of the images' own, SSIM their luminance term, and accuracy the share the judge still knows."""
    grey, levels = 128 / 255, [28, 118, 228]
    table = measure(
        lambda x, s: torch.full_like(x, grey),
        kept(levels),
        {"j": judge},
        levels=[0.25, 1.0],
        likenesses=BOTH,
    )
    decibels = [-20 * math.log10(abs(v - 128) / 255) for v in levels]
    alike = [(2 * a * grey + 1e-4) / (a * a + grey * grey + 1e-4) for a in (v / 255 for v in levels)]
    assert list(table) == ["0.25", "1"]
    for figures in table.values():
        assert figures["psnr"] == pytest.approx(sum(decibels) / 3, abs=0.01)
        assert figures["ssim"] == pytest.approx(sum(alike) / 3, abs=1e-3)
        assert figures["accuracy_j"] == pytest.approx(1 / 3, abs=1e-4)


def test_the_identity_leaves_the_noise() -> None:
    """Without denoising the PSNR is −20·log₁₀ σ where nothing is clipped, and falls with σ; so does SSIM."""
    table = measure(lambda x, s: x, kept([126, 130] * 3), {}, levels=[0.12, 0.25, 0.5, 1.0], likenesses=BOTH)
    assert table["0.12"]["psnr"] == pytest.approx(-20 * math.log10(0.12), abs=0.1)
    for name in BOTH:
        figures = [row[name] for row in table.values()]
        assert figures == sorted(figures, reverse=True)


def test_a_perfect_denoiser_is_as_good_as_clean_images() -> None:
    """One that knows the images gets SSIM 1 and the judge's accuracy on clean images."""
    held = kept([20, 127, 140, 250])
    table = measure(
        lambda x, s: held.floats(torch.arange(4)), held, {"j": judge}, levels=[0.5], likenesses={"ssim": ssim}
    )
    assert table["0.5"] == {"ssim": 1.0} | clean_accuracy(held, {"j": judge})
    assert table["0.5"]["accuracy_j"] == 1


def test_the_judge_gets_8_bits() -> None:
    """What is measured is clipped to [0,1] and rounded to multiples of 1/255."""
    seen: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        seen.append(x.float())
        return judge(x)

    measure(lambda x, s: 3 * x - 1, kept([100, 150]), {"j": keep}, levels=[0.5], likenesses={})
    assert float(seen[0].min()) == 0
    assert float(seen[0].max()) == 1
    torch.testing.assert_close(seen[0] * 255, (seen[0] * 255).round(), rtol=0, atol=1e-3)


def test_ten_way_is_among_the_ten() -> None:
    """The ten-way question looks at ten scores only, the other at all thousand."""
    held = HeldOut(
        name="x",
        images=torch.zeros(3, 32, 32, 3, dtype=torch.uint8),
        labels=torch.tensor([IMAGENETTE[3], IMAGENETTE[4], 5]),
        questions={"_of10": IMAGENETTE, "_of1000": None},
    )
    scores = torch.zeros(3, 1000)
    scores[:, 999] = 2
    scores[0, IMAGENETTE[3]], scores[1, IMAGENETTE[4]], scores[2, 5] = 1, 1, 3
    assert held.right(scores, torch.arange(3)) == {"_of10": 2, "_of1000": 1}
    assert held.right(scores[2:], torch.tensor([2])) == {"_of10": 0, "_of1000": 1}


# Which images


def write_cifar(folder: Path, first: int) -> None:
    """CIFAR-10's binary test batch: 500 images of value `first` with label 0, then 20 of value 200 with label 1."""
    rows = np.full((520, 3073), first, np.uint8)
    rows[500:] = 200
    rows[:, 0] = np.arange(520) >= 500
    rows.tofile(folder / "test_batch.bin")


def write_photographs(folder: Path, encode: Callable[[int], bytes], count: int = 253) -> None:
    """The archive of validation photographs, of `encode(row)` each."""
    files = [encode(row) for row in range(count)]
    np.savez(
        folder / f"{PHOTOGRAPHS}.npz",
        data=np.frombuffer(b"".join(files), np.uint8),
        offsets=np.cumsum([0, *map(len, files)]),
        labels=np.arange(count, dtype=np.int16),
    )


def test_test_images_for_reporting_are_not_looked_at(tmp_path: Path) -> None:
    """Whatever CIFAR-10's test images 0 to 499 are, the card's figures are the same."""
    net = UNet((16, 16), (1, 1))
    tables = []
    for value in (0, 255):
        write_cifar(tmp_path, value)
        found = held_out(tmp_path)
        assert found is not None
        assert len(found) == 20
        assert set(found.labels.tolist()) == {1}
        assert int(found.images.min()) == 200
        tables.append(quality(net, tmp_path, [], levels=[0.25]))
    assert tables[0] == tables[1]
    assert {"psnr", "accuracy_cifar10"} <= set(tables[0]["0.25"])


def test_photographs_for_reporting_are_not_even_decoded(tmp_path: Path) -> None:
    """Photographs 0 to 249 may be rubbish; 250 on are the ones, with their labels, and have no judge in training."""

    def encode(row: int) -> bytes:
        out = io.BytesIO()
        Image.fromarray(np.full((64, 64, 3), row, np.uint8)).save(out, "png")
        return b"rubbish" if row < 250 else out.getvalue()

    write_photographs(tmp_path, encode)
    found = held_out(tmp_path)
    assert found is not None
    assert found.side == 64
    assert found.images[:, 0, 0, 0].tolist() == found.labels.tolist() == [250, 251, 252]
    assert set(quality(UNet((16, 16), (1, 1)), tmp_path, [], levels=[0.5])["0.5"]) == {"psnr"}


def test_pictures_that_are_trained_on_are_not_measured(tmp_path: Path) -> None:
    """Loose pictures, an empty folder and a broken archive are no held-out images: the card has no quality."""
    net = UNet((16, 16), (1, 1))
    assert quality(net, tmp_path, []) == {}
    for k in range(3):
        Image.fromarray(np.full((32, 32, 3), k, np.uint8)).save(tmp_path / f"{k}.png")
    assert quality(net, tmp_path, []) == {}
    np.savez(tmp_path / f"{PHOTOGRAPHS}.npz", data=np.zeros(3, np.uint8))
    assert quality(net, tmp_path, []) == {}


# Speed and the card


def test_speed_is_told_as_a_ratio_to_dncnn() -> None:
    """A denoiser that takes four turns of a DnCNN's work is slower than one, one that does nothing is faster."""
    from api_smoothing.training.measure import _dncnn

    rival = _dncnn("fp32")

    def four(x: Tensor, sigma: Tensor) -> Tensor:
        for _ in range(4):
            x = rival(x, 0.25).clamp(0, 1)
        return x

    slow, fast = (
        beside_dncnn(
            denoisers.wrap(work, id="w@1", sigma_range=(0.1, 1.0)),
            side=16,
            batch=2,
            rounds=5,
        )
        for work in (four, lambda x, s: x)
    )
    assert float(slow["times_dncnn"]) < 0.7
    assert float(fast["times_dncnn"]) > 1.5
    assert {"images_per_second", "side", "batch", "threads", "dtype"} <= set(slow)


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """The script `benchmarks/denoiser_quality.py`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        yield importlib.import_module("denoiser_quality")


def small_denoiser(folder: Path) -> Path:
    """An untrained U-Net for 32×32 images and σ from 0.2 to 0.6, with its card."""
    net = UNet((16, 16), (1, 1), width=16)
    card = {
        "id": "small",
        "architecture": {"kind": "unet", "channels": [16, 16], "blocks": [1, 1], "width": 16},
        "sigma_range": [0.2, 0.6],
        "sizes": [32],
        "multiple": 4,
        "quality": {"0.5": {"psnr": 1.0}, "0.25": {"psnr": 1.0, "certified_resnet56_at_0.25": 0.4}},
        "training": {"seed": 7},
    }
    return write_weights(
        folder / "small.safetensors", {k: v.half() for k, v in net.state_dict().items()}, card
    )


def test_the_card_gets_its_table_and_keeps_the_rest(
    tmp_path: Path, bench: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--write replaces the speed and the figures that were measured; weights, sha256 and all else stay."""
    (tmp_path / "cifar10").mkdir()
    write_cifar(tmp_path / "cifar10", 0)
    file = small_denoiser(tmp_path)
    before, data = json.loads(file.with_suffix(".json").read_text()), file.read_bytes()
    line = f"x --denoiser {file} --data {tmp_path} --levels 0.12,0.25 --rounds 1 --write"
    monkeypatch.setattr("sys.argv", line.split())
    assert bench.main() == 0
    after = json.loads(file.with_suffix(".json").read_text())
    assert file.read_bytes() == data
    assert {"psnr", "ssim", "accuracy_cifar10"} <= set(after["quality"]["0.25"])
    assert after["quality"]["0.5"] == before["quality"]["0.5"]
    assert after["quality"]["0.25"]["certified_resnet56_at_0.25"] == 0.4
    assert after["speed"]["side"] == 32
    for facts in (before, after):
        facts.pop("quality")
        facts.pop("speed", None)
    assert before == after
    assert denoisers.load(file).card.quality["0.25"]["psnr"] > 5
    told = capsys.readouterr().out
    assert "cifar10/test 500-999" in told
    assert "times DnCNN" in told


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--denoiser unet-cifar10 --data . --write", "needs the path"),
        ("--denoiser unet-cifar10 --data . --levels 0.3", "no σ 0.3"),
        ("--denoiser unet-cifar10 --data .", "cifar10"),
        ("--denoiser nobody --data .", "nobody"),
    ],
)
def test_a_slip_is_one_line(
    line: str,
    words: str,
    tmp_path: Path,
    bench: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A bundled card is not written to by name; unknown σ, missing data and unknown names are one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["x", *line.split()])
    assert bench.main() == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_levels_are_those_the_card_serves(tmp_path: Path, bench: ModuleType) -> None:
    """Of the table's σ only those in the card's range are measured; none at all is an error."""
    denoiser = denoisers.load(small_denoiser(tmp_path))
    assert bench.levels_in(denoiser, [0.12, 0.25, 0.5, 1.0]) == [0.25, 0.5]
    with pytest.raises(ConfigurationError, match="none of these"):
        bench.levels_in(denoiser, [0.12, 1.0])
