"""Many steps of a denoiser: the reverse diffusion process, from the noise of the image down to none.

The samplers know a denoiser only as D(x, σ), in the style of Karras et al. 2022: the state y has noise of
standard deviation σ_i in [0,1] pixel units, and each step brings it from σ_i to σ_{i+1} < σ_i. With
y = x_t/√ᾱ_t this is the reverse process of a variance-preserving model, so `OneShot` serves as well as a
network trained for any σ. One step is

  y ← x̂0 + √(σ_{i+1}² − u²)/σ_i · (y − x̂0) + u·z,   x̂0 = D(y, σ_i),   u² = η²·σ_{i+1}²(1 − σ_{i+1}²/σ_i²),

with η = 1 the posterior q(y_{i+1} | y_i, x̂0) of DDPM (Ho, Jain, Abbeel 2020, equations 6 and 7, after the change
of variables) and with η = 0 the deterministic DDIM (Song, Meng, Ermon 2021, equations 12 and 16).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from api_smoothing.denoisers.base import Denoiser, DenoiserCard, Stepped
from api_smoothing.denoisers.checks import row_levels
from api_smoothing.denoisers.gradients import inference, is_path_fixed
from api_smoothing.errors import ConfigurationError

_LABEL = b"api-smooth path 1\0"  # a change of the stream's format changes this number
_RHO = 7.0  # spacing of the noise levels (Karras et al. 2022, equation 5 and table 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverse:
    """D(x, σ): one path of the reverse process in `steps` uses of `denoiser`; one step is the denoiser itself.

    `eta` is η: 1 draws from DDPM's posterior, 0 is DDIM and draws nothing. The path is a function of the row,
    its σ and `seed` alone. It ends at the least noise the denoiser serves, with its estimate there. A denoiser
    that is `Stepped` is only asked at its own levels.
    """

    paths_per_query: ClassVar[int] = 1
    denoiser: Denoiser
    steps: int = 8
    eta: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        check_steps(self.steps)
        if not 0 <= self.eta <= 1:
            raise ConfigurationError(f"eta must be from 0 (DDIM) to 1 (DDPM), not {self.eta!r}")

    @property
    def card(self) -> DenoiserCard:
        """The facts about the whole."""
        sampler = {"sampler": "reverse", "steps": self.steps, "eta": self.eta, "seed": self.seed}
        return sampler_card(self.denoiser.card, "reverse", sampler)

    @property
    def compute(self) -> str:
        """The denoiser's arithmetic."""
        return self.denoiser.compute

    def __call__(self, x: Tensor, sigma: float | Tensor, /) -> Tensor:
        """x̂0 (N,3,H,W) of x's dtype and device: path 0. Raises ConfigurationError for σ outside the card's range."""
        return self.sample(x, sigma)

    @inference
    def sample(self, x: Tensor, sigma: float | Tensor, *, path: int = 0) -> Tensor:
        """The end of path number `path` for each row, (N,3,H,W); other numbers draw other noise."""
        levels = row_levels(self.card, x, sigma)
        if not len(x):
            return x.clone()
        noise = row_noise(x, levels, seed=self.seed, path=path)
        y = x.float()
        ladder = noise_levels(self.denoiser, levels, self.steps)
        for here, there in pairwise(ladder):
            clean = self.denoiser(y, here).clamp(0, 1)  # the mean of images in [0,1] lies in it
            mean, spread = step(y, clean, here, there, self.eta)
            y = mean + spread * next(noise) if self.eta else mean
        return self.denoiser(y, ladder[-1]).to(x.dtype)


def step(y: Tensor, clean: Tensor, here: Tensor, there: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """(mean (N,3,H,W), standard deviation (N,1,1,1)) of y at the noise `there`, given it and x̂0 at `here` (N,)."""
    here, there = here[:, None, None, None], there[:, None, None, None]
    spread = eta * there * (1 - (there / here).square()).clamp(min=0).sqrt()
    return clean + (there.square() - spread.square()).sqrt() / here * (y - clean), spread


def noise_levels(denoiser: Denoiser, sigma: Tensor, steps: int) -> list[Tensor]:
    """`steps` noise levels (N,) for each row: from its own σ down to the least the denoiser serves.

    Evenly spaced in σ^(1/7) (Karras et al. 2022, equation 5). The first is σ as it is.
    """
    low = denoiser.card.sigma_range[0]
    ladder = [sigma]
    for k in range(1, steps):
        # row by row: powers of a whole tensor round differently at the end of a batch
        level = [_between(top, low, k / (steps - 1)) for top in sigma.tolist()]
        wanted = sigma.new_tensor(level).clamp(min=low)
        ladder.append((denoiser.snap(wanted) if isinstance(denoiser, Stepped) else wanted).minimum(sigma))
    return ladder


def _between(top: float, low: float, share: float) -> float:
    start, end = top ** (1 / _RHO), low ** (1 / _RHO)
    return float((start + share * (end - start)) ** _RHO)


def row_noise(x: Tensor, sigma: Tensor, *, seed: int, path: int) -> Iterator[Tensor]:
    """Standard normal noise (N,3,H,W), float32 on x's device, without end: row i's from row i and its σ alone. N ≥ 1.

    Key = SHA-256(label ‖ seed ‖ path ‖ σ ‖ shape ‖ row as float32)[:16]; the row's values come from
    Philox(key). So a query gets the same path in any batch, order, process and machine. Only where a path is fixed for
    an attack (`gradients`), the row and its σ are left out of the key.
    """
    head = _LABEL + json.dumps([seed, path, *x.shape[1:]]).encode()
    if is_path_fixed():
        stream = _stream(hashlib.sha256(head + b"fixed").digest())
        while True:
            one = torch.from_numpy(stream.standard_normal(x.shape[1:], dtype=np.float32))
            yield one.to(x.device).expand(x.shape)
    rows = (x.detach().to("cpu", torch.float32) + 0.0).contiguous().numpy()  # + 0.0: −0 and 0 are one value
    levels = sigma.detach().to("cpu", torch.float32).numpy()
    streams = [_stream(_digest(head, level, row)) for level, row in zip(levels, rows, strict=True)]
    while True:
        drawn = [stream.standard_normal(x.shape[1:], dtype=np.float32) for stream in streams]
        yield torch.from_numpy(np.stack(drawn)).to(x.device)


def _stream(digest: bytes) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def _digest(head: bytes, level: np.floating[Any], row: np.ndarray) -> bytes:
    return hashlib.sha256(head + level.tobytes() + row.tobytes()).digest()


def sampler_card(card: DenoiserCard, name: str, sampler: dict[str, Any]) -> DenoiserCard:
    """The card of a sampler around the denoiser of `card`: its own id and sha256, and no quality of its own."""
    settings = json.dumps(sampler, sort_keys=True)
    return replace(
        card,
        id=f"{card.id}+{name}",
        sha256=hashlib.sha256(f"{card.sha256} {settings}".encode()).hexdigest(),
        quality={},
        training={**card.training, **sampler},
        named=card.named and bool(card.sha256),
    )


def check_steps(steps: int) -> None:
    """Refuse a number of steps that is no whole number from 1 to 1000."""
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= 1000:
        raise ConfigurationError(f"steps must be a whole number from 1 to 1000, not {steps!r}")
