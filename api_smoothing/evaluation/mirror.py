"""A run file in an object store: written on this machine's disk, and brought there at checkpoints.

Object stores have no append. So the file that counts lies in the installation's folder, as durable as any run file; a
copy of it is uploaded every so often, and at the end. What a machine takes with it when it is lost is what was written
since the last checkpoint: certificates, which the next run makes again from the answers that are kept, at no cost.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from api_smoothing.errors import ApiSmoothError, ConfigurationError, ProviderError
from api_smoothing.home import home
from api_smoothing.interrupts import uninterrupted
from api_smoothing.remote import Remote

_EVERY: Final = 30.0  # seconds between two checkpoints, at least
_SHARE: Final = 0.05  # of the time goes into uploads, at most
MAX_BYTES: Final = 64 * 2**30  # of a run file


@contextmanager
def mirrored(url: str, *, every: float = _EVERY) -> Iterator[Path]:
    """The path at which the run file of `url` is written for the time of the block.

    One that is there already is gone on with. Raises ConfigurationError where two files of that name have parted, and
    ProviderError where the last upload fails: then the message names the file on the disk.
    """
    mirror = _Mirror(Remote(url))
    mirror.fetch()
    stop = threading.Event()
    thread = threading.Thread(target=mirror.keep, args=(stop, every), name="upload", daemon=True)
    try:
        with uninterrupted:
            thread.start()
        yield mirror.local
    finally:
        _ended(stop, thread)
        mirror.finish()


def _ended(stop: threading.Event, thread: threading.Thread) -> None:
    """End the thread that `stop` stops, and wait for it."""
    with uninterrupted:  # it waits for the lock of `stop`, too
        stop.set()
    thread.join()


class _Mirror:
    def __init__(self, place: Remote) -> None:
        self._place = place
        name = hashlib.sha256(place.url.partition("?")[0].encode()).hexdigest()[:24]
        self.local = home() / "uploads" / f"{name}.jsonl"
        self._there: int | None = None  # bytes of the file in the store, as it was left

    def fetch(self) -> None:
        """Have all on the disk that is in the store."""
        if self._place.url.startswith("http"):
            raise ConfigurationError(
                f"{self._place}: nothing can be written to http; name s3://, gs:// or az://"
            )
        self.local.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._there = self._place.size()
        except Exception as error:
            raise self._failed(error) from None
        if self._there is None:
            return
        theirs = self._place.read_bytes(MAX_BYTES)
        if not self.local.exists():
            self.local.write_bytes(theirs)
            return
        ours = self.local.read_bytes()
        if not ours.startswith(theirs) and not theirs.startswith(ours):
            raise ConfigurationError(
                f"{self._place} and what this machine had written of it, {self.local}, have parted: name another "
                "output, or move one of them away"
            )
        if len(theirs) > len(ours):
            self.local.write_bytes(theirs)

    def keep(self, stop: threading.Event, every: float) -> None:
        """Upload now and then, until `stop`. One that fails is made good by the next."""
        wait = every
        while not stop.wait(wait):
            began = time.monotonic()
            with contextlib.suppress(Exception):
                self._upload()
            wait = max(every, (time.monotonic() - began) / _SHARE)

    def finish(self) -> None:
        """Upload what is not there yet."""
        try:
            self._upload()
        except Exception as error:
            raise self._failed(error) from None

    def _upload(self) -> None:
        if not self.local.exists() or self.local.stat().st_size == self._there:
            return
        fs, path = self._place.system()
        if (found := self._place.size()) != self._there:
            raise ConfigurationError(
                f"another run is writing {self._place} ({found} bytes); choose another output"
            )
        data = self.local.read_bytes()
        data = data[: data.rfind(b"\n") + 1]  # whole lines
        fs.pipe_file(path, data)
        self._there = len(data)

    def _failed(self, error: Exception) -> Exception:
        if isinstance(error, ApiSmoothError):
            return error
        kept = (
            f"; all of it is in {self.local}, and the same command brings it there"
            if self.local.exists()
            else ""
        )
        return ProviderError(
            f"{self._place}: cannot be written ({type(error).__name__}): check rights and keys{kept}"
        )
