"""Anything a user calls an image → its pixel values, upright RGB; or one clear line why not.

What is decided here: EXIF orientation is applied; grey becomes three equal channels; transparency is laid on
white; colour profiles are not applied; 16-bit grey and RGB of PNG and TIFF keep their 16 bits, and 16-bit alpha is
laid on white in 16 bits; where the colours of a file lie apart (planar TIFF) their high bytes are read. Refused by
name: animations, CMYK and other colour spaces, floating-point (HDR) files, over 50 megapixels.
What the image was before is kept beside its values (`original`), for the radius there; of
lossy formats that are the pixels any reader shows.
"""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import ImageError
from .original import GREY, RGB, Original, of_file, of_picture
from .sixteen import sixteen_bits

if TYPE_CHECKING:
    from torch import Tensor

Buffer: TypeAlias = bytes | bytearray | memoryview
ImageLike: TypeAlias = "str | os.PathLike[str] | Buffer | IO[bytes] | Image.Image | NDArray[Any] | Tensor"

MAX_PIXELS = 50_000_000
_MAX_SIDE = 65_535
#: What Pillow decodes without another program, the usual ones first; TGA last, as it has no mark of its own.
_FORMATS: Final = (
    "PNG", "JPEG", "MPO", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "DIB", "ICO", "ICNS", "PCX", "SGI",
    "QOI", "DDS", "PSD", "SUN", "XBM", "TGA",
)  # fmt: skip
_NAMED: Final = "PNG, JPEG, WEBP, AVIF, GIF, BMP, TIFF, PPM"  # in messages
_FLOATING: Final = frozenset({".pfm"})  # suffixes of theirs whose files are refused
_RGB_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX"})
_FLOAT_TOLERANCE = 2e-5  # of an 8-bit level: float32 holds k/255 to 8e-6
_quiet = threading.Lock()  # warning filters belong to the whole process


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pixels:
    """Values (h, w, 3) from 0 to `peak`: uint8 with 255, uint16 with 65535, or float64 with 1.

    `original` is what they were made from.
    """

    values: NDArray[Any]
    peak: float
    source: str
    original: Original = RGB


def decode(img: ImageLike) -> Pixels:
    """Read a path, `bytes`, open file, `PIL.Image`, array (H, W, 3) or (H, W), or torch tensor (3, H, W); raise
    `ImageError`.

    A file is read from where it stands, and left open and there again.
    Arrays are uint8, uint16, or float in [0,1]. Float and 16-bit values that all lie on the 8-bit grid are
    8-bit.
    """
    if isinstance(img, (str, os.PathLike)):
        return _from_path(Path(img))
    if isinstance(img, (bytes, bytearray, memoryview)):
        return _from_bytes(bytes(img), "<bytes>")
    if is_open_file(img):
        return _from_open(img)  # type: ignore[arg-type]
    if isinstance(img, Image.Image):
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            name = str(getattr(img, "filename", "")) or "<PIL image>"
            return _from_pil(img, name, of_picture(img))
    if isinstance(img, np.ndarray):
        return _from_array(img, "<array>", "(H, W, 3)")
    if hasattr(img, "detach"):
        return _from_tensor(img)
    raise ImageError(
        f"<{type(img).__name__}>: not an image: pass a path, bytes, open file, PIL.Image, numpy array or tensor"
    )


def suffixes() -> frozenset[str]:
    """The endings, in lower case, of the files that are read: ".png", ".jpg", …."""
    Image.init()
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in _FORMATS}
    return frozenset(known - _FLOATING)


def is_open_file(img: object) -> bool:
    """Whether `img` is read from rather than looped over."""
    return hasattr(img, "read")


