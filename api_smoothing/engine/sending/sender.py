"""One request to a provider: paid before it leaves, tried again while that can help, given up in an orderly way."""

from __future__ import annotations

import math
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from api_smoothing import testing
from api_smoothing.adapters import BrokenContract
from api_smoothing.adapters.base import Adapter, AdapterCard, Answer, Verdict
from api_smoothing.engine.sending.job import Images, Job, Part
from api_smoothing.engine.sending.outcome import FirstRequestGate, Latency, Open, Outcome, in_words, reason_of
from api_smoothing.engine.sending.stream import Query, Stream, by_stream
from api_smoothing.engine.storage import BudgetAccount, Limiter, Reservation
from api_smoothing.errors import ApiSmoothError, BudgetError, DiskError, ProviderError
from api_smoothing.interrupts import uninterrupted

if TYPE_CHECKING:
    from tenacity import RetryCallState

ATTEMPTS: Final = 5  # at each query, one after the other
REFUSALS: Final = 2  # of one query; services refuse sound images now and then, and answer when asked again
BROKEN: Final = 3  # answers to one query that can be no vote; of its own REFUSALS, if for one reason
LONGEST_WAIT: Final = 60.0  # seconds; a provider that asks for more is as good as closed
_LOOK: Final = 0.25  # seconds after which one who waits looks whether the run has ended
_MOST_NEAR: Final = 16
_RESERVING: Final = 0.1  # seconds that a reservation may take without a turn being missed


