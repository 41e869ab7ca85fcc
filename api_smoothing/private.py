"""Files that nobody else may write: a planted answer is a false certificate, a planted setting takes a key away."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from .errors import ConfigurationError

_OTHERS_WRITE: Final = 0o022
_OTHERS: Final = 0o077


def private_folder(folder: Path) -> None:
    """Make `folder`, for this user only, or refuse one that is another user's or that others may write to.

    Raises ConfigurationError, one line; OSError when it cannot be made.
    """
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(exist_ok=True)  # raises where it is a file
    refuse_shared_folder(folder)


def refuse_shared_folder(folder: Path) -> None:
    """Raise ConfigurationError, one line, when `folder` is there and not this user's alone to write to."""
    if os.name != "posix":
        return
    try:
        found = folder.stat()
    except FileNotFoundError:
        return
    if found.st_uid != os.geteuid():
        raise ConfigurationError(
            f"{folder} belongs to another user (number {found.st_uid}), who could change what is kept there: use a "
            f"folder of your own, or make it yours with chown"
        )
    if found.st_mode & _OTHERS_WRITE:
        raise ConfigurationError(
            f"{folder} may be written to by other users, who could change what is kept there: run chmod go-w on it, "
            f"or use another folder"
        )


def refuse_shared_file(path: Path) -> None:
    """Raise ConfigurationError, one line, when what is at `path` is no file of this user's alone to write to.

    A file that others may only read is closed to them. It is not opened: closing a second descriptor of a database
    would end this process's locks on it.
    """
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "no file"
        raise ConfigurationError(
            f"{path} is {kind}, where this program keeps a file of its own: move it away, or name the folder that "
            f"it points into instead"
        )
    if os.name != "posix":
        return
    if found.st_uid != os.geteuid() or found.st_mode & _OTHERS_WRITE:
        raise ConfigurationError(
            f"{path} is another user's, or may be written to by others: run chown and chmod 600 on it if you trust "
            f"what is in it, or move it away"
        )
    if found.st_mode & _OTHERS:
        path.chmod(0o600)


def refuse_writable(path: Path) -> None:
    """Raise ConfigurationError, one line, when others may write to the file at `path`, or to its folder. A link is
    followed: settings are often kept elsewhere.
    """
    if os.name != "posix":
        return
    try:
        places = [path.stat(), path.resolve().parent.stat()]
    except OSError:
        return
    if any(found.st_uid not in (os.geteuid(), 0) or found.st_mode & _OTHERS_WRITE for found in places):
        raise ConfigurationError(
            f"{path} may be written to by other users, who could have a key sent elsewhere: run chmod go-w on it "
            f"and on its folder"
        )
