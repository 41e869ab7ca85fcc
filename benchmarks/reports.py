"""What a report of many images takes: `python benchmarks/reports.py [--images 10000]`.

CPU time and size of the page of one run of simulated votes, from its file to the text, limits 10 s and 5 MB; what of it
is reading the run file. No pictures are made.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests" / "support")]

from rows import Plan, Row, table  # noqa: E402
from run_files import run_file  # noqa: E402

from api_smoothing import report  # noqa: E402


def rows(plan: Plan) -> list[Row]:
    """One run of 10,000 images, or as many as the plan says."""
    count = plan.images or 10_000
    with tempfile.TemporaryDirectory() as folder:
        path = run_file(Path(folder) / "run.jsonl", count, n=100_000)  # so that no two radii are alike
        start = time.process_time()
        run = report.read(path)
        read = time.process_time() - start
        text = report.html([run], pictures=0)
        whole = time.process_time() - start
    note = f"{count:,} images"
    return [
        Row(
            name="report: CPU seconds",
            figure=whole,
            than="≤",
            limit=10.0,
            note=f"{note}, {read:.1f} s of it to read",
        ),
        Row(name="report: MB", figure=len(text.encode()) / 1e6, than="≤", limit=5.0, note=note),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=10_000, metavar="K")
    found = rows(Plan(quick=False, images=parser.parse_args().images, data=None, replay=None))
    print(table(found))
    raise SystemExit(any(row.met is False for row in found))
