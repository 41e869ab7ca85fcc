"""The rate limiter: no window of time ever holds more than the quota, and little of it is left unused."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from api_smoothing.adapters.base import Quota
from api_smoothing.engine.storage import rate
from api_smoothing.engine.storage.rate import RateLimiter


class Clock:
    """Time that passes only in sleep, each one up to `late` seconds too long."""

    def __init__(self, late: float = 0.0, seed: int = 0) -> None:
        self.now, self._late, self._draw = 1000.0, late, random.Random(seed)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds + self._draw.uniform(0.0, self._late)


def busiest(events: Sequence[tuple[float, int]], seconds: float) -> int:
    return max(sum(k for at, k in events if start <= at < start + seconds) for start, _ in events)


def limiter_in(path: Path, clock: Clock, *quotas: Quota) -> RateLimiter:
    return RateLimiter(path / "rate.db", key="k", quotas=quotas, clock=clock, sleep=clock.sleep)


@pytest.mark.parametrize("late", [0.0, 0.004, 0.05])
@pytest.mark.parametrize("quota", [Quota(unit="image", count=30), Quota(unit="image", count=20, seconds=6.0)])
def test_no_window_holds_more_than_the_quota(tmp_path: Path, quota: Quota, late: float) -> None:
    """Whatever the batches and however late the threads wake, any window has at most `count` images."""
    clock, draw = Clock(late, seed=3), random.Random(1)
    limiter, events = limiter_in(tmp_path, clock, quota), []
    for _ in range(150):
        images = draw.choice([1, 1, 2, 16])
        limiter.wait(images)
        events.append((clock.now, images))
        clock.now += draw.choice([0.0, 0.0, 0.001, 0.3])
    assert busiest(events, quota.seconds) <= quota.count


def test_nearly_all_of_the_quota_is_used(tmp_path: Path) -> None:
    """Under steady work at least 97 % of the quota is used."""
    clock = Clock()
    limiter = limiter_in(tmp_path, clock, Quota(unit="image", count=30))
    began = clock.now
    for _ in range(600):
        limiter.wait(1)
    assert 600 / (clock.now - began) >= 0.97 * 30


def test_what_waking_and_writing_take_is_not_added_to_every_window(tmp_path: Path) -> None:
    """On a machine where every look at the clock is 9 ms later the turns still come when they are due."""

    class Slow(Clock):
        def __call__(self) -> float:
            self.now += 0.009
            return self.now

    clock = Slow()
    limiter, events = limiter_in(tmp_path, clock, Quota(unit="image", count=10)), []
    for _ in range(400):
        limiter.wait(1)
        events.append((clock.now, 1))
    assert busiest(events, 1.0) <= 10
    assert 400 / (clock.now - 1000.0) >= 0.976 * 10


def test_a_turn_that_was_taken_ahead_is_given_back(tmp_path: Path) -> None:
    """Who is stopped between taking a turn and its coming leaves it to the next one."""
    clock, stop = Clock(), threading.Event()
    limiter = RateLimiter(
        tmp_path / "rate.db",
        key="k",
        quotas=[Quota(unit="image", count=1)],
        clock=clock,
        sleep=lambda s: stop_in(clock, s, stop),
    )
    limiter.wait(1)
    began = clock.now
    limiter.wait(1, stop)
    assert stop.is_set()
    assert began + 0.99 < clock.now < began + 1.02
    other = limiter_in(tmp_path, clock, Quota(unit="image", count=1))
    other.wait(1)
    assert clock.now == pytest.approx(began + 1.02, abs=0.01)


def stop_in(clock: Clock, seconds: float, stop: threading.Event) -> None:
    """Sleep; the short sleep before a turn is cut off in its middle."""
    if seconds < 0.05:
        stop.set()
        seconds /= 2
    clock.sleep(seconds)


def test_images_and_requests_have_quotas_of_their_own(tmp_path: Path) -> None:
    """Batches are held back by the image quota, single images by the request quota."""
    quotas = (Quota(unit="image", count=40), Quota(unit="request", count=10))
    for images, expected in ((10, 40 / 10), (1, 10)):
        clock = Clock()
        limiter = limiter_in(tmp_path / str(images), clock, *quotas)
        began, rounds = clock.now, 100
        for _ in range(rounds):
            limiter.wait(images)
        assert 0.9 * expected <= rounds / (clock.now - began) <= 1.1 * expected


@pytest.mark.parametrize("count", [700, 1800, 1_000_000])
def test_large_quotas_are_kept_in_small_files(tmp_path: Path, count: int) -> None:
    """A quota of any size is never exceeded, is nearly used up, and takes a few kilobytes."""
    clock, events = Clock(), []
    limiter = limiter_in(tmp_path, clock, Quota(unit="image", count=count, seconds=60.0))
    for _ in range(300):
        limiter.wait(16)
        events.append((clock.now, 16))
    assert busiest(events, 60.0) <= count
    assert 4800 / (clock.now - 1000.0) >= 0.9 * min(count, 4800) / 60.0
    assert (tmp_path / "rate.db").stat().st_size < 100_000


def test_a_pause_holds_everyone(tmp_path: Path) -> None:
    """After a throttle nobody who shares the quota leaves before the time the provider asked for."""
    clock = Clock()
    one = limiter_in(tmp_path, clock, Quota(unit="image", count=30))
    two = limiter_in(tmp_path, clock, Quota(unit="image", count=30))
    one.wait(1)
    one.pause(7.0)
    two.wait(1)
    assert clock.now >= 1007.0


def test_a_halted_wait_ends_at_once(tmp_path: Path) -> None:
    """Whoever is told to stop does not wait for a turn that comes in minutes."""
    limiter = RateLimiter(tmp_path / "rate.db", key="k", quotas=[Quota(unit="image", count=1, seconds=600.0)])
    stop = threading.Event()
    limiter.wait(1, stop)
    threading.Timer(0.1, stop.set).start()
    began = time.monotonic()
    limiter.wait(1, stop)
    assert time.monotonic() - began < 100.0


def test_quotas_of_other_keys_are_not_touched(tmp_path: Path) -> None:
    """Another provider's quota is its own."""
    clock = Clock()
    for key in ("a", "b"):
        limiter = RateLimiter(
            tmp_path / "rate.db",
            key=key,
            quotas=[Quota(unit="image", count=1, seconds=60)],
            clock=clock,
            sleep=clock.sleep,
        )
        limiter.wait(1)
    assert clock.now < 1001


