"""From what was proved and what was spent to the values a user gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from api_smoothing import images
from api_smoothing.adapters.base import Answer
from api_smoothing.adapters.labels.label_map import Reports
from api_smoothing.certify.advice import OtherNoise, advise, elsewhere
from api_smoothing.certify.anytime import ConfidenceSequence, proved_majority
from api_smoothing.certify.base import FAILED, Bound
from api_smoothing.certify.predict import predict, two_sided_p_value
from api_smoothing.certify.radius import linf_from_l2
from api_smoothing.engine.votes import QueryCount
from api_smoothing.results import (
    Certificate,
    Kind,
    Look,
    Prediction,
    Provenance,
    RadiusReached,
    Unsmoothed,
)

NORMS = {"gaussian": "l2", "uniform": "l1", "laplace": "l1"}
_THUMBNAIL: Final = 64  # pixels of a side, with which little is left of a photograph
_NAMED: Final = 3  # more specific labels that are told of a general tag


def certificate(
    bound: Bound,
    count: QueryCount,
    loaded: images.Loaded,
    *,
    provenance: Provenance,
    target: float | None,
    cost_usd: float,
    look: Look,
    kind: Kind = "label",
    threshold: float | None = None,
    radii: Sequence[float] = (),
    whole_side: int | None = None,
) -> Certificate:
    """The certificate of one image: `bound` in the noise space, carried back to the original image.

    `radii` are to be read from a bound that was not made for them. `whole_side` is the size that is named for an image
    that abstained as a thumbnail.
    """
    if count.unconfirmed:
        bound = _unconfirmed(bound, target)
    label = None if bound.label is None else str(bound.label)
    norm = NORMS[provenance.noise]
    radius = 0.0 if label is None else bound.radius
    stopped, reason = bound.stopped, bound.reason
    if stopped is None:
        stopped, reason = "budget", f"the budget was spent after {bound.n + bound.n0} votes"
    if stopped == "failed" and count.last_error:
        reason = f"{reason}; the last one: {count.last_error}"
    silent = count.counted.get(None, 0)
    if label is None and kind == "label" and 2 * silent > count.n:
        reason = _joined(reason, f"{silent} of {count.n} answers named no label that counts")
    extra: dict[str, Any] = {}
    if kind == "label" and (label is None or (target is not None and not bound.reached)):
        side = whole_side if is_thumbnail(loaded.size, loaded.original_size) else None
        hint, settings = _of_abstention(bound, silent, provenance, target, side)
        reason, extra = _joined(reason, hint), {"hint": settings} if settings else {}
    if kind == "label" and label is not None:
        general, specific = _of_general_tag(label, count.reports, provenance.alpha)
        reason, extra = _joined(reason, general), extra | ({"general_tag": specific} if general else {})
    if look.learned is not None:
        extra["learned_prior"] = look.learned
    return Certificate(
        label=label,
        radius=radius,
        radius_original=loaded.radius_original(radius, norm=norm),
        p_lower=bound.p_lower,
        votes=bound.votes,
        n=bound.n,
        n0=bound.n0,
        sigma=provenance.sigma,
        alpha=provenance.alpha,
        norm=norm,
        method=bound.method,
        target_radius=target,
        reached=bound.reached,
        stopped=stopped,
        reason=reason,
        runner_up=None if bound.runner_up is None else str(bound.runner_up),
        counts={str(k): v for k, v in sorted(bound.counts.items(), key=lambda item: -item[1])},
        failed=bound.failed,
        queries=count.sent,
        cached=count.cached,
        cost_usd=cost_usd,
        provider=provenance.provider,
        model=provenance.model,
        model_version=count.version,
        denoiser=provenance.denoiser,
        label_map=provenance.label_map,
        noise=provenance.noise,
        seed=provenance.seed,
        image=loaded.source,
        image_sha256=loaded.digest.hex(),
        space=(loaded.grid.shape[0], loaded.grid.shape[1]),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        kind=kind,
        threshold=threshold,
        linf_radius=linf_from_l2(radius, loaded.grid.size) if norm == "l2" else None,
        space_original=loaded.original_size,
        original=loaded.original.name,
        unbounded=loaded.original.unbounded,
        rule=look.rule,
        prior=look.prior,
        looks=look.looks,
        alpha_total=look.alpha_total,
        exploratory=look.exploratory,
        radii=_read(bound, stopped) if bound.radii else _read_off(bound, stopped, radii),
        epoch=provenance.epoch,
        extra=extra,
    )


def is_thumbnail(space: tuple[int, int], original: tuple[int, int]) -> bool:
    """Whether a photograph of these original sides, in pixels, is asked about at sides that leave little of it."""
    return max(space) <= _THUMBNAIL < min(original)


def _read(bound: Bound, stopped: str) -> tuple[RadiusReached, ...]:
    """What was decided of each radius; where the budget has ended it, what is open stays so."""
    return tuple(
        RadiusReached(
            radius=read.radius,
            label=None if read.label is None else str(read.label),
            reached=None
            if stopped == "budget" and not read.reached and bound.stopped is None
            else read.reached,
            n=read.n,
        )
        for read in bound.radii
    )


def _read_off(bound: Bound, stopped: str, radii: Sequence[float]) -> tuple[RadiusReached, ...]:
    """Each radius by the one bound of a fixed number of answers; open where those were not had."""
    found = []
    for radius in sorted(radii):
        reached = None if stopped == "budget" else bound.label is not None and bound.radius >= radius
        label = str(bound.label) if reached else None
        found.append(RadiusReached(radius=radius, label=label, reached=reached, n=bound.n + bound.n0))
    return tuple(found)


def _unconfirmed(bound: Bound, target: float | None) -> Bound:
    """`bound` without its claim: nobody knows whether one model has given all its votes."""
    return replace(
        bound,
        label=None,
        radius=0.0,
        p_lower=0.0,
        radii=tuple(read._replace(label=None, reached=None) for read in bound.radii),
        reached=None if target is None else False,
        stopped="budget",
        reason=f"the budget was spent before the canary could confirm the model of {bound.n + bound.n0} votes",
    )


def _of_general_tag(label: str, reports: Reports | None, alpha: float) -> tuple[str, dict[str, Any]]:
    """The words, and the labels with their answers, for a certified `label` that is general; empty for any other.

    A more specific one is told where as many answers would have proved its presence, had that been the question.
    """
    if reports is None or not reports.is_general(label):
        return "", {}
    n = reports.answers
    found = {name: k for name, k in reports.specific() if _provable(name, k, n, alpha)}
    found = dict(list(found.items())[:_NAMED])
    told = f"{label} is a general tag"
    if found:
        named = ", ".join(f"{name} in {k} of {n}" for name, k in found.items())
        first = next(iter(found))
        told += (
            f"; the same answers report {named}, enough for a certificate of presence had that been asked: "
            f'ask --labels-present "{first}", or classes by --labels; on votes already seen that is exploratory'
        )
    else:
        told += "; for classes of your own give --labels"
    return told, found


def _of_abstention(
    bound: Bound, silent: int, provenance: Provenance, target: float | None, whole_side: int | None
) -> tuple[str, dict[str, Any]]:
    """The words, and the settings they name, for a run that ended without what was asked of it.

    A `whole_side` is that of a photograph that was shown as a thumbnail. It comes before a smaller σ: less noise on a
    thumbnail proves what the service takes that for, and not what the photograph shows.
    """
    n, votes = bound.n, bound.votes
    if not n or bound.stopped in ("failed", None):
        return "", {}
    mapped = provenance.label_map is not None
    if 2 * silent > n:
        which = "another map by --labels" if mapped else "classes by --labels"
        return f"the majority is no label that counts: use {which}, or see `api-smooth labels explain`", {}
    found = advise(
        votes,
        n,
        alpha=provenance.alpha,
        sigma=provenance.sigma,
        target=target,
        noise=provenance.noise,  # type: ignore[arg-type]
        above=bound.radius,
    )
    if found is not None:
        agree = "every vote agrees" if votes == n else f"{votes} of {n}"
        return (
            f"{agree}: n={found.n:,} would likely certify r={found.radius:g}",
            {"n": found.n, "radius": found.radius},
        )
    told = f"{votes} of {n}: at σ={provenance.sigma:g} more answers are unlikely to certify more"
    merge = "" if mapped else ", or gather the labels that share the votes into a class by --labels"
    if whole_side is not None:
        return (
            f"{told}; it was shown as a thumbnail: size={whole_side} at the same σ would likely certify more",
            {"size": whole_side, "radius": target},
        )
    noise = _other_noise(bound, silent, provenance, target)
    if noise is None:
        return f"{told}; try a smaller σ, which `api-smooth plan IMAGE` compares for free{merge}", {}
    aim = "a radius" if noise.radius is None else f"r={noise.radius:g}"
    return (
        f"{told}; by how these votes split, σ={noise.sigma:g} would likely certify {aim} (about {noise.share:.0%} "
        f"would agree; `api-smooth plan IMAGE` tries it for free){merge}",
        {"sigma": noise.sigma, "radius": noise.radius},
    )


def _other_noise(
    bound: Bound, silent: int, provenance: Provenance, target: float | None
) -> OtherNoise | None:
    """The σ that the votes at hand speak for; None where the noise is no Gaussian."""
    if provenance.noise != "gaussian":
        return None
    others = [*sorted(bound.counts.values(), reverse=True)[1:], *([silent] if silent else [])]
    return elsewhere(others, bound.n - bound.failed, sigma=provenance.sigma, target=target)


def _provable(name: str, votes: int, n: int, alpha: float) -> bool:
    sequence = ConfidenceSequence(alpha)
    sequence.look(name, votes, n)
    return sequence.lower(name) > 0.5


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def prediction(
    votes: Sequence[Hashable | None],
    count: QueryCount,
    loaded: images.Loaded,
    *,
    n: int,
    provenance: Provenance,
    cost_usd: float,
    look: Look,
) -> Prediction:
    """Cohen's PREDICT on the `votes`, `n` in all; as a later question, the class whose majority is proved.

    PREDICT is for an n fixed beforehand: votes that a budget has cut short predict nothing yet.
    """
    label: Hashable | None = None
    if count.unconfirmed:
        pass  # nobody knows whether one model has given these votes
    elif look.later:
        label = proved_majority(votes, alpha=provenance.alpha)
    elif len(votes) == n:
        label = predict(votes, alpha=provenance.alpha)
    counts = Counter(vote for vote in votes if vote is not None and vote is not FAILED)
    ranked = [*sorted(counts.values(), reverse=True), 0, 0]
    against = max(
        ranked[1], len(votes) - sum(counts.values())
    )  # "no label" and failures are one more outcome
    return Prediction(
        label=None if label is None else str(label),
        p_value=two_sided_p_value(ranked[0], against) if ranked[0] > against else 1.0,
        votes=max(counts.values(), default=0),
        n=len(votes),
        counts={str(k): v for k, v in counts.most_common()},
        failed=sum(vote is FAILED for vote in votes),
        sigma=provenance.sigma,
        alpha=provenance.alpha,
        queries=count.sent,
        cached=count.cached,
        cost_usd=cost_usd,
        provider=provenance.provider,
        image=loaded.source,
        image_sha256=loaded.digest.hex(),
        looks=look.looks,
        alpha_total=look.alpha_total,
        exploratory=look.exploratory,
    )


def scores_of(answer: Answer, read: Callable[[Answer], Hashable | None]) -> dict[str, float]:
    """The best score of each class that the answer names; `read` says which class a label is."""
    found: dict[str, float] = {}
    for label in answer.labels:
        name = read(Answer(labels=(label,)))
        if name is not None and label.score is not None:
            found[str(name)] = max(label.score, found.get(str(name), label.score))
    return found


def unsmoothed(
    votes: Sequence[Hashable | None],
    count: QueryCount,
    loaded: images.Loaded,
    *,
    cost_usd: float,
    scores: Mapping[str, float],
) -> Unsmoothed:
    """The one answer about an image as it is, if there is one."""
    vote = votes[0] if votes else None
    return Unsmoothed(
        label=None if vote is None or vote is FAILED else str(vote),
        failed=vote is FAILED,
        queries=count.sent,
        cached=count.cached,
        cost_usd=cost_usd,
        image=loaded.source,
        image_sha256=loaded.digest.hex(),
        scores=scores,
    )
