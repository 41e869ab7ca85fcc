"""The one way from a user's choice ("auto", a name, a path, an object, None) to the denoiser that serves it."""

from __future__ import annotations

from pathlib import Path

from api_smoothing.denoisers import registry
from api_smoothing.denoisers.adopted import adopt
from api_smoothing.denoisers.base import Denoiser, DenoiserCard
from api_smoothing.denoisers.registry import PINNED, WEIGHTS, read_card
from api_smoothing.denoisers.samplers import Surrogates
from api_smoothing.errors import ConfigurationError

#: Bundled denoisers by preference: tuned for classifiers first.
PREFERENCE = ("unet-cifar10", "unet-cifar10-mse", "unet-natural", "unet-natural-mse")

#: Sides of an image: one for square images, height and width, or None where they are not settled.
Size = int | tuple[int, int] | None


def select(
    choice: str | Path | Denoiser | None,
    *,
    size: Size,
    sigma: float,
    device: str = "cpu",
    native_side: int | None = None,
    surrogates: Surrogates | None = None,
) -> Denoiser | None:
    """The denoiser meant by `choice`, loaded on `device`, for images of `size` with noise `sigma`; None for none.

    With `size` None images come as they are, or are brought to the first of the card's `sizes`; "auto" then goes by
    `native_side`, the side the model was made for. `surrogates` serves guided methods: see `samplers`. Raises
    ConfigurationError, WeightsError or MissingExtraError, before the weights are read where the card tells.
    """
    if choice is None:
        return None
    if not isinstance(choice, str | Path):
        found = adopt(choice)
    else:
        name = resolve(str(choice), side=native_side if size is None else size, sigma=sigma)
        if (card := registry.describe(name)) is not None:
            _check(card, size=size, sigma=sigma)
        found = registry.load(name, device=device, surrogates=surrogates)
    _check(found.card, size=size, sigma=sigma)
    return found


def foresee(
    choice: str | Path | Denoiser | None, *, size: Size, sigma: float, native_side: int | None = None
) -> DenoiserCard | None:
    """The card of what `select` would give, refused for what `select` refuses; None for no denoiser.

    It is read off the file beside the weights: no torch, no network. A denoiser without one is loaded. A card by a
    method's name (`…?method=vote`) is that of the denoiser it uses.
    """
    if choice is None:
        return None
    if not isinstance(choice, str | Path):
        card = adopt(choice).card
    else:
        name = resolve(str(choice), side=native_side if size is None else size, sigma=sigma)
        card = registry.describe(name) or registry.load(name).card
    _check(card, size=size, sigma=sigma)
    return card


def choose(*, side: Size, sigma: float) -> str:
    """The name of the first bundled denoiser made for images of `side` pixels (None: any) and noise `sigma`.

    `side` is one for square images, or height and width. Raises ConfigurationError, naming what there is.
    """
    cards = {name: read_card(WEIGHTS / f"{name}.safetensors") for name in PREFERENCE if name in PINNED}
    for name, card in cards.items():
        low, high = card["sigma_range"]
        if low <= sigma <= high and (not card["sizes"] or set(_sides(side)) <= set(card["sizes"])):
            return name
    served: dict[str, list[str]] = {}
    for name, card in cards.items():
        served.setdefault(_served(card["sizes"], card["sigma_range"]), []).append(name)
    known = "; ".join(f"{', '.join(of)} {what}" for what, of in served.items())
    where = "this size" if side is None else f"side {_written(side)}"
    raise ConfigurationError(
        f"no bundled denoiser covers {where} at sigma {sigma:g} ({known}); "
        f"give another size or sigma, a denoiser's path, or denoiser=None"
    )


def resolve(name: str, *, side: Size, sigma: float) -> str:
    """`name`, but for "auto" what `choose` takes; a method and its options (`auto?method=…`) stay.

    Raises ConfigurationError.
    """
    first, mark, words = name.partition("?")
    return f"{choose(side=side, sigma=sigma)}{mark}{words}" if first == "auto" else name


def _check(card: DenoiserCard, *, size: Size, sigma: float) -> None:
    low, high = card.sigma_range
    if not low <= sigma <= high:
        raise ConfigurationError(
            f"sigma {sigma:g} is outside what denoiser {card.id} was trained for, [{low:g}, {high:g}]"
        )
    if size is not None and card.sizes and not set(_sides(size)) <= set(card.sizes):
        raise ConfigurationError(
            f"denoiser {card.id} is for sides {', '.join(map(str, card.sizes))}, not {_written(size)}; bring the "
            f"image to such a size, as with size={card.sizes[0]} (--size {card.sizes[0]}), or name another"
        )


def _sides(size: Size) -> tuple[int, ...]:
    return () if size is None else (size,) if isinstance(size, int) else size


def _written(size: Size) -> str:
    return "×".join(map(str, dict.fromkeys(_sides(size))))


def _served(sizes: list[int], sigma_range: list[float]) -> str:
    low, high = sigma_range
    sides = f"side {', '.join(map(str, sizes))}" if sizes else "any side"
    return f"for {sides}, sigma {low:g} to {high:g}"
