"""The laws every storage keeps, as a pytest class to subclass.

```python
class TestFolder(StorageSuite):
    build = "storage = FolderStorage(Path(place))"  # with its imports; `place` is the fixture's text

    @pytest.fixture
    def place(self, tmp_path):
        return str(tmp_path)

    @pytest.fixture
    def opened(self, place, clock, heartbeat):
        def once_more(*, elsewhere=False):  # the same storage, as another user of it would open it
            return FolderStorage(Path(place), …)

        return once_more
```

Without `build` a storage lives in one process, and the laws about several are skipped.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, ClassVar, Final

import pytest

from api_smoothing.adapters.base import Answer, Label, Quota
from api_smoothing.engine.storage.base import Storage
from api_smoothing.engine.storage.budget import BudgetAccount
from api_smoothing.engine.storage.whereabouts import LAPSE_SECONDS
from api_smoothing.results import Budget

__all__ = ["Clock", "Heartbeat", "StorageSuite"]

_THREADS: Final = 8
_DAY_SECONDS: Final = 86_400


class Clock:
    """The time in seconds, which passes only in `sleep`."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class Heartbeat:
    """Takes the functions that are to be called regularly, and calls them on `beat`."""

    def __init__(self) -> None:
        self._beating: list[Callable[[], bool]] = []

    def __call__(self, beat: Callable[[], bool]) -> None:
        self._beating.append(beat)

    def beat(self) -> None:
        """One beat of every heart."""
        self._beating = [one for one in self._beating if one()]


def named(name: str) -> Answer:
    """An answer with one label."""
    return Answer(labels=(Label(name=name, score=0.5),), model_version="1")


