"""Answers that were paid and could not be written where they belong, as the disk is full: kept elsewhere meanwhile.

They lie in a temporary folder of this user alone, in a file named after the one they belong into, and are taken over
when that is opened next.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from api_smoothing.errors import ConfigurationError
from api_smoothing.private import private_folder, refuse_shared_file, refuse_shared_folder

#: Stream, query index, and the sealed text of the answer.
Row: TypeAlias = tuple[str, int, str]


def spill_file(database: Path) -> Path:
    """Where the answers of `database` are kept while it cannot be written to."""
    name = hashlib.sha256(os.fsencode(database.resolve())).hexdigest()[:16]
    user = os.getuid() if os.name == "posix" else 0
    return Path(tempfile.gettempdir()) / f"api-smooth-kept-{user}" / f"{name}.jsonl"


def spill(database: Path, rows: Iterable[Row]) -> Path | None:
    """Keep `rows`, at the end of those kept already; returns where, None where that cannot be done either."""
    path = spill_file(database)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    try:
        private_folder(path.parent)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="ascii") as file:
            refuse_shared_file(path)
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, ConfigurationError):
        return None
    return path


def spilt(database: Path) -> list[Row]:
    """The rows that are kept for `database`; a line that was not finished is none."""
    path, rows = spill_file(database), list[Row]()
    try:
        refuse_shared_folder(path.parent)
        refuse_shared_file(path)
        text = path.read_text(encoding="ascii")
    except (OSError, ValueError, ConfigurationError):
        return []
    for line in text.splitlines():
        with contextlib.suppress(ValueError, TypeError):
            stream, query, sealed = json.loads(line)
            rows.append((str(stream), int(query), str(sealed)))
    return rows


def forget_spilt(database: Path) -> None:
    """Remove what was kept, once it is where it belongs."""
    spill_file(database).unlink(missing_ok=True)
