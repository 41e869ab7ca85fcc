"""One request to a provider: paid before it leaves, tried again while that can help, given up in an orderly way."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt

from api_smoothing import testing
from api_smoothing.adapters import BrokenContract
from api_smoothing.adapters.base import Adapter, Answer, EncodedImage, Verdict
from api_smoothing.engine.sending.outcome import (
    AnswerStore,
    FirstRequestGate,
    Open,
    Outcome,
    Usage,
    reason_of,
)
from api_smoothing.engine.storage import BudgetAccount, Limiter, Reservation
from api_smoothing.errors import ApiSmoothError, ConfigurationError, ProviderError

if TYPE_CHECKING:
    from torch import Tensor

ATTEMPTS: Final = 5  # at each query, one after the other
REFUSALS: Final = 2  # of one query; services refuse sound images now and then, and answer when asked again
BROKEN: Final = 3  # answers to one query that can be no vote; of its own REFUSALS, if for one reason
PROBES: Final = 3  # images of a refused batch that are asked by themselves, before it is halved
LONGEST_WAIT: Final = 60.0  # seconds; a provider that asks for more is as good as closed

Images: TypeAlias = "Sequence[EncodedImage] | Tensor"


@dataclass(slots=True)
class _Job:
    """The queries of one `send`, how often each came to no answer, and how long the provider asked to wait.

    `broken` counts all answers to a query that can be no vote, `same` those for one reason.
    """

    images: Images
    indices: list[int]
    version: str | None = None
    refused: Counter[int] = field(default_factory=Counter)
    broken: Counter[int] = field(default_factory=Counter)
    same: Counter[tuple[int, str]] = field(default_factory=Counter)
    reached: set[int] = field(default_factory=set)  # the provider: their failing may depend on the image
    reasons: dict[int, str] = field(default_factory=dict)  # for the last failure of each
    wait: float | None = None

    def part(self, indices: Sequence[int]) -> Images:
        """The images of these queries; of a tensor a copy, as whoever is asked may write into it."""
        if len(indices) == len(self.indices):
            return self.images if isinstance(self.images, Sequence) else self.images.clone()
        place = {index: row for row, index in enumerate(self.indices)}
        rows = [place[i] for i in indices]
        images = self.images
        return [images[row] for row in rows] if isinstance(images, Sequence) else images[rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Queries for one request. Those left of a refused batch wait for what its `probes` come to, after the `verdict`.

    In a `mixed` batch others succeed: it is halved to find those that do not.
    """

    indices: Sequence[int]
    mixed: bool = False
    probes: Sequence[int] = ()
    verdict: Verdict | None = None

    def split(self, asked: Sequence[int], verdict: Verdict) -> list[_Part]:
        """What to send in place of a batch that was refused, last first."""
        if self.mixed:
            half = len(asked) // 2
            return [_Part(indices=part, mixed=True) for part in (asked[half:], asked[:half])]
        probes, rest = asked[:PROBES], asked[PROBES:]
        left = [_Part(indices=rest, mixed=True, probes=probes, verdict=verdict)] if rest else []
        return [*left, *(_Part(indices=[index]) for index in reversed(probes))]


