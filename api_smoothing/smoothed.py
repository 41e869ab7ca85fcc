"""SmoothedAPI: a provider behind noise, a denoiser and a certifier. It wires the parts, and nothing else."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from api_smoothing import images
from api_smoothing.adapters.labels.label_map import LabelMap
from api_smoothing.certify import Certifier, Spec, certifier_of
from api_smoothing.certify.presence import PresenceCertifier
from api_smoothing.certify.prior import Prior
from api_smoothing.certify.spec import Method
from api_smoothing.engine import parts
from api_smoothing.engine.affordable import within_budget
from api_smoothing.engine.estimate import defaults
from api_smoothing.engine.estimate.pace import remember
from api_smoothing.engine.estimate.pipeline import Pipeline
from api_smoothing.engine.lessons import Lesson, Lessons, lesson_of
from api_smoothing.engine.looks import Question, about_labels, about_the_label, about_the_prediction
from api_smoothing.engine.neighbours import Neighbours, Visit
from api_smoothing.engine.presence import LabelReport, presences
from api_smoothing.engine.report import certificate, prediction, scores_of, unsmoothed
from api_smoothing.engine.scheduler import Counts, Everything, Item, Opening
from api_smoothing.engine.sending import Sender
from api_smoothing.engine.session import Inquiry, Session
from api_smoothing.engine.storage import FolderStorage
from api_smoothing.engine.votes import LabelReader, QueryCount, Told, Votes
from api_smoothing.errors import ConfigurationError
from api_smoothing.events import (
    AnswersCounted,
    CountedAnswer,
    Event,
    ImageCertified,
    ImageStarted,
    Observer,
    RunStarted,
    VotesCounted,
)
from api_smoothing.noise import NoiseKind, NoiseStream
from api_smoothing.notebook import observers_of
from api_smoothing.results import (
    Budget,
    Certificate,
    CostEstimate,
    Look,
    Prediction,
    Provenance,
    Unsmoothed,
)
from api_smoothing.secret import of_epoch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from api_smoothing.adapters.base import Adapter, AdapterCard, Answer
    from api_smoothing.denoisers.base import Denoiser
    from api_smoothing.engine.estimate.shares import Prior as VoteShares
    from api_smoothing.engine.storage.base import Storage
    from api_smoothing.sandbox import Sandbox


Counting = TypeVar("Counting", bound=Counts)

_log = logging.getLogger("api_smoothing")

_PLENTY = 1_000_000  # queries no image takes: such a budget cannot decide when to stop


class SmoothedAPI:
    """Certifies the answers of a vision model that can only be called.

    `provider` is a provider's name, an Adapter, an `nn.Module`, or a callable from float32 images (N,3,H,W) in
    [0,1], on the 8-bit grid, to N labels or (N, classes) scores; `model` and further options go to the provider.
    `sigma` is the standard deviation of the noise in [0,1] pixel units. `denoiser` is a name, a path, a
    Denoiser, None, or "auto": the bundled one for the model's side and this σ. `labels` reads answers as
    classes: None for the provider's own top label, a LabelMap, a .toml path or a built-in name. `alpha` is
    the probability that a certificate is wrong. `seed` None draws the noise from the installation's secret
    key; an int makes it public and repeatable. `size` is the side (or height, width) images are brought to
    before the noise: by default the model's own, 224 where it names none, or as they are without a denoiser.
    `budget` holds over everything this object asks; without one that is 5 US dollars where a query has a price,
    told before the first one (`events.RunStarted`, a warning in the log), and `Budget(usd=None)` lifts it.
    `cache` keeps answers on disk (True, or a folder), or only in this object (False). `store` is where all that
    outlives a query is kept: answers, budgets, looks, the rate limiter, the seed. None is the installation's
    folder, "memory" is this object alone, with a seed of its own, a postgresql:// URL is a database that several
    machines share (docs/store.md); a Storage is used, and left open. Queries that
    the provider finally refused or failed are remembered and count as failed ever after; `retry_failures` asks
    them again, which is fair only where their failing had nothing to do with the image. With `sandbox` the same
    SDK asks a server on this machine, free of charge. `prior` shapes the rules for a radius: a Prior made without the
    images' own votes, or "learn" for what the images done before have taught; however wrong, it costs queries and never
    soundness. `reuse` "ball" lets an image that was certified answer for those within its radius, without a query: for
    a larger radius than is asked for there, or where no radius is. `epoch` names a round of fresh votes, with noise,
    answers and an α of its own: "2026-12" sees what the vendor has changed since "2026-11". `account` names one of
    several accounts at the provider: its turns and its dollars of a day are counted apart from those of the others.
    `observers` are called with every event of a run (`events`); left out, that is progress below the cell in a
    notebook, and nobody elsewhere, as with ().

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
        store: str | Storage | None = None,
        sandbox: bool = False,
        concurrency: int | Literal["auto"] = "auto",
        retry_failures: bool = False,
        prior: Prior | Literal["learn"] | None = None,
        reuse: Literal["ball"] | None = None,
        epoch: str | None = None,
        account: str | None = None,
        observers: Sequence[Observer] | None = None,
        **options: Any,
    ) -> None:
        parts.check(sigma=sigma, alpha=alpha, method=method, noise=noise, budget=budget)
        parts.check_sharing(prior, reuse)
        self.sigma, self.alpha, self.method, self.noise = float(sigma), float(alpha), method, noise
        made = {
            name: value for name, value in locals().items() if name not in ("self", "observers", "options")
        }
        self._device = parts.device(device, several=True)
        with ExitStack() as stack:
            if sandbox:
                options = stack.enter_context(_server(provider)).rehearsing({"model": model, **options})
                model = options.pop("model")
            #: The arguments that make the same in another process, a sandbox's server being where it is.
            self.made: Mapping[str, Any] = {**made, "sandbox": False, "model": model, **options}
            self._adapter = parts.adapter(
                provider,
                model=model,
                device=self._device,
                beside=[*inspect.signature(SmoothedAPI).parameters],
                **options,
            )
            self._denoiser = parts.denoiser(
                denoiser, sigma=self.sigma, size=size, card=self._adapter.card, device=self._device
            )
            self.size = parts.size(size, self._denoiser, self._adapter.card)
            self._whole_side = parts.whole_side(denoiser, self._denoiser, self._adapter.card)
            self._labels = parts.label_map(labels, self._adapter.card)
            parts.check_cache(cache, self._adapter, self._denoiser)
            self._storage = parts.storage(store, cache)
            self._handed_in = self._storage is store
            self._epoch = parts.epoch(epoch)
            self._seed = of_epoch(self._storage.seed(seed), self._epoch)
            # The card's, not the name asked for: a rehearsal's certificate must not pass for the service's.
            self._provider = self._adapter.card.provider
            self._pipeline = Pipeline(
                card=self._adapter.card,
                denoiser=self._denoiser,
                size=self.size,
                sigma=self.sigma,
                alpha=alpha,
                method=method,
                noise=noise,
                given=budget,
            )
            self._has_budget, self._budget = budget is not None, self._pipeline.budget
            self._observers, self._warned = observers_of(observers), False
            self._session = Session(
                self._adapter,
                denoiser=self._denoiser,
                budget=self._budget,
                storage=self._storage,
                device=self._device,
                workers=parts.workers(concurrency),
                retry_failures=retry_failures,
                epoch=self._epoch,
                account=account,
                told=self._tell,
            )
            self.retries_failures = retry_failures
            self._prior, self._lessons = prior, list[Lesson]()
            self._teacher: Lessons | None = None
            self._neighbours = Neighbours(stands=self._session.stands) if reuse else None
            self._exit = stack.pop_all()

    def certify(
        self,
        img: images.ImageLike,
        *,
        radius: float | None = None,
        n: int | Literal["auto"] | None = "auto",
        n0: int = 100,
    ) -> Certificate:
        """Certify one image.

        With `radius` (in [0,1] units, in the noise space): stop as soon as it is decided whether that radius can
        be certified, after at most `n` queries. "auto" is a cap of 1,000 where queries cost money or their price is
        unknown, of 10,000 where they are free, and never fewer than the radius needs; None is no cap. With `n` alone:
        the best radius that many queries give. With neither: the best radius for 100.
        `n0` separate votes choose the class with the methods "clopper-pearson" and "runner-up".

        The first question about an image has α under the rule it asks for. Every later, different one is answered
        from a confidence sequence at α, which holds at every n; together they err with probability `alpha_total`.
        The same question again gives the same answer.

        Raises ImageError, UnreachableRadiusError (before the first query), ProviderError. A spent budget raises
        nothing: the certificate says `stopped="budget"`.
        """
        return next(self.certify_many([img], radius=radius, n=n, n0=n0))

    def certify_many(
        self,
        imgs: Iterable[images.ImageLike],
        *,
        radius: float | None = None,
        radii: Sequence[float] = (),
        n: int | Literal["auto"] | None = "auto",
        n0: int = 100,
        engine: Any = None,
    ) -> Iterator[Certificate]:
        """Certify images, in order, on one budget; see `certify`.

        Several `radii` in place of one (0: that a majority is proved) are read from the same votes. With a number `n`
        that is its one bound; without, the confidence sequence decides each as soon as it can, within the usual cap.
        Either way it is one question, and the certificate's `radii` say which were reached.

        Many are asked about at once, so that networks and quota are busy, and each gets what it would get alone. So
        `imgs` is read ahead of the results. While
        the budget cannot surely pay several, they are certified one after the other. An error is raised in the turn
        of its image, when those before it have been certified.

        `engine` "processes" (of this machine) or "ray" (docs/scale.md) has the images certified by several processes,
        each as this one would, on the same budget, quota and answers; or a `cluster.Engine`.
        """
        spec = self._pipeline.spec(radius, n, n0, radii)
        question = {"radius": radius, "radii": tuple(radii), "n": n, "n0": n0}
        lessons, visits = self._teacher or Lessons(self._lessons), list[Visit]()
        learning = lessons if self._prior == "learn" and spec.learns else None
        work = None if engine is None else _workers().work(self, engine, spec, question, learning)
        self._begin_run(spec.n, self._pipeline.unset_cap(radius, spec.radii, n, spec.n))
        if work is not None:
            results = work(img if isinstance(img, images.Later) else self._loaded(img) for img in imgs)
        else:
            sender, read = self._session.sender(), () if spec.radii else tuple(radii)
            openings = self._openings(imgs, spec, sender, lessons, visits, read)
            results = self._session.results(openings, sender, sigma=self.sigma, most=spec.most)
        try:
            with closing(results):
                for index, result in enumerate(results):
                    self._lessons.append(lesson_of(result))
                    self._tell(ImageCertified(image=result.image, index=index, certificate=result))
                    yield result
        finally:
            for visit in visits:
                visit.leave()

    def _openings(
        self, imgs: Iterable[images.ImageLike | images.Later], *more: Any
    ) -> Iterator[Opening[Certificate] | images.Later]:
        """Those of images that may come later, numbered; `more` is what `_opening` takes besides."""
        index = 0
        for img in imgs:
            if isinstance(img, images.Later):
                yield img
            else:
                yield self._opening(self._loaded(img), index, *more)
                index += 1

    def _opening(
        self,
        loaded: images.Loaded,
        index: int,
        spec: Spec,
        sender: Sender,
        lessons: Lessons,
        visits: list[Visit],
        read: Sequence[float],
    ) -> Opening[Certificate]:
        noise = self._noise_stream(loaded)
        told = partial(self._tell_answers, loaded, index) if self._observers else None
        inquiry = self._inquiry(loaded, noise, sender, told=told)
        visit = self._visit(loaded, spec, noise, inquiry, run=visits)
        learns = self._prior == "learn" and spec.learns

        def done(found: Certificate) -> Certificate:
            lessons.done(index, lesson_of(found))
            if visit is not None:
                visit.done(found)
            return found

        def begin() -> Item[Certificate]:
            if visit is not None:
                if (found := visit.answer(slack=noise.slack)) is not None:
                    return _answered(found, inquiry, done)
                visit.enter()
                visits.append(visit)
            prior = lessons.prior(index, loaded.digest.hex()) if learns else self._given_prior
            votes = inquiry.votes
            certifier, look = self._begin(
                inquiry,
                about_the_label(replace(spec, prior=prior), self._provenance().label_map),
                partial(self._certifier_of, replace(spec, slack=noise.slack), votes),
            )
            self._tell(
                ImageStarted(
                    image=loaded.source,
                    index=index,
                    planned=spec.n,
                    image_sha256=loaded.digest.hex(),
                    slack=noise.slack,
                    boundary=getattr(certifier, "boundary", None),  # of a target, by count
                )
            )
            return Item(
                stream=inquiry.stream,
                votes=votes,
                certifier=certifier,
                most=spec.most,
                on_round=lambda count: self._tell(self._progress(loaded, index, count)),
                result=lambda: done(
                    certificate(
                        certifier.result(),
                        votes.count,
                        loaded,
                        provenance=self._provenance(),
                        target=spec.radius,
                        cost_usd=self._session.account.cost_usd(votes.count.sent),
                        look=look,
                        radii=read,
                        whole_side=self._whole_side,
                    )
                ),
            )

        return Opening(
            stream=inquiry.stream,
            begin=begin,
            ready=lambda: (not learns or lessons.ready(index)) and (visit is None or visit.ready()),
        )

    @property
    def _given_prior(self) -> Prior | None:
        return self._prior if isinstance(self._prior, Prior) else None

    def _visit(
        self, loaded: images.Loaded, spec: Spec, noise: NoiseStream, inquiry: Inquiry, *, run: object
    ) -> Visit | None:
        """The image among its neighbours; None where nothing is reused."""
        if self._neighbours is None:
            return None
        name = inquiry.stream.name
        settings, new = self._near_settings(noise), self._session.is_new(name)
        return self._neighbours.visit(loaded, spec, run=run, settings=settings, stream=name, new=new)

    def _near_settings(self, noise: NoiseStream) -> str:
        """All that neighbours must have in common."""
        settings = self._session.settings(noise, seed=self._seed.label)
        return f"{settings} {self._provenance().label_map} {self.alpha!r}"

    def teach(self, done: Iterable[Certificate]) -> None:
        """With prior="learn": let images that were done before teach those to come, such as `runs.read(path)`.

        They may be of other settings. What they have taught about an image itself is left out of its prior.
        """
        self._lessons += map(lesson_of, done)

    def learn_from(self, teacher: Lessons) -> None:
        """With prior="learn": have the priors from there, as a worker does whose driver knows what others have done."""
        self._teacher = teacher

    def recall(self, img: images.ImageLike, found: Certificate) -> None:
        """With reuse="ball": let an image that was certified before answer for those within its radius.

        `found` is its certificate, such as `runs.read(path)` has it. One that a neighbour has answered for has no votes
        of its own, and is passed over; so is one of a model that was seen to change since, or of a function without a
        name, which may have been another one. Raises ConfigurationError for a certificate of another image or of other
        settings.
        """
        if self._neighbours is None or found.parent is not None:
            return
        loaded = self._loaded(img)
        noise = self._noise_stream(loaded)
        stream = self._session.lasting_stream(noise, seed=self._seed.label)
        ours: dict[str, Any] = {"image_sha256": loaded.digest.hex(), "kind": "label"}
        ours |= {**asdict(self._provenance()), "method": found.method}
        for name, value in ours.items():
            if getattr(found, name) != value:
                raise ConfigurationError(
                    f"the certificate of {found.image} has {name} = {getattr(found, name)}, not {value}: it cannot "
                    f"answer for neighbours here"
                )
        if stream is not None:
            self._neighbours.recall(loaded, found, settings=self._near_settings(noise), stream=stream)

    def certify_labels(
        self,
        img: images.ImageLike,
        *,
        thresholds: float | Mapping[str, float] = 0.5,
        radius: float | None = None,
        n: int | Literal["auto"] | None = "auto",
        absent: Collection[str] = (),
        unseen_ok: bool = False,
    ) -> list[Certificate]:
        """Certify that labels are reported at all, each on its own, from the same answers.

        An answer votes for every label whose score is at least its threshold in [0,1]; a certificate says that
        more than half of the noisy copies report the label, for every image within its radius. `thresholds` maps
        the labels of interest to theirs; a number holds for every label. `absent` names labels that are also
        certified not to be reported ("not: NAME"), where no limit of the request can have cut them off: names that
        the provider can say. One that no answer has, at any score, may be misspelt; `unseen_ok` says that it is not.
        With a label map the labels are its classes. All certificates
        hold together with probability 1 − α; the first one carries the queries.

        With `radius` a label is done when it is certified or given up; with `n` alone each gets its best radius.
        "auto" and None are as in `certify`; a later question about the same answers has the anytime rule, for which
        the cap is where it stops. Raises what `certify` raises.
        """
        reader = LabelReport(
            self._labels,
            thresholds,
            most=self._adapter.card.max_labels,
            paths=self._session.queries_per_vote,
            absent=absent,
            names=self._adapter.card.labels,
            least=self._adapter.card.min_score,
            unseen_ok=unseen_ok,
        )
        asked, n = n, self._pipeline.answers(radius, n, "auto", reader.most + len(absent))
        self._begin_run(n, self._pipeline.unset_cap(radius, (), asked, n))
        loaded = self._loaded(img)
        noise, sender = self._noise_stream(loaded), self._session.sender()
        inquiry = self._inquiry(loaded, noise, sender, parts.scored(reader, self._adapter))
        votes = inquiry.votes
        # which label would be the best is nothing to a report of all
        provenance = replace(self._provenance(), label_map=parts.map_name(self._labels))
        spec = Spec(radius=radius, n=n, sigma=self.sigma, alpha=self.alpha, method="sequential")
        question = about_labels(
            spec,
            label_map=provenance.label_map,
            thresholds=thresholds,
            absent=absent,
            most=reader.most,
        )
        certifier, look = self._begin(
            inquiry,
            question,
            lambda question, later: PresenceCertifier(
                alpha=self.alpha,
                sigma=self.sigma,
                max_labels=reader.most,
                target=radius,
                n=n,
                absent=absent,
                noise=self.noise,
                slack=noise.slack,
                later=later,
                version=None if later else spec.under(question.rule).version,
            ),
        )
        self._tell(ImageStarted(image=loaded.source, index=0, planned=n))
        self._drive(
            inquiry, certifier, sender, lambda count: self._tell(self._progress(loaded, 0, count)), most=n
        )
        found = presences(
            certifier.results(),
            votes.count,
            loaded,
            report=reader,
            provenance=provenance,
            target=radius,
            cost_usd=self._session.account.cost_usd(votes.count.sent),
            look=look,
        )
        for certificate_ in found:
            self._tell(ImageCertified(image=loaded.source, index=0, certificate=certificate_))
        return found

    def predict(self, img: images.ImageLike, *, n: int = 100) -> Prediction:
        """The smoothed classifier's label from `n` queries, or None when the vote is too close to call.

        The label differs from the most probable one with probability at most α (Cohen et al. 2019, PREDICT).
        """
        self._pipeline.answers(None, n, "auto")
        self._begin_run(n)
        loaded, sender = self._loaded(img), self._session.sender()
        inquiry = self._inquiry(loaded, self._noise_stream(loaded), sender)
        question = about_the_prediction(n, self.alpha, self._provenance().label_map)
        look = self._session.look(inquiry.stream.name, question)
        taken = Everything(n)
        self._drive(inquiry, taken, sender, most=n)
        count = inquiry.votes.count
        return prediction(
            taken.votes,
            count,
            loaded,
            n=n,
            provenance=self._provenance(),
            cost_usd=self._session.account.cost_usd(count.sent),
            look=look,
        )

    def unsmoothed(self, imgs: Iterable[images.ImageLike]) -> Iterator[Unsmoothed]:
        """What the provider says of each image as it is, in order: one query an image, on the same budget.

        It is brought to the same size and read through the same label map. A spent budget raises nothing.
        """
        sender = self._session.sender()
        openings = (self._unsmoothed(self._loaded(img)) for img in imgs)
        with closing(self._session.results(openings, sender, sigma=None, most=1)) as results:
            yield from results

    def _unsmoothed(self, loaded: images.Loaded) -> Opening[Unsmoothed]:
        read, scores = parts.reader(self._labels, self._adapter), dict[str, float]()

        def reading(answer: Answer) -> Hashable | None:
            scores.update(scores_of(answer, read))
            return read(answer)

        inquiry = self._session.unsmoothed(loaded, provenance=self._provenance(), read=reading)
        taken = Everything(1)

        def result() -> Unsmoothed:
            count = inquiry.votes.count
            cost = self._session.account.cost_usd(count.sent)
            return unsmoothed(taken.votes, count, loaded, cost_usd=cost, scores=scores)

        item = Item(stream=inquiry.stream, votes=inquiry.votes, certifier=taken, most=1, result=result)
        return Opening(stream=inquiry.stream, begin=lambda: item)

    def estimate(
        self,
        images_or_count: int | images.ImageLike | Sequence[images.ImageLike],
        *,
        radius: float | None = None,
        radii: Sequence[float] = (),
        n: int | Literal["auto"] | None = "auto",
        n0: int = 100,
        within_budget: bool = True,
    ) -> CostEstimate:
        """What certifying would cost: queries, dollars and seconds, each low, expected and high. Sends nothing.

        Images whose answers are partly in the cache are estimated from those; the others from a table of vote
        shares. Where no budget is given, the assumptions tell when the usual one would stop the run; without a cap it
        is counted in. Without `within_budget` no budget is. Seconds have the denoising in them, as fast as in earlier
        runs on this machine. Raises UnreachableRadiusError for a radius that no answers could certify.
        """

        def known() -> list[list[Any]]:
            assert not isinstance(images_or_count, int)
            return [self._known(img) for img in images.as_list(images_or_count)]

        return self._pipeline.estimate(
            images_or_count if isinstance(images_or_count, int) else known,
            radius=radius,
            radii=radii,
            n=n,
            n0=n0,
            within_budget=within_budget,
            affordable=self._session.account.affordable,
        )

    @property
    def card(self) -> AdapterCard:
        """The facts about the provider."""
        return self._adapter.card

    @property
    def adapter(self) -> Adapter:
        """The provider itself: nothing that is asked of it directly is paid, counted or kept."""
        return self._adapter

    @property
    def session(self) -> Session:
        """The provider with its budget and storage, for those who have images certified elsewhere."""
        return self._session

    @property
    def storage(self) -> Storage:
        """Where all that outlives a query is kept."""
        return self._storage

    @property
    def denoiser(self) -> Denoiser | None:
        """What takes the noise away before the provider is asked."""
        return self._denoiser

    @property
    def label_map(self) -> LabelMap | None:
        """How answers are read as classes; None: the provider's own top label counts."""
        return self._labels

    @property
    def budget(self) -> Budget:
        """The budget that holds, given or usual."""
        return self._budget

    @property
    def has_budget(self) -> bool:
        """Whether that was given."""
        return self._has_budget

    @property
    def usd_per_query(self) -> float:
        """What is charged for each query, in US dollars."""
        return self._session.price.micro_usd / 1e6

    @property
    def queries_per_vote(self) -> int:
        """How many queries one vote takes: as many as the denoiser has paths."""
        return self._session.queries_per_vote

    @property
    def vote_shares(self) -> VoteShares:
        """What is known, before any answer, of how images' votes agree."""
        return self._pipeline.vote_shares

    @contextmanager
    def observed(self, observer: Observer) -> Iterator[None]:
        """A time in which one more observer is told."""
        before, self._observers = self._observers, (*self._observers, observer)
        try:
            yield
        finally:
            self._observers = before

    def digest(self, img: images.ImageLike) -> str:
        """The sha256, in hex, of the pixels that would enter the noise: `image_sha256` of a certificate."""
        return images.load(img, size=self.size).digest.hex()

    def settings(self) -> dict[str, Any]:
        """Everything that identifies a run with this object, as plain JSON values."""
        size = list(self.size) if isinstance(self.size, tuple) else self.size
        shared = {
            "prior": self._prior.digest if isinstance(self._prior, Prior) else self._prior,
            "reuse": None if self._neighbours is None else "ball",
        }
        return {
            **self._provenance().to_dict(),
            "size": size,
            **{name: value for name, value in shared.items() if value is not None},
        }

    def close(self) -> None:
        """Release files; answers on disk stay, and how long a query took."""
        if isinstance(self._storage, FolderStorage):
            remember(
                self._adapter.card,
                denoiser=self._denoiser_id(),
                size=self.size,
                queries=self._session.stopwatch.queries,
                seconds=self._session.stopwatch.seconds,
            )
        self._session.close()
        self._exit.close()
        if not self._handed_in:
            self._storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _denoiser_id(self) -> str | None:
        return None if self._denoiser is None else self._denoiser.card.id

    def _provenance(self) -> Provenance:
        return Provenance(
            provider=self._provider,
            model=self._adapter.card.fingerprint,
            denoiser=None if self._denoiser is None else parts.denoiser_name(self._denoiser),
            label_map=parts.reading(self._labels, self._adapter),
            sigma=self.sigma,
            alpha=self.alpha,
            method=self.method,
            noise=self.noise,
            seed=self._seed.label,
            epoch=self._epoch,
        )

    def spec(
        self,
        *,
        radius: float | None = None,
        radii: Sequence[float] = (),
        n: int | Literal["auto"] | None = "auto",
        n0: int = 100,
    ) -> Spec:
        """What `certify_many` makes of these arguments: the rule, and the number of answers that holds."""
        return self._pipeline.spec(radius, n, n0, radii)

    def _begin_run(self, n: int | None, unset: tuple[str, ...] = ()) -> None:
        """Tell, before the first query, what limits a call; of money that nobody limited also in the log, once."""
        session = self._session
        money = defaults.about_the_money(session.card, session.price, given=self._has_budget)
        if not self._warned and not self._has_budget:
            for line in money:
                how = "usd=…) sets another" if session.price.micro_usd else "queries=…) limits the queries"
                _log.warning("%s; budget=Budget(%s", line, how)
            self._warned = True
        self._tell(RunStarted(n=n, budget=self._budget, unset=(*unset, *money)))

    def _noise_stream(self, loaded: images.Loaded) -> NoiseStream:
        return NoiseStream(
            kind=self.noise,
            sigma=self.sigma,
            seed=self._seed.key,
            image_digest=loaded.digest,
            shape=loaded.grid.shape,
            sub=loaded.sub,
        )

    def _begin(
        self, inquiry: Inquiry, question: Question, build: Callable[[Question, bool], Counting]
    ) -> tuple[Counting, Look]:
        """The certifier that `build` makes for a first or a later question, once that is charged as a look.

        A question that was asked before goes on as it was begun. One that asks for nothing shows no vote, and one that
        cannot be made neither: those are not charged.
        """
        question = self._session.begun(inquiry.stream.name, question)
        look = self._session.look(inquiry.stream.name, question, charge=False)
        certifier = build(question, look.later)
        if not certifier.need():
            return certifier, look
        charged = self._session.look(inquiry.stream.name, question)
        if charged.later != look.later:  # somebody else has asked first meanwhile
            certifier = build(question, charged.later)
        return certifier, charged

    def _certifier_of(self, spec: Spec, votes: Votes, question: Question, later: bool) -> Certifier:
        """The certifier for `question`, by the rule it names or as a `later` one."""
        spec = replace(spec, later=True) if later else spec.under(question.rule, question.prior)
        return self._certifier(spec, votes)

    def _certifier(self, spec: Spec, votes: Votes) -> Certifier:
        """The certifier for one image; one that asks for nothing when the budget cannot decide the image."""
        affordable = self._session.account.affordable()
        if affordable is None or (affordable > _PLENTY and spec.fixed is None):
            return certifier_of(spec)
        affordable = max(0, affordable - self._session.extra_per_image)
        return within_budget(spec, votes.within(affordable))

    def _drive(
        self,
        inquiry: Inquiry,
        certifier: Counts,
        sender: Sender,
        on_round: Callable[[QueryCount], None] = lambda count: None,
        *,
        most: int | None,
    ) -> None:
        """Ask about one image, `most` times at most, until the certifier needs nothing more or the budget is spent."""
        item = Item(
            stream=inquiry.stream,
            votes=inquiry.votes,
            certifier=certifier,
            on_round=on_round,
            result=lambda: None,
            most=most,
        )
        opening = Opening(stream=inquiry.stream, begin=lambda: item)
        for _ in self._session.results([opening], sender, sigma=self.sigma, most=None):
            pass

    def _loaded(self, img: images.ImageLike | images.Loaded) -> images.Loaded:
        return img if isinstance(img, images.Loaded) else images.load(img, size=self.size)

    def _inquiry(
        self,
        loaded: images.Loaded,
        noise: NoiseStream,
        sender: Sender,
        read: LabelReader | None = None,
        told: Told | None = None,
    ) -> Inquiry:
        return self._session.inquiry(
            loaded,
            noise,
            sender=sender,
            seed=self._seed.label,
            provenance=self._provenance(),
            read=read or parts.reader(self._labels, self._adapter),
            told=told,
        )

    def _known(self, img: images.ImageLike) -> list[Any]:
        loaded = self._loaded(img)
        inquiry = self._inquiry(loaded, self._noise_stream(loaded), self._session.sender())
        return list(inquiry.votes.known(1000).values())

    def _progress(self, loaded: images.Loaded, index: int, count: QueryCount) -> VotesCounted:
        leader, votes = count.leader()
        return VotesCounted(
            image=loaded.source,
            index=index,
            n=count.n,
            sent=count.sent,
            cached=count.cached,
            leader=leader,
            leader_votes=votes,
            cost_usd=self._session.account.cost_usd(count.sent),
        )

    def _tell_answers(self, loaded: images.Loaded, index: int, answers: Sequence[CountedAnswer]) -> None:
        self._tell(
            AnswersCounted(
                image=loaded.source, index=index, image_sha256=loaded.digest.hex(), answers=tuple(answers)
            )
        )

    def tell(self, event: Event) -> None:
        """Tell every observer, as those do that drive this object."""
        self._tell(event)

    def _tell(self, event: Event) -> None:
        for observer in self._observers:
            observer(event)


def _answered(
    found: Certificate, inquiry: Inquiry, done: Callable[[Certificate], Certificate]
) -> Item[Certificate]:
    """An image about which nothing is asked."""
    return Item(
        stream=inquiry.stream, votes=inquiry.votes, certifier=Everything(0), result=lambda: done(found)
    )


def _workers() -> Any:
    """What has images certified by other processes. It makes this object there, and so is known by its name alone."""
    return import_module("api_smoothing.cluster")


def _server(provider: object) -> Sandbox:
    """A server that speaks the protocol of the provider of that name."""
    from api_smoothing.sandbox import Sandbox

    if not isinstance(provider, str):
        raise ConfigurationError("sandbox=True goes with a provider's name; this one runs here already")
    return Sandbox(provider)
