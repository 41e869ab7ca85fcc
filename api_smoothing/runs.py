"""Run files: what a run found, line by line, for those who resume it, read it, or go on from it.

A run file is JSONL in UTF-8. The first line is a `RunHeader`; every other line is a JSON object whose `schema` says
what it is. Lines are only ever appended.

header       settings (those of `SmoothedAPI.settings()` and the command's own question), version, created. Whoever
             opens the file to write must have the same settings; one that a side lacks counts as None there.
certificate  one `Certificate` about one image: of `certify` its only one; of labels present or absent one a label,
             the first with the queries. Several radii read from one image's votes stand in one line (`radii`). An
             evaluation adds the `item` of its data set, and the `epoch` where votes are drawn afresh; a learned prior
             its digest (`prior`); an answer for a neighbour its `parent`.
other lines  of a schema that is not known here ("api-smooth/…") are passed over.

Of several lines about the same question the last counts: one that was cut short (`stopped` "budget" or "failed") is
asked again. A process killed while writing leaves at most one torn line, at the end. `read` leaves it out with a
warning, `open` removes it; nothing else in a file is ever changed. How lines may grow from version to version stands in
`results`.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from api_smoothing.errors import ConfigurationError
from api_smoothing.results import RUN_SCHEMA, SCHEMA, Certificate, RunHeader
from api_smoothing.shown import shown
from api_smoothing.version import __version__

__all__ = ["UNDECIDED", "RunFile", "header", "open", "read"]

UNDECIDED: Final = frozenset({"budget", "failed"})  # stopped for want of answers: asked again by the next run

_OURS: Final = SCHEMA.split("/")[0] + "/"
_CERTIFICATE: Final = SCHEMA.rpartition("/")[0] + "/"


def header(path: str | Path) -> RunHeader:
    """The settings and version of a run file. Raises ConfigurationError when it is none, or of another major."""
    with _opened(Path(path), "rb") as file:
        return _header(file, Path(path))


def read(path: str | Path) -> Iterator[Certificate]:
    """The certificates of a run file in the order they were written, one at a time; changes and locks nothing.

    It may be read while it is being written. A torn last line is left out with a RuntimeWarning. Raises
    ConfigurationError, with the line's number, when the file is no run file or is damaged anywhere else.
    """
    path = Path(path)

    def warn(size: int) -> None:
        warnings.warn(
            f"{shown(str(path))}: the last line is torn after {size} bytes and left out; the next run into this "
            "file removes it",
            RuntimeWarning,
            stacklevel=4,  # whoever asks for the next certificate
        )

    with _opened(path, "rb") as file:
        yield from _certificates(file, _header(file, path), path, on_torn=warn)


@contextmanager
def open(path: str | Path, settings: Mapping[str, Any]) -> Iterator[RunFile]:
    """Open `path` for a run with `settings`, creating it with its header if it is not there.

    Raises ConfigurationError when it is no run file, is damaged other than by a torn last line, belongs to
    other settings, or is in use.
    """
    path = Path(path)
    if not path.exists():
        _create(path, settings)
    with _opened(path, "r+b") as file:
        _lock(file, path)
        head = _header(file, path)
        _compare(head.settings, settings, path)
        torn: list[int] = []
        certificates = list(_certificates(file, head, path, on_torn=torn.append))
        for size in torn:
            file.seek(-size, os.SEEK_END)
            file.truncate()
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
        yield RunFile(path, file, certificates)


class RunFile:
    """An open run file, locked against other processes."""

    def __init__(self, path: Path, file: IO[bytes], certificates: Sequence[Certificate]) -> None:
        self.path = path
        self._file = file
        self._certificates = {(found.image, found.image_sha256): found for found in certificates}
        self._labels = {_labels(found) for found in certificates if found.stopped not in UNDECIDED}

    def find(self, image: str, image_sha256: str) -> Certificate | None:
        """The certificate of this image under this file's settings, if it is decided."""
        named = image if image.isprintable() else repr(image)  # as certificates have it
        known = self._certificates.get((named, image_sha256))
        return None if known is None or known.stopped in UNDECIDED else known

    def holds(self, certificate: Certificate) -> bool:
        """Whether this file has a decided certificate of the same image about the same labels."""
        return _labels(certificate) in self._labels

    def append(self, certificate: Certificate) -> None:
        """Add one line, on the disk when this returns."""
        self._certificates[certificate.image, certificate.image_sha256] = certificate
        self._file.write(certificate.to_json().encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _labels(certificate: Certificate) -> tuple[str, ...]:
    """The image and the labels a certificate is about."""
    return (certificate.image, certificate.image_sha256, *sorted(certificate.counts))


def _opened(path: Path, mode: str) -> IO[bytes]:
    try:
        return path.open(mode)
    except OSError as error:
        does = "read" if mode == "rb" else "write"
        raise ConfigurationError(f"cannot {does} {path}: {error.strerror}") from None


def _create(path: Path, settings: Mapping[str, Any]) -> None:
    """Write the header and only then give the file its name: a header is never torn.

    Whoever comes second finds the first one's file, and takes nothing from it.
    """
    created = datetime.now(UTC).isoformat(timespec="seconds")
    first = RunHeader(settings=dict(settings), version=__version__, created=created)
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as part:
            part.write(first.to_json().encode() + b"\n")
        try:
            Path(part.name).chmod(0o666 & ~_umask())
            _give_name(Path(part.name), path)
        finally:
            Path(part.name).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"cannot create {path}: {error.strerror}") from None


