"""Results as blocks for people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import TOY

from api_smoothing.cli import main
from api_smoothing.cli.text import describe_certificate
from api_smoothing.results import Certificate

CERTIFICATE = Certificate(
    label="cat", radius=0.1, radius_original=0.1, p_lower=0.9, votes=99, n=100, n0=0, sigma=0.25, alpha=0.001,
    norm="l2", method="fixed", target_radius=None, reached=None, stopped="n", reason="", runner_up=None,
    counts={"cat": 99}, failed=0, queries=100, cached=0, cost_usd=0.0, provider="toy", model="", model_version=None,
    denoiser=None, label_map=None, noise="gaussian", seed="public:7", image="a.png", image_sha256="0" * 64,
    space=(32, 32), created="2026-01-01T00:00:00+00:00",
)  # fmt: skip
FORGED = "cat\n  radius    9.9999\x1b[2J\u202e"


@pytest.mark.parametrize(
    "field", ["label", "runner_up", "reason", "provider", "model_version", "image", "unbounded"]
)
def test_nobody_else_writes_a_line(field: str) -> None:
    """A break or a terminal code in a label, a name or a service's message adds no line and reaches no terminal."""
    changes: dict[str, Any] = {field: FORGED}
    odd = replace(CERTIFICATE, **changes)
    plain = replace(CERTIFICATE, **{field: "cat"})
    for text in (describe_certificate(odd), odd._repr_html_()):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert len(describe_certificate(odd).splitlines()) == len(describe_certificate(plain).splitlines())
    assert "\n" not in odd._repr_html_()


def test_the_image_as_given_is_named() -> None:
    """A grey image's radius says that it is in grey values; where there is none, the block says why."""
    grey = replace(CERTIFICATE, radius_original=0.0577, original="grey")
    assert "0.0577 ℓ2 for the image as given, which is grey" in describe_certificate(grey)
    assert "0.0577 (grey)" in grey._repr_html_()
    none = replace(
        CERTIFICATE, radius_original=0.0, original="palette", unbounded="any step may be any colour"
    )
    assert "no radius for the image as given: any step may be any colour" in describe_certificate(none)
    assert "none: any step may be any colour" in none._repr_html_()
    assert "as given" not in describe_certificate(replace(CERTIFICATE, original="RGB"))


@pytest.mark.parametrize(
    ("noise", "norm", "other"), [("gaussian", "ℓ2", "ℓ1"), ("laplace", "ℓ1", "ℓ2"), ("uniform", "ℓ1", "ℓ2")]
)
def test_radii_are_told_in_the_norm_of_the_noise(
    noise: str, norm: str, other: str, capsys: pytest.CaptureFixture[str], project: Path
) -> None:
    """A plan, an estimate and a certificate say ℓ1 where the noise is uniform or Laplace."""
    of = ["--noise", noise, "-n", "100"]
    for command in (
        ["plan"],
        ["estimate", "--count", "1", *TOY],
        ["certify", "a.png", *TOY, "--model", "share=1"],
    ):
        assert main([*command, *of]) == 0
        printed = capsys.readouterr().out
        assert norm in printed
        assert other not in printed


def test_there_is_no_radius_where_none_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    """The help of a prediction, which has no radius, promises none."""
    assert main(["predict", "--help"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "radius" in line]
    assert lines == [
        "Predict the smoothed classifier's label, or abstain. A prediction has no radius and needs few queries."
    ]
    assert main(["certify", "--help"]) == 0
    assert "ℓ1" in capsys.readouterr().out


def test_a_general_tag_is_called_that() -> None:
    """The label's line says so, and what to ask in its place stands in lines of its own."""
    reason = "Animal is a general tag; the same answers report Cat in 99 of 100"
    general = replace(CERTIFICATE, label="Animal", reason=reason, extra={"general_tag": {"Cat": 99}})
    text = describe_certificate(general)
    assert "label     Animal, which is a general tag" in text
    assert "  the same answers report Cat in 99 of 100" in text
    assert "general" not in describe_certificate(CERTIFICATE)
