"""Run files: what a run found, line by line, for those who resume it, read it, or go on from it.

A run file is JSONL in UTF-8. The first line is a `RunHeader`; every other line is a JSON object whose `schema` says
what it is. Lines are only ever appended.

header       settings (those of `SmoothedAPI.settings()` and the command's own question), version, created. Whoever
             opens the file to write must have the same settings; one that a side lacks counts as None there. `command`
             is what began the file, for `evaluate --resume`; None from Python.
certificate  one `Certificate` about one image: of `certify` its only one; of labels present or absent one a label,
             the first with the queries. Several radii read from one image's votes stand in one line (`radii`). An
             evaluation adds the `item` of its data set, and the `epoch` where votes are drawn afresh; a learned prior
             its digest (`prior`); an answer for a neighbour its `parent`.
commitment   what `evidence.commit` writes before the first query of a run that others shall check. It makes the file a
             chained one: from it on every line carries `chain`, the sha256 of the chain before and of the line's
             canonical JSON without it. Files without a commitment have no chains.
other lines  of a schema that is not known here ("api-smooth/…") are passed over.

Of several lines about the same question the last counts: one that was cut short (`stopped` "budget" or "failed") is
asked again. A process killed while writing leaves at most one torn line, at the end. `read` leaves it out with a
warning, `open` removes it; nothing else in a file is ever changed. How lines may grow from version to version stands in
`results`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from api_smoothing.errors import ConfigurationError, DiskError
from api_smoothing.results import RUN_SCHEMA, SCHEMA, Certificate, RunHeader, one_line
from api_smoothing.shown import shown
from api_smoothing.version import __version__

__all__ = [
    "COMMITMENT",
    "PLANNED",
    "UNDECIDED",
    "RunFile",
    "canonical",
    "chained",
    "header",
    "lines",
    "open",
    "read",
]

UNDECIDED: Final = frozenset({"budget", "failed"})  # stopped for want of answers: asked again by the next run

COMMITMENT: Final = "api-smooth/commitment/1"
PLANNED: Final = "api-smooth/planned/1"

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
        head = _header(file, path)
        for number, values in _lines(file, path, on_torn=warn):
            if (found := _certificate(values, head, path, number)) is not None:
                yield found


def lines(path: str | Path) -> Iterator[Certificate | Mapping[str, Any]]:
    """All lines after the header, in order: certificates, and every other line as it is; as `read` otherwise."""
    path = Path(path)
    with _opened(path, "rb") as file:
        head = _header(file, path)
        for number, values in _lines(file, path, on_torn=lambda size: None):
            found = _certificate(values, head, path, number)
            yield values if found is None else found


@contextmanager
def open(
    path: str | Path, settings: Mapping[str, Any], *, command: Mapping[str, Any] | None = None
) -> Iterator[RunFile]:
    """Open `path` for a run with `settings`, creating it with its header, and the `command`, if it is not there.

    Raises ConfigurationError when it is no run file, is damaged other than by a torn last line, belongs to
    other settings, or is in use; writing raises DiskError where there is no room.
    """
    path = Path(path)
    if not path.exists():
        _create(path, settings, command)
    with _closing(_opened(path, "r+b")) as file:
        _lock(file, path)
        head = _header(file, path)
        _compare(head.settings, settings, path)
        torn: list[int] = []
        run = RunFile(path, file)
        for number, values in _lines(file, path, on_torn=torn.append):
            run.note(values, _certificate(values, head, path, number))
        for size in torn:
            file.seek(-size, os.SEEK_END)
            file.truncate()
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
        yield run
        run.flush()


class RunFile:
    """An open run file, locked against other processes.

    `commitment` is the line of that kind, None where the run has made none, and `planned` how many of the lines that
    belong to it are written.
    """

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self.commitment: Mapping[str, Any] | None = None
        self.planned = 0
        self._file = file
        self._lines = 0  # after the header
        self._chain: str | None = None
        self._certificates: dict[tuple[str, str], Certificate] = {}
        self._labels: set[tuple[str, ...]] = set()

    def note(self, values: Mapping[str, Any], certificate: Certificate | None) -> None:
        """Take in a line that stands in the file."""
        self._lines += 1
        self._chain = values.get("chain", self._chain)
        if values["schema"] == COMMITMENT:
            self.commitment = values
        self.planned += values["schema"] == PLANNED
        if certificate is not None:
            self._certificates[certificate.image, certificate.image_sha256] = certificate
            if certificate.stopped not in UNDECIDED:
                self._labels.add(_labels(certificate))

    def find(self, image: str, image_sha256: str) -> Certificate | None:
        """The certificate of this image under this file's settings, if it is decided."""
        named = image if image.isprintable() else repr(image)  # as certificates have it
        known = self._certificates.get((named, image_sha256))
        return None if known is None or known.stopped in UNDECIDED else known

    def holds(self, certificate: Certificate) -> bool:
        """Whether this file has a decided certificate of the same image about the same labels."""
        return _labels(certificate) in self._labels

    def append(self, certificate: Certificate) -> None:
        """Add one line, on the disk when this returns, with all before it."""
        self._certificates[certificate.image, certificate.image_sha256] = certificate
        self._write(certificate.to_dict(), sync=True)

    def append_line(self, values: Mapping[str, Any], *, sync: bool = True) -> None:
        """Add a line of another `schema`; without `sync` it is on the disk only with a later one, or after `flush`.

        A commitment begins the chain. Raises ConfigurationError where it is not the first line after the header.
        """
        if values["schema"] == COMMITMENT:
            if self._lines:
                raise ConfigurationError(
                    f"{self.path} has lines from before there was a commitment; choose another file"
                )
            self._file.seek(0)
            self._chain = chained("", json.loads(self._file.readline()))
            self._file.seek(0, os.SEEK_END)
            self.commitment = values
        self.planned += values["schema"] == PLANNED
        self._write(values, sync=sync)

    def flush(self) -> None:
        """Bring to the disk what was added."""
        with self._writing():
            self._file.flush()
            os.fsync(self._file.fileno())

    def _write(self, values: Mapping[str, Any], *, sync: bool) -> None:
        self._lines += 1
        if self._chain is not None:
            self._chain = chained(self._chain, values)
            values = {**values, "chain": self._chain}
        with self._writing():
            self._file.write(one_line(values).encode() + b"\n")
        if sync:
            self.flush()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DiskError(
                f"cannot write {self.path}: {error.strerror}; free some space and run the same again: what stands "
                "there counts, and a torn last line is removed"
            ) from None


