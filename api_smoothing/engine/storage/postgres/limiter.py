"""The turns of an account, for all machines, handed out by the server's clock.

The requests of a process stand in one line, and one of them asks for all: the server gives those turns that come within
`AHEAD` seconds, and says of the others when theirs would come. A process that dies wastes no more than that; a pause
reaches other processes as late. A turn is when a request leaves: what the database is asked besides, such as the
reservation, was asked before `wait`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from api_smoothing.adapters.base import Quota
from api_smoothing.engine.storage.flow import MARGIN, fine
from api_smoothing.engine.storage.postgres.server import Server
from api_smoothing.engine.storage.postgres.server_clock import ServerClock
from api_smoothing.engine.storage.rate import LONG_WAIT
from api_smoothing.errors import ConfigurationError, DiskError

#: Seconds ahead of now for which turns are given.
AHEAD: Final = 0.2
_LOOK: Final = 5.0  # seconds after which one asks again, however long the line
_SOON: Final = 0.02  # seconds before a turn can be given, beyond what asking takes, to ask for it
_ASKED: Final = 0.005  # seconds at least until one looks again while another one is asking
_RESOLUTION: Final = 0.002  # seconds; no thread wakes more exactly
_DUST: Final = 1e-6  # seconds, of rounding


@dataclass(slots=True, eq=False)
class _Place:
    """A request in line: its turn, if it has one, by the server's clock and by ours, or when one would come."""

    images: int
    turn: float | None = None
    leaves: float = 0.0
    due: float = 0.0


