"""Gradients through a denoiser, for attacks that know the defence: there are none unless they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from api_smoothing.denoisers.base import Denoiser

P = ParamSpec("P")
R = TypeVar("R")

_WANTED: Final[ContextVar[bool]] = ContextVar("gradients", default=False)


def inference(function: Callable[P, R]) -> Callable[P, R]:
    """`function` without gradients, but within `gradients()`."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        if _WANTED.get():
            return function(*args, **kwargs)
        with torch.no_grad():
            return function(*args, **kwargs)

    return guarded


@contextmanager
def gradients() -> Iterator[None]:
    """A time in which denoisers give gradients, in this thread; nested ones (`Reverse`, `Ensemble`) too."""
    before = _WANTED.set(True)
    try:
        with torch.enable_grad():
            yield
    finally:
        _WANTED.reset(before)


def differentiable(denoiser: Denoiser, x: Tensor, sigma: float) -> Tensor:
    """D(x, σ) (N,3,H,W) with its gradient; where it has none the identity's takes its place.

    That is the backward pass of Athalye, Carlini and Wagner 2018 (BPDA). Noise inside, a function of x, is held fixed:
    so the path of a sampler is the one that x has.
    """
    with gradients():
        out = denoiser(x, sigma)
        return out if out.requires_grad or not x.requires_grad else straight_through(x, out)


def straight_through(x: Tensor, value: Tensor) -> Tensor:
    """`value`, of which the gradient is that of `x`."""
    return x + (value - x).detach()
