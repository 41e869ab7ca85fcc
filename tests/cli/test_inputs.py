"""Which images are meant by what stands on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api_smoothing.cli import main
from api_smoothing.cli.inputs import find_images
from api_smoothing.errors import ImageError
from api_smoothing.images import load

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def fill(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_a_folder_is_its_images_and_those_of_its_folders(tmp_path: Path) -> None:
    """Sub-folders are followed in order of name; what is hidden or no image is passed over, and told in one line."""
    fill(tmp_path, "b.JPG", "a.png", "sub/deep/c.avif", "sub/._c.avif", ".hidden/d.png", "__MACOSX/e.png")
    fill(tmp_path, "._a.png", ".DS_Store", "Thumbs.db", "notes.txt", "film.heic", "README", "hdr.pfm")
    told: list[str] = []
    found = find_images([str(tmp_path)], tell=told.append)
    assert [str(Path(name).relative_to(tmp_path)) for name in found] == ["a.png", "b.JPG", "sub/deep/c.avif"]
    assert told == [
        f"{tmp_path}: 8 files are passed over (1 .db, 1 .heic, 1 .pfm, 1 .txt, 3 hidden, 1 without an ending)"
    ]


def test_a_link_to_a_folder_above_is_no_loop(tmp_path: Path) -> None:
    """Links to folders are not followed, links to images are."""
    fill(tmp_path, "a.png")
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    assert [Path(name).name for name in find_images([str(tmp_path)])] == ["a.png", "b.png"]


def test_a_file_that_is_named_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    """Only folders are sorted out; a file that is named twice is one."""
    fill(tmp_path, "._a", "b.txt")
    named = [str(tmp_path / "._a"), str(tmp_path / "b.txt"), str(tmp_path / "._a")]
    assert find_images(named) == named[:2]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    """It is told what was passed over, and that nothing is left."""
    fill(tmp_path, "._a.png")
    told: list[str] = []
    with pytest.raises(ImageError, match="no images"):
        find_images([str(tmp_path)], tell=told.append)
    assert told == [f"{tmp_path}: 1 file is passed over (1 hidden)"]


@pytest.mark.parametrize(
    "name",
    ["a.png", "a.jpg", "a.jpe", "a.webp", "a.avif", "a.gif", "a.bmp", "a.dib", "a.tif", "a.ppm", "a.jp2", "a.tga",
     "a.ico", "a.pcx", "a.sgi", "a.qoi", "a.dds"],
)  # fmt: skip
def test_every_raster_format_in_a_folder_is_read(name: str, tmp_path: Path) -> None:
    """What is decoded without another program is found in a folder, and opens."""
    Image.fromarray(np.kron(PIXELS, np.ones((4, 4, 1), np.uint8))).save(tmp_path / name)
    (found,) = find_images([str(tmp_path)])
    assert load(found).original_size == (32, 32)


@pytest.mark.usefixtures("project")
def test_a_folder_from_a_mac_is_certified(capsys: pytest.CaptureFixture[str]) -> None:
    """Hidden companions of the images stop no run, and are told."""
    fill(Path("images"), "._a.png", ".DS_Store")
    command = ["certify", "images", "--provider", "toy", "--denoiser", "none", "--seed", "7", "-n", "20"]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert printed.out.count("votes") == 3
    assert "images: 2 files are passed over (2 hidden)" in printed.err
