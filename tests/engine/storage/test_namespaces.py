"""Two containers of one machine that share a folder: processes that cannot see each other pay once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from api_smoothing.sandbox import Sandbox
from api_smoothing.sandbox.classifier import scripted_brain

pytest.importorskip("requests")

ISOLATED = ["unshare", "--fork", "--pid", "--mount-proc"]
WORKER = """
import json, os, sys
import numpy as np
from api_smoothing import Budget, SmoothedAPI
given = json.loads(sys.argv[1])
with SmoothedAPI("http", denoiser=None, seed=0, concurrency=8, rate=100_000, cache=given["cache"],
                 budget=Budget(queries=given["cap"], run="shared"), **given["options"]) as api:
    found = api.predict(np.full((96, 96, 3), 128, np.uint8), n=200)
print(json.dumps({"pid": os.getpid(), "n": found.n, "counts": found.counts}))
"""


def isolation() -> list[str] | None:
    """The command that runs another one in a PID namespace of its own, where that is allowed."""
    for command in (ISOLATED, [*ISOLATED, "--user", "--map-root-user"]):
        if shutil.which("unshare") and not subprocess.run([*command, "true"], capture_output=True).returncode:
            return command
    return None


@pytest.mark.slow
@pytest.mark.parametrize(("share", "cap"), [("home", None), ("answers", 120)])
def test_two_pid_namespaces_with_one_folder_pay_once(tmp_path: Path, share: str, cap: int | None) -> None:
    """Nothing is paid twice, and the cap of the run holds to the last query; both get the same answers."""
    isolated = isolation()
    if isolated is None:
        pytest.skip("PID namespaces are not permitted here")
    classifier = scripted_brain({"cat": 0.8, "dog": 0.2})
    with Sandbox("http", classifier=classifier, latency=0.05) as server:
        given = {
            "cap": cap,
            "options": server.options(),
            "cache": True if share == "home" else str(tmp_path / "answers"),
        }
        running = []
        for number in range(2):
            home = tmp_path / ("home" if share == "home" else f"home-{number}")
            environment = {
                **os.environ,
                "API_SMOOTH_HOME": str(home),
                "OMP_NUM_THREADS": "1",
                "NO_PROXY": "127.0.0.1,localhost",
                "PYTHONPATH": os.pathsep.join(sys.path),
            }
            command = [*isolated, sys.executable, "-c", WORKER, json.dumps(given)]
            running.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        told = [json.loads(process.communicate(timeout=120)[0]) for process in running]
        assert [one["pid"] for one in told] == [1, 1]  # neither knows the other's number
        assert server.meter.images == (200 if cap is None else cap)
    if cap is None:
        assert told[0]["n"] == told[1]["n"] == 200
        assert told[0]["counts"] == told[1]["counts"]
