"""Names nobody knows, and those that were meant."""

from __future__ import annotations

from typing import Any

import pytest

from api_smoothing import SmoothedAPI
from api_smoothing.errors import ConfigurationError, nearest, unknown


@pytest.mark.parametrize(
    ("name", "known", "found"),
    [
        ("awz", ["google", "aws", "azure"], "aws"),
        ("AWS", ["google", "aws"], "aws"),
        ("zzz", ["google", "aws"], "google"),
        ("quite-else", [f"name-{i}" for i in range(99)] + ["quiet"], "quiet"),
    ],
)
def test_the_nearest_of_all_is_named(name: str, known: list[str], found: str) -> None:
    """The most like one of all that are known comes first, whatever its case; of a few all are named."""
    assert nearest(name, known)[0] == found
    assert f"did you mean {found}" in unknown("name", name, known)
    assert nearest("xyz", known[:2]) == known[:2]


@pytest.mark.parametrize("provider", ["aws", lambda images: ["a"] * len(images)], ids=["service", "function"])
@pytest.mark.parametrize(
    ("wrong", "meant"), [("sgima", "sigma"), ("denoisr", "denoiser"), ("buget", "budget")]
)
def test_an_argument_nobody_takes_gets_the_nearest(provider: Any, wrong: str, meant: str) -> None:
    """The facade's own arguments are among those that may have been meant, not only the provider's options."""
    options: dict[str, Any] = {wrong: None}
    with pytest.raises(ConfigurationError, match=f"did you mean {meant}") as caught:
        SmoothedAPI(provider, **options)
    assert "\n" not in str(caught.value)
