"""Diffusion networks: our own, its training and weights, and models of the diffusers library."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from api_smoothing import denoisers
from api_smoothing.denoisers import hub
from api_smoothing.errors import ConfigurationError, MissingExtraError, WeightsError


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


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


@pytest.mark.slow
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


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without diffusers the error carries the pip line."""
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'api-smooth\[diffusion\]'"):
        hub.load_diffusers("diffusers:owner/name")
