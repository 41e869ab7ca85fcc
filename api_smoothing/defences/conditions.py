"""Conditions that defences are held against: attacks and corruptions, by name.

none                              the images as they are
pgd-linf-8/255, pgd-l2-128/255    PGD in that ball, [0,1] units
square-linf-8/255, square-l2-0.5  Square, which sees scores alone
fog:3, fog, all:3, all            a corruption at a severity; at all five; all fifteen
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any, Final, Literal, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from api_smoothing.attacks import PGD, Square
from api_smoothing.attacks.ball import Norm
from api_smoothing.attacks.losses import Model
from api_smoothing.attacks.search import Reply
from api_smoothing.corruptions import named
from api_smoothing.errors import ConfigurationError

Kind: TypeAlias = Literal["clean", "attack", "adaptive", "corruption"]

_ATTACK: Final = re.compile(r"(pgd|square)-(linf|l2)-([0-9.]+(?:/[0-9]+)?)")


@runtime_checkable
class Attack(Protocol):
    """Changes images so that a model errs; `name` says how, with its settings."""

    @property
    def name(self) -> str:
        """Two that differ have different names."""
        ...

    def __call__(self, images: Tensor, labels: Tensor, model: Model, /) -> Tensor:
        """8-bit images (N,3,H,W) in [0,1] of `images` (N,3,H,W), whose classes are `labels` (N,) int64."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What is done to the images: an `attack`, or a `corruption` by name and severity; nothing where both are None.

    An attack is on the bare classifier; an `adaptive` one on the classifier behind each defence.
    """

    name: str
    kind: Kind
    attack: Attack | None = None
    corruption: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ByGradients:
    """PGD under a name that says its ball."""

    name: str
    pgd: PGD

    def __call__(self, images: Tensor, labels: Tensor, model: Model, /) -> Tensor:
        """What PGD finds."""
        return self.pgd(images, labels, model)

    def averaging(self, draws: int) -> ByGradients:
        """The same, with so many draws of the model's chance a step."""
        return replace(self, pgd=replace(self.pgd, eot=draws))


@dataclass(frozen=True, slots=True, kw_only=True)
class ByScores:
    """Square, one image after the other; an image that it does not turn is left as it was."""

    name: str
    square: Square

    def __call__(self, images: Tensor, labels: Tensor, model: Model, /) -> Tensor:
        """What Square finds."""
        found = images.clone()
        for row, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
            clean = (image.permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy()
            turned = self.square(clean, str(label), lambda asked: _replies(model, asked, images)).image
            if turned is not None:
                found[row] = torch.from_numpy(turned).permute(2, 0, 1).to(images) / 255
        return found


@torch.no_grad()
def _replies(model: Model, asked: Sequence[Any], like: Tensor) -> list[Reply]:
    x = torch.stack([torch.from_numpy(one).permute(2, 0, 1) for one in asked]).to(like) / 255
    return [
        Reply(label=str(int(row.argmax())), scores={str(k): float(p) for k, p in enumerate(row)})
        for row in model(x).softmax(1)
    ]


def conditions_of(
    attacks: Iterable[str | Attack | PGD | Square],
    corruptions: Iterable[str],
    *,
    adaptive: bool = False,
    steps: int = 40,
    queries: int = 1_000,
    seed: int = 0,
) -> tuple[Condition, ...]:
    """All of them, each once: the attacks, with `adaptive` each of them again, then the corruptions.

    Raises ConfigurationError for a name that is none, and where nothing is left.
    """
    found: dict[str, Condition] = {}
    given = [one if not isinstance(one, str) else one.strip() for one in attacks]
    for one in given:
        if one == "none":
            found["none"] = Condition(name="none", kind="clean")
        else:
            attack = attack_of(one, steps=steps, queries=queries, seed=seed)
            before = found.get(attack.name)
            if before is not None and before.attack != attack:
                raise ConfigurationError(
                    f"two attacks are called {attack.name!r}: give each a name of its own"
                )
            found[attack.name] = Condition(name=attack.name, kind="attack", attack=attack)
    for condition in list(found.values()) if adaptive else []:
        if condition.attack is not None:
            name = f"adaptive {condition.name}"
            found[name] = replace(condition, name=name, kind="adaptive")
    for name, severity in named(corruptions):
        whole = f"{name}:{severity}"
        found[whole] = Condition(name=whole, kind="corruption", corruption=(name, severity))
    if adaptive and not any(condition.kind == "adaptive" for condition in found.values()):
        raise ConfigurationError("adaptive attacks are attacks: name one, such as pgd-linf-8/255")
    if not found:
        raise ConfigurationError("under what? Name attacks, corruptions, or none for the images as they are")
    return tuple(found.values())


def attack_of(given: Any, *, steps: int = 40, queries: int = 1_000, seed: int = 0) -> Attack:
    """The attack that is meant by a name, or an object, whose name has the settings that are not the usual ones.

    Raises ConfigurationError.
    """
    if isinstance(given, PGD):
        return ByGradients(name=f"pgd-{_told(given)}", pgd=given)
    if isinstance(given, Square):
        return ByScores(name=f"square-{_told(given)}", square=given)
    if not isinstance(given, str):
        if isinstance(given, Attack) and isinstance(given.name, str):
            return given
        raise ConfigurationError(
            f"{type(given).__name__} is no attack: it needs a `name` and to be called as attack(images, labels, model)"
        )
    found = _ATTACK.fullmatch(given)
    if found is None:
        raise ConfigurationError(
            f"no attack {given!r}: give none, pgd-linf-R, pgd-l2-R, square-linf-R or square-l2-R, with the radius R as "
            "8/255 or 0.5"
        )
    norm: Norm = "l2" if found[2] == "l2" else "linf"
    radius = _radius(found[3])
    if found[1] == "pgd":
        return ByGradients(name=given, pgd=PGD(norm=norm, radius=radius, steps=steps, seed=seed))
    return ByScores(name=given, square=Square(norm=norm, radius=radius, queries=queries, seed=seed))


def _told(attack: PGD | Square) -> str:
    """Ball and settings, as "l2-0.5" or "l2-0.5?steps=5&restarts=2"."""
    values = {one.name: (getattr(attack, one.name), one.default) for one in fields(attack)}
    others = [
        f"{name}={'+'.join(value) if isinstance(value, tuple) else value}"
        for name, (value, usual) in values.items()
        if name not in ("norm", "radius") and value != usual
    ]
    return "?".join([f"{attack.norm}-{attack.radius:.6g}", *(["&".join(others)] if others else [])])


def _radius(text: str) -> float:
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        raise ConfigurationError(
            f"the radius {text!r} of an attack is no number such as 8/255 or 0.5"
        ) from None
