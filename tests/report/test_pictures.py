from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_files import certificates, settings

from api_smoothing import denoisers, images
from api_smoothing.noise import NoiseStream, to_float
from api_smoothing.report.pictures import Picture, Pictures, changes, size_of
from api_smoothing.results import Certificate
from api_smoothing.secret import public_seed


@pytest.fixture
def certified(tmp_path: Path) -> Certificate:
    """A certificate of a real file, behind a bundled denoiser."""
    path = tmp_path / "cat.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    loaded = images.load(path, size=(32, 32))
    (found,) = certificates(1, settings())
    item = {"id": "cat.png", "path": str(path), "truth": "cat"}
    return replace(found, image_sha256=loaded.digest.hex(), item=item)  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("radius", [0.02, 0.25, 1.0, 3.7])
@pytest.mark.parametrize("side", [32, 96])
def test_a_change_has_the_size_it_says_and_stays_an_image(norm: str, radius: float, side: int) -> None:
    """The spread one to a thousandth; the spot never more, and no larger square would be allowed."""
    clean = np.random.default_rng(1).random((side, side, 3), dtype=np.float32)
    (_, spread), (words, large), (where, spot) = changes(clean, radius, norm)
    factor = int(words.rpartition("×")[2].replace(",", ""))
    assert size_of(spread - clean, norm) == pytest.approx(radius, rel=2e-3)
    np.testing.assert_allclose(large, 0.5 + factor * (spread - clean), atol=factor * 2e-7)
    for picture in (spread, spot):
        assert picture.min() >= 0
        assert picture.max() <= 1
    assert ("seen close" in where) == (side > 64)
    first = (side - len(spot)) // 2
    clean = clean[first : first + len(spot), first : first + len(spot)]
    assert size_of(spot - clean, norm) <= radius * 1.0001
    changed = int((np.abs(spot - clean).max(axis=2) > 0).sum())
    if "×" in where:
        assert changed == int(where.rpartition(" in ")[2].split("×")[0]) ** 2
    else:
        assert changed == 1


def test_nothing_is_drawn_of_no_radius() -> None:
    assert changes(np.zeros((8, 8, 3), np.float32), 0.0, "l2") == []


def test_the_tiles_are_the_image_its_first_noisy_copy_and_what_the_denoiser_makes_of_it(
    certified: Certificate,
) -> None:
    """The noise is that of query 0 under the public seed of the run, bit for bit."""
    loaded = images.load(certified.item["path"], size=(32, 32))  # type: ignore[index, arg-type]
    stream = NoiseStream(
        sigma=0.25, seed=public_seed(7), image_digest=loaded.digest, shape=(32, 32, 3), sub=loaded.sub
    )
    noisy = to_float(loaded.grid + stream.sample([0])[0], loaded.sub)
    tiles = Pictures().of(certified, 0.2)
    assert not isinstance(tiles, str)
    assert len(tiles) == 6
    assert np.array_equal(pixels(tiles[0]), loaded.grid)
    assert np.array_equal(pixels(tiles[1]), np.clip(noisy * 255 + 0.5, 0, 255).astype(np.uint8))
    import torch

    with torch.inference_mode():
        given = torch.from_numpy(noisy).permute(2, 0, 1)[None]
        expected = denoisers.load("unet-cifar10")(given, 0.25)[0].float().permute(1, 2, 0).numpy()
    assert np.array_equal(pixels(tiles[2]), np.clip(expected * 255 + 0.5, 0, 255).astype(np.uint8))


def test_no_other_file_is_shown(certified: Certificate, tmp_path: Path) -> None:
    """A run file that points to another picture, to none, or to something else shows nothing of it."""
    path = Path(certified.item["path"])  # type: ignore[index, arg-type]
    assert (
        Pictures().of(replace(certified, image_sha256="0" * 64), 0.1) == "the file there now is another image"
    )
    path.unlink()
    assert Pictures().of(certified, 0.1) == "the file is not here"
    path.write_text("no picture")
    assert Pictures().of(certified, 0.1) == "the file cannot be read any more"
    assert Pictures().of(replace(certified, item=None, image="/dev/zero"), 0.1) == "the file is not here"


def test_no_denoiser_is_loaded_from_where_a_run_file_says(certified: Certificate, tmp_path: Path) -> None:
    """Only an installed one of the same weights is used; otherwise the tile is left out."""
    for name in (f"{tmp_path}/evil.pth@00", "unet-cifar10@0000000000000000", "nobody@00"):
        tiles = Pictures().of(replace(certified, denoiser=name), 0.2)
        assert [tile.caption for tile in tiles][2].startswith("changed by")  # type: ignore[union-attr]


def pixels(tile: Picture) -> np.ndarray:
    kind, _, data = tile.uri.partition(";base64,")
    assert kind == "data:image/png"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
