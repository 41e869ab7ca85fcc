"""Where a process runs and whether it still does: host, boot, PID namespace, number and birth.

A process number means something only in its PID namespace. Two containers of one host may each have a process 7,
and neither sees the other's: whose whereabouts are not ours is known to live by its heartbeat alone.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from api_smoothing.interrupts import uninterrupted

BEAT_SECONDS: Final = 10.0  # between two heartbeats
LAPSE_SECONDS: Final = 60.0  # without a heartbeat, after which a holder that cannot be seen is given up


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """A process and where its number `pid` means it. `birth` tells it from a later one of that number.

    `boot` and `space` are empty where the system does not say: then nobody can look the process up.
    """

    host: str
    boot: str
    space: str
    pid: int
    birth: str

    def sees(self, host: str, boot: str, space: str) -> bool:
        """Whether the process numbers of there can be looked up from here."""
        return "" not in (boot, space) and (host, boot, space) == (self.host, self.boot, self.space)


def here() -> Whereabouts:
    """Those of this process."""
    pid = os.getpid()
    return Whereabouts(host=_host(), boot=boot(), space=_space(pid), pid=pid, birth=birth(pid) or "")


def in_background(beat: Callable[[], bool]) -> None:
    """Have `beat` called every BEAT_SECONDS by a thread of its own, until it returns False or the process ends."""

    def work() -> None:
        time.sleep(BEAT_SECONDS)
        while beat():
            time.sleep(BEAT_SECONDS)

    with uninterrupted:
        threading.Thread(target=work, name="heartbeat", daemon=True).start()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What holders of claims live by: `clock` is the time of day in seconds, common to all who share the claims;
    `heartbeat` has a function called regularly until it returns False; `here` are a process's own whereabouts.
    """

    clock: Callable[[], float] = time.time
    heartbeat: Callable[[Callable[[], bool]], object] = in_background
    here: Callable[[], Whereabouts] = here


def alive(pid: int, born: str, recent: bool) -> bool:
    """Whether the process that was `born` so still runs; where that cannot be seen, whether its claim is `recent`."""
    if born:
        return birth(pid) == born
    if sys.platform == "win32" or not recent:  # on Windows asking would end the process
        return recent
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def birth(pid: int) -> str | None:
    """When a process started, in the kernel's words, which tells it from a later one of its number; None for a
    dead one, a zombie, or a system that does not say.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def boot() -> str:
    """Names the time since the machine was started, in which its clock does not start anew."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{(time.time() - time.monotonic()) / 600:.0f}"


@cache
def _host() -> str:
    try:
        name = Path("/etc/machine-id").read_text().strip()
    except OSError:
        name = ""
    return name or platform.node()


def _space(pid: int) -> str:
    """The PID namespace; empty where /proc is that of another one, as its numbers are not ours then."""
    if sys.platform != "linux":
        return "only"
    try:
        if Path("/proc/self/stat").read_text().partition(" ")[0] != str(pid):
            return ""
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
