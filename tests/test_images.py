from __future__ import annotations

import contextlib
import hashlib
import io
import os
import struct
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from api_smoothing.errors import ConfigurationError, ImageError
from api_smoothing.images import as_list, encode_png, load

X = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def refusal(img: Any, **options: Any) -> str:
    """The one line with which `load` refuses `img`."""
    with pytest.raises(ImageError) as caught:
        load(img, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert text.count(": ") >= 2, text  # where: what: what to do
    return text


def test_every_container_of_the_same_pixels_gives_the_same_image(tmp_path: Path) -> None:
    """Path, bytes, Pillow image, arrays of every type and tensors share one grid and one digest."""
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.png"
    path.write_bytes(file_of(Image.fromarray(X)))
    first = load(X)
    assert np.array_equal(first.grid, X)
    assert (first.sub, first.size, first.original_size) == (1, (6, 9), (6, 9))
    tensor = torch.from_numpy(X).permute(2, 0, 1)
    others: list[Any] = [
        path,
        str(path),
        path.read_bytes(),
        Image.fromarray(X),
        X / 255.0,
        (X / 255.0).astype(np.float32),
    ]
    others += [
        X.astype(np.uint16) * 257,
        tensor,
        tensor.float() / 255,
        (tensor.double() / 255).requires_grad_(),
    ]
    others += [encode_png(X), file_of(Image.fromarray(X), "BMP"), file_of(Image.fromarray(X), "TIFF")]
    for other in others:
        loaded = load(other)
        assert loaded.digest == first.digest
        assert loaded.radius_original(0.5) == 0.5
    assert load(path).source == str(path)


def test_an_open_file_is_read_and_left_as_it_was(tmp_path: Path) -> None:
    """Open files, BytesIO and buffers are read; a file stays open, and stands where it stood, again and again."""
    data = file_of(Image.fromarray(X))
    path = tmp_path / "a.png"
    path.write_bytes(b"head" + data)
    with path.open("rb") as file:
        file.seek(4)
        for _ in range(2):
            assert load(file).digest == load(X).digest
            assert (file.closed, file.tell()) == (False, 4)
        assert load(file).source == str(path)
    for other in (io.BytesIO(data), bytearray(data), memoryview(data)):
        assert load(other).digest == load(X).digest
    assert load(io.BytesIO(data)).source == "<BytesIO>"
    assert len(as_list(io.BytesIO(data))) == 1
    with tempfile.TemporaryFile() as nameless:
        nameless.write(data)
        assert "seek(0)" in refusal(nameless)
        nameless.seek(0)
        assert load(nameless).digest == load(X).digest


def test_a_stream_is_read_once() -> None:
    """What cannot be wound back, such as a response's body, is read to its end."""

    class Body:
        def __init__(self, data: bytes) -> None:
            self._data = data

        def read(self) -> bytes:
            data, self._data = self._data, b""
            return data

    body: Any = Body(file_of(Image.fromarray(X)))
    assert load(body).digest == load(X).digest
    assert "empty" in refusal(body)


def test_files_that_cannot_be_read_are_refused_in_one_line(tmp_path: Path) -> None:
    """Closed, opened as text, or opened for writing: each says what to do."""
    path = tmp_path / "a.png"
    path.write_bytes(encode_png(X))
    with path.open("rb") as file:
        pass
    assert "closed" in refusal(file)
    with path.open("r", encoding="latin-1") as text:
        assert "mode 'rb'" in refusal(text)
    with (tmp_path / "b.png").open("wb") as out:
        assert "reading" in refusal(out)
    assert "not an image" in refusal(io.BytesIO(b"no image" * 9))


def test_sixteen_bits_of_any_order_and_holder(tmp_path: Path) -> None:
    """Big-endian arrays, uint16 tensors and 16-bit files keep their bits."""
    torch = pytest.importorskip("torch")
    deep = np.random.default_rng(2).integers(0, 65536, (5, 6), dtype=np.uint16)
    want = load(deep).digest
    assert load(deep.astype(">u2")).digest == want
    assert load(torch.from_numpy(deep)[None]).digest == want
    for name in ("a.png", "a.tif", "a.pgm"):
        Image.fromarray(deep).save(tmp_path / name)
        assert load(tmp_path / name).digest == want
    plain = f"P2 6 5 65535\n{' '.join(map(str, deep.ravel()))}\n".encode()
    assert load(plain).digest == want


def test_digest_names_shape_grid_and_values() -> None:
    """The digest is SHA-256 of label, shape, grid and values; any change of one of them changes it."""
    raw = b"api-smooth image 1\0" + struct.pack("<4I", 6, 9, 3, 1) + X.astype("<i4").tobytes()
    assert load(X).digest == hashlib.sha256(raw).digest()
    one_off = X.copy()
    one_off[3, 4, 1] ^= 1
    images = [X, one_off, X.reshape(9, 6, 3), X[::-1], np.ascontiguousarray(X[:, :8])]
    digests = {load(x).digest for x in images} | {load(X, sub=2).digest, load(X, size=5).digest}
    assert len(digests) == len(images) + 2


def test_the_image_is_not_shared_and_not_writable() -> None:
    """Changing the caller's array later does not change the loaded image, and the grid cannot be written."""
    mine = X.copy()
    loaded = load(mine)
    mine[:] = 0
    assert np.array_equal(loaded.grid, X)
    with pytest.raises(ValueError, match="read-only"):
        loaded.grid[0, 0, 0] = 1


def test_exif_orientation_is_applied() -> None:
    """A photo held sideways is turned upright, and its original size is the upright one."""
    exif = Image.Exif()
    exif[0x0112] = 6
    loaded = load(file_of(Image.fromarray(X), "PNG", exif=exif))
    assert loaded.original_size == (9, 6)
    assert np.array_equal(loaded.grid, np.rot90(X, -1))


def test_grey_palette_and_transparent_images_become_rgb() -> None:
    """Grey is repeated, palettes are looked up, opaque alpha is dropped, transparency is laid on white."""
    grey = X[:, :, 0]
    three = np.repeat(grey[:, :, None], 3, axis=2)
    for img in (grey, grey[:, :, None], Image.fromarray(grey), grey / 255.0):
        assert np.array_equal(load(img).grid, three)
    few = Image.fromarray(X // 64 * 64).quantize(256)
    assert np.array_equal(load(file_of(few)).grid, np.asarray(few.convert("RGB")))
    bits = Image.fromarray(X[:, :, 0] > 128)
    assert set(np.unique(load(bits).grid)) == {0, 255}
    rgba = np.dstack([X, np.full(X.shape[:2], 255, np.uint8)])
    assert load(Image.fromarray(rgba)).digest == load(X).digest
    rgba[:, :, 3] = np.arange(54).reshape(6, 9) * 4
    a = rgba[:, :, 3:] / 255.0
    assert np.abs(load(Image.fromarray(rgba)).grid - (X * a + 255 * (1 - a))).max() <= 0.5 + 1e-9
    keyed = file_of(Image.fromarray(X), transparency=tuple(int(v) for v in X[0, 0]))
    assert load(keyed).grid[0, 0].tolist() == [255, 255, 255]


def test_sixteen_bit_and_float_images_go_to_the_fine_grid() -> None:
    """Values off the 8-bit grid are kept to 1/(255·256), rounded to nearest, and the rounding is charged."""
    deep = np.random.default_rng(2).integers(0, 65536, (5, 6), dtype=np.uint16)
    loaded = load(file_of(Image.fromarray(deep)))
    assert loaded.sub == 256
    assert np.abs(loaded.grid[:, :, 0] - deep * (65280 / 65535)).max() <= 0.5
    assert 0 < loaded.rounding < np.sqrt(90) / 65280 * 1.001
    assert load(deep).digest == loaded.digest
    floats = np.random.default_rng(2).uniform(0, 1, (5, 6, 3))
    loaded = load(floats)
    assert loaded.sub == 256
    assert np.abs(loaded.grid - floats * 65280).max() <= 0.5
    assert 0.2 - 2e-4 < loaded.radius_original(0.2) < 0.2
    assert loaded.operator_norm == 1.0


def test_sizes() -> None:
    """One side means a square cut from the centre, two sides are height and width; others are refused."""
    assert load(X, size=4).size == (4, 4)
    assert load(X, size=(3, 5)).size == (3, 5)
    assert load(X, size=4).original_size == (6, 9)
    assert load(X, size=4).grid.max() <= 65280
    for size in (0, -3, (4, 0), 10**6):
        with pytest.raises(ConfigurationError, match="size"):
            load(X, size=size)
    with pytest.raises(ConfigurationError, match="sub"):
        load(X, sub=0)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be enormous."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))


@pytest.mark.parametrize(
    ("width", "height"), [(20_000, 20_000), (10_000, 10_000), (8000, 7000), (70_000, 10)]
)
def test_decompression_bombs_are_refused_before_decoding(
    width: int, height: int, recwarn: pytest.WarningsRecorder
) -> None:
    """A tiny file that would decode to gigabytes costs one line, no memory and no warning."""
    start = time.process_time()
    assert "megapixels" in refusal(bomb(width, height))
    assert time.process_time() - start < 5  # decoding 400 megapixels would take longer
    assert not recwarn.list


def test_unreadable_files_are_refused_by_name(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Missing, empty, truncated and disguised files and folders each get their own line with the path."""
    png = file_of(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)))
    jpeg = file_of(Image.fromarray(X).resize((200, 200)), "JPEG")
    names = {
        "text.png": (b"just some text\n" * 20, "not an image"),
        "empty.png": (b"", "empty"),
        "cut.png": (png[: len(png) // 2], "damaged"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "damaged"),
        "head.png": (png[:20], "damaged|not an image"),
        "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        "flip.png": (png[:60] + bytes([png[60] ^ 255]) + png[61:], "damaged"),
    }
    for name, (content, words) in names.items():
        path = tmp_path / name
        path.write_bytes(content)
        text = refusal(path)
        assert str(path) in text
        assert any(word in text for word in words.split("|")), text
    assert "folder" in refusal(tmp_path)
    assert "no such file" in refusal(tmp_path / "nowhere.png")
    assert "empty" in refusal(b"")
    assert "no such file" in refusal("a\0b\nc")
    assert not recwarn.list


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX pipes")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    """A path that is no regular file is refused instead of being waited for."""
    os.mkfifo(tmp_path / "pipe")
    assert "regular file" in refusal(tmp_path / "pipe")


def test_random_damage_never_escapes_the_error_tree() -> None:
    """Whatever bytes are changed or cut, the outcome is an image or an ImageError."""
    rng = np.random.default_rng(9)
    kinds = (
        "PNG",
        "JPEG",
        "GIF",
        "BMP",
        "TIFF",
        "WEBP",
        "PPM",
        "ICO",
        "TGA",
        "PCX",
        "SGI",
        "QOI",
        "DDS",
        "JPEG2000",
    )
    good = [file_of(Image.fromarray(X), kind) for kind in kinds]
    for trial in range(420):
        data = bytearray(good[trial % len(good)])
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(len(data))] = rng.integers(256)
        with contextlib.suppress(ImageError):
            load(bytes(data[: rng.integers(1, len(data) + 1)] if trial % 2 else data))


def test_unsupported_kinds_are_refused_by_name() -> None:
    """Animations, CMYK, HDR and 32-bit files say what they are."""
    frames = [Image.fromarray(X), Image.fromarray(255 - X)]
    for kind in ("GIF", "WEBP", "TIFF", "PNG"):
        assert "several frames" in refusal(file_of(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert "CMYK" in refusal(file_of(Image.fromarray(X).convert("CMYK"), "JPEG"))
    assert "mode F" in refusal(file_of(Image.fromarray(X[:, :, 0].astype(np.float32)), "TIFF"))
    assert "LAB" in refusal(Image.new("LAB", (3, 3)))
    assert "mode I" in refusal(Image.fromarray(np.full((3, 3), 70000, np.int32)))


NAN = np.full((3, 3, 3), np.nan)


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (X.astype(float), "[0,1]"),
        (X / 255.0 - 0.01, "[0,1]"),
        (NAN, "NaN"),
        (X.transpose(2, 0, 1), "transpose"),
        (X[None], "shape"),
        (np.dstack([X, X]), "shape"),
        (X.astype(np.int64), "int64"),
        (X > 3, "bool"),
        (X.astype(complex), "complex"),
        (np.zeros((0, 4, 3), np.uint8), "pixel"),
        (np.zeros((7001, 7200), np.uint8), "megapixels"),
        (None, "NoneType"),
        ([1, 2], "list"),
    ],
)
def test_ambiguous_values_are_refused(array: NDArray[Any], word: str) -> None:
    """Arrays whose range, order or type is not certain are refused and never guessed at."""
    assert word in refusal(array)


def test_ambiguous_tensors_are_refused() -> None:
    """A batch, a channels-last tensor and values beyond [0,1] are refused."""
    torch = pytest.importorskip("torch")
    for tensor in (torch.zeros(1, 3, 4, 4), torch.zeros(4, 4, 3), torch.full((3, 4, 4), 2.0)):
        assert "<tensor>" in refusal(tensor)


def test_loading_leaves_the_callers_image_alone() -> None:
    """A Pillow image is neither closed nor turned nor converted."""
    mine = Image.open(io.BytesIO(file_of(Image.fromarray(X).convert("P"))))
    load(mine)
    assert mine.mode == "P"
    mine.getpixel((0, 0))


def test_one_image_or_several() -> None:
    """A single image of any kind is a list of one; an iterable of images is a list of them."""
    assert as_list("a.png") == ["a.png"]
    assert as_list(b"x") == [b"x"]
    assert len(as_list(X)) == 1
    assert as_list(iter(["a", "b"])) == ["a", "b"]


@pytest.mark.parametrize("level", [0, 1, 6])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (224, 224), (3, 30000)])
def test_png_round_trip_is_bit_exact(shape: tuple[int, int], level: int) -> None:
    """What is sent decodes to exactly the 8-bit values, at any size and compression."""
    x = np.random.default_rng(5).integers(0, 256, (*shape, 3), dtype=np.uint8)
    data = encode_png(x, level=level)
    image = Image.open(io.BytesIO(data))
    image.verify()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), x)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_png(x[:, ::-1])))), x[:, ::-1])


def test_png_refuses_other_arrays() -> None:
    """Only uint8 (H, W, 3) can be sent."""
    wrongs: list[Any] = [X[:, :, 0], X.astype(np.int32), X[:0], np.dstack([X, X])]
    for wrong in wrongs:
        with pytest.raises(ValueError, match="uint8"):
            encode_png(wrong)
