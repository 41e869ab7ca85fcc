"""Denoisers with a card and no more: they keep working, and their answers are never another's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from api_smoothing import denoisers
from api_smoothing.denoisers import registry
from api_smoothing.denoisers.adopted import UNKNOWN, adopt, asked
from api_smoothing.denoisers.base import Denoiser, DenoiserCard, ManyPaths
from api_smoothing.denoisers.ensemble import Ensemble
from api_smoothing.denoisers.reverse import noise_levels
from api_smoothing.denoisers.suite import DenoiserSuite
from api_smoothing.errors import ConfigurationError

CARD = DenoiserCard(id="old", sha256="1" * 64, sigma_range=(0.1, 1.0), multiple=8)


class Old:
    """A denoiser as the contract was before it named every member; it takes no side that is no multiple of 8."""

    card = CARD

    def __init__(self, *, device: str = "cpu", dtype: str = "auto") -> None:
        self.calls: list[tuple[int, ...]] = []

    def __call__(self, x: Tensor, sigma: float | Tensor, /) -> Tensor:
        from api_smoothing.denoisers.checks import row_levels

        assert x.shape[2] % 8 == x.shape[3] % 8 == 0
        row_levels(self.card, x, sigma)
        self.calls.append(tuple(x.shape))
        return torch.nn.functional.avg_pool2d(x, 5, 1, 2, count_include_pad=False)


class Telling(Old):
    """One that tells its arithmetic, and no more."""

    compute = "fp16"


class Whole(Telling):
    """One with all there is."""

    paths_per_query: ClassVar[int] = 1


class TestAdopted(DenoiserSuite):
    """With what it lacks around it, it keeps the laws, at every size."""

    @pytest.fixture
    def denoiser(self) -> Denoiser:
        return adopt(Old(), compute="fp32")


def plugin(monkeypatch: pytest.MonkeyPatch, made: Any) -> None:
    """Make `made` the denoiser "theirs" of another package."""

    class Entry:
        name = "theirs"

        @staticmethod
        def load() -> Any:
            return made

    monkeypatch.setattr(registry, "_plugins", lambda: [Entry()])


def test_what_is_whole_is_left_alone() -> None:
    """Nothing is put around a denoiser that has every member."""
    whole = Whole()
    assert adopt(whole) is whole


def test_what_is_lacking_has_documented_values() -> None:
    """One path; the arithmetic it tells, or was asked for, or none that is known; and the same estimates."""
    x = torch.rand(2, 3, 16, 16)
    old = adopt(Old())
    assert (old.compute, old.paths_per_query, old.card) == (UNKNOWN, 1, CARD)
    assert torch.equal(old(x, 0.3), Old()(x, 0.3))
    assert adopt(Telling()).compute == "fp16"
    assert adopt(Old(), compute="bf16/cuda").compute == "bf16/cuda"
    assert adopt(Ensemble(denoiser=Old())).compute == UNKNOWN  # type: ignore[arg-type]


def test_a_plugin_is_named_by_what_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaded at fp32 and at bf16, on the CPU and on CUDA, it has four arithmetics; fp32 on the CPU is nameless."""
    plugin(monkeypatch, Old)
    found = {
        (device, dtype): denoisers.load("theirs", device=device, dtype=dtype).compute
        for device in ("cpu", "cuda:1")
        for dtype in ("fp32", "bf16")
    }
    assert found == {
        ("cpu", "fp32"): "",
        ("cpu", "bf16"): "bf16",
        ("cuda:1", "fp32"): "fp32/cuda",
        ("cuda:1", "bf16"): "bf16/cuda",
    }
    auto = registry.compute_type("cpu", "auto")
    assert denoisers.load("theirs").compute == asked(auto, "cpu")
    plugin(monkeypatch, Whole)
    assert denoisers.load("theirs", dtype="bf16").compute == "fp16"


def test_levels_and_paths_are_passed_on() -> None:
    """What it has beyond the contract is still used: levels it stops at, paths it draws."""

    class Rich(Old):
        paths_per_query = 3

        def snap(self, sigma: Tensor) -> Tensor:
            return (sigma * 10).ceil() / 10

        def path(self, x: Tensor, sigma: float | Tensor, number: int) -> Tensor:
            return self(x, sigma) + number

    found = adopt(Rich())
    assert isinstance(found, ManyPaths)
    x = torch.rand(1, 3, 9, 16)
    torch.testing.assert_close(found.path(x, 0.3, 2), found(x, 0.3) + 2)
    sigma = torch.tensor([0.87])
    stepped, plain = (noise_levels(adopt(made), sigma, 4)[1] for made in (Rich(), Old()))
    assert torch.equal(stepped, Rich().snap(plain))
    assert not torch.equal(stepped, plain)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"card": None}, "needs a `card`"),
        ({"compute": 32}, "`compute` of Odd must be text such as 'fp32', not 32"),
        ({"paths_per_query": 0}, "whole number from 1 on, not 0"),
        ({"paths_per_query": True}, "whole number from 1 on, not True"),
        ({"paths_per_query": 3}, "3 paths a query but no path"),
    ],
)
def test_what_is_no_denoiser_is_told(members: dict[str, Any], words: str) -> None:
    """Members of the wrong kind are one line that names them, not an error of the first query."""
    odd = type("Odd", (Old,), members)()
    with pytest.raises(ConfigurationError, match="to be called as d"):
        adopt(SimpleNamespace(card=CARD))
    with pytest.raises(ConfigurationError, match=words) as seen:
        adopt(odd)
    assert "\n" not in str(seen.value)


@pytest.mark.parametrize("lacking", ["compute", "paths_per_query"])
def test_the_suite_names_what_is_missing(lacking: str) -> None:
    """The laws ask for every member by name."""
    odd: Any = {"compute": Old(), "paths_per_query": Telling()}[lacking]
    with pytest.raises(AssertionError, match=f"has a member {lacking}"):
        DenoiserSuite().test_it_has_every_member(odd)
    with pytest.raises(AssertionError):
        DenoiserSuite().test_it_has_every_member(adopt(Old()))
