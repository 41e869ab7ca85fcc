"""Which folders files may lie in: none on a network, whose locks do not hold between machines."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from api_smoothing.errors import ConfigurationError
from api_smoothing.home import platform_folder

#: File systems that other machines may write to at the same time, in the kernel's words.
NETWORK: Final = re.compile(
    "9p|afs|beegfs|ceph|cifs|coda|davfs|gpfs|lustre|ncpfs|nfs4?|orangefs|panfs|pvfs2|smb[23]|smbfs|"
    # and as programs that serve one
    r"fuse\.(blobfuse2?|ceph-fuse|curlftpfs|davfs2?|gcsfuse|glusterfs|goofys|juicefs|mount-s3|rclone|s3fs|smbnetfs|sshfs)"
)


def network_file_system(folder: Path, mounts: str) -> str | None:
    """The kind of network file system `folder` lies on, by `mounts` in the form of /proc/mounts; None if on none.

    What is not in the list of kinds counts as local.
    """
    folder, best, kind = folder.resolve(), -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[1]))
        depth = len(point.parts)
        if depth >= best and (
            point == folder or point in folder.parents
        ):  # a later mount covers an earlier one
            best, kind = depth, fields[2]
    return kind if NETWORK.fullmatch(kind) else None


def mounts() -> str:
    """What is mounted where; nothing on a system that does not say."""
    try:
        return Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def refuse_network(folder: Path, mounted: Callable[[], str] = mounts) -> None:
    """Raise ConfigurationError, one line, when `folder` is on a network file system."""
    if kind := network_file_system(folder, mounted()):
        raise ConfigurationError(
            f"{folder} is on a network file system ({kind}), where a budget cannot be kept exactly: "
            f"set API_SMOOTH_HOME to a folder on a disk of this machine, or name one with --cache"
        )


def limiter_folders(
    home: Path, machine: Path | None = None, mounted: Callable[[], str] = mounts
) -> list[Path]:
    """Where the turns of an account are kept: in `home`, for containers that share it, and in a folder that all of
    this user's homes on this machine share. Ascending, so that everyone takes them in one order.

    The shared one is `machine`, or the platform's cache folder, or one in /tmp where that cannot be used. Raises
    ConfigurationError when there is neither.
    """
    text = mounted()

    def local(folder: Path) -> bool:
        return network_file_system(folder, text) is None

    places = [home] if local(home) else []
    if machine is not None:
        refuse_network(machine, lambda: text)
        places.append(machine)
    else:
        places += next(([place] for place in _of_the_user() if local(place) and _usable(place)), [])
    if not places:
        refuse_network(home, lambda: text)
    return sorted({place.resolve() for place in places})


def _of_the_user() -> list[Path]:
    try:
        return [platform_folder(), *_temporary()]
    except RuntimeError:  # a user without a home folder, as in some containers
        return _temporary()


def _temporary() -> list[Path]:
    """A user's own folder where anyone may make one, of a name that another user may have taken."""
    return [Path("/tmp") / f"api-smooth-{os.getuid()}"] if sys.platform != "win32" else []  # noqa: S108


def _usable(folder: Path) -> bool:
    """Whether `folder` is there, made if need be, and can be written to: by the user alone, whose it is."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = os.stat(folder, follow_symlinks=folder not in _temporary())
    except OSError:
        return False
    writable = stat.S_ISDIR(found.st_mode) and os.access(folder, os.W_OK | os.X_OK)
    if sys.platform == "win32":
        return writable
    return writable and found.st_uid == os.geteuid() and not found.st_mode & 0o022
