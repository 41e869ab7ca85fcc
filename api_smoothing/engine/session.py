"""One provider with one budget and one cache: whatever the images of a run have in common."""

from __future__ import annotations

import hashlib
import secrets
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api_smoothing.adapters.base import Adapter
from api_smoothing.engine.collecting import Asks
from api_smoothing.engine.estimate.pricing import price
from api_smoothing.engine.paths import PathVotes
from api_smoothing.engine.sending.drift import Canary, Watch
from api_smoothing.engine.sending.outcome import FirstRequestGate, Usage
from api_smoothing.engine.sending.pipeline import Pipeline, enlargement
from api_smoothing.engine.sending.sender import Sender
from api_smoothing.engine.storage.answers import DiskCache, VoteCache
from api_smoothing.engine.storage.budget import BudgetAccount
from api_smoothing.engine.storage.in_memory_budget import InMemoryBudget
from api_smoothing.engine.storage.ledger import Ledger
from api_smoothing.engine.storage.rate import RateLimiter
from api_smoothing.engine.storage.stream_key import stream_name
from api_smoothing.engine.votes import LabelReader, StreamAnswers, Votes, VoteSource
from api_smoothing.noise import NoiseStream
from api_smoothing.results import Budget, Provenance
from api_smoothing.secret import home

if TYPE_CHECKING:
    from api_smoothing.denoisers.base import Denoiser
    from api_smoothing.images import Loaded

CANARIES = 2  # queries an image costs beyond its votes, where drift shows only through a canary


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """One image under way: the `votes` it gives, and who `ask`s for them."""

    votes: Votes
    ask: Asks


class Session:
    """Makes the inquiry about each image. Services are paid through the ledger, local models from memory."""

    def __init__(
        self,
        adapter: Adapter,
        *,
        denoiser: Denoiser | None,
        budget: Budget,
        cache: VoteCache,
        device: str,
        workers: int | None,
    ) -> None:
        self.card = adapter.card
        self.price = price(self.card)
        self._adapter, self._denoiser, self._cache = adapter, denoiser, cache
        self._device, self._workers = device, workers
        self._gate = FirstRequestGate()
        self._remote = self.card.accepts == "png"
        self._shared = self._remote and isinstance(cache, DiskCache)
        self.account: BudgetAccount
        if self._remote or budget.run is not None:
            self.account = Ledger(
                home() / "ledger.db",
                budget,
                run=budget.run or f"unnamed-{secrets.token_hex(8)}",
                provider=self.card.name,
                micro_usd=self.price.micro_usd,
            )
        else:
            self.account = InMemoryBudget(budget, micro_usd=self.price.micro_usd)
        self._limiter = (
            RateLimiter(
                home() / "rate.db", key=self.card.quota_key or self.card.name, quotas=self.card.quotas
            )
            if self.card.quotas
            else None
        )

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
            noise, seed=seed, adapter=self.card, denoiser=self._denoiser, factor=factor, device=self._device
        )
        stream = self._undrifted(stream)
        self._cache.describe(stream, {**provenance.to_dict(), "image": loaded.source})
        usage, stop = Usage(), threading.Event()
        watch = self._watch(stream, usage, stop) if self.card.drift == "canary" else None
        sender = Sender(
            stream=stream,
            adapter=self._adapter,
            account=self.account,
            answers=StreamAnswers(self._cache, stream, shared=self._shared),
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
        )
        paths = self.queries_per_vote
        return Inquiry(votes=source if paths == 1 else PathVotes(source, paths), ask=pipeline.ask)

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
