"""Where a process runs, and whether it still does."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from api_smoothing.engine.storage import whereabouts
from api_smoothing.engine.storage.whereabouts import alive, birth, here, in_background

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc")


@linux
def test_a_process_knows_where_it_is() -> None:
    """Host, boot, PID namespace and birth are told, and are the same for another process beside it."""
    code = "from api_smoothing.engine.storage.whereabouts import here; print(here())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    ).stdout
    mine = here()
    assert mine.pid == os.getpid()
    assert "" not in (mine.host, mine.boot, mine.space, mine.birth)
    for name in ("host", "boot", "space"):
        assert f"{name}={getattr(mine, name)!r}" in there


@pytest.mark.parametrize("name", ["host", "boot", "space"])
def test_processes_are_looked_up_in_the_same_place_only(name: str) -> None:
    """Another host, boot or PID namespace is out of sight, and so is a place that does not say which it is."""
    mine = replace(here(), boot="b", space="s")
    assert mine.sees(mine.host, mine.boot, mine.space)
    there = {"host": mine.host, "boot": mine.boot, "space": mine.space}
    assert not mine.sees(**{**there, name: "another"})
    if name != "host":
        assert not replace(mine, **{name: ""}).sees(**{**there, name: ""})


@linux
def test_a_foreign_proc_is_no_place_to_look() -> None:
    """Where /proc shows another PID namespace than ours, no process can be looked up by its number."""
    isolated = ["unshare", "--fork", "--pid"]  # without a /proc of its own
    code = "from api_smoothing.engine.storage.whereabouts import here; print(repr(here().space))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        done = subprocess.run(
            [*isolated, sys.executable, "-c", code], capture_output=True, text=True, env=environment
        )
    except FileNotFoundError:
        pytest.skip("no unshare")
    if done.returncode:
        pytest.skip("PID namespaces are not permitted here")
    assert done.stdout.strip() == "''"


@linux
def test_the_dead_and_zombies_have_no_birth() -> None:
    """A process that has ended is dead, also before its parent has collected it; one that runs is alive."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    born = birth(process.pid)
    assert born is not None
    assert alive(process.pid, born, recent=False)
    assert not alive(process.pid, f"{born}0", recent=True)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
    assert not alive(process.pid, born, recent=True)
    process.communicate()
    assert birth(process.pid) is None


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_without_a_birth_the_number_and_the_heartbeat_count() -> None:
    """On a system that tells no births a process that is there lives as long as its claim is recent."""
    assert alive(os.getpid(), "", recent=True)
    assert not alive(os.getpid(), "", recent=False)
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert not alive(process.pid, "", recent=True)


def test_a_heart_beats_until_it_is_told_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function is called again and again, by a thread that keeps no process from ending, until it says False."""
    monkeypatch.setattr(whereabouts, "BEAT_SECONDS", 0.001)
    beats, done = list[bool](), threading.Event()

    def beat() -> bool:
        beats.append(threading.current_thread().daemon)
        if len(beats) == 3:
            done.set()
        return len(beats) < 3

    in_background(beat)
    assert done.wait(10)
    for thread in threading.enumerate():
        if thread.name == "heartbeat":
            thread.join(1)
    assert beats == [True] * 3


def test_a_lapse_forgives_missed_beats() -> None:
    """A holder is given up only after several heartbeats have not come."""
    assert whereabouts.LAPSE_SECONDS >= 5 * whereabouts.BEAT_SECONDS
