"""Ways of taking noise away with a denoiser, by name: `NAME?method=vote&steps=8&paths=5`.

oneshot asks it once. ensemble asks it for `views` mirror images and turns, and averages. multistep goes down the noise
in `steps` steps with chance `eta`. vote asks for the majority over `paths` such paths, each of them a query to the
provider. guided holds the path to the input with `guidance`, and with `weight` to the answer of a `surrogate`
classifier. See `ensemble`, `reverse`, `paths` and `guided`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from api_smoothing.errors import ConfigurationError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from api_smoothing.denoisers.base import Denoiser

#: The options of each method, with their defaults.
METHODS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "oneshot": {},
        "ensemble": {"views": 4},
        "multistep": {"steps": 8, "eta": 1.0},
        "vote": {"steps": 8, "eta": 1.0, "paths": 5},
        "guided": {"steps": 8, "guidance": 40.0, "weight": 0.0, "surrogate": "cifar10", "distance": "mse"},
    }
)

#: What the numbers among them may be, so that a slip is told before a network is loaded.
RANGES: Final = {
    "views": (1, 8),
    "steps": (1, 1000),
    "eta": (0, 1),
    "paths": (1, 1000),
    "guidance": (0, math.inf),
}

#: The classifier of that name: images (N,3,H,W) in [0,1] → scores (N, classes), with gradients.
Surrogates = Callable[[str], "Callable[[Tensor], Tensor]"]


def split(words: str) -> tuple[dict[str, Any] | None, str]:
    """(the method with its options, None where `words` name none; what is left of `words` for the file itself).

    Raises ConfigurationError for an unknown method or option, or a value that is no number where one is due.
    """
    pairs = parse_qsl(words, keep_blank_values=True)
    given = dict(pairs)
    if "method" not in given:
        return None, words
    method = given.pop("method")
    if method not in METHODS:
        raise ConfigurationError(unknown("method", method, list(METHODS)))
    known = set().union(*METHODS.values())
    options: dict[str, Any] = {"method": method, **METHODS[method]}
    for name in sorted(known & set(given)):
        if name not in METHODS[method]:
            takers = " or ".join(m for m, options_ in METHODS.items() if name in options_)
            raise ConfigurationError(f"{name} goes with method={takers}, not {method}")
        options[name] = value_of(name, given[name], METHODS[method][name])
    rest = "&".join(f"{name}={value}" for name, value in pairs if name not in known | {"method"})
    return options, rest


def value_of(name: str, text: str, default: Any) -> Any:
    """The setting `name` that `text` says, of the kind of its `default`. Raises ConfigurationError."""
    kind: Callable[[str], Any] = type(default)
    try:
        value = kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise ConfigurationError(f"{name}={text!r} is not {wanted}") from None
    check(name, value)
    return value


def check(name: str, value: Any) -> None:
    """Raise ConfigurationError for a number outside what the option `name` may be."""
    low, high = RANGES.get(name, (-math.inf, math.inf))
    if isinstance(value, int | float) and not low <= value <= high:
        range_ = f"from {low:,} on" if high == math.inf else f"from {low:,} to {high:,}"
        raise ConfigurationError(f"{name} must be {range_}, not {value}")


def sampler(denoiser: Denoiser, options: Mapping[str, Any], surrogates: Surrogates | None = None) -> Denoiser:
    """`denoiser` used by the method that `options` name, with all of its options; see `METHODS`.

    `surrogates` finds the classifier of a guided method with a `weight`. Raises ConfigurationError.
    """
    from api_smoothing.denoisers.ensemble import Ensemble
    from api_smoothing.denoisers.guided import Guided
    from api_smoothing.denoisers.paths import Paths
    from api_smoothing.denoisers.reverse import Reverse

    method = options["method"]
    if method == "oneshot":
        return denoiser
    if method == "ensemble":
        return Ensemble(denoiser=denoiser, views=options["views"])
    if method == "guided":
        name, weight = options["surrogate"], options["weight"]
        if weight and surrogates is None:
            raise ConfigurationError(
                "a guided method with a weight needs a surrogate; give weight=0, or a Guided"
            )
        return Guided(
            denoiser=denoiser,
            surrogate=surrogates(name) if weight and surrogates is not None else None,
            surrogate_name=name if weight else "none",
            scale=options["guidance"],
            weight=weight,
            distance=options["distance"],
            steps=options["steps"],
        )
    reverse = Reverse(denoiser=denoiser, steps=options["steps"], eta=options["eta"])
    return reverse if method == "multistep" else Paths(reverse=reverse, paths_per_query=options["paths"])