def _give_name(part: Path, path: Path) -> None:
    """Let `part` be `path` too, unless there is a `path` by now."""
    try:
        os.link(part, path)
    except FileExistsError:
        return
    except OSError:  # a file system without links, where a header might be torn
        with contextlib.suppress(FileExistsError), path.open("xb") as file:
            file.write(part.read_bytes())


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
        raise ConfigurationError(f"another run is writing {path}; choose another file") from None


def _header(file: IO[bytes], path: Path) -> RunHeader:
    try:
        values = json.loads(file.readline())
        schema = values["schema"]
        if not schema.startswith(RUN_SCHEMA.rpartition("/")[0] + "/"):
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ConfigurationError(f"{path} is no run file; choose another one") from None
    try:
        return RunHeader.from_dict(values)
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _certificates(
    file: IO[bytes], head: RunHeader, path: Path, *, on_torn: Callable[[int], None]
) -> Iterator[Certificate]:
    """The certificates in the lines after the header; a torn last line goes to `on_torn`, as its size in bytes."""
    for number, line in enumerate(file, start=2):
        try:
            values = json.loads(line)
        except ValueError as error:
            if not line.endswith(b"\n"):  # none but the last
                on_torn(len(line))
                return
            raise ConfigurationError(f"{path}, line {number}: no JSON: {error}") from None
        try:
            if not _is_foreign(values):
                yield Certificate.from_dict(_with_kind(values, head))
        except ValueError as error:
            raise ConfigurationError(f"{path}, line {number}: {error}") from None


def _is_foreign(values: Any) -> bool:
    """Whether a line is of a kind that only a newer version knows. Raises ValueError when it is none at all."""
    schema = values.get("schema") if isinstance(values, dict) else None
    if not isinstance(schema, str) or not schema.startswith(_OURS):
        raise ValueError("no line of a run file")
    return not schema.startswith(_CERTIFICATE)


def _with_kind(values: dict[str, Any], head: RunHeader) -> dict[str, Any]:
    """A line about presence from before certificates said so: its header does."""
    if "kind" in values or head.settings.get("labels_present") is None:
        return values
    return {**values, "kind": "present"}


def _compare(theirs: Mapping[str, Any], ours: Mapping[str, Any], path: Path) -> None:
    ours = json.loads(json.dumps(ours))  # as they would read back
    for name in [*ours, *theirs]:
        if theirs.get(name) != ours.get(name):
            raise ConfigurationError(
                f"{path} was made with {name} = {json.dumps(theirs.get(name))}, this run has "
                f"{json.dumps(ours.get(name))}; choose another file"
            )
