"""One provider with one budget and one storage: whatever the images of a run have in common."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from api_smoothing.adapters.base import Adapter, AdapterCard
from api_smoothing.denoisers.adopted import UNKNOWN
from api_smoothing.engine.estimate.pricing import CANARIES, price
from api_smoothing.engine.looks import Question, begun, look_of, unknown
from api_smoothing.engine.paths import PathVotes
from api_smoothing.engine.scheduler import IMAGES, Opening, Scheduler, cost
from api_smoothing.engine.sending import (
    AsIs,
    Canary,
    Cleaner,
    Desk,
    Draw,
    FirstRequestGate,
    Here,
    Latency,
    Sender,
    Stopwatch,
    Stream,
    There,
    Watch,
    drawing,
    enlargement,
)
from api_smoothing.engine.storage import Asked, Storage, stream_name
from api_smoothing.engine.votes import SPAN, LabelReader, StreamAnswers, Told, Votes, VoteSource
from api_smoothing.events import TurnAwaited
from api_smoothing.noise import NoiseStream
from api_smoothing.results import Budget, Look, Provenance

if TYPE_CHECKING:
    from api_smoothing.denoisers.base import Denoiser
    from api_smoothing.images import Later, Loaded

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """One image under way: the `votes` it gives, and the `stream` they are of."""

    votes: Votes
    stream: Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class _Still:
    """An image without noise, as the name of its stream has it."""

    image_digest: bytes
    shape: tuple[int, int, int]
    sub: int
    kind: str = "none"
    sigma: float = 0.0


class Session:
    """Makes the inquiry about each image, with what `storage` gives it.

    Services are paid through a run's budget, local models without a run from the object's own. Answers are kept
    only when every part of the pipeline can be named for good. With `retry_failures` queries that finally failed
    before are asked again. `epoch` names a round of fresh answers, `account` one of several at the provider, with turns
    and a day's dollars of its own. `run` is the name under which the budget is kept, None of one that is not kept.
    `stopwatch` has the time that the queries take. `told` hears of long waits for a turn.
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
        epoch: str | None = None,
        account: str | None = None,
        told: Callable[[TurnAwaited], object] | None = None,
    ) -> None:
        self.card = adapter.card
        self.price = price(self.card)
        self._adapter, self._denoiser = adapter, denoiser
        self._device, self._workers, self._retry = device, workers, retry_failures
        self._epoch = epoch
        self._latency = Latency()
        self._gate = FirstRequestGate()
        self._gate.answering = retry_failures  # what is asked again was refused before: that says nothing new
        self._remote = self.card.accepts == "png"
        self._cache = storage.answers(paid=self._remote, keep=nameable(self.card, denoiser))
        key = account_key(self.card, account)
        self.run = budget.run or (f"unnamed-{secrets.token_hex(8)}" if self._remote else None)
        self.account = storage.budget(
            budget, run=self.run, provider=self.card.name, micro_usd=self.price.micro_usd, account=key
        )
        self.stopwatch = Stopwatch()
        self._looks = storage.looks(keep=nameable(self.card, denoiser))
        self._limiter = storage.limiter(key, self.card.quotas)
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

    def sender(self) -> Sender:
        """Who sends the queries of one run; what ended one run does not end the next."""
        return Sender(
            self._adapter,
            account=self.account,
            limiter=self._limiter,
            latency=self._latency,
            gate=self._gate,
        )

    def inquiry(
        self,
        loaded: Loaded,
        noise: NoiseStream,
        *,
        seed: str,
        provenance: Provenance,
        read: LabelReader,
        sender: Sender,
        told: Told | None = None,
    ) -> Inquiry:
        """What it takes to get the votes of one image; asks nothing yet. `seed` is the seed's public label.

        `told` hears of every answer that is counted.
        """
        name = self._undrifted(self._name(noise, seed))
        stream = self._stream(name, loaded, drawing(loaded.grid, noise, self._denoiser), provenance)
        watch = self._watch(stream, sender) if self.card.drift == "canary" else None
        if watch is not None:
            stream.version, stream.leave = watch.version, lambda: watch.unpaid
        source = self._source(stream, read, watch=watch, told=told)
        paths = self.queries_per_vote
        return Inquiry(votes=source if paths == 1 else PathVotes(source, paths), stream=stream)

    def unsmoothed(self, loaded: Loaded, *, provenance: Provenance, read: LabelReader) -> Inquiry:
        """What it takes to ask about the image as it is, in one query; asks nothing yet."""
        still = _Still(image_digest=loaded.digest, shape=(*loaded.size, 3), sub=loaded.sub)
        name = self._name(still, "none", denoised=False)
        stream = self._stream(name, loaded, AsIs(loaded.grid, loaded.sub), provenance)
        return Inquiry(votes=self._source(stream, read), stream=stream)

    def _stream(self, name: str, loaded: Loaded, draw: Draw, provenance: Provenance) -> Stream:
        """The queries of that name about an image, described where they are kept."""
        self._cache.describe(name, {**provenance.to_dict(), "image": loaded.source})
        answers = StreamAnswers(self._cache, name, shared=self._remote, retry=self._retry)
        return Stream(name=name, answers=answers, draw=draw, shape=loaded.size)

    def _source(
        self, stream: Stream, read: LabelReader, *, watch: Watch | None = None, told: Told | None = None
    ) -> VoteSource:
        return VoteSource(
            stream=stream.name,
            usage=stream.usage,
            cache=self._cache,
            account=self.account,
            read=read,
            stop=stream.ended,
            watch=watch,
            retry=self._retry,
            told=told,
        )

    def _name(self, noise: Asked, seed: str, *, denoised: bool = True) -> str:
        return stream_name(
            noise,
            seed=seed,
            adapter=self._adapter.card,  # as it is now: weights may have been trained on
            denoiser=self._denoiser if denoised else None,
            factor=enlargement(*noise.shape[:2], self.card) if self._remote else 1,
            device=self._device,
            state=self._state(),
            epoch=self._epoch,
        )

    def settings(self, noise: NoiseStream, *, seed: str) -> str:
        """Names all that a stream of such noise depends on but the image."""
        return self._name(replace(noise, image_digest=bytes(len(noise.image_digest))), seed)

    def lasting_stream(self, noise: NoiseStream, *, seed: str) -> str | None:
        """Names the answers about an image, of before the model was ever seen to change; None of a model that cannot be
        told from another one.
        """
        return self._name(noise, seed) if nameable(self.card, self._denoiser) else None

    def stands(self, stream: str) -> bool:
        """Whether its answers count: the model has not been seen to change since."""
        return self._cache.facts(f"{stream}/drift") is None

    def is_new(self, stream: str) -> bool:
        """Whether nothing was asked of the stream before."""
        return not self._looks.of(stream) and not self._has_votes(stream)

    def results(
        self, openings: Iterable[Opening[T] | Later], sender: Sender, *, sigma: float | None, most: int | None
    ) -> Generator[T]:
        """The results of images that are driven together, in order; `most` votes each at most, where that is known.

        Without `sigma` they are asked about as they are, with no denoiser before them.
        """
        if most is not None and sigma is not None:
            most = self._queries(most)
        scheduler: Scheduler[T] = Scheduler(
            self._desk(sender, sigma),
            sender,
            affordable=self.account.affordable,
            most=most,
            images=1 if self._workers == 1 else IMAGES,
            stopwatch=self.stopwatch,
        )
        return scheduler.results(openings)

    def pays(self, images: int, most: int | None) -> bool:
        """Whether the budget surely pays so many images of `most` votes each, whoever asks about them."""
        affordable = self.account.affordable()
        if affordable is None:
            return True
        return most is not None and affordable >= images * cost(self._queries(most))

    def _queries(self, votes: int) -> int:
        """The most queries that an image of so many votes takes."""
        return votes * self.queries_per_vote + self.extra_per_image

    def _desk(self, sender: Sender, sigma: float | None) -> Desk:
        cleaner = Cleaner(None if sigma is None else self._denoiser, sigma or 0.0, self._device)
        if self._remote:
            return There(card=self.card, cleaner=cleaner, sender=sender, workers=self._workers)
        return Here(card=self.card, cleaner=cleaner, sender=sender, device=self._device)

    def begun(self, stream: str, question: Question) -> Question:
        """What `question` goes on as, where the stream was asked it before: under the rule it was begun with."""
        return begun(self._looks.of(stream), question)

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
        while not self.stands(name):
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

    def _watch(self, stream: Stream, sender: Sender) -> Watch:
        identity = hashlib.sha256(f"{self.card.name} {self.card.fingerprint}".encode()).hexdigest()[:24]
        name = f"canary-{identity}"
        answers = StreamAnswers(self._cache, name, shared=False)
        of = Stream(name=name, answers=answers, usage=stream.usage)  # the image pays for its canaries
        canary = Canary(card=self.card, sender=sender, cache=self._cache, stream=of)
        return Watch(canary, self._cache, stream.name)


def account_key(card: AdapterCard, account: str | None = None) -> str:
    """Whose turns and day's dollars they are: all who share the card's quota, or one of several accounts there."""
    key = card.quota_key or card.name
    return key if account is None else f"{key}#{account}"


def nameable(card: AdapterCard, denoiser: Denoiser | None) -> bool:
    """Whether provider and denoiser can be named for good, without which an answer cannot be told from another's."""
    return bool(card.fingerprint) and (denoiser is None or lasting(denoiser))


def lasting(denoiser: Denoiser) -> bool:
    """Whether the denoiser's card and arithmetic name it for good."""
    card = denoiser.card
    return card.named and bool(card.sha256) and denoiser.compute != UNKNOWN
