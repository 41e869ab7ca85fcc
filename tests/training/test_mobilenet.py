"""A MobileNet as others published it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from training_files import mobilenet

from api_smoothing.errors import WeightsError
from api_smoothing.training.mobilenet import MobileNetV1, read
from api_smoothing.training.surrogates import load_surrogate


def test_an_even_side_is_padded_at_its_end_only(tmp_path: Path) -> None:
    """At stride 2 TensorFlow's windows of an even side are centred on the odd pixels, of an odd side on the even."""
    for side, begin in ((4, 1), (5, 0)):
        file = tmp_path / "net.npz"
        np.savez(file, **mobilenet(side))
        net = read(file)
        x = torch.rand(2, 3, side, side)
        features = (2 * x - 1)[:, :, begin::2, begin::2].add(0.5).clamp(0, 6).mean((2, 3))
        expected = features @ torch.arange(12.0).view(4, 3).T
        torch.testing.assert_close(net(x), expected)


def test_a_mobilenet_is_found_as_a_surrogate(tmp_path: Path) -> None:
    """`<name>.npz` in a surrogate folder is loaded frozen; arrays of something else are a WeightsError."""
    np.savez(tmp_path / "little.npz", **mobilenet(8))
    net = load_surrogate("little", [tmp_path])
    assert isinstance(net, MobileNetV1)
    assert not any(p.requires_grad for p in net.parameters())
    assert net(torch.rand(1, 3, 16, 16)).shape == (1, 4)
    np.savez(tmp_path / "other.npz", nothing=np.zeros(3))
    with pytest.raises(WeightsError, match="holds no MobileNetV1"):
        load_surrogate("other", [tmp_path])
