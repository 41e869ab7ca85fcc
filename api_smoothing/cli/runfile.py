"""The run file: a header line, then one certificate a line, only ever appended to.

A later certificate of the same image replaces an earlier one. A process killed while writing leaves at most
one torn line at the end, which the next run removes; nothing else in the file is ever changed.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from api_smoothing import __version__
from api_smoothing.cli.json_output import one_object
from api_smoothing.errors import ConfigurationError
from api_smoothing.results import Certificate, RunHeader

UNDECIDED = frozenset({"budget", "failed"})  # stopped for want of answers: asked again by the next run


class RunFile:
    """An open run file, locked against other processes."""

    def __init__(self, path: Path, file: IO[bytes], certificates: Sequence[Certificate]) -> None:
        self.path = path
        self._file = file
        self._certificates = {(found.image, found.image_sha256): found for found in certificates}
        self._labels = {_labels(found) for found in certificates if found.stopped not in UNDECIDED}

    def find(self, image: str, image_sha256: str) -> Certificate | None:
        """The certificate of this image under this file's settings, if it is decided."""
        shown = image if image.isprintable() else repr(image)  # as certificates have it
        known = self._certificates.get((shown, image_sha256))
        return None if known is None or known.stopped in UNDECIDED else known

    def holds(self, certificate: Certificate) -> bool:
        """Whether this file has a decided certificate of the same image about the same labels."""
        return _labels(certificate) in self._labels

    def append(self, certificate: Certificate) -> None:
        """Add one line, on the disk when this returns."""
        self._certificates[certificate.image, certificate.image_sha256] = certificate
        self._file.write(one_object(certificate.to_dict()).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


@contextmanager
def open_run(path: Path, settings: Mapping[str, Any]) -> Iterator[RunFile]:
    """Open `path` for a run with `settings`, creating it with its header if it is not there.

    Raises ConfigurationError when it is no run file, is damaged other than by a torn last line, belongs to
    other settings, or is in use.
    """
    if not path.exists():
        _create(path, settings)
    try:
        file = path.open("r+b")
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None
    with file:
        _lock(file, path)
        yield RunFile(path, file, _read(file, path, settings))


def _create(path: Path, settings: Mapping[str, Any]) -> None:
    """Write the header and only then give the file its name: a header is never torn."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    header = RunHeader(settings=dict(settings), version=__version__, created=created)
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as part:
            part.write(header.to_json().encode() + b"\n")
        Path(part.name).chmod(0o666 & ~_umask())
        Path(part.name).replace(path)
    except OSError as error:
        raise ConfigurationError(f"cannot create {path}: {error.strerror}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _lock(file: IO[bytes], path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # a platform without it; two runs into one file are then the user's to avoid
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ConfigurationError(f"another run is writing {path}; choose another --output") from None


def _labels(certificate: Certificate) -> tuple[str, ...]:
    """The image and the labels a certificate is about."""
    return (certificate.image, certificate.image_sha256, *sorted(certificate.counts))


def _read(file: IO[bytes], path: Path, settings: Mapping[str, Any]) -> list[Certificate]:
    lines = file.read().splitlines(keepends=True)
    try:
        header = RunHeader.from_json(lines[0].decode() if lines else "")
    except ValueError:
        raise ConfigurationError(f"{path} is no run file; choose another --output") from None
    _compare(header.settings, settings, path)
    certificates = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            found = Certificate.from_json(line.decode())
        except ValueError as error:
            if number == len(lines) and not line.endswith(b"\n"):
                file.seek(-len(line), os.SEEK_END)
                file.truncate()
                break
            raise ConfigurationError(f"{path}, line {number}: {error}") from None
        certificates.append(found)
    else:
        file.seek(0, os.SEEK_END)
        if not lines[-1].endswith(b"\n"):
            file.write(b"\n")
    return certificates


def _compare(theirs: Mapping[str, Any], ours: Mapping[str, Any], path: Path) -> None:
    ours = json.loads(json.dumps(ours))  # as they would read back
    for name in [*ours, *theirs]:
        if theirs.get(name) != ours.get(name):
            raise ConfigurationError(
                f"{path} was made with {name} = {json.dumps(theirs.get(name))}, this run has "
                f"{json.dumps(ours.get(name))}; choose another --output"
            )
