"""Evidence: a run file that says what is going to be asked, then every answer as it comes, so that others can check it.

`commit` writes the plan and the images before the first query, a `Writer` observes the run, `finish` ends the file.
`verify` derives all of it again from the file alone; it imports nothing of this package, and can be copied elsewhere.
"""

from __future__ import annotations

from api_smoothing.evidence.commitment import commit, finish
from api_smoothing.evidence.writer import Writer

__all__ = ["Writer", "commit", "finish"]
