"""Diffusion models in the layout of the `diffusers` library, from a folder or by name, as one-shot denoisers.

Read are an unconditional UNet2DModel and the noise schedule it was trained with: a whole pipeline folder
(`unet/`, `scheduler/`), or both files in one folder. Only safetensors weights are opened, no code of the model's
is run, and nothing is fetched unless that is allowed.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from api_smoothing.denoisers.diffusion import OneShot, Prediction, one_shot
from api_smoothing.denoisers.schedule import Schedule, from_alpha_bar
from api_smoothing.errors import ConfigurationError, MissingExtraError, WeightsError
from api_smoothing.precision import compute_type, torch_type

#: What a denoiser's name starts with when it means such a model: "diffusers:FOLDER" or "diffusers:owner/name".
PREFIX: Final = "diffusers:"

_PREDICTIONS: Final[dict[str, Prediction]] = {"epsilon": "epsilon", "v_prediction": "v", "sample": "sample"}


def load_diffusers(
    name_or_folder: str | Path, *, download: bool = False, device: str = "cpu", dtype: str = "auto"
) -> OneShot:
    """The diffusion model in that folder, or of that name on the hub, as D(x, σ).

    A name is looked up in the local cache; only `download` fetches what is not there. `dtype` is what it
    computes in: "fp32", "bf16", "fp16", or "auto". Raises MissingExtraError without `diffusers`; WeightsError
    for what is missing or no safetensors; ConfigurationError for a model that is no denoiser of RGB images.
    """
    name = str(name_or_folder).removeprefix(PREFIX)
    place = Path(name) if Path(name).is_dir() else _from_hub(name, download)
    unet_folder = place / "unet" if (place / "unet").is_dir() else place
    shape = _config(unet_folder / "config.json")
    trained = _config(_first(place / "scheduler", place) / "scheduler_config.json")
    _check_network(shape, name)
    schedule, prediction = _schedule(trained, name)
    compute = compute_type(device, dtype)
    sides = shape.get("sample_size")
    sizes = {sides} if isinstance(sides, int) else set(sides or ())
    ident = f"diffusers-{Path(name).name if Path(name).is_dir() else name}"
    return one_shot(
        _network(unet_folder, name, device, compute),
        schedule=schedule,
        id=ident,
        prediction=prediction,
        sizes=tuple(sizes) if len(sizes) == 1 else (),
        multiple=2 ** (len(shape["block_out_channels"]) - 1),
        device=device,
        compute=compute,
        fingerprint=ident,
    )


def _from_hub(name: str, download: bool) -> Path:
    """The local snapshot of a model on the hub: its configurations and safetensors, no more."""
    _diffusers()
    fetch = import_module("huggingface_hub").snapshot_download
    try:
        found = fetch(name, local_files_only=not download, allow_patterns=["*.json", "*.safetensors"])
    except Exception as error:  # a missing file, a bad name and a dead network all come in their own classes
        if download:
            raise WeightsError(
                f"{name} could not be fetched ({type(error).__name__}); check the name"
            ) from error
        raise WeightsError(
            f"no diffusion model {name} in a folder or in the local cache; fetch it with: hf download {name}"
        ) from error
    return Path(found)


def _first(*folders: Path) -> Path:
    return next((folder for folder in folders if folder.is_dir()), folders[-1])


def _config(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"no {file.name} in {file.parent}; give a folder that diffusers saved") from None
    except ValueError as error:
        raise WeightsError(f"{file} is not JSON; fetch it again") from error
    if not isinstance(found, dict):
        raise WeightsError(f"{file} is no configuration; fetch it again")
    return found


def _check_network(shape: dict[str, Any], name: str) -> None:
    """Refuse what cannot serve as a denoiser of RGB images."""
    kind = shape.get("_class_name")
    if kind != "UNet2DModel":
        raise ConfigurationError(f"{name} is a {kind}; only a UNet2DModel works on pixels alone")
    if shape.get("in_channels") != 3 or shape.get("out_channels") not in (3, 6):
        raise ConfigurationError(f"{name} is not for RGB images; give a model with 3 channels")
    if shape.get("num_class_embeds") is not None or shape.get("class_embed_type") is not None:
        raise ConfigurationError(f"{name} must be told a class; give an unconditional model")
    if shape.get("center_input_sample"):
        raise ConfigurationError(f"{name} moves its input by itself; give a model for images on [-1, 1]")


def _schedule(trained: dict[str, Any], name: str) -> tuple[Schedule, Prediction]:
    """The schedule and what is predicted, as `diffusers` reads the configuration itself."""
    if "beta_schedule" not in trained and trained.get("trained_betas") is None:
        kind = trained.get("_class_name")
        raise ConfigurationError(f"{name} was trained with a {kind}, which is no schedule of betas")
    prediction = _PREDICTIONS.get(trained.get("prediction_type", "epsilon"))
    if prediction is None:
        raise ConfigurationError(f"{name} predicts {trained['prediction_type']}, which is not known here")
    return from_alpha_bar(_diffusers().DDPMScheduler.from_config(trained).alphas_cumprod), prediction


def _network(folder: Path, name: str, device: str, compute: str) -> nn.Module:
    if not any(folder.glob("*.safetensors")):
        raise WeightsError(
            f"{name} has no safetensors weights in {folder}; convert them: pickles are not opened"
        )
    kind = torch_type(compute)
    try:
        unet = _diffusers().UNet2DModel.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False, torch_dtype=kind
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(f"the weights of {name} do not fit its configuration; fetch both again") from error
    return _Network(unet.to(device), kind)


class _Network(nn.Module):
    """A `UNet2DModel` called with (x_t, t) alone."""

    def __init__(self, unet: nn.Module, kind: torch.dtype) -> None:
        super().__init__()
        self.unet, self.kind = unet.eval().requires_grad_(False), kind

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        out: Tensor = self.unet(x.to(self.kind), t, return_dict=False)[0]
        return out


def _diffusers() -> Any:
    try:
        return import_module("diffusers")
    except ImportError:
        raise MissingExtraError(
            "diffusers is not installed; run: pip install 'api-smooth[diffusion]'"
        ) from None
