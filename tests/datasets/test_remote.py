"""Data sets behind a server on this machine: by http, and by S3's protocol where s3fs and moto are installed."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from object_store import bucket
from PIL import Image

from api_smoothing import images, remote
from api_smoothing.datasets import open_dataset
from api_smoothing.errors import ConfigurationError, ImageError

pytest.importorskip("fsspec")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, a table, an archive."""
    for label in ("cat", "dog"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for k in range(2):
            Image.fromarray(_pixels(k + 5 * (label == "dog"))).save(tmp_path / "set" / label / f"{k}.png")
    rows = ["path,label", "cat/0.png,cat", "dog/1.png,dog", "gone.png,dog"]
    (tmp_path / "set" / "rows.csv").write_text("\n".join(rows))
    np.savez(tmp_path / "set" / "set.npz", x=np.stack([_pixels(k) for k in range(3)]), y=[0, 1, 1])
    return tmp_path / "set"


def _pixels(k: int) -> np.ndarray:
    return np.random.default_rng(k).integers(0, 256, (8, 8, 3), np.uint8)


@pytest.fixture
def site(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The folder by http, and what was asked for."""
    pytest.importorskip("aiohttp")
    asked = list[str]()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            asked.append(str(args[1]).split(" ")[1])

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_a_table_by_http(site: tuple[str, list[str]], folder: Path) -> None:
    """Images are asked for one at a time, when they are read; one that is not there is an image that cannot be read."""
    url, asked = site
    data = open_dataset(f"{url}/rows.csv")
    assert {*asked} == {"/rows.csv"}
    assert [(one.id, one.truth) for one in data] == [
        ("cat/0.png", "cat"),
        ("dog/1.png", "dog"),
        ("gone.png", "dog"),
    ]
    assert images.load(data[0].read()).digest == images.load(folder / "cat" / "0.png").digest
    assert {*asked} == {"/rows.csv", "/cat/0.png"}
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        data[2].read()


def test_an_archive_and_an_image_by_http(site: tuple[str, list[str]], folder: Path) -> None:
    """The same as from the disk, under the name of the address."""
    url, _ = site
    far, near = open_dataset(f"{url}/set.npz"), open_dataset(folder / "set.npz")
    assert far.name == f"{url}/set.npz"
    assert [one.truth for one in far] == [one.truth for one in near]
    assert images.load(far[2].read()).digest == images.load(near[2].read()).digest
    assert images.load(open_dataset(f"{url}/cat/1.png")[0].read()).digest


def test_a_folder_by_http_is_refused(site: tuple[str, list[str]]) -> None:
    """A page of links may lead anywhere."""
    with pytest.raises(ConfigurationError, match="cannot be listed over http"):
        open_dataset(site[0])


def test_what_is_too_large_is_not_read_whole(
    site: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit holds whatever the server says of the size."""
    with pytest.raises(ImageError, match="over 0 MiB"):
        remote.Remote(f"{site[0]}/cat/0.png").read_bytes(most=50)


def test_a_folder_of_classes_in_a_bucket(folder: Path) -> None:
    """Labels are the folders' names, ids the paths below it, in the order of a disk."""
    with bucket(folder) as url:
        far, near = open_dataset(f"{url}/"), open_dataset(folder)
        assert [(one.id, one.truth) for one in far] == [(one.id, one.truth) for one in near]
        assert [images.load(one.read()).digest for one in far] == [
            images.load(one.read()).digest for one in near
        ]
        with pytest.raises(ImageError, match="no such file"):
            open_dataset(f"{url}/missing.csv")