class StorageSuite:
    """Subclass with a fixture `opened`, and `build` with `place` for a storage that processes share.

    `opened()` opens the same storage once more, by `clock` and `heartbeat`; `opened(elsewhere=True)` does so in
    a place whose processes cannot be looked up from here, and is None where there is no such place. `build` is
    Python code that binds `storage`, run in processes of its own with the name `place`.
    """

    build: ClassVar[str | None] = None

    @pytest.fixture
    def opened(self) -> Callable[..., Storage]:
        """Opens the storage under test."""
        raise NotImplementedError("give the class a fixture named opened")

    @pytest.fixture
    def place(self) -> str:
        """Where `build` finds the storage."""
        return ""

    @pytest.fixture
    def clock(self) -> Clock:
        """The clock of what `opened` returns, for the time of day and for the limiter."""
        return Clock()

    @pytest.fixture
    def heartbeat(self) -> Heartbeat:
        """The heartbeat of what `opened` returns."""
        return Heartbeat()

    # ------------------------------------------------------------------ budgets

    def test_a_run_has_one_budget_however_many_share_it(self, opened: Callable[..., Storage]) -> None:
        """Accounts of one run draw on one budget, now and when it is opened again; another run has its own."""
        one, two, other = _account(opened()), _account(opened()), _account(opened(), run="other")
        assert len(one.reserve("s", range(7)).granted) == 7
        second = two.reserve("s", range(7, 14))
        assert (second.granted, second.unpaid) == ((7, 8, 9), (10, 11, 12, 13))
        assert (one.affordable(), two.affordable(), other.affordable()) == (0, 0, 10)
        one.close()
        assert _account(opened()).spent() == (10, 15_000)
        assert _account(opened(), budget=Budget(queries=12)).affordable() == 2

    def test_a_budget_without_a_run_is_the_accounts_own(self, opened: Callable[..., Storage]) -> None:
        """Two accounts without a name do not know of each other."""
        storage = opened()
        one, two = _account(storage, run=None), _account(storage, run=None)
        one.reserve("s", range(9))
        assert (one.affordable(), two.affordable()) == (1, 10)

    def test_dollars_are_counted_in_whole_millionths(self, opened: Callable[..., Storage]) -> None:
        """A budget of 1.5 cents buys ten queries of 0.15 cents and not one more, also when others cost less."""
        account = _account(opened(), budget=Budget(usd=0.015))
        assert len(account.reserve("s", range(40)).granted) == 10
        assert account.cost_usd(10) == 0.015
        cheap = opened().budget(Budget(usd=0.0151), run="r", provider="q", micro_usd=40)
        assert cheap.affordable() == 2

    def test_only_what_surely_was_not_sent_is_given_back(self, opened: Callable[..., Storage]) -> None:
        """A settled query stays spent; one that never left is returned; an open one stays spent."""
        account = _account(opened())
        account.settle(account.reserve("s", range(3)), sent=True)
        account.settle(account.reserve("s", range(3, 5)), sent=False)
        account.reserve("s", range(5, 9))
        account.close()
        assert _account(opened()).spent() == (7, 10_500)

    def test_what_must_be_left_is_not_granted(self, opened: Callable[..., Storage]) -> None:
        """A reservation that leaves room for others takes no more than the rest."""
        account = _account(opened())
        first = account.reserve("s", range(9), leave=2)
        assert (first.granted, first.unpaid) == (tuple(range(8)), (8,))
        assert account.reserve("s", [8], leave=2).granted == ()
        assert account.reserve("s", [9, 10, 11]).granted == (9, 10)

    def test_threads_spend_the_budget_to_the_last_query(self, opened: Callable[..., Storage]) -> None:
        """However many threads reserve and give back, what was granted and sent is the cap exactly."""
        accounts = [_account(opened(), budget=Budget(queries=100)) for _ in range(2)]

        def spend(thread: int) -> int:
            account, kept = accounts[thread % 2], 0
            for turn in range(30):
                got = account.reserve("s", range(turn, turn + 3))
                sent = (turn + thread) % 3 != 0
                account.settle(got, sent=sent)
                kept += len(got.granted) if sent else 0
            while account.reserve("s", [0]).granted:
                kept += 1
            return kept

        assert sum(_in_threads(spend)) == 100
        assert accounts[0].affordable() == 0

    def test_processes_spend_the_budget_to_the_last_query(self, place: str) -> None:
        """The same of processes; those that die leave what they reserved as spent, and nothing beyond the cap."""
        killed = self._start(_SPEND, place, "die")
        others = [self._start(_SPEND, place, "live") for _ in range(2)]
        kept = sum(int(line) for process in (killed, *others) for line in _output(process))
        assert kept == 200

    def test_a_day_has_one_limit_for_all_runs_of_an_account(
        self, opened: Callable[..., Storage], clock: Clock
    ) -> None:
        """What any run of an account spends counts for the day (UTC) of all; another account, or day, is another."""
        clock.now -= clock.now % _DAY_SECONDS
        limited, other = (
            opened().budget(
                Budget(usd_per_day=0.015, queries=14),
                run="one",
                provider="p",
                micro_usd=1500,
                account=account,
            )
            for account in ("a", "b")
        )
        free = opened().budget(Budget(), run="two", provider="p", micro_usd=500, account="a")
        nameless = opened().budget(Budget(), run=None, provider="p", micro_usd=1500, account="a")
        assert len(free.reserve("s", range(6)).granted) == 6
        assert len(nameless.reserve("s", [0]).granted) == 1
        assert (limited.today(), other.today(), limited.affordable()) == (4500, 0, 7)
        assert len(limited.reserve("s", range(9)).granted) == 7
        assert (limited.affordable(), free.affordable()) == (0, None)
        clock.sleep(_DAY_SECONDS - 1)
        assert opened().budget(Budget(), run=None, provider="p", micro_usd=1, account="a").today() == 15_000
        clock.sleep(1)
        assert (limited.today(), limited.affordable()) == (0, 7)  # the run's own budget goes on

    def test_what_never_left_is_given_back_to_its_day(
        self, opened: Callable[..., Storage], clock: Clock
    ) -> None:
        """A reservation of yesterday that is returned today makes no room today."""
        clock.now -= clock.now % _DAY_SECONDS
        account = _account(opened(), budget=Budget(usd_per_day=0.015))
        account.settle(account.reserve("s", range(4)), sent=False)
        assert (account.today(), account.affordable()) == (0, 10)
        yesterdays = account.reserve("s", range(4))
        clock.sleep(_DAY_SECONDS)
        account.reserve("s", range(3))
        account.settle(yesterdays, sent=False)
        assert (account.today(), account.affordable(), account.spent()[0]) == (4500, 7, 3)
        clock.sleep(-_DAY_SECONDS)
        assert account.today() == 0

    def test_processes_spend_the_day_to_the_last_query(self, place: str) -> None:
        """Processes of different runs, some of which die, never spend more in a day than its limit together."""
        if (left := _DAY_SECONDS - time.time() % _DAY_SECONDS) < 180:
            time.sleep(left + 1)  # they would have two days
        killed = self._start(_SPEND_A_DAY, place, "die")
        others = [self._start(_SPEND_A_DAY, place, run) for run in ("live", "longer")]
        kept = sum(int(line) for process in (killed, *others) for line in _output(process))
        assert kept == 200

    # ------------------------------------------------------------------ answers

    def test_the_first_answer_stays(self, opened: Callable[..., Storage]) -> None:
        """A later answer never replaces the first, whoever gives it, and its giver is told which one stands."""
        one, two = opened().answers(paid=True), opened().answers(paid=True)
        assert one.write("s", {3: named("cat")}) == {3: named("cat")}
        assert two.write("s", {3: named("dog"), 4: named("dog")}) == {3: named("cat"), 4: named("dog")}
        assert one.read("s", range(10)) == {3: named("cat"), 4: named("dog")}
        assert one.read("t", range(10)) == {}

    def test_racing_answers_have_one_winner(self, opened: Callable[..., Storage]) -> None:
        """Of threads that answer the same queries at once all are told the same answers, which are those kept."""
        caches = [opened().answers(paid=True) for _ in range(4)]

        def answer(thread: int) -> list[str]:
            mine = {i: named(str(thread)) for i in range(40)}
            return [a.labels[0].name for _, a in sorted(caches[thread % 4].write("s", mine).items())]

        stood = _in_threads(answer)
        assert all(one == stood[0] for one in stood)
        kept = caches[0].read("s", range(40))
        assert [kept[i].labels[0].name for i in range(40)] == stood[0]

    @pytest.mark.parametrize("paid", [True, False])
    def test_answers_outlive_who_wrote_them(self, opened: Callable[..., Storage], paid: bool) -> None:
        """What was written is read after closing, whichever the form, and forgotten only by `clear`."""
        first = opened()
        with closing(first.answers(paid=paid)) as cache:
            cache.write("s", {i: named(str(i)) for i in range(0, 600, 7)})
            cache.describe("s", {"image": "a.png"})
            cache.describe("s", {"image": "b.png"})
            cache.describe("s/drift", {"answers": 3})
        first.close()
        again = opened()
        with closing(again.answers(paid=paid)) as cache:
            assert cache.read("s", range(600)) == {i: named(str(i)) for i in range(0, 600, 7)}
            assert cache.facts("s") == {"image": "a.png"}
            assert cache.facts("s/drift") == {"answers": 3}
        assert (again.contents().answers, again.contents().streams) == (86, 1)
        assert again.clear() > 0
        assert again.contents().answers == 0
        with closing(again.answers(paid=paid)) as cache:
            assert cache.read("s", range(600)) == {}
            assert cache.facts("s/drift") is None

    def test_answers_that_are_not_kept_are_the_objects_own(self, opened: Callable[..., Storage]) -> None:
        """Without `keep` two caches of one storage do not see each other's answers, and nothing is kept."""
        storage = opened()
        one, two = (storage.answers(paid=True, keep=False) for _ in range(2))
        one.write("s", {0: named("cat")})
        assert one.read("s", [0]) == {0: named("cat")}
        assert two.read("s", [0]) == {}
        assert storage.contents().answers == 0

    def test_an_answer_is_kept_before_its_query_is_settled(
        self, opened: Callable[..., Storage], place: str
    ) -> None:
        """A process killed between an answer and its settlement leaves the answer to all, and its query spent."""
        process = self._start(_DIE_UNSETTLED, place)
        assert _output(process) == ["kept"]
        with closing(opened().answers(paid=True)) as cache:
            assert cache.claim("s", [0, 1]).known == {0: named("cat")}
        assert _account(opened()).spent()[0] == 2

    # ------------------------------------------------------------------ claims

    def test_a_query_under_way_is_busy_for_everyone_else(self, opened: Callable[..., Storage]) -> None:
        """A claim ends with an answer, a failure, a release, or the closing of its holder; not otherwise."""
        one, two = opened().answers(paid=True), opened().answers(paid=True)
        assert one.claim("s", [1, 2, 3, 4, 5]).granted == (1, 2, 3, 4, 5)
        assert one.claim("s", [1]).busy == (1,)
        second = two.claim("s", [1, 2, 6])
        assert (second.granted, second.busy) == ((6,), (1, 2))
        assert two.claim("another stream", [1]).granted == (1,)
        one.write("s", {1: named("cat")})
        one.release("s", [2])
        one.fail("s", {3: "refused"})
        two.release("s", [4])  # which is not its own
        assert [two.busy("s", [i]) for i in (1, 2, 3, 4, 5)] == [False, False, False, True, True]
        third = two.claim("s", [1, 2, 4])
        assert (third.known, third.granted, third.busy) == ({1: named("cat")}, (2,), (4,))
        one.close()
        assert two.claim("s", [4, 5]).granted == (4, 5)

    def test_threads_are_granted_each_query_once(self, opened: Callable[..., Storage]) -> None:
        """Of many who want the same queries at once one gets each of them."""
        caches = [opened().answers(paid=True) for _ in range(4)]
        granted = _in_threads(
            lambda thread: [
                i for k in range(0, 60, 5) for i in caches[thread % 4].claim("s", range(k, k + 5)).granted
            ]
        )
        assert sorted(i for part in granted for i in part) == list(range(60))

    def test_processes_ask_each_query_once(self, place: str) -> None:
        """Processes that want the same answers pay for each of them once, and all get the same."""
        running = [self._start(_ASK, place, str(k)) for k in range(3)]
        told = [json.loads(_output(process)[0]) for process in running]
        asked = Counter(i for one in told for i in one["asked"])
        assert asked == dict.fromkeys(range(60), 1)
        assert told[0]["read"] == told[1]["read"] == told[2]["read"]

    @pytest.mark.skipif(os.name == "nt", reason="kill -9")
    def test_the_claims_of_a_killed_process_end(
        self, opened: Callable[..., Storage], place: str, clock: Clock
    ) -> None:
        """What a process was asking when it was killed can be asked again, a lapse later at the latest."""
        process = self._start(_HOLD, place)
        assert process.stdout is not None
        process.stdout.readline()
        with closing(opened().answers(paid=True)) as cache:
            assert cache.claim("s", [0]).busy == (0,)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            clock.sleep(LAPSE_SECONDS + 1)
            assert cache.claim("s", [0]).granted == (0,)

    def test_a_holder_that_cannot_be_seen_lives_by_its_heartbeat(
        self, opened: Callable[..., Storage], clock: Clock, heartbeat: Heartbeat
    ) -> None:
        """A claim from elsewhere stands as long as its holder's heart beats, and lapses when it has stopped."""
        away = opened(elsewhere=True)
        if away is None:
            pytest.skip("every holder can be seen")
        theirs, ours = away.answers(paid=True), opened().answers(paid=True)
        assert theirs.claim("s", [0]).granted == (0,)
        for _ in range(10):
            clock.sleep(LAPSE_SECONDS / 2)
            heartbeat.beat()
            assert ours.claim("s", [0]).busy == (0,)
        clock.sleep(LAPSE_SECONDS * 1.01)
        assert not ours.busy("s", [0])
        assert ours.claim("s", [0]).granted == (0,)
        assert theirs.claim("s", [1]).granted == (1,)
        assert theirs.write("s", {0: named("late")}) == {0: named("late")}  # which was paid, after all
        assert ours.write("s", {0: named("later")}) == {0: named("late")}

    def test_a_heart_stops_when_nothing_is_held(
        self, opened: Callable[..., Storage], clock: Clock, heartbeat: Heartbeat
    ) -> None:
        """A holder whose claims have ended writes no more, and begins anew with its next claim."""
        away = opened(elsewhere=True)
        if away is None:
            pytest.skip("every holder can be seen")
        theirs, ours = away.answers(paid=True), opened().answers(paid=True)
        theirs.claim("s", [0])
        theirs.release("s", [0])
        heartbeat.beat()
        theirs.claim("s", [1])
        for _ in range(3):
            clock.sleep(LAPSE_SECONDS / 2)
            heartbeat.beat()
        assert ours.claim("s", [0, 1]).busy == (1,)

    # ------------------------------------------------------------------ final failures

    @pytest.mark.parametrize("paid", [True, False])
    def test_a_final_failure_is_remembered_like_an_answer(
        self, opened: Callable[..., Storage], paid: bool
    ) -> None:
        """Its first reason stays, for all and later; an answer takes its place, and what is answered has not failed."""
        with closing(opened().answers(paid=paid)) as cache:
            cache.fail("s", {0: "refused", 2: "refused"})
            cache.fail("s", {0: "another reason"})
            cache.write("s", {1: named("cat")})
            cache.fail("s", {1: "too late"})
        with closing(opened().answers(paid=paid)) as cache:
            assert cache.failures("s", range(5)) == {0: "refused", 2: "refused"}
            assert cache.failures("s", [1, 2]) == {2: "refused"}
            assert cache.failures("t", range(5)) == {}
            if paid:
                claim = cache.claim("s", range(4))
                assert (claim.granted, claim.failed) == ((0, 2, 3), {0: "refused", 2: "refused"})
            cache.write("s", {2: named("dog")})
            assert cache.failures("s", range(5)) == {0: "refused"}
        storage = opened()
        storage.clear()
        with closing(storage.answers(paid=paid)) as cache:
            assert cache.failures("s", range(5)) == {}

    # ------------------------------------------------------------------ looks

    def test_the_same_question_is_one_look(self, opened: Callable[..., Storage]) -> None:
        """Every other question about a stream is another look, for all and for good, in the order of asking."""
        with closing(opened().looks()) as looks:
            assert looks.record("s", "n=100") == ("n=100",)
            assert looks.record("s", "n=200") == ("n=100", "n=200")
            assert looks.record("s", "n=100") == ("n=100", "n=200")
        with closing(opened().looks()) as looks:
            assert looks.of("s") == ("n=100", "n=200")
            assert looks.of("t") == ()

    def test_looks_outlive_the_answers(self, opened: Callable[..., Storage]) -> None:
        """Clearing forgets answers, not looks."""
        storage = opened()
        with closing(storage.answers(paid=True)) as cache, closing(storage.looks()) as looks:
            cache.write("s", {0: named("cat")})
            looks.record("s", "n=100")
        storage.clear()
        with closing(opened().looks()) as looks:
            assert looks.of("s") == ("n=100",)

    def test_racing_looks_are_all_counted(self, opened: Callable[..., Storage]) -> None:
        """Of threads that ask different questions at once each is told another number of looks."""
        looks = [opened().looks() for _ in range(4)]
        told = _in_threads(lambda thread: len(looks[thread % 4].record("s", f"n={thread}")))
        assert sorted(told) == list(range(1, _THREADS + 1))

    def test_looks_that_are_not_kept_are_the_objects_own(self, opened: Callable[..., Storage]) -> None:
        """Without `keep` they end with the object, as the answers they are about do."""
        storage = opened()
        storage.looks(keep=False).record("s", "n=100")
        assert storage.looks(keep=False).of("s") == storage.looks().of("s") == ()

    # ------------------------------------------------------------------ the limiter

    def test_there_is_one_limiter_for_all(self, opened: Callable[..., Storage], clock: Clock) -> None:
        """Whoever opens the storage takes turns in the same windows; another account has its own."""
        quotas = (Quota(unit="image", count=10, seconds=1.0),)
        limiters = [opened().limiter("account", quotas) for _ in range(3)]
        times = []
        for turn in range(60):
            limiter = limiters[turn % 3]
            assert limiter is not None
            limiter.wait(1)
            times.append(clock.now)
        assert _busiest(times, 1.0) <= 10
        assert 60 / (times[-1] - times[0]) > 9
        other, before = opened().limiter("another account", quotas), clock.now
        assert other is not None
        other.wait(1)
        assert clock.now == before
        assert opened().limiter("account", ()) is None

    def test_a_pause_holds_everyone(self, opened: Callable[..., Storage], clock: Clock) -> None:
        """After a throttle nobody who shares the account leaves before the time the provider asked for."""
        quotas = (Quota(unit="image", count=10),)
        one, two = opened().limiter("account", quotas), opened().limiter("account", quotas)
        assert one is not None
        assert two is not None
        began = clock.now
        one.pause(7.0)
        two.wait(1)
        assert clock.now >= began + 7.0

    def test_a_wait_that_is_stopped_takes_no_turn(self, opened: Callable[..., Storage], clock: Clock) -> None:
        """Whoever is stopped while it waits has given its place back when `wait` returns."""
        quotas, stop = (Quota(unit="image", count=1, seconds=60.0),), threading.Event()
        one, two = opened().limiter("account", quotas), opened().limiter("account", quotas)
        assert one is not None
        assert two is not None
        one.wait(1)
        began = clock.now
        one.listen(lambda seconds: stop.set())
        one.wait(1, stop)
        two.wait(1)
        assert clock.now - began <= 70.0

    @pytest.mark.skipif(os.name == "nt", reason="kill -9")
    def test_a_killed_crowd_holds_nobody(self, place: str) -> None:
        """Turns that a killed process was waiting for are not missed by those who live."""
        process = self._start(_CROWD, place)
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert float(_output(self._start(_FOLLOW, place))[0]) < 40.0

    def test_throttles_slow_everyone_and_answers_speed_up(
        self, opened: Callable[..., Storage], clock: Clock
    ) -> None:
        """A throttle lowers the rate of all who share the account, and many answers raise it, up to the quota."""
        quotas = (Quota(unit="image", count=10),)
        one, two = opened().limiter("account", quotas), opened().limiter("account", quotas)
        assert one is not None
        assert two is not None

        def rate() -> float:
            began = clock.now
            for _ in range(101):
                two.wait(1)
            return 100 / (clock.now - began)

        assert 9.0 < rate() <= 10.0
        for _ in range(5):
            one.throttled(1.0)
            clock.sleep(5.0)
        slow = rate()
        assert slow < 5.0
        one.answered(1000)
        one.wait(1)
        assert slow < rate() < 9.0
        one.answered(20_000)
        one.wait(1)
        assert 9.0 < rate() <= 10.0

    def test_processes_share_the_turns(self, place: str) -> None:
        """Processes of several threads together never pass more than the quota in any window."""
        running = [self._start(_TAKE_TURNS, place) for _ in range(2)]
        times = [float(line) for process in running for line in _output(process)]
        assert len(times) == 40
        assert _busiest(times, 2.0) <= 12

    # ------------------------------------------------------------------ the seed

    def test_the_secret_seed_is_one(self, opened: Callable[..., Storage]) -> None:
        """The secret seed is the same each time it is asked for; a public one is what its number says."""
        one, two = opened().seed(None), opened().seed(None)
        assert one == two
        assert one.label.startswith("secret:")
        assert len(one.key) == 16
        assert opened().seed(7).label == "public:7"
        assert opened().seed(7).key != one.key

    def _start(self, code: str, place: str, *arguments: str) -> subprocess.Popen[str]:
        if self.build is None:
            pytest.skip("it lives in one process")
        program = f"import sys\nplace = sys.argv[1]\n{_LOOKS}\n{self.build}\n{_COMMON}\n{code}"
        return subprocess.Popen(  # noqa: S603  # the code is the test's own
            [sys.executable, "-c", program, place, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )


def _account(storage: Storage, *, run: str | None = "r", budget: Budget | None = None) -> BudgetAccount:
    return storage.budget(budget or Budget(queries=10), run=run, provider="p", micro_usd=1500)


def _in_threads(work: Callable[[int], Any]) -> list[Any]:
    """What `work` returns to each of several threads that start together."""
    barrier = threading.Barrier(_THREADS)

    def begin(thread: int) -> Any:
        barrier.wait()
        return work(thread)

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(begin, range(_THREADS)))


