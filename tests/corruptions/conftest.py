"""Pictures to corrupt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image


@pytest.fixture(scope="session")
def photograph() -> NDArray[np.uint8]:
    """A cat's face, 224×224."""
    skimage = pytest.importorskip("skimage")
    with Image.open(Path(skimage.__file__).parent / "data" / "chelsea.png") as image:
        return np.asarray(image.crop((80, 0, 380, 300)).resize((224, 224), Image.Resampling.LANCZOS))


@pytest.fixture(scope="session")
def small(photograph: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same at 32×32."""
    return np.asarray(Image.fromarray(photograph).resize((32, 32), Image.Resampling.BOX))
