"""What a defence promises is checked, and who breaks it is named."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from toy_defences import Darker, tensor

from api_smoothing.defences import Cost, Defence
from api_smoothing.defences.base import check_defence, on_8_bits, purified
from api_smoothing.errors import ConfigurationError


def doing(purify: Any) -> Any:
    """A defence called "odd" that does `purify`."""
    return SimpleNamespace(name="odd", cost=Cost(), purify=purify)


def test_one_image_or_copies() -> None:
    """Both come as (N,k,3,H,W)."""
    assert isinstance(Darker(), Defence)
    assert purified(Darker(), tensor(2), 0).shape == (2, 1, 3, 8, 8)
    assert purified(Darker(copies=3), tensor(2), 0).shape == (2, 3, 3, 8, 8)


@pytest.mark.parametrize(
    ("purify", "why"),
    [
        (lambda images, seed: images + 0.001, "multiples of 1/255"),
        (lambda images, seed: images * torch.nan, "multiples of 1/255"),
        (lambda images, seed: images + 1, "outside"),
        (lambda images, seed: images[:1], r"gave \(1, 3, 8, 8\) for images \(2, 3, 8, 8\)"),
        (lambda images, seed: images[:, None][:, :0], r"must be \(2, 3, 8, 8\), or \(2, k, 3, 8, 8\)"),
        (lambda images, seed: None, "NoneType"),
        (lambda images, seed: 1 / 0, "failed: ZeroDivisionError"),
    ],
)
def test_a_broken_promise_is_named(purify: Any, why: str) -> None:
    """In one line."""
    with pytest.raises(ConfigurationError, match=why) as told:
        purified(doing(purify), tensor(2), 0)
    assert "the defence odd" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("lacking", ["name", "cost", "purify"])
def test_a_member_that_is_lacking_is_named(lacking: str) -> None:
    """An object is no defence without all three."""
    members = {"name": "odd", "cost": Cost(), "purify": print}
    check_defence(SimpleNamespace(**members), "this")
    members[lacking] = None
    with pytest.raises(ConfigurationError, match=f"this is no defence.*{lacking}"):
        check_defence(SimpleNamespace(**members), "this")


def test_8_bits() -> None:
    """Clipped, and the nearest of 256."""
    assert torch.equal(
        on_8_bits(torch.tensor([-1.0, 0.4 / 255, 0.6 / 255, 2.0])) * 255, torch.tensor([0.0, 0.0, 1.0, 255.0])
    )
