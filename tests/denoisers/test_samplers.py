"""Methods by name: `NAME?method=…`, on any denoiser."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from api_smoothing import denoisers
from api_smoothing.denoisers.ensemble import Ensemble
from api_smoothing.denoisers.guided import Guided
from api_smoothing.denoisers.paths import Paths
from api_smoothing.denoisers.reverse import Reverse
from api_smoothing.denoisers.samplers import METHODS, split
from api_smoothing.errors import ConfigurationError

NAME = "unet-cifar10-mse"


def load(words: str, **options: Any) -> denoisers.Denoiser:
    """The bundled denoiser, used as `words` say."""
    return denoisers.load(f"{NAME}?{words}", dtype="fp32", **options)


def noisy() -> Tensor:
    """Three noisy grey images."""
    return 0.5 + 0.25 * torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_a_name_gives_what_its_parts_give() -> None:
    """Each method by name computes what the same object built by hand does, and has its card."""
    plain = denoisers.load(NAME, dtype="fp32")
    reverse = Reverse(denoiser=plain, steps=3, eta=0.5)
    by_hand: dict[str, denoisers.Denoiser] = {
        "method=oneshot": plain,
        "method=ensemble&views=3": Ensemble(denoiser=plain, views=3),
        "method=multistep&steps=3&eta=0.5": reverse,
        "steps=3&method=vote&eta=0.5&paths=4": Paths(reverse=reverse, paths_per_query=4),
        "method=guided&guidance=7&steps=3&distance=ssim": Guided(
            denoiser=plain, scale=7.0, steps=3, distance="ssim"
        ),
    }
    for words, expected in by_hand.items():
        found = load(words)
        assert found.card == expected.card
        assert torch.equal(found(noisy(), 0.25), expected(noisy(), 0.25))


def test_paths_are_the_price() -> None:
    """A vote over K paths takes K queries; everything else one."""
    assert load("method=vote").paths_per_query == METHODS["vote"]["paths"] == 5
    assert load("method=vote&paths=3&steps=2").paths_per_query == 3
    for method in ("oneshot", "multistep", "ensemble", "guided"):
        assert load(f"method={method}").paths_per_query == 1


def test_a_weight_asks_for_its_surrogate() -> None:
    """λ ≠ 0 loads the surrogate named, and changes the result; without a way to load one it is refused."""
    asked = []

    def surrogates(name: str) -> torch.nn.Module:
        asked.append(name)
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))

    words = "method=guided&steps=4&guidance=0&weight=5&surrogate=resnet18"
    steered = load(words, surrogates=surrogates)
    assert asked == ["resnet18"]
    free = load("method=guided&steps=4&guidance=0", surrogates=surrogates)
    assert asked == ["resnet18"]
    assert not torch.equal(steered(noisy(), 0.25), free(noisy(), 0.25))
    with pytest.raises(ConfigurationError, match="needs a surrogate"):
        load(words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("method=magic", "did you mean oneshot"),
        ("method=multistep&paths=3", "paths goes with method=vote"),
        ("method=vote&paths=many", "not a whole number"),
        ("method=multistep&eta=x", "not a number"),
        ("method=vote&paths=0", "from 1 to 1,000"),
        ("method=ensemble&views=9", "from 1 to 8"),
        ("method=ensemble&steps=9", "steps goes with method=multistep"),
        ("method=oneshot&sigma=0.25", "has its card"),
    ],
)
def test_what_cannot_be_is_named(words: str, message: str) -> None:
    """An unknown method, another method's option, or a value that is no number is a ConfigurationError."""
    with pytest.raises(ConfigurationError, match=message):
        load(words)


def test_what_is_said_of_a_checkpoint_stays_its_own() -> None:
    """Words that no method knows are left for the file."""
    options, rest = split("sigma=0.25&method=multistep&steps=4&output=image")
    assert options == {"method": "multistep", "steps": 4, "eta": 1.0}
    assert rest == "sigma=0.25&output=image"
    assert split("sigma=0.25&steps=4") == (None, "sigma=0.25&steps=4")
