"""The contract: every denoiser that this package makes has every member of it."""

from __future__ import annotations

import pytest
import torch

from api_smoothing import denoisers
from api_smoothing.denoisers.base import Denoiser, ManyPaths, Stepped
from api_smoothing.denoisers.registry import PINNED
from api_smoothing.denoisers.samplers import METHODS

OURS = [*PINNED, *(f"unet-cifar10?method={method}" for method in METHODS)]


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_ours_have_every_member(name: str, dtype: str) -> None:
    """On the CPU the arithmetic is the type alone, as it has always been named, through every method."""
    found = denoisers.load(name, dtype=dtype)
    assert isinstance(found, Denoiser)
    assert found.compute == dtype
    assert found.paths_per_query == (5 if "vote" in name else 1)
    assert isinstance(found, ManyPaths) == ("vote" in name)
    assert isinstance(found, Stepped) == name.startswith("diffusion")


def test_wrapped_modules_tell_the_type_of_their_parameters() -> None:
    """A module's arithmetic is read off its parameters; a function's is float32."""
    net = torch.nn.Conv2d(3, 3, 3, padding=1)
    made = {
        kind: denoisers.wrap(torch.nn.Conv2d(3, 3, 3).to(kind), id="c", sigma_range=(0.1, 1.0)).compute
        for kind in (torch.float32, torch.bfloat16, torch.float16)
    }
    assert list(made.values()) == ["fp32", "bf16", "fp16"]
    assert denoisers.wrap(lambda x, s: net(x), id="f", sigma_range=(0.1, 1.0)).compute == "fp32"


@pytest.mark.parametrize("name", ["unet-cifar10", "diffusion-cifar10", "unet-cifar10?method=vote"])
def test_another_kind_of_device_is_part_of_the_arithmetic(name: str) -> None:
    """Off the CPU the kind is named, by networks from files and by wrapped modules. (torch's "meta" is everywhere.)"""
    assert denoisers.load(name, device="meta", dtype="fp32").compute == "fp32/meta"
    net = torch.nn.Conv2d(3, 3, 3, device="meta", dtype=torch.bfloat16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "api_smoothing.denoisers.wrapped.sha256_of", lambda tensors, head: "5" * 64
        )  # meta has no bytes
        assert denoisers.wrap(net, id="c", sigma_range=(0.1, 1.0)).compute == "bf16/meta"
