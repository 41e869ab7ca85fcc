"""Foreign modules are asked in evaluation mode, and given back in the mode they came in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def evaluating(module: object) -> Iterator[None]:
    """The time in which `module`, if it is one, is in evaluation mode; then each part is in the mode it came in."""
    if not isinstance(module, nn.Module):
        yield
        return
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