class Sender:
    """Sends the queries of a run. Thread-safe; one call of `send` is one provider batch, of one image or of several.

    `sleep` waits between attempts, in place of an event that ends the wait.
    """

    def __init__(
        self,
        adapter: Adapter,
        *,
        account: BudgetAccount,
        limiter: Limiter | None,
        latency: Latency | None = None,
        gate: FirstRequestGate | None = None,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._adapter, self._account, self._limiter = adapter, account, limiter
        self._gate = gate or FirstRequestGate()
        self.latency = latency or Latency()
        self._stopped: ApiSmoothError | None = None
        self._halted = False
        self._sleep = sleep
        self._jobs: set[Job] = set()
        self._failed: dict[Query, str] = {}  # for good, and not yet remembered
        self._cut_short: dict[Query, Outcome] = {}
        self._lock = threading.Lock()
        #: How many requests may be paid and wait for their turn.
        self.near = _near_their_turn(adapter.card, ahead=getattr(limiter, "ahead", 0.0))
        self._places = threading.BoundedSemaphore(self.near)

    @property
    def answering(self) -> bool:
        """Whether the service has answered anything in this session."""
        return self._gate.answering

    def send(
        self, queries: Sequence[Query], images: Images, *, leaving: Callable[[], object] = lambda: None
    ) -> dict[Query, Outcome]:
        """The outcome of every query. Answers are kept before this returns or raises.

        `leaving` is called by each request whose turn has come; it must not take time.
        Raises ProviderError when the provider failed for good or broke its contract. What concerns one stream alone is
        its `error`, and ends it.
        """
        self._check()
        job = Job(list(queries), images, leaving)
        with self._lock:
            self._jobs.add(job)
        try:
            return self._sent(job)
        except Exception as error:
            with self._lock:
                came = {q: outcome for q, outcome in job.outcomes.items() if not isinstance(outcome, Open)}
                self._cut_short |= came
            if isinstance(error, sqlite3.Error):
                self._stop(error)
                raise self._stopped or error from None
            raise
        finally:
            with self._lock:
                self._jobs.discard(job)

    @property
    def cut_short(self) -> dict[Query, Outcome]:
        """What had come of calls of `send` that raised."""
        with self._lock:
            return dict(self._cut_short)

    def end(self, stream: Stream) -> None:
        """Send nothing more of this stream; what is under way comes in."""
        with uninterrupted, self._lock:
            stream.ended.set()
            for job in self._jobs:
                if not job.wanted:
                    job.stop.set()

    def halt(self) -> None:
        """End all waits; what is under way comes in, and nothing more leaves."""
        self._halted = True
        with uninterrupted, self._lock:
            for job in self._jobs:
                job.stop.set()

    def _sent(self, job: Job) -> dict[Query, Outcome]:
        from tenacity import Retrying, retry_if_result, stop_after_attempt  # and all of asyncio with it

        self._ask_versions(job)
        retrying = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=lambda state: _pause(job, state),
            sleep=lambda seconds: self._wait(job, seconds),
            retry=retry_if_result(bool),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else [],
        )
        left: list[Query] = retrying(self._round, job)
        ended = [query for query in left if self._halted or query.stream.ended.is_set()]
        job.outcomes.update(dict.fromkeys(ended, Open.ENDED))  # given up early, which is no failure
        self._give_up([query for query in left if query not in job.outcomes], job)
        self._remember()
        return job.outcomes

    def _ask_versions(self, job: Job) -> None:
        """Which model answers now, for every stream that wants to know; one that cannot be told ends alone."""
        for stream, indices in by_stream(job.queries):
            if stream.version is None:
                continue
            try:
                job.versions[stream] = stream.version()
            except BudgetError:
                job.outcomes.update({Query(stream, index): Open.UNPAID for index in indices})
            except ApiSmoothError as error:
                if self._stopped is not None:
                    raise
                stream.error = error
                self.end(stream)
                job.outcomes.update({Query(stream, index): Open.ENDED for index in indices})

    def _wait(self, job: Job, seconds: float) -> None:
        if self._sleep is not None:
            self._sleep(seconds)
        elif testing.waits():
            job.stop.wait(0 if self._halted else seconds)

    def _round(self, job: Job) -> list[Query]:
        """One attempt at every query of the job without an outcome; returns those to try again."""
        job.wait, job.again = None, []
        ended = [query for query in job.queries if query.stream.ended.is_set()]
        job.outcomes.update({query: Open.ENDED for query in ended if query not in job.outcomes})
        queue = [Part(queries=[query for query in job.queries if query not in job.outcomes])]
        while queue:
            part = queue.pop()
            if part.verdict is not None:
                queue += self._after_probes(part, part.verdict, job)
                continue
            verdict = self._request(job, part.queries)
            if verdict is None:
                continue
            asked = [query for query in part.queries if query not in job.outcomes]
            if verdict.kind == "refused" and len(asked) > 1:
                queue += part.split(asked, verdict)  # one bad image must not fail its neighbours
            else:
                self._note(verdict, job)
                job.again += self._still_open(asked, verdict, job)
        return job.again

    def _after_probes(self, part: Part, verdict: Verdict, job: Job) -> list[Part]:
        """What to send of the rest of a batch refused with `verdict`, now that its probes have come to something."""
        answered = [isinstance(job.outcomes.get(query), Answer) for query in part.probes]
        if any(answered):
            rest = replace(part, verdict=None)
            found_none = all(answered) and len(rest.queries) > 1  # then the bad image is among the rest
            return rest.split(rest.queries, verdict) if found_none else [rest]
        refused = all(job.refused[query] for query in part.probes)  # as the probes are, so are the others
        job.again += self._still_open(part.queries, verdict, job) if refused else part.queries
        return []

    def _still_open(self, asked: Sequence[Query], verdict: Verdict, job: Job) -> list[Query]:
        """Those of `asked` that are worth another attempt after `verdict`; the others have failed."""
        job.reasons.update(dict.fromkeys(asked, verdict.message or verdict.kind))
        for query in asked:
            query.stream.usage.last_error = verdict.message or verdict.kind
        if verdict.kind not in ("refused", "broken"):
            return list(asked)
        if verdict.kind == "refused":
            job.refused.update(asked)
        else:
            job.broken.update(asked)
            job.same.update((query, reason_of(verdict)) for query in asked)
        final = {query for query in asked if job.refused[query] >= REFUSALS or job.broken[query] >= BROKEN}
        # of a response that is broken as a whole no image is to blame
        alike = REFUSALS if len(asked) == 1 else BROKEN
        final |= {query for query in asked if job.same[query, reason_of(verdict)] >= alike}
        if verdict.of_image:  # what a model says of a picture it says again
            final = set(asked)
        self._give_up([query for query in asked if query in final], job)
        return [query for query in asked if query not in final]

    def _give_up(self, queries: Sequence[Query], job: Job) -> None:
        """These have failed for good, which is remembered of all that ever reached the provider."""
        with self._lock:
            self._failed.update({q: job.reasons.get(q, "") for q in queries if q in job.reached})
        job.outcomes.update(dict.fromkeys(queries))
        self._remember()

    def _remember(self) -> None:
        """Keep the failures, once anything was answered: till then they may be the account's, and not the images'."""
        if self._gate.answering:
            with self._lock:
                failed, self._failed = self._failed, {}
            for stream, indices in by_stream(failed):
                stream.answers.fail({index: failed[Query(stream, index)] for index in indices})

    def _request(self, job: Job, part: Sequence[Query]) -> Verdict | None:
        """One request. Fills in what is decided; returns the verdict on the request as a whole, if it failed."""
        claimed: list[Query] = []
        try:
            mine: list[Query] = []
            for stream, indices in by_stream(part):
                claim = stream.answers.claim(indices)
                claimed += [Query(stream, index) for index in claim.granted]
                stream.usage.found.update(claim.known)
                job.outcomes.update({Query(stream, index): answer for index, answer in claim.known.items()})
                job.outcomes.update({Query(stream, index): Open.BUSY for index in claim.busy})
                job.outcomes.update({Query(stream, index): None for index in claim.failed})
                mine += [Query(stream, index) for index in claim.granted if index not in claim.failed]
            return self._in_turn(mine, job) if mine else None
        finally:
            left = [query for query in claimed if not isinstance(job.outcomes.get(query), Answer)]
            for stream, indices in by_stream(left):
                stream.answers.release(indices)

    def _in_turn(self, asked: Sequence[Query], job: Job) -> Verdict | None:
        """The request, paid before its turn comes, as a disk takes long: then it leaves at once, or is given back.

        A run that ends while it waits has booked nothing; one that is killed there has spent what it waited with,
        which is little: see `_near`.
        """
        reserved: list[tuple[Stream, Reservation]] = []
        began, sent = 0.0, False
        try:
            with self._gate.passing() as first:
                self._check()
                self._connect()
                with self._near(job):
                    if not self._reserve(asked, job, reserved):
                        return None
                    self._wait_for_turn(job, reserved)
                    granted = self._still_wanted(job, reserved)
                    if not granted:
                        return None
                job.leaving()
                began, sent = time.monotonic(), True
                reply = self._label(job.part(granted))
                sent = not isinstance(reply, Verdict) or reply.sent
                job.reached.update(granted if sent else ())
                if first and self._limiter is not None:  # it had connections to make, and SDKs to load
                    self._limiter.spare(len(granted))
                if not isinstance(reply, Verdict):
                    self._read(granted, reply, job)
                self._learn([reply] if isinstance(reply, Verdict) else reply)
            return reply if isinstance(reply, Verdict) else None
        except Exception as error:
            self._stop(error)
            raise
        finally:
            if sent:
                self.latency.took(time.monotonic() - began)
            for stream, reservation in reserved:
                stream.usage.count(len(reservation.granted) if sent else 0)
                self._account.settle(reservation, sent=sent)

    def _connect(self) -> None:
        """Open connections, which would delay a request after its turn has come."""
        connect = getattr(self._adapter, "connect", None)
        if connect is not None:
            connect()

    @contextmanager
    def _near(self, job: Job) -> Iterator[None]:
        """The time of a request that is paid and waits for its turn: few at once, so that a kill costs little."""
        if self._limiter is None:
            yield
            return
        entered = False
        while not entered and not job.stop.is_set():
            entered = self._places.acquire(timeout=_LOOK)
        try:
            self._check()
            yield
        finally:
            if entered:
                self._places.release()

    def _reserve(self, asked: Sequence[Query], job: Job, reserved: list[tuple[Stream, Reservation]]) -> bool:
        """Whether the budget grants any of `asked`, noting what is `reserved`."""
        for stream, indices in by_stream(asked):
            if stream.ended.is_set():
                job.outcomes.update({Query(stream, index): Open.ENDED for index in indices})
                continue
            leave = 0 if stream.leave is None else stream.leave()
            reservation = self._account.reserve(stream.name, indices, leave=leave)
            job.outcomes.update({Query(stream, index): Open.UNPAID for index in reservation.unpaid})
            if reservation.granted:
                reserved.append((stream, reservation))
        return bool(reserved)

    def _wait_for_turn(self, job: Job, reserved: Sequence[tuple[Stream, Reservation]]) -> None:
        if self._limiter is not None:
            self._limiter.wait(sum(len(reservation.granted) for _, reservation in reserved), job.stop)
        self._check()

    def _still_wanted(self, job: Job, reserved: list[tuple[Stream, Reservation]]) -> list[Query]:
        """The queries that leave, giving back those of streams that have ended meanwhile."""
        for stream, reservation in [*reserved]:
            if stream.ended.is_set():
                reserved.remove((stream, reservation))
                self._account.settle(reservation, sent=False)
                job.outcomes.update({Query(stream, index): Open.ENDED for index in reservation.granted})
        return [Query(stream, index) for stream, reservation in reserved for index in reservation.granted]

    def _label(self, images: Images) -> Sequence[Answer | Verdict] | Verdict:
        """What the adapter returns, or its verdict on the error it raised; a fatal one stops this sender."""
        try:
            return self._adapter.label(images)
        except ApiSmoothError as error:
            self._stopped = error
            raise
        except Exception as error:
            verdict = self._adapter.verdict(error)
            if isinstance(error, BrokenContract) and verdict.kind == "transient":
                verdict = replace(verdict, kind="broken")  # whatever an adapter of elsewhere calls it
            if verdict.kind == "fatal":
                self._stopped = ProviderError(self._say(verdict, error))
                raise self._stopped from None
            return replace(
                verdict, message=verdict.message or type(error).__name__
            )  # its text may quote a key

    def _learn(self, replies: Sequence[Answer | Verdict]) -> None:
        """Tell the gate what a request came to. Raises ProviderError when it is plain that nothing will be answered."""
        verdicts = [reply for reply in replies if isinstance(reply, Verdict)]
        if len(verdicts) < len(replies) or any(verdict.of_image for verdict in verdicts):
            self._gate.open(answering=True)
            if self._limiter is not None:
                self._limiter.answered()
            return
        failed = {
            reason_of(verdict): verdict for verdict in verdicts if verdict.kind in ("refused", "broken")
        }
        for verdict in failed.values():
            self._gate.refuse(verdict)
        if not failed:
            self._gate.open(answering=False)
        if self._gate.ended is not None:
            self._check()

    def _check(self) -> None:
        """Raise when the run has ended meanwhile."""
        if self._stopped is None and self._gate.ended is not None:
            self._stopped = ProviderError(f"provider {self._adapter.card.name} failed: {self._gate.ended}")
        if self._stopped is None and self._halted:
            self._stopped = ProviderError("the run was ended")
        if self._stopped is not None:
            raise self._stopped

    def _stop(self, error: Exception) -> None:
        """Let nothing more leave after `error`."""
        if isinstance(error, ApiSmoothError):
            self._stopped = error
        elif isinstance(error, sqlite3.Error):
            self._stopped = DiskError(
                f"cannot write to disk: {error}; free some space, or set API_SMOOTH_HOME to another folder"
            )
        else:
            self._stopped = ProviderError(f"an answer could not be handled: {type(error).__name__}")

    def _read(self, asked: Sequence[Query], answers: Sequence[Answer | Verdict], job: Job) -> None:
        """Sort a response into answers, which are kept at once, and the verdicts on single images."""
        if len(answers) != len(asked):
            raise ProviderError(
                f"provider {self._adapter.card.name} gave {len(answers)} answers to {len(asked)} queries"
            )
        if not all(isinstance(answer, Answer | Verdict) for answer in answers):
            raise ProviderError(
                f"provider {self._adapter.card.name} gave something else in place of an answer"
            )
        replies = dict(zip(asked, answers, strict=True))
        given = {query: reply for query, reply in replies.items() if isinstance(reply, Answer)}
        for stream, indices in by_stream(given):
            version = job.versions.get(stream)
            kept = stream.answers.keep({i: _stamped(given[Query(stream, i)], version) for i in indices})
            job.outcomes.update({Query(stream, index): answer for index, answer in kept.items()})
        for query, verdict in replies.items():
            if isinstance(verdict, Verdict):
                if verdict.kind == "fatal":
                    raise ProviderError(self._say(verdict, None))
                self._note(verdict, job)
                job.again += self._still_open([query], verdict, job)

    def _note(self, verdict: Verdict, job: Job) -> None:
        """Remember how long to wait; after a throttle, or when told a time, everyone on the quota waits."""
        wait = verdict.retry_after
        if verdict.kind != "throttled" and wait is None:
            return
        if wait is not None and wait > LONGEST_WAIT:
            raise ProviderError(
                f"provider {self._adapter.card.name} asks to wait {in_words(wait)}: {verdict.message or 'try later'}"
            )
        job.wait = max(job.wait or 0.0, 1.0 if wait is None else wait)
        if self._limiter is not None and testing.waits():
            pause = self._limiter.throttled if verdict.kind == "throttled" else self._limiter.pause
            pause(job.wait)

    def _say(self, verdict: Verdict, error: Exception | None) -> str:
        # Not the error's own text, which may quote a key: adapters clean what they put into the message.
        text = verdict.message or (type(error).__name__ if error else "it gave no reason")
        return f"provider {self._adapter.card.name} failed: {text}"


def _near_their_turn(card: AdapterCard, *, ahead: float) -> int:
    """How many requests may be paid and waiting: as many as leave while one more is paid and waits with its turn."""
    rate = card.queries_per_second
    if rate is None:
        return _MOST_NEAR
    return min(_MOST_NEAR, 2 + math.ceil(rate / card.batch * (_RESERVING + ahead)))


def _stamped(answer: Answer, version: str | None) -> Answer:
    if version is None:
        return answer
    told = version if answer.model_version is None else f"{answer.model_version} {version}"
    return replace(answer, model_version=told)


def _pause(job: Job, state: RetryCallState) -> float:
    """Exponential with full jitter; never less than the provider asked for."""
    backoff = random.uniform(0.0, min(20.0, 0.5 * 2.0**state.attempt_number))
    return backoff if job.wait is None else job.wait + 0.5 * backoff
