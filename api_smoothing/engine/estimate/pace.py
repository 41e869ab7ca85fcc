"""How many seconds a query takes on this machine: as its earlier runs did, or by the pixels to be denoised.

What was seen lies in `pace.json`, in the folder of what a machine's installations share, or else in the home. It is a
convenience: a file that cannot be read or written is as none.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from api_smoothing.adapters.base import AdapterCard
from api_smoothing.home import home, machine

_FILE: Final = "pace.json"
_FEWEST: Final = 20  # queries of a run that is worth remembering: what is loaded first takes time of its own
_FADES: Final = 0.5  # the weight of what was remembered, once there is something newer
_MOST: Final = 500  # pipelines remembered

#: Before the first run: seconds a query, and a pixel of it, behind the bundled denoisers on two cores of a server
#: (100 queries a second at 32×32, 5 at 224×224); without a denoiser the noise alone.
_QUERY: Final = 6e-3
_PIXEL: Final = 4e-6
_UNDENOISED: Final = 1e-7
_WAITS: Final = (
    0.8  # seconds that an image waits for a service: twice, as whether to go on depends on what came
)
_UNSURE: Final = 4.0  # times that may be too much or too little, of a machine that has not been seen yet
_VARIES: Final = 1.3  # of one that has: it is not always as busy

Size = int | tuple[int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds a `query` takes, `unsure` times as many or as few, and beside those the wait of an `image`.

    `busy` of them are for each one that an idle machine would take.
    """

    query: float
    image: float = 0.0
    unsure: float = 1.0
    remembered: bool = False
    busy: float = 1.0

    def seconds(self, queries: int, *, rate: float | None) -> tuple[float, float, float]:
        """Low, expected and high for `queries`, which leave at `rate` a second at most."""
        slowest = queries / rate if rate else 0.0
        if not queries:
            return 0.0, 0.0, 0.0
        here = [queries * self.query * factor for factor in (1 / self.unsure, 1.0, self.unsure)]
        low, expected, high = (max(slowest, each) + self.image for each in here)  # images wait together
        return low, expected, high


def pace(card: AdapterCard, *, denoiser: str | None, size: Size) -> Pace:
    """The pace of `card`'s provider behind the denoiser of that name, for images of `size` (None: as for 224)."""
    queries, seconds = _read().get(_key(card, denoiser, size), (0.0, 0.0))
    if queries:
        return Pace(query=seconds / queries, unsure=_VARIES, remembered=True)
    height, width = size if isinstance(size, tuple) else (size or 224, size or 224)
    pixel = _UNDENOISED if denoiser is None else _PIXEL
    waits = _WAITS if card.accepts == "png" and card.place != "sandbox" else 0.0
    shared = busy()
    return Pace(query=shared * (_QUERY + pixel * height * width), image=waits, unsure=_UNSURE, busy=shared)


def busy() -> float:
    """How many programs want each core of this machine just now: 1 where there is one for each, or nobody knows."""
    try:
        return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    except (AttributeError, OSError):  # Windows has no such number
        return 1.0


def remember(card: AdapterCard, *, denoiser: str | None, size: Size, queries: int, seconds: float) -> None:
    """Keep the `seconds` that `queries` of a pipeline took; the newest run counts most.

    Of a provider without a fingerprint nothing is kept: the next function without a name is another one.
    """
    if queries < _FEWEST or not card.fingerprint:
        return
    known, key = _read(), _key(card, denoiser, size)
    before = known.pop(key, (0.0, 0.0))
    kept = min(1.0, _FADES * queries / before[0]) if before[0] else 0.0
    known[key] = (queries + kept * before[0], seconds + kept * before[1])
    while len(known) > _MOST:
        del known[next(iter(known))]
    with suppress(OSError):
        _write(_path(), json.dumps(known))


def _key(card: AdapterCard, denoiser: str | None, size: Size) -> str:
    return json.dumps([card.provider, denoiser, size])


def _path() -> Path:
    return (machine() or home()) / _FILE


def _read() -> dict[str, tuple[float, float]]:
    try:
        found = json.loads(_path().read_text("utf-8"))
        return {str(key): (float(queries), float(seconds)) for key, (queries, seconds) in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write(path: Path, text: str) -> None:
    """Put the whole file in its place at once: others may be reading."""
    import tempfile

    path.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with open(number, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except OSError:
        os.unlink(name)
        raise
