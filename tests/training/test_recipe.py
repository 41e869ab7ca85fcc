"""The bundled recipes, and slips in one of one's own."""

from __future__ import annotations

from api_smoothing.training.networks import architecture
from api_smoothing.training.recipe import read_recipe


def test_the_baseline_is_the_papers() -> None:
    """The recipe is a DnCNN of 17 layers and 64 channels, for one σ at a time, by mean squared error alone."""
    plan = read_recipe("dncnn-cifar10-mse", "denoiser")
    assert architecture(plan) == {"kind": "dncnn", "channels": 64, "depth": 17}
    assert {phase["objective"] for phase in plan["phase"]} == {"mse"}
    for phase, sigma in zip(plan["phase"], (0.25, 0.12, 0.5), strict=True):
        assert [phase["sigma"][end] for end in ("low", "high")] == [sigma, sigma]
        assert phase.get("sigma_range", plan["sigma_range"]) == [sigma, sigma]
