"""Which rule a question gets, and which questions get none."""

from __future__ import annotations

import subprocess
import sys

import pytest

from api_smoothing.certify import certifier
from api_smoothing.errors import ConfigurationError, UnreachableRadiusError


@pytest.mark.parametrize(
    "settings_",
    [
        {"target": 0.5, "n": 20},
        {"target": 0.5, "cap": 30},
        {"target": 0.5, "n": 20, "method": "fixed"},
        {"target": 0.5, "n": 20, "method": "clopper-pearson"},
        {"target": 5.0},
        {"n": 5},
        {"n": 5, "method": "clopper-pearson"},
        {"n": 5, "method": "sequential"},
    ],
)
def test_what_cannot_be_reached_is_refused_before_the_first_query(settings_: dict[str, object]) -> None:
    """An unreachable target, or an n that can certify nothing, is one line before any answer is asked."""
    with pytest.raises(UnreachableRadiusError) as caught:
        certifier(sigma=0.25, **settings_)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings_",
    [
        {},
        {"n": 0},
        {"n": 50, "alpha": 0.0},
        {"n": 50, "alpha": 0.5},
        {"n": 50, "method": "bayes"},
        {"target": 0.2, "method": "fixed"},
        {"target": 0.0},
        {"target": -1.0},
        {"n": 50, "noise": "salt"},
        {"n": 50, "sigma": 0.0},
        {"n": 50, "max_classes": 3, "method": "fixed"},
        {"n": 100, "cap": 50},
        {"n": 50, "n0": 0, "method": "clopper-pearson"},
    ],
)
def test_nonsense_is_refused(settings_: dict[str, object]) -> None:
    """Settings out of range or in conflict raise ConfigurationError."""
    with pytest.raises(ConfigurationError):
        certifier(**{"sigma": 0.25, **settings_})  # type: ignore[arg-type]


def test_certify_is_light_to_import() -> None:
    """Importing the package loads neither numpy nor scipy; they come with the first certifier."""
    code = "import sys, api_smoothing.certify; assert not {'numpy', 'scipy', 'torch'} & set(sys.modules), 'heavy'"
    subprocess.run([sys.executable, "-c", code], check=True)
