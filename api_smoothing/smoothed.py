"""SmoothedAPI: a provider behind noise, a denoiser and a certifier. It wires the parts, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from api_smoothing import images
from api_smoothing.adapters.labels import LabelMap
from api_smoothing.certify.base import Certifier
from api_smoothing.engine import parts
from api_smoothing.engine.forecast import forecast
from api_smoothing.engine.identity import stream_name
from api_smoothing.engine.pipeline import Pipeline
from api_smoothing.engine.purse import Purse
from api_smoothing.engine.question import Method, Question, within_budget
from api_smoothing.engine.report import certificate, prediction
from api_smoothing.engine.votes import Tally, VoteSource, collect
from api_smoothing.events import ImageCertified, ImageStarted, Observer, VotesCounted
from api_smoothing.noise import NoiseKind, NoiseStream
from api_smoothing.results import Budget, Certificate, CostEstimate, Prediction
from api_smoothing.secret import resolve_seed

if TYPE_CHECKING:
    from torch import Tensor, nn

    from api_smoothing.adapters.base import Adapter
    from api_smoothing.denoisers.base import Denoiser


class SmoothedAPI:
    """Certifies the answers of a vision model that can only be called.

    `provider` is a provider's name, an Adapter, an `nn.Module`, or a callable from float32 images (N,3,H,W) in
    [0,1], on the 8-bit grid, to N labels or (N, classes) scores; `model` and further options go to the provider.
    `sigma` is the standard deviation of the noise in [0,1] pixel units. `denoiser` is a name, a path, a Denoiser,
    None, or "auto": the bundled one for the model's side and this σ. `labels` reads answers as classes: None
    for the provider's own top label, a LabelMap, a .toml path or a built-in name. `alpha` is the probability
    that a certificate is wrong. `seed` None draws the noise from the installation's secret key; an int makes it
    public and repeatable. `size` is the side (or height, width) images are brought to before the noise: by
    default the denoiser's native side, or as they are without one. `budget` holds over everything this object
    asks. `cache` keeps answers on disk (True, or a folder), or only in this object (False).

    Raises ConfigurationError, WeightsError or MissingExtraError, one line each.
    """

    def __init__(
        self,
        provider: str | Adapter | nn.Module | Callable[[Tensor], Any],
        *,
        model: str | Path | None = None,
        sigma: float = 0.25,
        denoiser: str | Path | Denoiser | None = "auto",
        labels: LabelMap | str | Path | None = None,
        alpha: float = 0.001,
        method: Method = "auto",
        noise: NoiseKind = "gaussian",
        seed: int | None = None,
        device: str = "auto",
        size: int | tuple[int, int] | None = None,
        budget: Budget | None = None,
        cache: bool | str | Path = True,
        concurrency: int | Literal["auto"] = "auto",
        observers: Sequence[Observer] = (),
        **options: Any,
    ) -> None:
        parts.check(sigma=sigma, alpha=alpha, method=method, noise=noise, budget=budget)
        self.sigma, self.alpha, self.method, self.noise = float(sigma), float(alpha), method, noise
        self._device = parts.device(device)
        self._adapter = parts.adapter(provider, model=model, device=self._device, **options)
        self._denoiser = parts.denoiser(
            denoiser, sigma=self.sigma, size=size, card=self._adapter.card, device=self._device
        )
        self.size = parts.size(size, self._denoiser)
        self._labels = LabelMap.load(labels) if isinstance(labels, str | Path) else labels
        self._seed = resolve_seed(seed)
        self._purse = Purse(budget or Budget(), usd_per_query=self._adapter.card.usd_per_query)
        self._cache = parts.cache(cache, self._adapter, self._denoiser)
        self._workers = parts.workers(concurrency, self._adapter)
        self._observers = tuple(observers)

    def certify(
        self, img: images.ImageLike, *, radius: float | None = None, n: int | None = None, n0: int = 100
    ) -> Certificate:
        """Certify one image.

        With `radius` (in [0,1] units, in the noise space): stop as soon as it is decided whether that radius can
        be certified, after at most `n` queries if given. With `n` alone: the best radius that many queries give.
        `n0` separate votes choose the class with method "clopper-pearson".

        Raises ImageError, UnreachableRadiusError (before the first query), ProviderError. A spent budget raises
        nothing: the certificate says `stopped="budget"`.
        """
        return next(self.certify_many([img], radius=radius, n=n, n0=n0))

    def certify_many(
        self,
        imgs: Iterable[images.ImageLike],
        *,
        radius: float | None = None,
        n: int | None = None,
        n0: int = 100,
    ) -> Iterator[Certificate]:
        """Certify images one after the other, in order, on one budget; see `certify`."""
        question = self._question(radius, n, n0)
        for index, img in enumerate(imgs):
            loaded = images.load(img, size=self.size)
            noise = self._noise_stream(loaded)
            source = self._source(loaded, noise)
            certifier = self._certifier(question, noise.slack, source, first=index == 0)
            self._tell(ImageStarted(image=loaded.source, index=index, planned=n))

            def on_round(tally: Tally, loaded: images.Loaded = loaded, index: int = index) -> None:
                self._tell(self._progress(loaded, index, tally))

            collect(certifier, source, on_round)
            result = certificate(
                certifier.result(),
                source.tally,
                loaded,
                facts=self._facts(),
                target=radius,
                cost_usd=self._purse.cost_usd(source.tally.sent),
            )
            self._tell(ImageCertified(image=loaded.source, index=index, certificate=result))
            yield result

    def predict(self, img: images.ImageLike, *, n: int = 100) -> Prediction:
        """The smoothed classifier's label from `n` queries, or None when the vote is too close to call.

        The label differs from the most probable one with probability at most α (Cohen et al. 2019, PREDICT).
        """
        parts.check_question(None, n)
        loaded = images.load(img, size=self.size)
        source = self._source(loaded, self._noise_stream(loaded))
        votes = [vote for portion in source.take(range(n)) for vote in portion]
        return prediction(
            votes, source.tally, loaded, facts=self._facts(), cost_usd=self._purse.cost_usd(source.tally.sent)
        )

    def estimate(
        self,
        images_or_count: int | images.ImageLike | Sequence[images.ImageLike],
        *,
        radius: float | None = None,
        n: int | None = None,
        n0: int = 100,
    ) -> CostEstimate:
        """What certifying would cost: queries, dollars and seconds, each low, expected and high. Sends nothing.

        Images whose answers are partly in the cache are estimated from those; the others from a table of vote
        shares. Raises UnreachableRadiusError for a radius that no answers could certify.
        """
        if isinstance(images_or_count, int):
            known: list[list[Any]] = [[] for _ in range(images_or_count)]
        else:
            known = [self._known(img) for img in images.as_list(images_or_count)]
        return forecast(
            known,
            question=self._question(radius, n, n0),
            affordable=self._purse.affordable(),
            card=self._adapter.card,
            usd=self._purse.cost_usd,
        )

    def digest(self, img: images.ImageLike) -> str:
        """The sha256, in hex, of the pixels that would enter the noise: `image_sha256` of a certificate."""
        return images.load(img, size=self.size).digest.hex()

    def settings(self) -> dict[str, Any]:
        """Everything that identifies a run with this object, as plain JSON values."""
        return {**self._facts(), "size": self.size if not isinstance(self.size, tuple) else list(self.size)}

    def close(self) -> None:
        """Release the cache; answers on disk stay."""
        self._cache.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _facts(self) -> dict[str, Any]:
        return {
            "provider": self._adapter.card.name,
            "denoiser": None if self._denoiser is None else parts.denoiser_name(self._denoiser),
            "label_map": None if self._labels is None else f"{self._labels.name}@{self._labels.sha256[:16]}",
            "sigma": self.sigma,
            "alpha": self.alpha,
            "method": self.method,
            "noise": self.noise,
            "seed": self._seed.label,
        }

    def _question(self, radius: float | None, n: int | None, n0: int) -> Question:
        parts.check_question(radius, n)
        return Question(
            radius=radius,
            n=n,
            n0=n0,
            sigma=self.sigma,
            alpha=self.alpha,
            method=self.method,
            noise=self.noise,
        )

    def _noise_stream(self, loaded: images.Loaded) -> NoiseStream:
        return NoiseStream(
            kind=self.noise,
            sigma=self.sigma,
            seed=self._seed.key,
            image_digest=loaded.digest,
            shape=loaded.grid.shape,
            sub=loaded.sub,
        )

    def _certifier(self, question: Question, slack: float, source: VoteSource, *, first: bool) -> Certifier:
        """The certifier for one image; one that asks for nothing when the budget cannot decide the image."""
        affordable = self._purse.affordable()
        if affordable is None:
            return question.certifier(slack=slack)
        return within_budget(question, source.cached_ahead(affordable), slack=slack, refuse=first)

    def _source(self, loaded: images.Loaded, noise: NoiseStream) -> VoteSource:
        stream = stream_name(
            noise, seed=self._seed.label, adapter=self._adapter.card, denoiser=self._denoiser
        )
        self._cache.describe(stream, {**self._facts(), "image": loaded.source})
        return VoteSource(
            stream=stream,
            pipeline=Pipeline(
                grid=loaded.grid,
                noise=noise,
                denoiser=self._denoiser,
                adapter=self._adapter,
                device=self._device,
                workers=self._workers,
            ),
            cache=self._cache,
            purse=self._purse,
            read=parts.reader(self._labels),
        )

    def _known(self, img: images.ImageLike) -> list[Any]:
        loaded = images.load(img, size=self.size)
        return self._source(loaded, self._noise_stream(loaded)).known(1000)

    def _progress(self, loaded: images.Loaded, index: int, tally: Tally) -> VotesCounted:
        leader, votes = tally.leader()
        return VotesCounted(
            image=loaded.source,
            index=index,
            n=tally.n,
            sent=tally.sent,
            cached=tally.cached,
            leader=leader,
            leader_votes=votes,
            cost_usd=self._purse.cost_usd(tally.sent),
        )

    def _tell(self, event: ImageStarted | VotesCounted | ImageCertified) -> None:
        for observer in self._observers:
            observer(event)
