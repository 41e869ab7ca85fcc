"""The noise in torch's integers is that of numpy, bit for bit. Here the device is the processor."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from api_smoothing import device_noise
from api_smoothing.noise import NoiseKind, NoiseStream

KINDS: tuple[NoiseKind, ...] = ("gaussian", "uniform", "laplace")
INDICES = [0, 1, 12345, 2**31, 2**32 + 5, 2**63 - 1, 2**63, 2**64 - 1]
DIGEST = hashlib.sha256(b"an image").digest()


def stream(
    kind: NoiseKind = "gaussian",
    sigma: float = 0.25,
    *,
    shape: tuple[int, int, int] = (8, 8, 3),
    sub: int = 1,
) -> NoiseStream:
    return NoiseStream(
        kind=kind, sigma=sigma, seed=b"0123456789abcdef", image_digest=DIGEST, shape=shape, sub=sub
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sigma", [0.001, 0.12, 0.25, 1.0])
@pytest.mark.parametrize("sub", [1, 7, 256])
@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 7, 3), (32, 32, 3)])
def test_it_is_the_same_noise(kind: NoiseKind, sigma: float, sub: int, shape: tuple[int, int, int]) -> None:
    """Every kind, σ, grid and shape, at indices on both sides of 2³², of 2⁶³, and at the last one."""
    noise = stream(kind, sigma, shape=shape, sub=sub)
    drawn = noise.on("cpu").sample(INDICES)
    assert drawn.dtype == torch.int32
    assert np.array_equal(drawn.view(len(INDICES), *shape).numpy(), noise.sample(INDICES))


def test_a_photograph_has_the_same_noise() -> None:
    """At 224×224 on the fine grid, where many values of a row wait for further bits."""
    noise = stream(shape=(224, 224, 3), sub=256)
    assert np.array_equal(noise.on("cpu").sample([3, 4]).view(2, 224, 224, 3).numpy(), noise.sample([3, 4]))


def test_it_does_not_depend_on_batches_or_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, together, in any order and in portions, a query has one noise; no queries have none."""
    noise = stream("laplace", sub=256).on("cpu")
    whole = noise.sample(range(9))
    assert torch.equal(torch.cat([noise.sample([index]) for index in range(9)]), whole)
    assert torch.equal(noise.sample([8, 3, 3]), whole[[8, 3, 3]])
    monkeypatch.setattr(device_noise, "_MOST_VALUES", 4 * 8 * 8 * 3)
    assert torch.equal(noise.sample(range(9)), whole)
    assert noise.sample([]).shape == (0, 8 * 8 * 3)


def test_products_of_64_bits_are_whole() -> None:
    """The two halves of 128-bit products, at the edges of every limb."""
    edges = [0, 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 2**32, 2**64 - 1]
    for multiplier in device_noise._MULTIPLIERS:
        x = torch.tensor([device_noise._signed(edge) for edge in edges])
        high, low = device_noise._product(x, multiplier)
        assert [value % 2**64 for value in high.tolist()] == [edge * multiplier >> 64 for edge in edges]
        assert [value % 2**64 for value in low.tolist()] == [edge * multiplier % 2**64 for edge in edges]


def test_tables_are_uploaded_once_for_all_images() -> None:
    """Images share them, as the tables of numpy are shared."""
    one, other = stream(shape=(8, 8, 3)), stream(shape=(4, 4, 3))
    assert one.on("cpu")._guide is other.on("cpu")._guide


def test_noise_without_a_device_loads_no_torch() -> None:
    """Who draws on the processor, for a service without a denoiser, need not wait for torch."""
    code = "import sys, api_smoothing.noise; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