def _output(process: subprocess.Popen[str]) -> list[str]:
    return process.communicate(timeout=120)[0].splitlines()


def _busiest(times: Iterable[float], seconds: float) -> int:
    """The most events in any window."""
    ordered: Sequence[float] = sorted(times)
    return max(sum(start <= at < start + seconds for at in ordered) for start in ordered)


#: Every look at the clock is noted: the last one before a request leaves is when it leaves, however late it is told.
_LOOKS: Final = """
import threading, time
looks, monotonic = threading.local(), time.monotonic
def noted():
    looks.last = monotonic()
    return looks.last
time.monotonic = noted
"""
_COMMON: Final = """
import os, threading, time
from api_smoothing.adapters.base import Answer, Label, Quota
from api_smoothing.results import Budget
def named(name):
    return Answer(labels=(Label(name=name, score=0.5),), model_version="1")
"""
_SPENDING: Final = """
kept, lock = [0], threading.Lock()
def work(thread):
    for turn in range(500):
        got = account.reserve("s", range(3))
        sent = turn % 4 != 0
        with lock:
            kept[0] += len(got.granted) if sent else 0
        account.settle(got, sent=sent)
    while got := account.reserve("s", [0]).granted:
        with lock:
            kept[0] += 1
def die():
    with lock:
        got = account.reserve("s", range(4))
        print(kept[0] + len(got.granted), flush=True)
        os._exit(9)
if sys.argv[2] == "die":
    for turn in range(5):
        kept[0] += len(account.reserve("s", range(2)).granted)
    die()
threads = [threading.Thread(target=work, args=(t,)) for t in range(3)]
[t.start() for t in threads]
[t.join() for t in threads]
print(kept[0])
"""
_SPEND: Final = f"""
account = storage.budget(Budget(queries=200), run="shared", provider="p", micro_usd=1)
{_SPENDING}
"""
_SPEND_A_DAY: Final = f"""
day = Budget(usd_per_day=0.0002)
account = storage.budget(day, run=sys.argv[2], provider="p", micro_usd=1, account="a")
{_SPENDING}
"""
_DIE_UNSETTLED: Final = """
cache = storage.answers(paid=True)
account = storage.budget(Budget(queries=10), run="r", provider="p", micro_usd=1500)
granted = cache.claim("s", [0, 1]).granted
account.reserve("s", granted)
cache.write("s", {0: named("cat")})
print("kept", flush=True)
os._exit(9)
"""
_ASK: Final = """
import json
from contextlib import closing
asked, read = [], {}
with closing(storage.answers(paid=True)) as cache:
    for start in range(0, 60, 4):
        part = range(start, start + 4)
        while len(known := cache.read("s", part)) < 4:
            granted = cache.claim("s", part).granted
            asked += granted
            time.sleep(0.002)
            cache.write("s", {i: named(sys.argv[2]) for i in granted})
        read |= {i: answer.labels[0].name for i, answer in known.items()}
print(json.dumps({"asked": asked, "read": read}))
"""
_HOLD: Final = """
cache = storage.answers(paid=True)
cache.claim("s", [0])
print("claimed", flush=True)
time.sleep(60)
"""
_CROWD: Final = """
limiter = storage.limiter("account", [Quota(unit="image", count=1, seconds=60.0)])
limiter.wait(1)
for _ in range(8):
    threading.Thread(target=limiter.wait, args=(1,)).start()
time.sleep(1.0)
print("waiting", flush=True)
time.sleep(600)
"""
_FOLLOW: Final = """
limiter = storage.limiter("account", [Quota(unit="image", count=50)])
began = time.monotonic()
limiter.wait(1)
print(time.monotonic() - began)
"""
_TAKE_TURNS: Final = """
limiter = storage.limiter("account", [Quota(unit="image", count=12, seconds=2.0)])
def work():
    for _ in range(10):
        limiter.wait(1)
        print(repr(looks.last), flush=True)
threads = [threading.Thread(target=work) for _ in range(2)]
[t.start() for t in threads]
[t.join() for t in threads]
"""
