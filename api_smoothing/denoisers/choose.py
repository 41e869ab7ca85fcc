"""What `denoiser="auto"` means: the bundled denoiser for a side and a noise level."""

from __future__ import annotations

from api_smoothing.denoisers.registry import PINNED, WEIGHTS, read_card
from api_smoothing.errors import ConfigurationError

#: Bundled denoisers by preference: tuned for classifiers first.
PREFERENCE = ("unet-cifar10", "unet-cifar10-mse", "unet-natural", "unet-natural-mse")


def choose(*, side: int | None, sigma: float) -> str:
    """The name of the first bundled denoiser made for images of `side` pixels (None: any) and noise `sigma`.

    Raises ConfigurationError, naming what there is, when none was.
    """
    for name in PREFERENCE:
        if name in PINNED:
            card = read_card(WEIGHTS / f"{name}.safetensors")
            low, high = card["sigma_range"]
            fits = side is None or (side in card["sizes"] if card["sizes"] else side % card["multiple"] == 0)
            if low <= sigma <= high and fits:
                return name
    cards = {name: read_card(WEIGHTS / f"{name}.safetensors") for name in sorted(PINNED)}
    known = "; ".join(
        f"{name}: sides {', '.join(map(str, card['sizes'])) or 'multiples of ' + str(card['multiple'])}, "
        f"sigma {card['sigma_range'][0]:g} to {card['sigma_range'][1]:g}"
        for name, card in cards.items()
    )
    where = "this size" if side is None else f"side {side}"
    raise ConfigurationError(
        f"no bundled denoiser covers {where} at sigma {sigma:g} ({known}); "
        f"give another size or sigma, a denoiser's path, or denoiser=None"
    )
