"""Defences without a network do what their names say."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from toy_defences import pictures, tensor

from api_smoothing.defences.base import purified
from api_smoothing.defences.pixels import Bits, Jpeg, Nothing
from api_smoothing.errors import ConfigurationError


def test_nothing_is_nothing() -> None:
    """Images as they are; and a gradient of 1."""
    assert torch.equal(Nothing().purify(tensor(), 3), tensor())
    assert torch.equal(Nothing().differentiable()(tensor()), tensor())


def test_jpeg_is_that_of_pillow() -> None:
    """At the quality that the name says; a lower one is farther off."""
    (image, _), *_ = pictures(side=16)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=40, subsampling=2)
    wanted = np.asarray(Image.open(file))
    found = purified(Jpeg(quality=40), tensor(side=16), 0)[0, 0]
    assert np.array_equal((found * 255).round().permute(1, 2, 0).numpy(), wanted)
    errors = [float((Jpeg(quality=q).purify(tensor(), 0) - tensor()).square().mean()) for q in (20, 95)]
    assert errors[0] > errors[1] > 0


def test_bits_are_so_many_levels() -> None:
    """Of 1 bit two levels, of 8 bits all of them; no value moves farther than half a step."""
    every = (torch.arange(256).view(1, 1, 16, 16) / 255).expand(1, 3, -1, -1)
    assert torch.equal(Bits(bits=8).purify(every, 0), every)
    for bits in (1, 3):
        found = purified(Bits(bits=bits), every, 0)
        assert len(set(found.flatten().tolist())) == 2**bits
        assert float((found[:, 0] - every).abs().max()) <= 0.5 / (2**bits - 1) + 0.5 / 255


def test_settings_out_of_range_are_refused() -> None:
    """In one line that says the range."""
    with pytest.raises(ConfigurationError, match="from 1 to 100, not 0"):
        Jpeg(quality=0)
    with pytest.raises(ConfigurationError, match="from 1 to 8, not 9"):
        Bits(bits=9)
