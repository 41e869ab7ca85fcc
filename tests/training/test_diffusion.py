"""Training of a diffusion network: what is drawn, what is asked for, and what comes out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusion_nets import TINY
from torch import Tensor

from api_smoothing import denoisers
from api_smoothing.denoisers import schedule
from api_smoothing.denoisers.diffusion import Prediction, one_shot
from api_smoothing.denoisers.diffusion_net import make_net

SCHEDULES = {"linear": schedule.linear()}
PREDICTIONS: tuple[Prediction, ...] = ("epsilon", "v", "sample")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_what_is_trained_is_what_is_read(prediction: Prediction) -> None:
    """A network that says exactly what training asks for gives back the clean image through one-shot denoising."""
    from api_smoothing.training.diffusion import prediction_target

    table = SCHEDULES["linear"]
    clean, noise = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), draw(2, 3, 8, 8)
    t = int(table.step(torch.tensor(0.5)))
    sigma, share = float(table.sigmas[t]) / 2, table.alpha_bar[t].float()
    said = prediction_target(2 * clean - 1, noise, share.sqrt(), (1 - share).sqrt(), prediction)
    denoiser = one_shot(lambda x_t, t: said, schedule=table, prediction=prediction, id="told@1")
    torch.testing.assert_close(denoiser(clean + sigma * noise, sigma), clean, rtol=0, atol=1e-5)


def test_training_draws_the_steps_in_use() -> None:
    """Steps stay within those of the σ range, reach both ends, and a share of them is even in ln σ."""
    from api_smoothing.training.diffusion import draw_steps

    table = SCHEDULES["linear"]
    first, last = table.step(torch.tensor([0.02, 1.0])).tolist()
    generator = torch.Generator().manual_seed(0)
    for share in (0.0, 1.0):
        t = draw_steps(table, (0.02, 1.0), share, 20000, generator)
        assert (int(t.min()), int(t.max())) == (first, last)
        sigma = (table.sigmas[t] / 2).log()
        middle_of = (
            (math.log(0.02) + 0.0) / 2 if share else float((table.sigmas[(first + last) // 2] / 2).log())
        )
        assert float((sigma < middle_of).float().mean()) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("prediction", "untrained"), [("epsilon", 1.0), ("sample", 0.25)])
def test_the_loss_of_saying_nothing_is_the_size_of_the_target(
    prediction: Prediction, untrained: float
) -> None:
    """An untrained network predicts 0: its loss is the mean square of the noise, 1, or of the image on [−1,1]."""
    from api_smoothing.training.data import ImageSet
    from api_smoothing.training.diffusion import prediction_loss
    from api_smoothing.training.loop import Order

    levels = torch.tensor([64, 191], dtype=torch.uint8).repeat(16)  # −½ and ½
    data = ImageSet(images=levels[:, None, None, None].expand(32, 16, 16, 3), labels=None, name="grey")
    phase = {"sigma": {"low": 0.05, "high": 1.0}, "log_share": 0.4}
    loss = prediction_loss(make_net(TINY | {"prediction": prediction}), data, Order(32, 32, 0), phase)
    assert float(loss(0, torch.Generator().manual_seed(0))[0].detach()) == pytest.approx(untrained, rel=0.05)


@pytest.mark.slow
def test_training_by_the_recipe_writes_a_denoiser(tmp_path: Path) -> None:
    """A short run of the bundled recipe, made small, learns something and ships weights that `load` takes."""
    from api_smoothing.training import train_denoiser
    from api_smoothing.training.recipe import RECIPES

    rows = np.random.default_rng(0).integers(0, 256, (64, 3), dtype=np.uint8).repeat(1024, axis=1)
    labels = np.zeros((64, 1), dtype=np.uint8)
    (tmp_path / "data_batch_1.bin").write_bytes(np.concatenate((labels, rows), 1).tobytes())
    text = (RECIPES / "diffusion-cifar10.toml").read_text(encoding="utf-8")
    for whole, small in {
        'prediction = "v"': 'prediction = "epsilon"',
        "channels = [64, 128, 256]": "channels = [8, 8]",
        "blocks = [1, 2, 1]": "blocks = [1, 1]",
        "steps = 6000": "steps = 20",
        "batch = 128": "batch = 16",
        "lr = 0.001": "lr = 0.02",
    }.items():
        assert whole in text
        text = text.replace(whole, small)
    recipe = tmp_path / "diffusion-cifar10.toml"
    recipe.write_text(text, encoding="utf-8")
    seen: list[float] = []
    file = train_denoiser(recipe, tmp_path, tmp_path / "out", on_progress=lambda f: seen.append(f["loss"]))
    denoiser = denoisers.load(file, dtype="fp32")
    assert seen[-1] < 0.9  # an untrained network predicts no noise, at a loss of 1
    assert denoiser.card.training["phases"][0]["images_seen"] == 320
    flat = torch.rand(8, 3, 1, 1, generator=torch.Generator().manual_seed(1)).expand(8, 3, 32, 32)
    x = flat + 0.5 * draw(8, 3, 32, 32)
    assert (denoiser(x, 0.5) - flat).square().mean() < (x.clamp(0, 1) - flat).square().mean()
