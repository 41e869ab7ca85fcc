"""MobileNetV1 as TensorFlow publishes it, from arrays with the normalisations folded in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from api_smoothing.errors import WeightsError
from api_smoothing.mobilenet import MobileNetV1

__all__ = ["MobileNetV1", "read"]


def read(file: Path) -> MobileNetV1:
    """The network of an .npz file: kernels `w00`…, biases `b00`…, `strides`, and `resolution`. Raises WeightsError."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            strides, side = [int(s) for s in arrays["strides"]], int(arrays["resolution"])
            pairs = [
                tuple(torch.from_numpy(arrays[f"{kind}{k:02d}"].astype(np.float32)) for kind in "wb")
                for k in range(len(strides))
            ]
    except (KeyError, ValueError, OSError) as error:
        raise WeightsError(
            f"{file} holds no MobileNetV1 in arrays ({error}); give another surrogate"
        ) from error
    return MobileNetV1([(w, b) for w, b in pairs], strides, side)
