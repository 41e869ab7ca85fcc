"""What a defence is: it makes of an image what the classifier sees in its place, and says what that costs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from api_smoothing.attacks.ball import has_8_bits
from api_smoothing.errors import ApiSmoothError, ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an image costs: `queries` to the classifier, and `evaluations` of the defence's own networks."""

    queries: int = 1
    evaluations: int = 0

    def to_dict(self) -> dict[str, int]:
        """Both fields."""
        return asdict(self)


@runtime_checkable
class Defence(Protocol):
    """Purifies images. These three members are all that is asked of it.

    Three more are used where they are there:

    - `differentiable() -> nn.Module`, the same map with gradients, for attacks that know it: images (N,3,H,W) in [0,1]
      to what `purify` gives, with chance drawn anew from torch's generator in each call. A step without a gradient
      passes it straight through. Without this member all of `purify` does.
    - `random: bool`, whether the seed decides anything (left out: it does). Such attacks then average over draws.
    - `identity: str`, what else than the name decides the result, such as the digest of weights: a run file is not
      gone on with behind another one.
    """

    @property
    def name(self) -> str:
        """What it is called, with its settings: two that differ have different names."""
        ...

    @property
    def cost(self) -> Cost:
        """What an image costs."""
        ...

    def purify(self, images: Tensor, seed: int, /) -> Tensor:
        """Images (N,3,H,W), or (N,k,3,H,W) where the answers to k copies are put to the vote; float32, in 8 bits.

        `images` (N,3,H,W) are float32 in [0,1]. Row i depends on row i of them and on `seed` alone.
        """
        ...


def check_defence(found: Any, who: str) -> Defence:
    """`found`, if it has what a defence has. Raises ConfigurationError, beginning with `who`, for what has not."""
    name = getattr(found, "name", None)
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"{who} is no defence: {type(found).__name__} needs a `name`, which is text")
    if not isinstance(getattr(found, "cost", None), Cost):
        raise ConfigurationError(
            f"{who} is no defence: {type(found).__name__} needs a `cost`, a defences.Cost"
        )
    if not callable(getattr(found, "purify", None)):
        raise ConfigurationError(f"{who} is no defence: {type(found).__name__} needs purify(images, seed)")
    defence: Defence = found
    return defence


def purified(defence: Defence, images: Tensor, seed: int) -> Tensor:
    """(N,k,3,H,W) of what `defence` makes of `images` (N,3,H,W), without gradients; k is 1 where there is no vote.

    Raises ConfigurationError, naming the defence, where that is not what it promises, or where its own code fails.
    """
    try:
        with torch.no_grad():
            found = defence.purify(images.clone(), seed)  # in place it may work on its own copy
    except ApiSmoothError:
        raise
    except Exception as error:  # another package's code may raise anything
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigurationError(f"the defence {defence.name} failed: {why[:300]}") from error
    copies = as_copies(found, images, defence.name)
    check_8_bits(copies, f"the defence {defence.name}")
    return copies


def check_8_bits(x: Tensor, who: str) -> None:
    """Raise ConfigurationError, beginning with `who`, unless `x` is of multiples of 1/255 in [0,1]."""
    if not has_8_bits(x):
        raise ConfigurationError(f"{who} gave values that are no multiples of 1/255")
    if float(x.min()) < 0 or float(x.max()) > 1:
        raise ConfigurationError(f"{who} gave values outside [0, 1]")


def as_copies(found: Any, images: Tensor, name: str) -> Tensor:
    """`found` as (N,k,3,H,W), on the device of `images`. Raises ConfigurationError for another shape."""
    shape = tuple(getattr(found, "shape", ()))
    one = tuple(images.shape)
    voted = len(shape) == 5 and (shape[0], *shape[2:]) == one and shape[1] > 0
    if not isinstance(found, Tensor) or not (shape == one or voted):
        raise ConfigurationError(
            f"the defence {name} gave {shape or type(found).__name__} for images {one}: it must be {one}, or "
            f"({one[0]}, k, {', '.join(map(str, one[1:]))}) for a vote"
        )
    return (found if voted else found[:, None]).to(images)


def on_8_bits(x: Tensor) -> Tensor:
    """`x` clipped to [0,1] and rounded to multiples of 1/255."""
    return (x.clamp(0, 1) * 255).round() / 255
