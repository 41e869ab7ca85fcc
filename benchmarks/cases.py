"""Run the reproducers of faults found outside, each in a process of its own, and say which pass.

    python benchmarks/cases.py --cases DIR [NAME…]

DIR holds one folder a case, `NN-name/run.sh`, which prints PASS or FAIL last. With NAMEs only the cases whose
names begin so are run. Exit code 1 when one does not pass.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def verdict(case: Path, seconds: float) -> tuple[str, str]:
    """("PASS", "FAIL" or what else became of it, all that it printed)."""
    with tempfile.TemporaryDirectory() as home:
        environment = {
            **os.environ,
            "PY": sys.executable,
            "API_SMOOTH_HOME": home,
            "API_SMOOTH_MACHINE": f"{home}/machine",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        }
        try:
            done = subprocess.run(
                ["bash", str(case / "run.sh")],
                env=environment,
                cwd=home,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"longer than {seconds:g} s", ""
    lines = done.stdout.strip().splitlines() or ["nothing"]
    return (
        lines[-1] if lines[-1] in ("PASS", "FAIL") else f"exit {done.returncode}"
    ), done.stdout + done.stderr


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--seconds", type=float, default=300.0, help="the most a case may take (default: 300)"
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()
    found = sorted(file.parent for file in args.cases.resolve().glob("[0-9]*/run.sh"))
    chosen = [case for case in found if not args.names or case.name.startswith(tuple(args.names))]
    passed = 0
    for case in chosen:
        began = time.monotonic()
        word, printed = verdict(case, args.seconds)
        passed += word == "PASS"
        print(f"{word:<5} {case.name} ({time.monotonic() - began:.0f} s)", flush=True)
        if word != "PASS":
            bad = [line for line in printed.splitlines() if "BAD" in line or "Error" in line]
            print("\n".join(f"      {line.strip()[:200]}" for line in bad[:8]), flush=True)
    print(f"{passed} of {len(chosen)} pass")
    return 0 if passed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
