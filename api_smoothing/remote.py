"""Files at a URL, through fsspec: read whole, one at a time, and only those that a user has named or that lie below.

s3://, gs://, az:// (abfs://) and https:// (http://) are known. fsspec, and what it needs for a kind of address, is
imported when one is used. An address may hold a signature or a password: wherever it is shown it has none.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from .errors import ConfigurationError, ImageError, MissingExtraError
from .shown import shown

#: The kinds of address, each with the package that fsspec needs for it.
KINDS: Final = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "https": "aiohttp",
    "http": "aiohttp",
}
MAX_BYTES: Final = 512 * 2**20  # of an image file or a table


def is_remote(source: object) -> bool:
    """Whether it is the address of a file, or a folder, that is not on this machine's disks."""
    return isinstance(source, str) and source.partition("://")[0] in KINDS and "://" in source


def masked(url: str) -> str:
    """A URL as it may be shown: without user, password and query."""
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    if (
        ":" in place and "@" not in place
    ):  # a key with a / in it, as those of AWS have; or a port, and an @ far behind
        place, slash, path = rest.rpartition("@")[2].partition("/")
    query = "?…" if "?" in path and scheme.startswith("http") else ""
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path.partition('?')[0] if query else path}{query}"


@dataclass(frozen=True, slots=True)
class Remote:
    """A file or a folder at `url`. What is raised is one line, with the address as it may be shown."""

    url: str

    def __str__(self) -> str:
        return masked(self.url)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return posixpath.basename(unquote(urlsplit(self.url).path).rstrip("/"))

    @property
    def suffix(self) -> str:
        """Its ending, in lower case, with the point."""
        return posixpath.splitext(self.name)[1].lower()

    def beside(self, name: str) -> Remote:
        """The file called `name`, a path as seen from the folder this one is in. It may not lead elsewhere."""
        return Remote(self.url.partition("?")[0].rpartition("/")[0]).below(name)

    def below(self, name: str) -> Remote:
        """The file called `name` in this folder. Raises ConfigurationError where it leads elsewhere."""
        path = posixpath.normpath(name.replace("\\", "/"))
        if "://" in name or path.startswith(("/", "..")):
            raise ConfigurationError(
                f"{self}: {shown(name)} leads out of this folder; only what lies in it is read"
            )
        return Remote(f"{self.url.rstrip('/')}/{path}")

    def read_bytes(self, most: int = MAX_BYTES) -> bytes:
        """All of it. Raises ImageError for what is not there, cannot be read, or has more than `most` bytes."""
        found = self._opened()
        try:
            with found as file:
                data: bytes = file.read(most + 1)
        except Exception as error:  # each kind of storage has errors of its own
            raise self._unreadable(error) from None
        if len(data) > most:
            raise ImageError(f"{self}: over {most // 2**20} MiB: too large for an image or a table")
        return data

    def copy_to(self, file: Any, most: int) -> None:
        """Write it into an open file, a piece at a time. Raises as `read_bytes`."""
        left = most
        try:
            with self._opened() as source:
                while block := source.read(2**20):
                    left -= len(block)
                    if left < 0:
                        raise ImageError(f"{self}: over {most // 2**20} MiB")
                    file.write(block)
        except ImageError:
            raise
        except Exception as error:
            raise self._unreadable(error) from None

    def files(self) -> list[str]:
        """The paths of all files below this folder, as seen from it, in order."""
        if self.url.startswith("http"):
            raise ConfigurationError(
                f"{self}: a folder cannot be listed over http; name an image, a .csv of paths, or an .npz"
            )
        fs, path = self.system()
        try:
            found = fs.find(path)
        except Exception as error:
            raise self._unreadable(error) from None
        root = path.rstrip("/") + "/"
        return sorted(one.removeprefix(root) for one in found if one.startswith(root))

    def size(self) -> int | None:
        """Its bytes; None where there is no such file."""
        fs, path = self.system()
        try:
            fs.invalidate_cache()
            return int(fs.info(path)["size"])
        except FileNotFoundError:
            return None

    def system(self) -> tuple[Any, str]:
        """The file system as fsspec has it, and the path in it. Raises MissingExtraError."""
        scheme = self.url.partition("://")[0]
        try:
            import fsspec

            found, path = fsspec.core.url_to_fs(self.url)
        except ImportError:
            raise MissingExtraError(
                f"{scheme}:// needs fsspec and {KINDS[scheme]}; run: pip install 'api-smooth[remote]' {KINDS[scheme]}"
            ) from None
        except Exception as error:
            raise self._unreadable(error) from None
        return found, str(path)

    def _opened(self) -> Any:
        fs, path = self.system()
        more = (
            {"block_size": 0} if self.url.startswith("http") else {}
        )  # from the first byte on, not by ranges
        try:
            return fs.open(path, "rb", **more)
        except Exception as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> ImageError:
        if isinstance(error, FileNotFoundError):
            return ImageError(f"{self}: no such file: check the address")
        reason = getattr(error, "status", None) or type(error).__name__  # the text may hold a key
        return ImageError(f"{self}: cannot be read ({reason}): check address, rights and keys")
