"""Images of 16 bits a channel are read whole: both bytes of every value, whatever file they lie in."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from api_smoothing.decode import decode
from api_smoothing.images import load

RNG = np.random.default_rng(4)
COLOUR = {1: 0, 2: 4, 3: 2, 4: 6}  # PNG's types, by channels


def png(values: NDArray[np.uint16], more: bytes = b"") -> bytes:
    """A PNG of 16 bits; `more` are chunks before the data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, COLOUR[channels], 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            more,
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        ]
    )


def tiff(values: NDArray[np.uint16], order: str) -> bytes:
    """A plain TIFF of 16 bits, big-endian (">") or little-endian ("<")."""
    height, width, channels = values.shape
    data = values.astype(f"{order}u2").tobytes()
    bits = struct.pack(f"{order}{channels}H", *[16] * channels)
    start = 8 + len(bits) + len(data)
    photometric = 2 if channels >= 3 else 1
    tags: list[tuple[int, int, int, int]] = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, 8), (259, 3, 1, 1), (262, 3, 1, photometric),
        (273, 4, 1, 8 + len(bits)), (277, 3, 1, channels), (278, 4, 1, height), (279, 4, 1, len(data)),
    ]  # fmt: skip
    if channels == 4:
        tags.append((338, 3, 1, 2))
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, kind, count)
        + (
            struct.pack(f"{order}HH", value, 0)
            if kind == 3 and count == 1
            else struct.pack(f"{order}I", value)
        )
        for tag, kind, count, value in tags
    )
    ahead = (b"MM" if order == ">" else b"II") + struct.pack(f"{order}HI", 42, start)
    return ahead + bits + data + struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", 0)


def values(channels: int) -> Any:
    return RNG.integers(0, 65536, (5, 4, channels), dtype=np.uint16)


@pytest.mark.parametrize(
    "write", [png, lambda v: tiff(v, ">"), lambda v: tiff(v, "<")], ids=["png", "MM", "II"]
)
def test_colour_keeps_both_bytes(write: Any) -> None:
    """RGB comes as the array of its values would, with a radius for the image as given."""
    given = values(3)
    read = decode(write(given))
    assert read.values.dtype == np.uint16
    assert (read.values == given).all()
    one, other = load(write(given)), load(given)
    assert one.digest == other.digest
    assert one.radius_original(0.3) == other.radius_original(0.3) > 0.29


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("write", [png, lambda v: tiff(v, "<")], ids=["png", "tiff"])
def test_alpha_is_laid_on_white_in_sixteen_bits(channels: int, write: Any) -> None:
    """Rounded to the nearest of 65,536 values; there is no bound for that, and no radius."""
    given = values(channels)
    if channels == 2 and write is not png:
        pytest.skip("Pillow reads no such TIFF")
    alpha = given[:, :, -1:].astype(np.float64) / 65535
    want = given[:, :, :-1] * alpha + 65535 * (1 - alpha)
    read = decode(write(given))
    assert read.values.dtype == np.uint16
    assert np.abs(read.values - want).max() <= 0.5 + 1e-6
    assert read.original.unbounded is not None
    assert load(write(given)).radius_original(0.3) == 0.0


def test_grey_is_as_it_was() -> None:
    """Grey of 16 bits comes in three equal channels of 16 bits."""
    given = values(1)
    assert (decode(png(given)).values == given.repeat(3, axis=2)).all()


def test_values_on_the_8_bit_grid_are_8_bit() -> None:
    """A file of k·257 is the 8-bit image k, exactly."""
    small = RNG.integers(0, 256, (5, 4, 3), dtype=np.uint8)
    read = decode(png(small.astype(np.uint16) * 257))
    assert read.values.dtype == np.uint8
    assert (read.values == small).all()


def test_files_of_8_bits_are_read_once() -> None:
    """Nothing changes for them."""
    small = RNG.integers(0, 256, (5, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).save(file, "PNG")
    assert (decode(file.getvalue()).values == small).all()


def test_orientation_holds_for_both_bytes() -> None:
    """An EXIF orientation turns the low bytes with the high ones."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(data)) + b"eXIf" + data + struct.pack(">I", zlib.crc32(b"eXIf" + data))
    given = values(3)
    assert (decode(png(given, chunk)).values == np.rot90(given, -1)).all()