class ServerLimiter:
    """Makes threads wait for their turn. Quotas of the same `key` are one, on every machine.

    `clock` is steady and in seconds. `sleep` waits that long, in place of the event that ends a wait.
    """

    ahead: Final = AHEAD

    def __init__(
        self,
        server: Server,
        *,
        key: str,
        quotas: Sequence[Quota],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        fined = [fine(quota) for quota in quotas]
        self._quotas = (key, [q.unit for q in fined], [q.count for q in fined], [q.seconds for q in fined])
        self._late = max(_RESOLUTION, min(q.seconds for q in fined) * MARGIN / 2)
        self._server, self._key = server, key
        self._clock, self._sleep = clock, sleep
        self._theirs = ServerClock()
        self._lock = threading.Lock()
        self._line: list[_Place] = []
        self._latest = 0.0  # turn that was given, by our clock
        self._asking = False
        self._trip = 0.0  # seconds that a call takes, at its longest of late
        self._asked = float("-inf")  # when, by our clock
        self._answered = 0  # requests, since the last call
        self._unused: list[
            tuple[int, float]
        ] = []  # images and turns that came to nothing, to be told with the next
        self._paused = 0.0  # nobody of this process leaves before this time of ours
        self._tell: Callable[[float], object] | None = None
        self._told = float("-inf")

    def listen(self, tell: Callable[[float], object]) -> None:
        self._tell = tell

    def wait(self, images: int, stop: threading.Event | None = None) -> None:
        stop = stop or threading.Event()
        sleep = self._sleep or stop.wait
        place = _Place(images)
        with self._lock:  # its turn comes after those of this process that are known
            place.due = max(self._clock(), self._latest, *(before.due for before in self._line[-1:]))
            self._line.append(place)
        try:
            while not stop.is_set():
                seconds = self._until(place)
                if seconds > _DUST:
                    sleep(max(_RESOLUTION, seconds) if seconds > _RESOLUTION else seconds)
                elif place.turn is None:
                    self._ask()
                elif self._keeps(place):
                    place.turn = None
                    return
                else:
                    self._give_back(place)
        finally:
            self._leave(place)

    def spare(self, images: int) -> None:
        self._server.call(_SPARE, (*self._quotas, images))

    def pause(self, seconds: float) -> None:
        self._hold(seconds)
        self._server.call(_PAUSE, (self._key, float(seconds)))

    def throttled(self, retry_after: float = 1.0) -> None:
        self._hold(retry_after)
        self._server.call(_THROTTLE, (*self._quotas, float(retry_after)))

    def answered(self, requests: int = 1) -> None:
        with self._lock:
            self._answered += requests

    def close(self) -> None:
        """The connections are the storage's."""

    def _until(self, place: _Place) -> float:
        """Seconds until `place` has something to do: to leave, or to ask; also tells whoever listens."""
        now = self._clock()
        with self._lock:
            if place.turn is not None:
                return place.leaves - now
            if self._asking:
                return max(_ASKED, self._trip / 2)
            # Late enough that the turns of several are given together, early enough that this one is not late.
            lead = _SOON + 2 * self._trip
            seconds = min(place.due - lead, max(now, self._asked + _LOOK)) - now
        self._say(place.due - now)
        return seconds

    def _ask(self) -> None:
        """Have the server look at the whole line, unless another thread just does."""
        with self._lock:
            if self._asking:
                return
            self._asking = True
            line = [place for place in self._line if place.turn is None]
            answered, self._answered = self._answered, 0
            unused, self._unused = self._unused, []
        abandoned: list[_Place] = []
        try:
            sent = self._clock()
            images = [place.images for place in line]
            lead = self._trip / 2
            back = [count for count, _ in unused], [turn for _, turn in unused]
            values = (*self._quotas, images, lead, AHEAD, answered, *back)
            [(theirs, given, turns)] = self._server.call(_TURNS, values)
            received = self._clock()
            ahead = self._theirs.heard(theirs, sent, received)
            with self._lock:
                self._trip, self._asked = max(received - sent, 0.9 * self._trip), received
                for number, (place, turn) in enumerate(zip(line, turns, strict=True)):
                    place.due = turn + ahead
                    if number < given:
                        place.turn, place.leaves = turn, place.due
                        self._latest = place.due
                        if place in self._line:
                            self._line.remove(place)
                        else:
                            abandoned.append(place)
        finally:
            with self._lock:
                self._asking = False
        for place in abandoned:  # stopped meanwhile
            self._leave(place)

    def _keeps(self, place: _Place) -> bool:
        """Whether its turn has come and was not missed: leaving late would crowd the next window."""
        in_time = self._clock() <= place.leaves + self._late
        return in_time and place.leaves >= self._paused

    def _give_back(self, place: _Place) -> None:
        """To the head of the line again; the server is told of the turn with the next question, which comes at once."""
        with self._lock:
            if place.turn is not None:
                self._unused.append((place.images, place.turn))
            place.turn, place.due = None, self._clock()
            self._line.insert(0, place)

    def _leave(self, place: _Place) -> None:
        with self._lock:
            if place in self._line:
                self._line.remove(place)
            turn, place.turn = place.turn, None
        if turn is not None:
            with contextlib.suppress(DiskError, ConfigurationError):  # a turn that nobody uses
                none: list[int] = []
                self._server.call(_TURNS, (*self._quotas, none, 0.0, 0.0, 0, [place.images], [turn]))

    def _hold(self, seconds: float) -> None:
        with self._lock:
            self._paused = max(self._paused, self._clock() + seconds)

    def _say(self, seconds: float) -> None:
        if self._tell is None or seconds < LONG_WAIT:
            return
        with self._lock:
            now = self._clock()
            if now < self._told + 60.0:
                return
            self._told = now
        self._tell(seconds)


_TURNS: Final = """
SELECT * FROM api_smooth.turns(
    %s, %s::text[], %s::integer[], %s::float8[], %s::integer[], %s, %s, %s, %s::integer[], %s::float8[]
)
"""
_SPARE: Final = "SELECT api_smooth.spare_turn(%s, %s::text[], %s::integer[], %s::float8[], %s)"
_PAUSE: Final = "SELECT api_smooth.pause(%s, %s)"
_THROTTLE: Final = "SELECT api_smooth.throttle(%s, %s::text[], %s::integer[], %s::float8[], %s)"
