"""`api-smooth train`."""

from __future__ import annotations

from pathlib import Path

import pytest

from api_smoothing.cli import main


@pytest.mark.parametrize("seed", ["9223372036854775808", "-99999999999999999999999"])
def test_a_seed_too_large_is_refused(tmp_path: Path, seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is one line, as any wrong flag."""
    line = f"train denoiser --recipe unet-cifar10 --data {tmp_path} --out {tmp_path} --seed {seed}"
    assert main(line.split()) == 2
    assert "--seed must be below 2^63" in capsys.readouterr().err
