"""Diffusion networks: our own, its training and weights, and models of the diffusers library."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from api_smoothing import denoisers
from api_smoothing.denoisers import hub, schedule
from api_smoothing.denoisers.base import DenoiserCard
from api_smoothing.denoisers.diffusion import Prediction, one_shot
from api_smoothing.denoisers.diffusion_net import build, make_net
from api_smoothing.errors import ConfigurationError, MissingExtraError, WeightsError

SCHEDULES = {"linear": schedule.linear()}
PREDICTIONS: tuple[Prediction, ...] = ("epsilon", "v", "sample")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# Our own network


TINY = {
    "kind": "diffusion",
    "channels": [8, 8],
    "blocks": [1, 1],
    "width": 16,
    "prediction": "epsilon",
    "schedule": {"kind": "linear", "steps": 1000},
}


def test_our_network_is_told_the_noise_of_its_step() -> None:
    """The network gets ln σ_t in [0,1] units, so that it may serve any schedule."""
    net, seen = make_net(TINY), []
    net.net.embed.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    net(torch.zeros(2, 3, 16, 16), torch.tensor([145, 396]))
    angle = (SCHEDULES["linear"].sigmas[[145, 396]] / 2).log().float()[:, None] * net.net.frequencies
    torch.testing.assert_close(seen[0][:, : angle.shape[1]], angle.cos())


def test_weights_of_our_network_load_or_are_refused() -> None:
    """`build` gives back the network's own function; weights of another are a WeightsError."""
    torch.manual_seed(0)
    net = make_net(TINY)
    nn.init.normal_(net.net.out.weight, std=0.05)
    card = DenoiserCard(id="tiny", sha256="0" * 64, sigma_range=(0.02, 1.0))
    denoiser = build(card, TINY, net.state_dict(), device="cpu", compute="fp32")
    assert denoiser.card == card
    x, t = 0.5 + 0.4 * draw(2, 3, 16, 16), SCHEDULES["linear"].step(torch.tensor(0.25))
    share = SCHEDULES["linear"].alpha_bar[t].float()
    x_t = share.sqrt() * (2 * x - 1)
    clean = (x_t - (1 - share).sqrt() * net(x_t, t.expand(2))) / share.sqrt()
    torch.testing.assert_close(denoiser(x, 0.25), ((clean + 1) / 2).clamp(0, 1), rtol=0, atol=1e-5)
    with pytest.raises(WeightsError, match="do not fit"):
        build(card, TINY | {"channels": [8, 16]}, net.state_dict(), device="cpu", compute="fp32")
    with pytest.raises(ConfigurationError, match="linear or cosine"):
        make_net(TINY | {"schedule": {"kind": "sigmoid", "steps": 10}})


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


# Models of the diffusers library


def tiny_model(folder: Path, **changes: Any) -> tuple[Any, Any]:
    """A small UNet2DModel and its scheduler, saved in `folder` as a pipeline."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    shape = {
        "sample_size": 16,
        "block_out_channels": (32, 32),
        "down_block_types": ("DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
    }
    given = changes.pop("unet", {})
    unet = diffusers.UNet2DModel(**(shape | given)).eval()
    scheduler = diffusers.DDPMScheduler(**changes)
    unet.save_pretrained(folder / "unet")
    scheduler.save_pretrained(folder / "scheduler")
    return unet, scheduler


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "prediction_type": "v_prediction",
            "beta_schedule": "squaredcos_cap_v2",
            "rescale_betas_zero_snr": True,
        },
        {"prediction_type": "sample", "beta_schedule": "scaled_linear", "num_train_timesteps": 400},
        {"unet": {"out_channels": 6}, "variance_type": "learned_range"},
    ],
    ids=["epsilon", "v", "sample", "learned variance"],
)
def test_a_foreign_model_denoises_as_its_own_scheduler_says(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Loaded from a folder, D(x, σ) is the library's own estimate of x_0 at step t*."""
    unet, scheduler = tiny_model(tmp_path, **changes)
    denoiser = denoisers.load(f"diffusers:{tmp_path}", dtype="fp32")
    assert denoiser.card.sizes == (16,)
    assert denoiser.card.multiple == 2
    x = 0.5 + 0.3 * draw(2, 3, 16, 16)
    share = scheduler.alphas_cumprod.double()
    t = int(torch.argmax((((1 - share) / share).sqrt() >= 0.5).int()))
    x_t = float(share[t]) ** 0.5 * (2 * x - 1)
    with torch.no_grad():
        out = unet(x_t, t).sample
    theirs = scheduler.step(out, t, x_t).pred_original_sample
    torch.testing.assert_close(denoiser(x, 0.25), ((theirs + 1) / 2).clamp(0, 1), rtol=0, atol=1e-4)


