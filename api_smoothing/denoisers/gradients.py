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
_PATH: Final[ContextVar[bool]] = ContextVar("fixed path", default=False)


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
def gradients(*, fixed_path: bool = False) -> Iterator[None]:
    """A time in which denoisers give gradients, in this thread; nested ones (`Reverse`, `Ensemble`) too.

    With `fixed_path` the chance of a reverse path is the same for every image, as it is not where it is certified.
    """
    before, path = _WANTED.set(True), _PATH.set(fixed_path)
    try:
        with torch.enable_grad():
            yield
    finally:
        _WANTED.reset(before)
        _PATH.reset(path)


def are_wanted() -> bool:
    """Whether this is such a time."""
    return _WANTED.get()


def is_path_fixed() -> bool:
    """Whether every image is to have the chance of one path."""
    return _PATH.get()


def differentiable(denoiser: Denoiser, x: Tensor, sigma: float, *, fixed_path: bool = False) -> Tensor:
    """D(x, σ) (N,3,H,W) with its gradient; where it has none the identity's takes its place.

    That is the backward pass of Athalye, Carlini and Wagner 2018 (BPDA). Noise inside is held fixed while the gradient
    is taken. Which it is, is a function of x, so that another x has another path; see `gradients` for `fixed_path`.
    """
    return traced(denoiser, x, sigma, fixed_path=fixed_path)[0]


def traced(denoiser: Denoiser, x: Tensor, sigma: float, *, fixed_path: bool) -> tuple[Tensor, bool]:
    """The same, and whether the gradient is the true one."""
    with gradients(fixed_path=fixed_path):
        out = denoiser(x, sigma)
        true = out.requires_grad or not x.requires_grad
        return (out if true else straight_through(x, out)), true


def straight_through(x: Tensor, value: Tensor) -> Tensor:
    """`value`, of which the gradient is that of `x`."""
    return x + (value - x).detach()