def _from_open(file: IO[bytes]) -> Pixels:
    """The rest of an open file, which is put back where it was if it can be."""
    of_file = getattr(file, "name", None)
    name = _printable(of_file) if isinstance(of_file, str) and of_file else f"<{type(file).__name__}>"
    try:
        start = file.tell() if getattr(file, "seekable", lambda: False)() else None
        try:
            data = file.read()
        finally:
            if start is not None:
                file.seek(start)
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise ImageError(f"{name}: cannot be read ({error}): pass a file that is open for reading") from error
    if not isinstance(data, bytes):
        raise ImageError(f"{name}: opened as text: open it with mode 'rb'")
    if not data and start:
        raise ImageError(f"{name}: nothing is left to read: call its seek(0) first")
    return _from_bytes(data, name)


def _from_bytes(data: bytes, name: str) -> Pixels:
    if not data:
        raise ImageError(f"{name}: empty: pass the bytes of an image file")
    return _from_file(io.BytesIO(data), name)


def _printable(name: str) -> str:
    return name if name.isprintable() else repr(name)


def _from_path(path: Path) -> Pixels:
    name = _printable(str(path))
    try:
        if path.is_dir():
            raise ImageError(f"{name}: a folder: name the image files in it")
        if not path.exists():
            raise ImageError(f"{name}: no such file: check the path")
        if not path.is_file():
            raise ImageError(f"{name}: not a regular file: pass an image file, or its bytes")
        if path.stat().st_size == 0:
            raise ImageError(f"{name}: empty: pass an image file")
        with path.open("rb") as file:
            return _from_file(file, name)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or "not a valid path"
        raise ImageError(f"{name}: cannot be read ({reason}): check path and permissions") from error


def _from_file(file: Any, name: str) -> Pixels:
    with _quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = _opened(file)
        except Image.DecompressionBombError as error:
            raise _too_large(name, "far more pixels") from error
        except UnidentifiedImageError as error:
            raise ImageError(f"{name}: not an image this reads: convert it to one of {_NAMED}") from error
        except Exception as error:  # decoders of hostile files raise anything
            raise _broken(name, error) from error
        with image:
            return _from_pil(image, name, of_file(image), again=lambda: _opened(file))


def _opened(file: Any) -> Image.Image:
    """What Pillow makes of a file; its decoders of the less usual formats are imported when no other knows the file."""
    Image.preinit()
    try:
        return _opened_as_known(file)
    except UnidentifiedImageError:
        Image.init()
        return _opened_as_known(file)


def _opened_as_known(file: Any) -> Image.Image:
    file.seek(0)
    return Image.open(file, formats=[f for f in _FORMATS if f in Image.OPEN])


def _from_pil(
    image: Image.Image, name: str, original: Original, again: Callable[[], Image.Image] | None = None
) -> Pixels:
    width, height = image.size
    if width == 0 or height == 0:
        raise ImageError(f"{name}: {width}×{height} pixels: an image needs at least one")
    if width * height > MAX_PIXELS or max(width, height) > _MAX_SIDE:
        raise _too_large(name, f"{width}×{height} pixels")
    try:
        if getattr(image, "is_animated", False) and image.format != "MPO":  # phones put a preview in an MPO
            raise ImageError(f"{name}: has several frames: save the one you mean as a file of its own")
        deep = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
        if image.mode not in _RGB_MODES and not deep:
            raise ImageError(f"{name}: colour mode {image.mode} is not supported: convert it to sRGB first")
        clear = (
            "transparency" in image.info
        )  # a colour, told in 16 bits, that 8 bits may not tell from others
        whole = None if again is None or clear else sixteen_bits(image, again)
        if whole is not None:
            return _of_sixteen(whole, name, original)
        upright = ImageOps.exif_transpose(image)
        if deep:
            grey = np.asarray(upright).astype(np.int64)
            if grey.min() < 0 or grey.max() > 65535:
                raise ImageError(f"{name}: 32-bit grey is not supported: convert it to 8 or 16 bits first")
            return _deep(_three(grey.astype(np.uint16)), name, original)
        if upright.has_transparency_data:
            values = _on_white(np.asarray(upright.convert("RGBA")))
        else:
            values = np.array(upright.convert("RGB"))
    except ImageError:
        raise
    except Exception as error:  # decoders of hostile files raise anything
        raise _broken(name, error) from error
    return Pixels(values=values, peak=255.0, source=name, original=original)