def test_both_files_may_lie_in_one_folder(tmp_path: Path) -> None:
    """config.json and scheduler_config.json side by side are read as well."""
    tiny_model(tmp_path)
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in (*(tmp_path / "unet").iterdir(), *(tmp_path / "scheduler").iterdir()):
        (flat / file.name).write_bytes(file.read_bytes())
    one, other = (hub.load_diffusers(place, dtype="fp32") for place in (tmp_path, flat))
    x = draw(1, 3, 16, 16)
    assert torch.equal(one(x, 0.25), other(x, 0.25))


def spoil(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("file", "changes", "match"),
    [
        ("unet/config.json", {"_class_name": "UNet2DConditionModel"}, "pixels alone"),
        ("unet/config.json", {"in_channels": 1}, "for RGB images"),
        ("unet/config.json", {"out_channels": 1}, "for RGB images"),
        ("unet/config.json", {"num_class_embeds": 10}, "told a class"),
        ("unet/config.json", {"center_input_sample": True}, "moves its input"),
        ("unet/config.json", {"block_out_channels": [32, 64]}, "do not fit its"),
        ("scheduler/scheduler_config.json", {"prediction_type": "flow"}, "predicts flow"),
    ],
)
def test_models_that_are_no_denoisers_are_refused(
    tmp_path: Path, file: str, changes: dict[str, Any], match: str
) -> None:
    """What works on latents, needs a class, or does not fit its weights is refused in one line."""
    tiny_model(tmp_path)
    spoil(tmp_path / file, **changes)
    with pytest.raises((ConfigurationError, WeightsError), match=match) as caught:
        hub.load_diffusers(tmp_path)
    assert "\n" not in str(caught.value)


def test_pickles_and_other_noise_are_refused(tmp_path: Path) -> None:
    """Weights that are no safetensors, a scheduler without betas and a missing file are one-line errors."""
    tiny_model(tmp_path)
    (tmp_path / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "EDMEulerScheduler"}')
    with pytest.raises(ConfigurationError, match="EDMEulerScheduler"):
        hub.load_diffusers(tmp_path)
    tiny_model(tmp_path)
    weights = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(WeightsError, match="pickles are not opened"):
        hub.load_diffusers(tmp_path)
    (tmp_path / "unet" / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"config\.json"):
        hub.load_diffusers(tmp_path)


def test_nothing_is_fetched_unasked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A name that is not in the local cache is an error that says how to fetch it."""
    pytest.importorskip("diffusers")
    hub_library = pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    asked: list[dict[str, Any]] = []
    fetch = hub_library.snapshot_download

    def noted(name: str, **how: Any) -> str:
        asked.append(how)
        return str(fetch(name, cache_dir=tmp_path, **how))

    monkeypatch.setattr(hub_library, "snapshot_download", noted)
    with pytest.raises(WeightsError, match="hf download owner/no-such-model"):
        hub.load_diffusers("diffusers:owner/no-such-model")
    assert [how["local_files_only"] for how in asked] == [True]


def test_what_a_diffusion_model_says_itself_is_not_said_to_it() -> None:
    """A sigma_range given for it would be ignored, so it is refused."""
    with pytest.raises(ConfigurationError, match="leave out sigma_range"):
        denoisers.load("diffusers:owner/name", sigma_range=(0.1, 0.2))


@pytest.mark.parametrize("shape", [(33, 32), (32, 36)])
def test_a_side_that_does_not_fit_is_told(shape: tuple[int, int]) -> None:
    """As for the U-Net: one line, and no error of the network's."""
    with pytest.raises(ConfigurationError, match=r"multiples of 8, not \d+×\d+"):
        denoisers.load("diffusion-cifar10")(torch.rand(1, 3, *shape), 0.25)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without diffusers the error carries the pip line."""
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'api-smooth\[diffusion\]'"):
        hub.load_diffusers("diffusers:owner/name")
