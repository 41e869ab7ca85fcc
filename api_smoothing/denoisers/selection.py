"""What `denoiser="auto"` means: the bundled denoiser for a side and a noise level."""

from __future__ import annotations

from typing import Any

from api_smoothing.denoisers.registry import PINNED, WEIGHTS, read_card
from api_smoothing.errors import ConfigurationError

#: Bundled denoisers by preference: tuned for classifiers first.
PREFERENCE = ("unet-cifar10", "unet-cifar10-mse", "unet-natural", "unet-natural-mse")


def choose(*, side: int | tuple[int, int] | None, sigma: float) -> str:
    """The name of the first bundled denoiser made for images of `side` pixels (None: any) and noise `sigma`.

    `side` is one for square images, or height and width. Raises ConfigurationError, naming what there is.
    """
    sides = () if side is None else (side,) if isinstance(side, int) else side
    for name in PREFERENCE:
        if name in PINNED:
            card = read_card(WEIGHTS / f"{name}.safetensors")
            low, high = card["sigma_range"]
            fits = all(s in card["sizes"] if card["sizes"] else s % card["multiple"] == 0 for s in sides)
            if low <= sigma <= high and fits:
                return name
    served = {name: _served(read_card(WEIGHTS / f"{name}.safetensors")) for name in PREFERENCE}
    known = "; ".join(
        f"{', '.join(name for name in served if served[name] == what)} {what}"
        for what in dict.fromkeys(served.values())
    )
    where = f"side {'×'.join(map(str, dict.fromkeys(sides)))}" if sides else "this size"
    raise ConfigurationError(
        f"no bundled denoiser covers {where} at sigma {sigma:g} ({known}); "
        f"give another size or sigma, a denoiser's path, or denoiser=None"
    )


def resolve(name: str, *, side: int | tuple[int, int] | None, sigma: float) -> str:
    """`name`, but for "auto" what `choose` takes; a method and its options (`auto?method=…`) stay.

    Raises ConfigurationError.
    """
    first, mark, words = name.partition("?")
    return f"{choose(side=side, sigma=sigma)}{mark}{words}" if first == "auto" else name


def _served(card: dict[str, Any]) -> str:
    sides = (
        f"side {', '.join(map(str, card['sizes']))}" if card["sizes"] else f"multiples of {card['multiple']}"
    )
    low, high = card["sigma_range"]
    return f"for {sides}, sigma {low:g} to {high:g}"
