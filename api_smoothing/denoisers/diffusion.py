"""One step of any diffusion model as a denoiser: one-shot denoising (Carlini et al. 2022, algorithm 1).

The noise is already on the image, at exactly σ, when it gets here; nothing is added. The image is brought to
[−1,1] and to the scale of step t*(σ), the network is asked once, and its estimate of the clean image is
returned. The network believes the noise of step t*, which is 2σ or a little more: for σ from 0.12 to 1 at most
1.5 % more with the linear schedule of 1000 steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from api_smoothing.denoisers.base import DenoiserCard
from api_smoothing.denoisers.checks import row_levels
from api_smoothing.denoisers.gradients import inference
from api_smoothing.denoisers.padding import padded
from api_smoothing.denoisers.schedule import Schedule
from api_smoothing.denoisers.wrapped import wrap
from api_smoothing.errors import ConfigurationError
from api_smoothing.eval_mode import evaluating
from api_smoothing.precision import arithmetic

#: What a network predicts: the noise ε, v = √ᾱ·ε − √(1−ᾱ)·x_0 (Salimans & Ho 2022, appendix D), or x_0.
Prediction = Literal["epsilon", "v", "sample"]

_MOST_SIGMA = 10.0  # in [0,1] units; beyond it nothing of an image is left


def check_prediction(prediction: object) -> None:
    """Raises ConfigurationError where it is none of `Prediction`."""
    if prediction not in get_args(Prediction):
        known = ", ".join(get_args(Prediction))
        raise ConfigurationError(f"prediction {prediction!r} is unknown; choose one of {known}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OneShot:
    """D(x, σ) from `network(x_t, t)`: x_t (N,3,H,W) float32 on [−1,1], t (N,) int64 → (N,3,H,W) or (N,6,H,W).

    The last three of six channels are a learned variance and are not used. The estimate is clipped to the
    image range. `compute` names the type the network runs in, and the kind of device: `precision.arithmetic`.
    """

    paths_per_query: ClassVar[int] = 1
    card: DenoiserCard
    compute: str
    network: Callable[[Tensor, Tensor], Tensor]
    schedule: Schedule
    prediction: Prediction
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse a prediction that is not known."""
        check_prediction(self.prediction)

    @inference
    def __call__(self, x: Tensor, sigma: float | Tensor, /) -> Tensor:
        """x̂0 (N,3,H,W) of x's dtype and device, in [0,1]; σ a number or (N,).

        Raises ConfigurationError for a σ or side that the card does not have, and a network that gives another shape.
        """
        levels = row_levels(self.card, x, sigma)
        if not len(x):
            return x.clone()
        there = x.to(self.device, torch.float32)
        with evaluating(self.network):
            clean = padded(
                self.card,
                lambda whole: estimate(self.network, self.schedule, self.prediction, whole, levels),
                there,
            )
        return clean.clamp(0, 1).to(x.device, x.dtype)

    def snap(self, sigma: Tensor) -> Tensor:
        """The nearest noise from σ upwards that the network has a step for; samplers stop only at such."""
        return self.schedule.snap(sigma)


def estimate(
    network: Callable[[Tensor, Tensor], Tensor],
    schedule: Schedule,
    prediction: Prediction,
    x: Tensor,
    sigma: Tensor,
) -> Tensor:
    """x̂0 (N,3,H,W) in [0,1] units, not clipped, of x (N,3,H,W) float32 with noise σ (N,); with gradients.

    x_t = √ᾱ·(2x − 1) at t*(σ), and from ε: x_0 = (x_t − √(1−ᾱ)·ε)/√ᾱ; from v: x_0 = √ᾱ·x_t − √(1−ᾱ)·v.
    """
    t = schedule.step(sigma)
    share = schedule.alpha_bar[t].to(x.device, torch.float32)[:, None, None, None]
    keep, noise = share.sqrt(), (1 - share).sqrt()
    x_t = keep * (2 * x - 1)
    out = network(x_t, t.to(x.device)).float()
    if out.shape not in {x.shape, (len(x), 6, *x.shape[2:])}:
        raise ConfigurationError(
            f"the diffusion network turned {tuple(x.shape)} into {tuple(out.shape)}; "
            "it must give 3 channels, or 6 with a variance"
        )
    out = out[:, :3]
    if prediction == "epsilon":
        out = (x_t - noise * out) / keep
    elif prediction == "v":
        out = keep * x_t - noise * out
    return (out + 1) / 2


def one_shot(
    network: nn.Module | Callable[[Tensor, Tensor], Tensor],
    *,
    schedule: Schedule,
    id: str,
    prediction: Prediction = "epsilon",
    sigma_range: tuple[float, float] | None = None,
    sizes: Sequence[int] = (),
    multiple: int = 1,
    device: str = "cpu",
    compute: str = "fp32",
    fingerprint: str | None = None,
) -> OneShot:
    """`network(x_t, t)` as a denoiser. `sigma_range` is in [0,1] units; by default the schedule's, up to 10.

    It is identified as `wrap` does it, together with schedule and prediction: the same weights read otherwise
    are another denoiser. A `fingerprint` names code and weights as they are at this moment. Raises ConfigurationError.
    """
    low, high = schedule.sigma_range
    wrapped = wrap(
        network,
        id=id,
        sigma_range=sigma_range or (low, min(high, _MOST_SIGMA)),
        sizes=sizes,
        multiple=multiple,
        fingerprint=fingerprint,
    )
    digest = hashlib.sha256(f"{wrapped.card.sha256} {prediction} ".encode())
    digest.update(schedule.alpha_bar.numpy().tobytes())
    return OneShot(
        card=replace(wrapped.card, sha256=digest.hexdigest()),
        compute=arithmetic(compute, device),
        network=network,
        schedule=schedule,
        prediction=prediction,
        device=device,
    )
