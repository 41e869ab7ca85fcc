"""One provider with one budget and one storage: whatever the images of a run have in common."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api_smoothing.adapters.base import Adapter, AdapterCard
from api_smoothing.denoisers.adopted import UNKNOWN
from api_smoothing.engine.collecting import Asks
from api_smoothing.engine.estimate.pricing import price
from api_smoothing.engine.looks import Question, look_of, unknown
from api_smoothing.engine.paths import PathVotes
from api_smoothing.engine.sending import Canary, FirstRequestGate, Pipeline, Sender, Usage, Watch, enlargement
from api_smoothing.engine.storage import Storage, stream_name
from api_smoothing.engine.votes import SPAN, LabelReader, StreamAnswers, Votes, VoteSource
from api_smoothing.events import TurnAwaited
from api_smoothing.noise import NoiseStream
from api_smoothing.results import Budget, Look, Provenance

if TYPE_CHECKING:
    from api_smoothing.denoisers.base import Denoiser
    from api_smoothing.images import Loaded

CANARIES = 2  # queries an image costs beyond its votes, where drift shows only through a canary


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """One image under way: the `votes` it gives, who `ask`s for them, and the `stream` they are of."""

    votes: Votes
    ask: Asks
    stream: str


class Session:
    """Makes the inquiry about each image, with what `storage` gives it.

    Services are paid through a run's budget, local models without a run from the object's own. Answers are kept
    only when every part of the pipeline can be named for good. With `retry_failures` queries that finally failed
    before are asked again. `told` hears of long waits for a turn.
    """

    def __init__(
        self,
        adapter: Adapter,
        *,
        denoiser: Denoiser | None,
        budget: Budget,
        storage: Storage,
        device: str,
        workers: int | None,
        retry_failures: bool = False,
        told: Callable[[TurnAwaited], object] | None = None,
    ) -> None:
        self.card = adapter.card
        self.price = price(self.card)
        self._adapter, self._denoiser = adapter, denoiser
        self._device, self._workers, self._retry = device, workers, retry_failures
        self._gate = FirstRequestGate()
        self._gate.answering = retry_failures  # what is asked again was refused before: that says nothing new
        self._remote = self.card.accepts == "png"
        self._cache = storage.answers(paid=self._remote, keep=nameable(self.card, denoiser))
        self.account = storage.budget(
            budget,
            run=budget.run or (f"unnamed-{secrets.token_hex(8)}" if self._remote else None),
            provider=self.card.name,
            micro_usd=self.price.micro_usd,
        )
        self._looks = storage.looks(keep=nameable(self.card, denoiser))
        self._limiter = storage.limiter(self.card.quota_key or self.card.name, self.card.quotas)
        if self._limiter is not None and told is not None:
            self._limiter.listen(lambda s: told(TurnAwaited(provider=self.card.provider, seconds=s)))

    @property
    def extra_per_image(self) -> int:
        """Queries an image costs beyond its votes."""
        return CANARIES if self.card.drift == "canary" else 0

    @property
    def queries_per_vote(self) -> int:
        """Queries one vote takes: as many as the denoiser has paths."""
        return 1 if self._denoiser is None else self._denoiser.paths_per_query

    def inquiry(
        self, loaded: Loaded, noise: NoiseStream, *, seed: str, provenance: Provenance, read: LabelReader
    ) -> Inquiry:
        """What it takes to get the votes of one image; asks nothing yet. `seed` is the seed's public label."""
        factor = enlargement(*noise.shape[:2], self.card) if self._remote else 1
        stream = stream_name(
            noise,
            seed=seed,
            adapter=self._adapter.card,  # as it is now: weights may have been trained on
            denoiser=self._denoiser,
            factor=factor,
            device=self._device,
            state=self._state(),
        )
        stream = self._undrifted(stream)
        self._cache.describe(stream, {**provenance.to_dict(), "image": loaded.source})
        usage, stop = Usage(), threading.Event()
        watch = self._watch(stream, usage, stop) if self.card.drift == "canary" else None
        sender = Sender(
            stream=stream,
            adapter=self._adapter,
            account=self.account,
            answers=StreamAnswers(self._cache, stream, shared=self._remote, retry=self._retry),
            limiter=self._limiter,
            usage=usage,
            stop=stop,
            gate=self._gate,
            version=None if watch is None else watch.version,
            leave=None if watch is None else lambda: watch.unpaid,
        )
        pipeline = Pipeline(
            grid=loaded.grid,
            noise=noise,
            denoiser=self._denoiser,
            card=self.card,
            sender=sender,
            device=self._device,
            workers=self._workers,
        )
        source = VoteSource(
            stream=stream,
            usage=usage,
            cache=self._cache,
            account=self.account,
            read=read,
            stop=stop,
            watch=watch,
            retry=self._retry,
        )
        paths = self.queries_per_vote
        return Inquiry(
            votes=source if paths == 1 else PathVotes(source, paths), ask=pipeline.ask, stream=stream
        )

    def look(self, stream: str, question: Question, *, charge: bool = True) -> Look:
        """What `question` is among those that were asked of the stream; with `charge` it is one of them from now on."""
        asked = self._looks.of(stream)
        if not asked and self._has_votes(stream) and not (asked := self._looks.of(stream)):
            asked = (unknown(self._cache.facts(stream) or {}, question.alpha),)  # of a version without looks
            if charge:
                self._looks.record(stream, asked[0])
        return look_of(self._looks.record(stream, str(question)) if charge else asked, question)

    def _has_votes(self, stream: str) -> bool:
        """Whether anything is kept that could have been seen."""
        return bool(self._cache.read(stream, range(SPAN)) or self._cache.failures(stream, range(SPAN)))

    def _state(self) -> str:
        """What shows of the parts that have no name for good, to tell answers kept in memory from those before."""
        told, shown = getattr(self._adapter, "state", None), ""
        if self._denoiser is not None and not lasting(self._denoiser):
            from api_smoothing.digests import state_of

            shown = state_of(self._denoiser)
        return f"{told() if callable(told) else ''} {shown}".strip()

    def _undrifted(self, stream: str) -> str:
        """The first generation of the stream in which the model has not been seen to change."""
        name, generation = stream, 0
        while self._cache.facts(f"{name}/drift") is not None:
            generation += 1
            name = f"{stream}.{generation}"
        return name

    def close(self) -> None:
        """Release files; what is on disk stays."""
        self._cache.close()
        self.account.close()
        self._looks.close()
        if self._limiter is not None:
            self._limiter.close()

    def _watch(self, stream: str, usage: Usage, stop: threading.Event) -> Watch:
        identity = hashlib.sha256(f"{self.card.name} {self.card.fingerprint}".encode()).hexdigest()[:24]
        name = f"canary-{identity}"
        sender = Sender(
            stream=name,
            adapter=self._adapter,
            account=self.account,
            answers=StreamAnswers(self._cache, name, shared=False),
            limiter=self._limiter,
            usage=usage,
            stop=stop,
            gate=self._gate,
        )
        return Watch(
            Canary(card=self.card, sender=sender, cache=self._cache, stream=name), self._cache, stream
        )


def nameable(card: AdapterCard, denoiser: Denoiser | None) -> bool:
    """Whether provider and denoiser can be named for good, without which an answer cannot be told from another's."""
    return bool(card.fingerprint) and (denoiser is None or lasting(denoiser))


def lasting(denoiser: Denoiser) -> bool:
    """Whether the denoiser's card and arithmetic name it for good."""
    card = denoiser.card
    return card.named and bool(card.sha256) and denoiser.compute != UNKNOWN