def test_a_clock_that_starts_anew_does_not_stop_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the machine was started again, with a clock from zero, the grants of before are forgotten."""
    clock = Clock()
    clock.now += 100_000.0
    limiter_in(tmp_path, clock, Quota(unit="image", count=5)).wait(5)
    clock.now -= 100_000.0
    monkeypatch.setattr("api_smoothing.engine.storage.rate._boot", lambda: "the next start")
    limiter_in(tmp_path, clock, Quota(unit="image", count=5)).wait(1)
    assert clock.now < 1010.0


PROCESS = """
import sys, threading, time
from pathlib import Path
from api_smoothing.adapters.base import Quota
from api_smoothing.engine.storage.rate import RateLimiter
local = threading.local()
def clock():
    local.last = time.time()
    return local.last
limiter = RateLimiter(Path(sys.argv[1]) / "rate.db", key="k", quotas=[Quota(unit="image", count=25, seconds=0.5)],
                      clock=clock)
def work():
    for _ in range(8):
        limiter.wait(1)
        print(repr(local.last), flush=True)
threads = [threading.Thread(target=work) for _ in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
"""


def test_processes_share_a_quota(tmp_path: Path) -> None:
    """Three processes of four threads together never pass more than the quota in any window."""
    environment = {"PYTHONPATH": ":".join(sys.path)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(3)
    ]
    events = [(float(line), 1) for process in running for line in process.communicate()[0].splitlines()]
    assert len(events) == 96
    assert busiest(events, 0.5) <= 25


class Waiting(Exception):
    """A thread of its own would be waiting now."""


class Standing(Clock):
    """Time that does not pass: who would sleep, waits."""

    def sleep(self, seconds: float) -> None:
        raise Waiting


class Since1970(Clock):
    """Time that passes in sleep alone, which always takes `late` seconds too long."""

    def __init__(self, late: float = 0.0) -> None:
        super().__init__()
        self.now, self._too_long, self.slept = 1e9, late, 0

    def sleep(self, seconds: float) -> None:
        self.slept += 1
        assert self.slept < 1000, "no turn ever comes"
        self.now += seconds + self._too_long


def test_a_daily_quota_holds_for_threads_that_wait(tmp_path: Path) -> None:
    """Of many threads that ask at one moment no more get a turn at once than the quota has."""
    limiter = limiter_in(tmp_path, Standing(), Quota(unit="image", count=5, seconds=86400.0))
    passed = 0
    for _ in range(40):
        try:
            limiter.wait(1)
            passed += 1
        except Waiting:
            continue
    assert passed <= 5


def test_a_slow_quota_holds_for_many_threads(tmp_path: Path) -> None:
    """At one image in 100 s, of 300 threads that ask at one moment one gets a turn at once."""
    limiter, passed = limiter_in(tmp_path, Standing(), Quota(unit="image", count=1, seconds=100.0)), 0
    for _ in range(300):
        with suppress(Waiting):
            limiter.wait(1)
            passed += 1
    assert passed <= 1


@pytest.mark.parametrize(("count", "batch"), [(513, 512), (1000, 600), (10_000, 1000)])
def test_large_batches_keep_to_large_quotas(tmp_path: Path, count: int, batch: int) -> None:
    """No second holds more images than the quota, however large the batches are."""
    clock = Since1970()
    limiter, events = limiter_in(tmp_path, clock, Quota(unit="image", count=count)), []
    for _ in range(30):
        limiter.wait(batch)
        events.append((clock.now, batch))
    assert busiest(events, 1.0) <= count


def test_two_rates_of_one_account_do_not_add_up(tmp_path: Path) -> None:
    """Processes that disagree about one account's rate stay together within the larger one."""
    clock, events = Since1970(), []
    limiters = [limiter_in(tmp_path, clock, Quota(unit="image", count=k)) for k in (30, 20)]
    for limiter in limiters:
        for _ in range(100):
            limiter.wait(1)
            events.append((clock.now, 1))
    assert busiest(sorted(events), 1.0) <= 30


def test_a_pause_ends_when_the_clock_is_set_back(tmp_path: Path) -> None:
    """A throttle of seconds before the clock was set back by hours does not stop everything."""
    clock = Since1970()
    limiter = limiter_in(tmp_path, clock, Quota(unit="image", count=5))
    limiter.pause(7.0)
    clock.now -= 50_000.0
    limiter.wait(1)
    assert clock.now < 1e9 - 49_900


def test_a_step_of_the_wall_clock_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting the clock does not let more than the quota through in a second of real time."""
    assert rate.__file__ is not None
    real, step = Clock(), [0.0]
    spec = importlib.util.spec_from_file_location("rate_under_another_clock", rate.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    quotas = [Quota(unit="image", count=5)]
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", real)
        patch.setattr(time, "time", lambda: 1e9 + real() + step[0])
        spec.loader.exec_module(module)
        limiter = module.RateLimiter(tmp_path / "r.db", key="k", quotas=quotas, sleep=real.sleep)
        events = []
        for k in range(10):
            step[0] = 100.0 * (k >= 5)
            limiter.wait(1)
            events.append((real(), 1))
    assert busiest(events, 1.0) <= 5


def test_a_machine_that_wakes_late_gets_its_turn(tmp_path: Path) -> None:
    """Threads that always wake 16 ms late, on a busy machine, still send, only less often."""
    clock = Since1970(late=0.016)
    limiter = limiter_in(tmp_path, clock, Quota(unit="image", count=30))
    for _ in range(5):
        limiter.wait(1)


# ---------------------------------------------------------------- the line


class Fast(Clock):
    """The machine's clock, which every process shares, and sleep that takes no time."""

    def __init__(self) -> None:
        super().__init__()
        self.slept = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.slept

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


CROWD = """
import sys, threading, time
from pathlib import Path
from api_smoothing.adapters.base import Quota
from api_smoothing.engine.storage.rate import RateLimiter
limiter = RateLimiter(Path(sys.argv[1]) / "rate.db", key="k", quotas=[Quota(unit="image", count=1, seconds=100.0)])
print(time.monotonic(), flush=True)
limiter.wait(1)
for _ in range(12):
    threading.Thread(target=limiter.wait, args=(1,)).start()
while len(limiter._databases[0].read("SELECT 1 FROM line")) < 12:
    threading.Event().wait(0.02)
print("waiting", flush=True)
threading.Event().wait(600)
"""


@pytest.fixture
def killed(tmp_path: Path) -> tuple[Path, float]:
    """A folder in which twelve threads at one image in 100 s were waiting when their process was killed.

    With a time, by the machine's clock, before the last turn came.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", CROWD, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert process.stdout is not None
    began = float(process.stdout.readline())
    assert process.stdout.readline() == "waiting\n"
    process.kill()
    process.communicate()
    return tmp_path, began


def test_a_killed_crowd_holds_nobody(killed: tuple[Path, float]) -> None:
    """Who takes a faster rate after a slow run was killed gets its turn within a second."""
    clock = Fast()
    limiter_in(killed[0], clock, Quota(unit="image", count=50)).wait(1)
    assert clock.slept < 1.0


def test_a_killed_crowd_takes_no_turn(killed: tuple[Path, float]) -> None:
    """At the same rate the next turn comes when the quota allows it, not after those of twelve dead threads."""
    clock, (folder, began) = Fast(), killed
    limiter_in(folder, clock, Quota(unit="image", count=1, seconds=100.0)).wait(1)
    assert clock() - began > 100.0
    assert clock.slept <= 102.0 + 6.0


def test_a_slow_run_that_lives_does_not_hold_a_faster_one(tmp_path: Path) -> None:
    """Whoever sleeps through a turn by its own lower rate leaves it to others."""
    clock = Since1970()
    slow = limiter_in(tmp_path, clock, Quota(unit="image", count=1, seconds=100.0))
    slow.wait(1)
    for ticket in "abc":
        slow._in_all(lambda files, ticket=ticket: slow._look(ticket, 1, files))
    began = clock.now
    limiter_in(tmp_path, clock, Quota(unit="image", count=50)).wait(1)
    assert clock.now - began < 1.0


def test_a_large_batch_gets_its_turn_among_small_ones(tmp_path: Path) -> None:
    """Those who stand in line are served in order: single images that come later do not starve a batch."""
    quota, stop = Quota(unit="image", count=20, seconds=0.5), threading.Event()
    limiters = [RateLimiter(tmp_path / "rate.db", key="k", quotas=[quota]) for _ in range(4)]

    def small(limiter: RateLimiter) -> None:
        while not stop.is_set():
            limiter.wait(1, stop)

    crowd = [threading.Thread(target=small, args=(limiter,)) for limiter in limiters[1:] for _ in range(4)]
    for thread in crowd:
        thread.start()
    time.sleep(0.6)
    began = time.monotonic()
    limiters[0].wait(18)
    took = time.monotonic() - began
    stop.set()
    for thread in crowd:
        thread.join()
    assert took < 40.0


def test_a_wait_that_is_stopped_leaves_the_line(tmp_path: Path) -> None:
    """Whoever is told to stop gives its place back at once; whoever waits next does not wait for it too."""
    quota, clock, stop = Quota(unit="image", count=1, seconds=200.0), Fast(), threading.Event()
    one, two = RateLimiter(tmp_path / "rate.db", key="k", quotas=[quota]), limiter_in(tmp_path, clock, quota)
    began = clock()
    one.wait(1)
    crowd = [threading.Thread(target=one.wait, args=(1, stop)) for _ in range(5)]
    for thread in crowd:
        thread.start()
    while len(two._databases[0].read("SELECT * FROM line")) < 5:
        time.sleep(0.01)
    stop.set()
    for thread in crowd:
        thread.join(timeout=100)
    assert not any(thread.is_alive() for thread in crowd)
    assert two._databases[0].read("SELECT * FROM line") == []
    two.wait(1)
    assert 200.0 < clock() - began < 400.0


def test_a_turn_that_comes_as_one_is_stopped_is_given_back(tmp_path: Path) -> None:
    """A wait that ends because of `stop` has taken nothing."""
    clock, stop = Clock(), threading.Event()
    limiter = limiter_in(tmp_path, clock, Quota(unit="image", count=1, seconds=60.0))
    taken = limiter._take

    def and_stop(*args: object) -> None:
        taken(*args)  # type: ignore[arg-type]
        stop.set()

    limiter._take = and_stop  # type: ignore[method-assign]
    limiter.wait(1, stop)
    began = clock.now
    limiter_in(tmp_path, clock, Quota(unit="image", count=1, seconds=60.0)).wait(1)
    assert clock.now == began


def test_a_long_wait_is_told_once_a_minute(tmp_path: Path) -> None:
    """Whoever listens learns of a wait of many seconds, and is not told of short ones."""
    clock, told = Clock(), list[float]()
    limiter = limiter_in(tmp_path, clock, Quota(unit="image", count=1, seconds=100.0))
    limiter.listen(told.append)
    limiter.wait(1)
    assert told == []
    limiter.wait(1)
    assert told == pytest.approx([102.0, 42.0], abs=6.0)


# ---------------------------------------------------------------- the account's real quota


class Account(Clock):
    """A service that takes `rate` requests in any second and answers, or refuses, after `latency`."""

    def __init__(self, rate: int, latency: float = 0.25) -> None:
        super().__init__()
        self.rate, self.latency = rate, latency
        self.admitted: list[float] = []
        self.refused: list[float] = []
        self._coming: list[tuple[float, bool, RateLimiter]] = []

    def ask(self, limiter: RateLimiter) -> None:
        sound = sum(at > self.now - 1.0 for at in self.admitted[-self.rate :]) < self.rate
        (self.admitted if sound else self.refused).append(self.now)
        self._coming.append((self.now + self.latency, sound, limiter))

    def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        while self._coming and self._coming[0][0] <= until:
            at, sound, limiter = self._coming.pop(0)
            self.now = max(self.now, at)
            if sound:
                limiter.answered()
            else:
                limiter.throttled(1.0)
        self.now = max(self.now, until)

    def share_refused(self, since: float, until: float) -> float:
        refused = sum(since <= at < until for at in self.refused)
        return refused / (refused + sum(since <= at < until for at in self.admitted))

    def used(self, since: float, until: float) -> float:
        return sum(since <= at < until for at in self.admitted) / (until - since) / self.rate


def work(account: Account, limiters: Sequence[RateLimiter], until: float) -> None:
    """Both processes ask as often as they may."""
    turn = 0
    while account.now < until:
        limiters[turn % len(limiters)].wait(1)
        account.ask(limiters[turn % len(limiters)])
        turn += 1


@pytest.mark.parametrize("rate", [10, 27, 4])
def test_an_account_with_a_lower_quota_is_found_out(tmp_path: Path, rate: int) -> None:
    """After the first seconds fewer than 1 % of requests are throttled, and 90 % of the true quota is used."""
    account = Account(rate)
    pair = [limiter_in(tmp_path, account, Quota(unit="image", count=30)) for _ in range(2)]
    began = account.now
    settled = began + 300 / rate
    work(account, pair, began + 9000 / rate)
    assert account.share_refused(settled, account.now) < 0.01
    assert account.used(settled, account.now) > 0.9
    assert account.refused, "nothing was to be learned"


def test_a_pace_outlives_who_learned_it_and_rises_again(tmp_path: Path) -> None:
    """Another process begins at the rate that was learned; where more is taken again, it is used, up to the quota."""
    account = Account(10)
    quota = Quota(unit="image", count=30)
    first = limiter_in(tmp_path, account, quota)
    work(account, [first], account.now + 60.0)
    first.close()
    began = account.now + 2.0
    account.sleep(2.0)
    next_one = limiter_in(tmp_path, account, quota)
    work(account, [next_one], began + 20.0)
    assert account.share_refused(began, account.now) < 0.05
    account.rate = 1000
    work(account, [next_one], account.now + 400.0)
    ended = account.now
    recent = [at for at in account.admitted if at > ended - 20.0]
    assert len(recent) / 20.0 > 0.95 * 30 * 0.98
    assert busiest([(at, 1) for at in recent], 1.0) <= 30


def test_a_lower_rate_of_ones_own_is_not_cut_by_what_others_learned(tmp_path: Path) -> None:
    """A pace is in units a second: who sends less than that already goes on as before."""
    account = Account(10)
    work(account, [limiter_in(tmp_path, account, Quota(unit="image", count=30))], account.now + 60.0)
    account.sleep(5.0)
    slow, began = limiter_in(tmp_path, account, Quota(unit="image", count=5)), account.now
    for _ in range(50):
        slow.wait(1)
    assert account.now - began < 50 / 5 * 1.05


def test_throttles_of_one_moment_slow_everyone_once(tmp_path: Path) -> None:
    """Sixteen requests that were under way together are one lesson, not sixteen."""
    clock = Clock()
    limiter = limiter_in(tmp_path, clock, Quota(unit="image", count=20))
    for _ in range(16):
        limiter.throttled(1.0)
    clock.sleep(3.0)
    began = clock.now
    for _ in range(61):
        limiter.wait(1)
    assert 60 / (clock.now - began) > 20 * 0.9 * 0.95
