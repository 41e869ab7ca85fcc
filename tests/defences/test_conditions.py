"""Attacks and corruptions by name: what each name means, in which order, and what is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toy_defences import Toy, tensor

from api_smoothing.attacks import PGD, Square
from api_smoothing.attacks.ball import Ball
from api_smoothing.corruptions import NAMES
from api_smoothing.defences.conditions import ByGradients, attack_of, conditions_of
from api_smoothing.errors import ConfigurationError


def names(*args: Any, **given: Any) -> list[tuple[str, str]]:
    return [(one.name, one.kind) for one in conditions_of(*args, **given)]


def test_each_is_there_once_in_order() -> None:
    """The attacks, the same behind the defences, the corruptions."""
    assert names(["none", "pgd-l2-0.5", "none"], ["fog:3", "snow:1", "fog:3"], adaptive=True) == [
        ("none", "clean"),
        ("pgd-l2-0.5", "attack"),
        ("adaptive pgd-l2-0.5", "adaptive"),
        ("fog:3", "corruption"),
        ("snow:1", "corruption"),
    ]


def test_all_corruptions() -> None:
    """Fifteen at five severities, or at one; a name alone at five."""
    assert len(names([], ["all"])) == 75
    assert names([], ["all:2"]) == [(f"{name}:2", "corruption") for name in NAMES]
    assert names([], ["fog"]) == [(f"fog:{k}", "corruption") for k in range(1, 6)]


@pytest.mark.parametrize(
    ("name", "norm", "radius"), [("pgd-linf-8/255", "linf", 8 / 255), ("pgd-l2-0.25", "l2", 0.25)]
)
def test_pgd_by_name(name: str, norm: str, radius: float) -> None:
    """With the radius it says, exactly, and the steps that were given."""
    found = attack_of(name, steps=7, seed=3)
    assert isinstance(found, ByGradients)
    assert (found.name, found.pgd) == (name, PGD(norm=norm, radius=radius, steps=7, seed=3))  # type: ignore[arg-type]
    assert found.averaging(5).pgd.eot == 5


@pytest.mark.parametrize(
    ("name", "norm", "radius"),
    [
        ("pgd-linf-20/255", "linf", 20 / 255),
        ("square-linf-20/255", "linf", 20 / 255),
        ("square-l2-0.9", "l2", 0.9),
    ],
)
def test_an_attack_turns_what_it_can_within_its_ball(name: str, norm: Any, radius: float) -> None:
    """8-bit images of the ball; the toy falls to all."""
    clean, labels = tensor(), torch.tensor([0, 1, 0, 1])
    found = attack_of(name, steps=5, queries=300)(clean, labels, Toy())
    assert (Toy()(found).argmax(1) != labels).all()
    a, b = ((x * 255).round().to(torch.uint8).numpy() for x in (clean, found))
    assert all(Ball(norm=norm, radius=radius).holds(*pair) for pair in zip(a, b, strict=True))
    torch.testing.assert_close(found * 255, (found * 255).round())


def test_objects_are_attacks_too() -> None:
    """PGD and Square get a name from their ball; whatever has a name and can be called stays itself."""
    assert attack_of(PGD(norm="l2", radius=0.5)).name == "pgd-l2-0.5"
    assert attack_of(Square(radius=0.25)).name == "square-linf-0.25"
    assert attack_of(PGD(norm="l2", radius=0.5, steps=5, losses=("margin",))).name == (
        "pgd-l2-0.5?steps=5&losses=margin"
    )

    class Own:
        name = "own"

        def __call__(self, images: Any, labels: Any, model: Any) -> Any:
            return images

    own = Own()
    assert attack_of(own) is own


@pytest.mark.parametrize(
    ("attacks", "corruptions", "adaptive", "why"),
    [
        (["pgd"], [], False, "no attack 'pgd': give none, pgd-linf-R"),
        (["pgd-linf-8/0"], [], False, "radius '8/0'"),
        (["square-l1-0.5"], [], False, "no attack 'square-l1-0.5'"),
        ([3], [], False, "int is no attack"),
        (
            [PGD(norm="l2", radius=0.5), Square(norm="l2", radius=0.5), PGD(norm="l2", radius=0.50000001)],
            [],
            False,
            "two attacks are called 'pgd-l2-0.5'",
        ),
        ([], ["fogg"], False, "fogg"),
        ([], ["fog:6"], False, "severity"),
        ([], ["fog:x"], False, "severity in 'fog:x'"),
        ([], [], False, "under what"),
        (["none"], ["fog"], True, "adaptive attacks are attacks"),
    ],
)
def test_what_is_none_is_told(attacks: Any, corruptions: Any, adaptive: bool, why: str) -> None:
    """In one line."""
    with pytest.raises(ConfigurationError, match=why):
        conditions_of(attacks, corruptions, adaptive=adaptive)