def canonical(values: Mapping[str, Any]) -> bytes:
    """One JSON text for all ways to write `values`: sorted keys, no spaces, ASCII, floats as Python's repr."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def chained(before: str, values: Mapping[str, Any]) -> str:
    """The chain after a line with `values`, given that after the line before it ("" of the header)."""
    line = {name: value for name, value in values.items() if name != "chain"}
    return hashlib.sha256(before.encode() + b"\n" + canonical(line)).hexdigest()


def _labels(certificate: Certificate) -> tuple[str, ...]:
    """The image and the labels a certificate is about."""
    return (certificate.image, certificate.image_sha256, *sorted(certificate.counts))


@contextmanager
def _closing(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Close `file` at the end; what it could not write has been told by then, and stays unwritten."""
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):
            file.close()


def _opened(path: Path, mode: str) -> IO[bytes]:
    try:
        return path.open(mode)
    except OSError as error:
        does = "read" if mode == "rb" else "write"
        raise ConfigurationError(f"cannot {does} {path}: {error.strerror}") from None


def _create(path: Path, settings: Mapping[str, Any], command: Mapping[str, Any] | None) -> None:
    """Write the header and only then give the file its name: a header is never torn.

    Whoever comes second finds the first one's file, and takes nothing from it.
    """
    created = datetime.now(UTC).isoformat(timespec="seconds")
    about = None if command is None else dict(command)
    first = RunHeader(settings=dict(settings), version=__version__, created=created, command=about)
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
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ConfigurationError(f"{path} is no run file; choose another one") from None
    try:
        return RunHeader.from_dict(values)
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _lines(
    file: IO[bytes], path: Path, *, on_torn: Callable[[int], None]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines after the header, with their numbers; a torn last one goes to `on_torn`, as its size in bytes."""
    for number, line in enumerate(file, start=2):
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            if not line.endswith(b"\n"):  # none but the last
                on_torn(len(line))
                return
            raise ConfigurationError(f"{path}, line {number}: no JSON: {error}") from None
        schema = values.get("schema") if isinstance(values, dict) else None
        if not isinstance(schema, str) or not schema.startswith(_OURS):
            raise ConfigurationError(f"{path}, line {number}: no line of a run file")
        yield number, values


def _certificate(values: dict[str, Any], head: RunHeader, path: Path, number: int) -> Certificate | None:
    """The certificate of a line; None of a line of another kind."""
    if not values["schema"].startswith(_CERTIFICATE):
        return None
    try:
        line = {name: value for name, value in values.items() if name != "chain"}  # the file's, not its own
        return Certificate.from_dict(_with_kind(line, head))
    except ValueError as error:
        raise ConfigurationError(f"{path}, line {number}: {error}") from None


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
