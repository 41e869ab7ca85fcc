"""The figures on a denoiser's card: each is what its name says, and of images kept for choosing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from api_smoothing import denoisers
from api_smoothing.denoisers.unet import UNet
from api_smoothing.training.held_out import IMAGENETTE, HeldOut
from api_smoothing.training.likeness import psnr, ssim
from api_smoothing.training.measure import beside_dncnn, clean_accuracy, images_per_second, measure

BOTH = {"psnr": psnr, "ssim": ssim}


def kept(levels: list[int], side: int = 32) -> HeldOut:
    """Held-out images of one 8-bit value each; the label is 1 from 128 on."""
    values = torch.tensor(levels, dtype=torch.uint8)
    images = values[:, None, None, None].expand(-1, side, side, 3).contiguous()
    return HeldOut(name="flat", images=images, labels=(values >= 128).long(), questions={"": None})


def judge(x: Tensor) -> Tensor:
    """Scores (N,2) for dark and bright."""
    bright = x.float().mean((1, 2, 3)) - 0.5
    return torch.stack((-bright, bright), 1)


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


def test_speed_is_measured_at_a_side_that_fits() -> None:
    """A network of six levels takes no 32×32 images; its card is written all the same."""
    found = images_per_second(UNet((4,) * 6, (1,) * 6, width=4).eval(), batch=1, repeats=1)
    assert found["side"] == 64
