"""Copies drawn on a device are those of the processor, bit for bit. Here the device is the processor as well."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from api_smoothing import SmoothedAPI
from api_smoothing.engine.sending import Query, Stream
from api_smoothing.engine.sending import noisy as module
from api_smoothing.engine.sending.noisy import Drawing, draw, draw_on, quotient
from api_smoothing.noise import NoiseStream

SIDE = 12
PICTURE = np.random.default_rng(7).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def drawn_of(paths: int | None, *, sub: int = 1, digest: bytes = bytes(32)) -> Drawing:
    grid: NDArray[np.int32] = PICTURE.astype(np.int32) * sub
    noise = NoiseStream(sigma=0.5, seed=bytes(16), image_digest=digest, shape=grid.shape, sub=sub)  # type: ignore[arg-type]
    return Drawing(grid, noise, paths)


@pytest.mark.parametrize("sub", [1, 7, 256])
@pytest.mark.parametrize("paths", [None, 1, 3])
def test_a_device_draws_the_same_copies(paths: int | None, sub: int) -> None:
    """As bytes to be sent and as floats for a denoiser, of one path or several, on every grid."""
    drawn, indices = drawn_of(paths, sub=sub), [0, 1, 2, 700, 2**64 - 1]
    here, there = drawn(indices), drawn.on("cpu", indices)
    assert there.dtype == (torch.uint8 if paths is None else torch.float32)
    assert np.array_equal(there.numpy(), here)


def test_what_floats_are_divided_by_is_a_tensor() -> None:
    """By a plain number CUDA multiplies with the reciprocal, which for one value in nine is another float32."""
    values = torch.arange(256, dtype=torch.uint8)
    true = (np.arange(256) / 255.0).astype(np.float32)
    assert np.array_equal(quotient(values, 255).numpy(), true)
    reciprocal = values.float() * torch.tensor(1 / 255, dtype=torch.float32)
    assert not np.array_equal(reciprocal.numpy(), true), "the test could not fail"


def test_queries_of_several_images_are_drawn_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows stay in the order of the queries, on a device as here."""
    monkeypatch.setattr(module, "_DRAWS", {"cpu"})
    streams = [Stream(name=str(k), answers=None, draw=drawn_of(1, digest=bytes([k]) * 32)) for k in (1, 2)]  # type: ignore[arg-type]
    queries = [Query(streams[k], number) for k, number in ((0, 4), (0, 5), (1, 4), (0, 4))]
    rows = draw_on("cpu", queries)
    assert np.array_equal(rows.numpy(), draw(queries))
    assert torch.equal(rows[0], rows[3])
    assert not torch.equal(rows[0], rows[2])


@pytest.mark.parametrize("denoiser", [None, "auto"])
@pytest.mark.parametrize("height", [32, 40], ids=["as it is", "resized, on the fine grid"])
def test_what_a_model_sees_is_the_same_wherever_the_noise_is_drawn(
    monkeypatch: pytest.MonkeyPatch, denoiser: str | None, height: int
) -> None:
    """The whole way from the image, as a CUDA card takes it: every pixel is equal, and none of it is drawn by numpy."""
    picture = np.random.default_rng(3).integers(0, 256, (height, 32, 3), dtype=np.uint8)

    def pixels() -> Tensor:
        seen: list[Tensor] = []

        def model(x: Tensor) -> list[int]:
            seen.append(x)
            return [0] * len(x)

        with SmoothedAPI(model, denoiser=denoiser, cache=False, seed=3, size=32, device="cpu") as api:
            api.predict(picture, n=70)
        return torch.cat(seen)

    here = pixels()
    monkeypatch.setattr(module, "_DRAWS", {"cpu"})
    monkeypatch.setattr(NoiseStream, "_fill", lambda *_: pytest.fail("drawn by numpy"))
    assert torch.equal(pixels(), here)