class Sender:
    """Sends the queries of one stream. Thread-safe; one call of `send` is one provider batch.

    `version` is asked before a request leaves, and stamped on its answers. `leave` tells how many queries the budget
    must still have room for afterwards. `sleep` waits between attempts, in place of one that `halt` ends.
    """

    def __init__(
        self,
        *,
        stream: str,
        adapter: Adapter,
        account: BudgetAccount,
        answers: AnswerStore,
        limiter: Limiter | None,
        version: Callable[[], str] | None = None,
        leave: Callable[[], int] | None = None,
        usage: Usage | None = None,
        stop: threading.Event | None = None,
        gate: FirstRequestGate | None = None,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._stream, self._adapter = stream, adapter
        self._account, self._answers, self._limiter = account, answers, limiter
        self._version, self._leave = version, leave
        self._gate = gate or FirstRequestGate()
        self._stopped: ApiSmoothError | None = None
        self.usage = Usage() if usage is None else usage
        self._stop_event = threading.Event() if stop is None else stop
        self._sleep = sleep
        self._failed: dict[int, str] = {}  # for good, and not yet remembered
        self._lock = threading.Lock()

    def send(self, indices: Sequence[int], images: Images) -> dict[int, Outcome]:
        """The outcome of every query. Answers are on the answers before this returns or raises.

        Raises ProviderError when the provider failed for good or broke its contract.
        """
        self._check()
        outcomes: dict[int, Outcome] = {}
        job = _Job(images, list(indices), version=None if self._version is None else self._version())
        retrying = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=lambda state: _pause(job, state),
            sleep=self._wait,
            retry=retry_if_result(bool),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else [],
        )
        try:
            left: list[int] = retrying(self._round, job, outcomes)
            if not self._stop_event.is_set():  # a run that is ended gives up early
                self._give_up(left, job, outcomes)
            self._remember()
        except sqlite3.Error as error:
            self._stop(error)
            raise self._stopped or error from None
        return {**outcomes, **dict.fromkeys(left)}

    def halt(self) -> None:
        """End all waits; what is under way comes in, and nothing more leaves."""
        self._stop_event.set()

    def _wait(self, seconds: float) -> None:
        if self._sleep is not None:
            self._sleep(seconds)
        elif testing.waits():
            self._stop_event.wait(seconds)

    def _round(self, job: _Job, outcomes: dict[int, Outcome]) -> list[int]:
        """One attempt at every query of the job without an outcome; returns those to try again."""
        job.wait = None
        queue = [_Part(indices=[i for i in job.indices if i not in outcomes])]
        again: list[int] = []
        while queue:
            part = queue.pop()
            if part.verdict is not None:
                queue += self._after_probes(part, part.verdict, job, outcomes, again)
                continue
            verdict = self._request(job, part.indices, outcomes, again)
            if verdict is None:
                continue
            asked = [i for i in part.indices if i not in outcomes]
            if verdict.kind == "refused" and len(asked) > 1:
                queue += part.split(asked, verdict)  # one bad image must not fail its neighbours
            else:
                self._note(verdict, job)
                again += self._still_open(asked, verdict, job, outcomes)
        return again

    def _after_probes(
        self, part: _Part, verdict: Verdict, job: _Job, outcomes: dict[int, Outcome], again: list[int]
    ) -> list[_Part]:
        """What to send of the rest of a batch refused with `verdict`, now that its probes have come to something."""
        answered = [isinstance(outcomes.get(i), Answer) for i in part.probes]
        if any(answered):
            rest = replace(part, verdict=None)
            found_none = all(answered) and len(rest.indices) > 1  # then the bad image is among the rest
            return rest.split(rest.indices, verdict) if found_none else [rest]
        refused = all(job.refused[i] for i in part.probes)  # as the probes are, so are the others
        again += self._still_open(part.indices, verdict, job, outcomes) if refused else part.indices
        return []

    def _still_open(
        self, asked: Sequence[int], verdict: Verdict, job: _Job, outcomes: dict[int, Outcome]
    ) -> list[int]:
        """Those of `asked` that are worth another attempt after `verdict`; the others have failed."""
        job.reasons.update(dict.fromkeys(asked, verdict.message or verdict.kind))
        if verdict.kind not in ("refused", "broken"):
            return list(asked)
        if verdict.kind == "refused":
            job.refused.update(asked)
        else:
            job.broken.update(asked)
            job.same.update((i, reason_of(verdict)) for i in asked)
        final = {i for i in asked if job.refused[i] >= REFUSALS or job.broken[i] >= BROKEN}
        # of a response that is broken as a whole no image is to blame
        alike = REFUSALS if len(asked) == 1 else BROKEN
        final |= {i for i in asked if job.same[i, reason_of(verdict)] >= alike}
        self._give_up([i for i in asked if i in final], job, outcomes)
        return [i for i in asked if i not in final]

    def _give_up(self, indices: Sequence[int], job: _Job, outcomes: dict[int, Outcome]) -> None:
        """These have failed for good, which is remembered of all that ever reached the provider."""
        with self._lock:
            self._failed.update({i: job.reasons.get(i, "") for i in indices if i in job.reached})
        outcomes.update(dict.fromkeys(indices))
        self._remember()

    def _remember(self) -> None:
        """Keep the failures, once anything was answered: till then they may be the account's, and not the images'."""
        if self._gate.answering:
            with self._lock:
                failed, self._failed = self._failed, {}
            self._answers.fail(failed)

    def _request(
        self, job: _Job, part: Sequence[int], outcomes: dict[int, Outcome], again: list[int]
    ) -> Verdict | None:
        """One request. Fills in what is decided; returns the verdict on the request as a whole, if it failed."""
        claim = self._answers.claim(part)
        outcomes.update(claim.known)
        outcomes.update(dict.fromkeys(claim.busy, Open.BUSY))
        try:
            failed = self._answers.failed(claim.granted)
            outcomes.update(dict.fromkeys(failed))
            mine = [i for i in claim.granted if i not in failed]
            leave = 0 if self._leave is None else self._leave()
            reservation = self._account.reserve(self._stream, mine, leave=leave)
            outcomes.update(dict.fromkeys(reservation.unpaid, Open.UNPAID))
            return self._paid(reservation, job, outcomes, again) if reservation.granted else None
        finally:
            self._answers.release([i for i in claim.granted if not isinstance(outcomes.get(i), Answer)])

    def _paid(
        self, reservation: Reservation, job: _Job, outcomes: dict[int, Outcome], again: list[int]
    ) -> Verdict | None:
        """The request for what was reserved. What was sent stays spent, unless a verdict says that it never left."""
        granted = list(reservation.granted)
        began, sent = time.monotonic(), False
        try:
            with self._gate.passing() as first:
                self._ready(len(granted))
                began, sent = time.monotonic(), True
                reply = self._label(job.part(granted))
                sent = not isinstance(reply, Verdict) or reply.sent
                job.reached.update(granted if sent else ())
                if first and self._limiter is not None:  # it had connections to make, and SDKs to load
                    self._limiter.spare(len(granted))
                if not isinstance(reply, Verdict):
                    self._read(granted, reply, outcomes, again, job)
                self._learn([reply] if isinstance(reply, Verdict) else reply)
            return reply if isinstance(reply, Verdict) else None
        except Exception as error:
            self._stop(error)
            raise
        finally:
            if sent:
                self.usage.count(len(granted), time.monotonic() - began)
            self._account.settle(reservation, sent=sent)

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
            self.usage.last_error = verdict.message or type(error).__name__  # its text may quote a key
            if verdict.kind == "fatal":
                self._stopped = ProviderError(self._say(verdict, error))
                raise self._stopped from None
            return replace(verdict, message=self.usage.last_error)

    def _learn(self, replies: Sequence[Answer | Verdict]) -> None:
        """Tell the gate what a request came to. Raises ProviderError when it is plain that nothing will be answered."""
        verdicts = [reply for reply in replies if isinstance(reply, Verdict)]
        if len(verdicts) < len(replies):
            self._gate.open(answering=True)
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

    def _ready(self, images: int) -> None:
        """Wait until a request may leave, with everything done that would delay it after its turn has come."""
        self._check()
        connect = getattr(self._adapter, "connect", None)
        if connect is not None:
            connect()
        if self._limiter is not None:
            self._limiter.wait(images, self._stop_event)
            self._check()

    def _check(self) -> None:
        """Raise when the run has ended meanwhile."""
        if self._stopped is None and self._gate.ended is not None:
            self._stopped = ProviderError(f"provider {self._adapter.card.name} failed: {self._gate.ended}")
        if self._stopped is None and self._stop_event.is_set():
            self._stopped = ProviderError("the run was ended")
        if self._stopped is not None:
            raise self._stopped

    def _stop(self, error: Exception) -> None:
        """Let nothing more leave after `error`."""
        if isinstance(error, ApiSmoothError):
            self._stopped = error
        elif isinstance(error, sqlite3.Error):
            self._stopped = ConfigurationError(
                f"cannot write to disk: {error}; free some space, or set API_SMOOTH_HOME to another folder"
            )
        else:
            self._stopped = ProviderError(f"an answer could not be handled: {type(error).__name__}")

    def _read(
        self,
        asked: Sequence[int],
        answers: Sequence[Answer | Verdict],
        outcomes: dict[int, Outcome],
        again: list[int],
        job: _Job,
    ) -> None:
        """Sort a response into answers, which are kept at once, and the verdicts on single images."""
        if len(answers) != len(asked):
            raise ProviderError(
                f"provider {self._adapter.card.name} gave {len(answers)} answers to {len(asked)} queries"
            )
        if not all(isinstance(answer, Answer | Verdict) for answer in answers):
            raise ProviderError(
                f"provider {self._adapter.card.name} gave something else in place of an answer"
            )
        given = {
            i: _stamped(a, job.version) for i, a in zip(asked, answers, strict=True) if isinstance(a, Answer)
        }
        outcomes.update(self._answers.keep(given))
        for index, verdict in zip(asked, answers, strict=True):
            if isinstance(verdict, Verdict):
                self.usage.last_error = verdict.message or verdict.kind
                if verdict.kind == "fatal":
                    raise ProviderError(self._say(verdict, None))
                self._note(verdict, job)
                again += self._still_open([index], verdict, job, outcomes)

    def _note(self, verdict: Verdict, job: _Job) -> None:
        """Remember how long to wait; after a throttle, or when told a time, everyone on the quota waits."""
        wait = verdict.retry_after
        if verdict.kind != "throttled" and wait is None:
            return
        if wait is not None and wait > LONGEST_WAIT:
            raise ProviderError(
                f"provider {self._adapter.card.name} asks to wait {wait:.0f} s: {verdict.message or 'try later'}"
            )
        job.wait = max(job.wait or 0.0, 1.0 if wait is None else wait)
        if self._limiter is not None and testing.waits():
            self._limiter.pause(job.wait)

    def _say(self, verdict: Verdict, error: Exception | None) -> str:
        # Not the error's own text, which may quote a key: adapters clean what they put into the message.
        text = verdict.message or (type(error).__name__ if error else "it gave no reason")
        return f"provider {self._adapter.card.name} failed: {text}"


def _stamped(answer: Answer, version: str | None) -> Answer:
    if version is None:
        return answer
    told = version if answer.model_version is None else f"{answer.model_version} {version}"
    return replace(answer, model_version=told)


def _pause(job: _Job, state: RetryCallState) -> float:
    """Exponential with full jitter; never less than the provider asked for."""
    backoff = random.uniform(0.0, min(20.0, 0.5 * 2.0**state.attempt_number))
    return backoff if job.wait is None else job.wait + 0.5 * backoff
