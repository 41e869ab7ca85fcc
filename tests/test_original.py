"""How far the way from an image as given to its three channels can stretch a distance."""

from __future__ import annotations

import io
import math
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from api_smoothing.decode import decode
from api_smoothing.images import load
from api_smoothing.original import COLOUR_KEY, GREY, GREY_ALPHA, PALETTE, REDUCED, RGB, RGBA

RNG = np.random.default_rng(4)
X = RNG.integers(0, 256, (6, 9, 4), dtype=np.uint8)


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> io.BytesIO:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out


def picture(mode: str) -> Image.Image:
    return Image.fromarray(X, "RGBA").convert(mode)


def png(depth: int, colour: int, row: bytes) -> bytes:
    """A PNG of one row and two pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">2I5B", 2, 1, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")


def pixmap(kind: str, most: int, values: bytes) -> bytes:
    """A portable pixmap of one row and two pixels, whose largest value is `most`."""
    return f"{kind} 2 1 {most}\n".encode() + values


@pytest.mark.parametrize(("mode", "kind"), [("L", GREY), ("LA", GREY_ALPHA), ("RGB", RGB), ("RGBA", RGBA)])
def test_no_change_of_the_original_moves_the_channels_further_than_told(mode: str, kind: Any) -> None:
    """Between any two images of a kind the distance grows by at most its norm, and nearly that somewhere."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    colours = RNG.integers(0, 256, (200_000, channels))
    colours[: len(colours) // 2] = RNG.choice(
        [0, 1, 2, 127, 128, 253, 254, 255], (len(colours) // 2, channels)
    )
    near = np.clip(colours + RNG.choice([-3, -2, -1, 0, 0, 0, 1, 2, 3], colours.shape), 0, 255)
    others = np.where(RNG.random((len(colours), 1)) < 0.7, near, RNG.permutation(colours))
    others[0], colours[0] = 0, [*[0] * (channels - 1), 255]  # alpha, or the grey value, all the way
    a, b = (channels_of(mode, values) for values in (colours, others))
    for order, norm in ((2, kind.norm), (1, kind.norm_l1)):
        given = np.linalg.norm(colours - others, ord=order, axis=1)
        stretch = np.linalg.norm(a - b, ord=order, axis=1)[given > 0] / given[given > 0]
        assert 0.8 * norm < stretch.max() <= norm * (1 + 1e-12)


def channels_of(mode: str, values: NDArray[np.integer]) -> NDArray[np.float64]:
    """The three channels, (n, 3), that `decode` makes of n pixels."""
    shaped = values.astype(np.uint8).reshape(1, len(values), -1)
    pixels = [
        decode(Image.fromarray(shaped[:, start : start + 50_000].squeeze(-1 if mode == "L" else ()), mode))
        for start in range(0, len(values), 50_000)
    ]
    return np.concatenate([found.values[0] for found in pixels]).astype(np.float64)


@pytest.mark.parametrize(("norm", "shrinks"), [("l2", math.sqrt(3)), ("l1", 3.0)])
def test_the_radius_of_a_grey_image_is_that_of_its_one_channel(norm: str, shrinks: float) -> None:
    """Copied into three channels, a change of one counts three times: √3 in ℓ2, 3 in ℓ1, after a resize too."""
    grey = X[:, :, 0]
    three = load(np.repeat(grey[:, :, None], 3, axis=2))
    small = load(np.repeat(grey[:, :, None], 3, axis=2), size=4)
    for given in (
        grey,
        grey[:, :, None],
        grey / 255.0,
        Image.fromarray(grey),
        file_of(Image.fromarray(grey)).getvalue(),
    ):
        found = load(given)
        assert found.digest == three.digest  # the answers stay
        assert found.radius_original(0.3, norm) == pytest.approx(0.3 / shrinks)
        assert found.radius_original(0.3, norm) <= 0.3 / shrinks
        assert load(given, size=4).radius_original(0.3, norm) == pytest.approx(
            small.radius_original(0.3, norm) / shrinks
        )
    assert load(RNG.integers(0, 65536, (5, 6), dtype=np.uint16)).radius_original(0.3, norm) < 0.3 / shrinks
    assert load(Image.fromarray(grey > 99)).original == GREY


FILES = {
    "RGB": (file_of(picture("RGB")).getvalue(), RGB),
    "JPEG": (file_of(picture("RGB"), "JPEG").getvalue(), RGB),
    "grey JPEG": (file_of(picture("L"), "JPEG").getvalue(), GREY),
    "WebP with alpha": (file_of(picture("RGBA"), "WEBP", lossless=True).getvalue(), RGBA),
    "opaque RGBA": (file_of(Image.fromarray(X[:, :, :3]).convert("RGBA")).getvalue(), RGBA),
    "TIFF": (file_of(picture("RGB"), "TIFF").getvalue(), RGB),
    "BMP": (file_of(picture("RGB"), "BMP").getvalue(), RGB),
    "1 bit": (file_of(picture("1")).getvalue(), GREY),
    "2 bits of grey": (png(2, 0, b"\x40"), GREY),
    "16 bits of grey": (png(16, 0, b"\1\2\3\4"), GREY),
    "grey with alpha": (png(8, 4, b"\1\2\3\4"), GREY_ALPHA),
    "palette": (file_of(picture("RGB").quantize(16)).getvalue(), PALETTE),
    "GIF": (file_of(picture("RGB").quantize(16), "GIF").getvalue(), PALETTE),
    "colour key": (file_of(picture("RGB"), transparency=(1, 2, 3)).getvalue(), COLOUR_KEY),
    "grey key": (file_of(picture("L"), transparency=7).getvalue(), COLOUR_KEY),
    "16 bits of RGB": (png(16, 2, bytes(range(12))), RGB),
    "16 bits of RGBA": (png(16, 6, bytes(range(16))), REDUCED),
    "16 bits of grey with alpha": (png(16, 4, bytes(range(8))), REDUCED),
    "pixmap": (pixmap("P6", 255, bytes(range(6))), RGB),
    "pixmap of 16 bits": (pixmap("P6", 65535, bytes(range(12))), REDUCED),
    "pixmap of odd steps": (pixmap("P6", 200, bytes(range(6))), REDUCED),
    "grey pixmap of 16 bits": (pixmap("P5", 65535, bytes(range(4))), GREY),
    "grey pixmap in words": (pixmap("P2", 65535, b"7 65000"), GREY),
    "grey pixmap of 12 bits": (pixmap("P5", 4095, bytes(range(4))), REDUCED),
}


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_says_what_it_was(name: str) -> None:
    """A palette, a colour key and values of another depth have no radius in their own space, and say why."""
    data, kind = FILES[name]
    found = load(data)
    assert found.original == kind
    bounded = kind.unbounded is None
    for norm in ("l2", "l1"):
        assert (found.radius_original(0.4, norm) > 0) == bounded
        assert (load(data, size=2).radius_original(0.4, norm) > 0) == bounded


def test_a_picture_in_memory_is_what_its_own_values_are() -> None:
    """A Pillow image has the pixels it shows, whatever file it came from; its palette has no bound all the same."""
    deep = Image.open(io.BytesIO(png(16, 2, bytes(range(12)))))
    assert load(deep).original == RGB
    deep.load()
    assert load(deep).original == RGB
    assert load(picture("RGB").quantize(16)).original == PALETTE
    assert load(picture("RGBA")).original == RGBA
