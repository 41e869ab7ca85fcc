"""Foreign networks as denoisers: named by their weights as they are now, kept only where the code has a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from api_smoothing import SmoothedAPI, denoisers
from api_smoothing.denoisers.ensemble import Ensemble
from api_smoothing.denoisers.reverse import Reverse
from api_smoothing.engine.session import lasting
from api_smoothing.errors import ProviderError

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


class Scaled(nn.Module):
    """x times a weight, with dropout."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by, self.drop = nn.Parameter(torch.tensor(by)), nn.Dropout(0.5)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.drop(x * self.by)


class Black(nn.Module):
    """The same weights as one without any, another code."""

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return torch.zeros_like(x)


class Same(nn.Module):
    """As it is."""

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return x


def wrapped(network: Any, **options: Any) -> denoisers.Denoiser:
    return denoisers.wrap(network, id="mine", sigma_range=(0.01, 1.0), **options)


def counts(denoiser: denoisers.Denoiser, home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    monkeypatch.setenv("API_SMOOTH_HOME", str(home))
    with SmoothedAPI("torchvision", sigma=0.12, seed=1, size=32, denoiser=denoiser) as api:
        return api.certify(IMAGE, n=20).counts


@pytest.mark.parametrize(
    "around", [lambda d: d, lambda d: Ensemble(denoiser=d, views=1)], ids=["alone", "inside"]
)
def test_another_code_under_the_same_name_gets_its_own_answers(
    around: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that has no name is not kept on disk, nor inside of another denoiser."""
    counts(around(wrapped(Same())), tmp_path / "one", monkeypatch)
    second = counts(around(wrapped(Black())), tmp_path / "one", monkeypatch)
    assert second == counts(around(wrapped(Black())), tmp_path / "two", monkeypatch)


def test_a_name_for_the_code_keeps_answers() -> None:
    """Code, weights and whatever is around them make the name; without one for the code nothing is kept."""
    net = Scaled(1.0)
    kinds = [wrapped(net, fingerprint=f) for f in ("mine", "2", "3")]
    kinds += [Reverse(denoiser=kinds[0], steps=2), Ensemble(denoiser=kinds[0])]
    assert all(map(lasting, kinds))
    assert len({d.card.sha256 for d in kinds}) == len(kinds)
    for loose in (wrapped(net), Reverse(denoiser=wrapped(net)), Ensemble(denoiser=wrapped(net))):
        assert not lasting(loose)
    assert wrapped(net).card.sha256 == kinds[0].card.sha256


def test_weights_are_digested_anew() -> None:
    """Training after wrapping makes another denoiser, alone, inside of others, and behind a function."""
    net = Scaled(1.0)
    one = wrapped(net, fingerprint="1")
    every = [
        one,
        Ensemble(denoiser=one),
        Reverse(denoiser=one),
        wrapped(lambda x, s: net(x, s), fingerprint="1"),
    ]
    before = [d.card.sha256 for d in every]
    assert before == [d.card.sha256 for d in every]
    with torch.no_grad():
        net.by.add_(1e-6)
    assert not set(before) & {d.card.sha256 for d in every}


def test_a_network_is_asked_in_evaluation_mode_and_given_back_as_it_came() -> None:
    """Dropout is off while it denoises, and on again for whoever trains it."""
    net = Scaled(1.0).train()
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(wrapped(net)(x, 0.1), x)
    assert net.training
    assert net.drop.training


def test_pixels_that_are_no_numbers_are_asked_about_nowhere() -> None:
    """NaN from a denoiser is an error before anything is sent, not a black picture."""
    asked: list[int] = []
    with (
        SmoothedAPI(
            lambda x: asked.append(1) or [0] * len(x),
            sigma=0.25,
            denoiser=wrapped(Scaled(float("nan"))),
            cache=False,
        ) as api,
        pytest.raises(ProviderError, match="the denoiser mine gave NaN"),
    ):
        api.certify(IMAGE, n=20)
    assert not asked
