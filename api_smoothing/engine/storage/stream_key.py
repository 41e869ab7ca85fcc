"""The name of a vote stream: a digest of everything that decides the answer to a query."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Protocol

from api_smoothing.adapters.base import AdapterCard
from api_smoothing.precision import kind_of

if TYPE_CHECKING:
    from api_smoothing.denoisers.base import Denoiser


class Asked(Protocol):
    """What is known of the pixels of a query: the image, and the noise upon it."""

    @property
    def image_digest(self) -> bytes: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def sub(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def sigma(self) -> float: ...


def stream_name(
    noise: Asked,
    *,
    seed: str,
    adapter: AdapterCard,
    denoiser: Denoiser | None,
    factor: int = 1,
    device: str = "cpu",
    state: str = "",
    epoch: str | None = None,
) -> str:
    """A hex digest; two streams of one name get the same answer to the same query index.

    `seed` is the seed's public label, never its key. `factor` is the enlargement before sending. `device` is where
    images are denoised, and given to a model in this process: its kind is part of the arithmetic, and so is the
    denoiser's `compute`. The noise is the same integers on all of them. `state` is what can be seen of parts without a
    name, whose answers are kept in memory, `epoch` the name of a round of fresh answers. The label map is not part of
    it: the cache keeps what the provider said, and a map only reads it.
    """
    facts: dict[str, object] = {
        "format": 1,
        "image": noise.image_digest.hex(),
        "shape": list(noise.shape),
        "sub": noise.sub,
        "noise": noise.kind,
        "sigma": noise.sigma,
        "seed": seed,
        "denoiser": None if denoiser is None else [denoiser.card.sha256, denoiser.compute],
        "provider": [adapter.name, adapter.fingerprint],
    }
    if factor > 1:
        facts["factor"] = factor
    if (denoiser is not None or adapter.accepts == "tensor") and (kind := kind_of(device)) != "cpu":
        facts["device"] = kind
    if epoch is not None:
        facts["epoch"] = epoch
    if state:
        facts["state"] = state
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:40]