def _from_tensor(tensor: Any) -> Pixels:
    name = "<tensor>"
    values = tensor.detach().cpu()
    if values.ndim != 3 or values.shape[0] not in (1, 3):
        raise ImageError(f"{name}: shape {tuple(values.shape)}: pass one image as (3, H, W)")
    values = values.double() if values.is_floating_point() else values
    return _from_array(values.permute(1, 2, 0).numpy(), name, "(3, H, W)")


def _from_array(array: NDArray[Any], name: str, layout: str) -> Pixels:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        hint = "transpose it" if array.ndim == 3 and array.shape[0] in (1, 3) else "pass one RGB image"
        raise ImageError(f"{name}: shape {array.shape} is not {layout}: {hint}")
    if array.size == 0:
        raise ImageError(f"{name}: shape {array.shape}: an image needs at least one pixel")
    if array.shape[0] * array.shape[1] > MAX_PIXELS or max(array.shape) > _MAX_SIDE:
        raise _too_large(name, f"{array.shape[1]}×{array.shape[0]} pixels")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    values, original = (_three(array), GREY) if array.ndim == 2 else (array, RGB)
    if values.dtype == np.uint8:
        return Pixels(values=values.copy(), peak=255.0, source=name, original=original)
    if values.dtype == np.uint16:
        return _deep(values, name, original)
    if values.dtype.kind != "f":
        raise ImageError(f"{name}: {values.dtype} values are ambiguous: use uint8, or float in [0,1]")
    values = values.astype(np.float64)
    if not (values.min() >= 0.0 and values.max() <= 1.0):  # false for NaN as well
        raise ImageError(f"{name}: float values must lie in [0,1], without NaN: divide by 255 or clip first")
    levels = np.rint(values * 255.0)
    if np.abs(values * 255.0 - levels).max() <= _FLOAT_TOLERANCE:
        return Pixels(values=levels.astype(np.uint8), peak=255.0, source=name, original=original)
    return Pixels(values=values, peak=1.0, source=name, original=original)


def _deep(values: NDArray[np.uint16], name: str, original: Original) -> Pixels:
    """16-bit values; k·257 is exactly the 8-bit value k."""
    eight, rest = np.divmod(values, np.uint16(257))
    if not rest.any():
        return Pixels(values=eight.astype(np.uint8), peak=255.0, source=name, original=original)
    return Pixels(values=values.copy(), peak=65535.0, source=name, original=original)


def _of_sixteen(values: NDArray[np.uint16], name: str, original: Original) -> Pixels:
    """RGB, RGBA or grey with alpha of 16 bits. Colour stays as it is; alpha is laid on white, which has no bound."""
    if values.shape[2] == 3:
        return _deep(values, name, RGB)
    alpha = values[:, :, -1:].astype(np.uint64)
    colour = values[:, :, :-1].astype(np.uint64)
    laid = ((colour * alpha + 65535 * (65535 - alpha) + 32767) // 65535).astype(np.uint16)
    return _deep(laid if laid.shape[2] == 3 else _three(laid[:, :, 0]), name, original)


def _three(grey: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(grey[:, :, None], 3, axis=2)


def _on_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay an RGBA image on white, rounded to nearest."""
    alpha = rgba[:, :, 3:].astype(np.uint32)
    return ((rgba[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _too_large(name: str, what: str) -> ImageError:
    return ImageError(
        f"{name}: {what}, over {MAX_PIXELS // 10**6} megapixels or {_MAX_SIDE} a side: scale it down"
    )


def _broken(name: str, error: Exception) -> ImageError:
    reason = " ".join(str(error).split())[:100] or type(error).__name__
    return ImageError(f"{name}: damaged or cut short ({reason}): get the file again")
