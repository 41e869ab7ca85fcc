"""The numbers of an evaluation, each with its interval.

Every share is of the images that were come to; one that failed, abstained or could not be read is certified nowhere.
Intervals are exact ones for 95 % (Clopper–Pearson): for images that were drawn at random from those one speaks of. That
of the average certified radius is for bounded values (`claims.intervals.mean`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from api_smoothing.claims import intervals
from api_smoothing.errors import ConfigurationError
from api_smoothing.recorded.run import Run, item_of
from api_smoothing.results import Certificate, one_line

CONFIDENCE: Final = 0.95
SUMMARY_SCHEMA: Final = "api-smooth/summary/1"

#: In `extra` of a certificate: the data set's own word for the truth, where the provider's class has another, or none.
GIVEN: Final = "truth_given"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """`k` of `n`, and the interval from `low` to `high` for the share; `value` is None of none."""

    k: int
    n: int
    value: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AtRadius:
    """The images whose certified label is right at `radius` (in [0,1] pixel units, in the space of the noise)."""

    radius: float
    certified: Share


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """An evaluation in numbers.

    `reference` says what a label is compared with: the "truth", or, where no image has one, the "unsmoothed" answer,
    as in the 2020 paper's table of vendors. `images` were come to, of `planned`. `clean` is the accuracy of unsmoothed
    answers, `smoothed` that of the most frequent answer, without a proof, `agreement` how many of those are the
    unsmoothed answer. `acr` is the average certified radius, 0 where the label is not right, with its interval. `usd`,
    `queries` and `cached` are of all sessions, `seconds` of those that came to their end.

    Intervals are for a number of images fixed beforehand. A run for a `claim` ends by what it has seen: only the
    claim's own bounds hold of it, and `to_dict` has None in the place of the others.
    """

    reference: str
    planned: int
    images: int
    radii: tuple[AtRadius, ...]
    clean: Share | None
    smoothed: Share
    agreement: Share | None
    abstained: Share
    failed: Share
    unmapped: int
    acr: float
    acr_low: float
    acr_high: float
    queries: int
    cached: int
    usd: float
    seconds: float
    provider: str
    model: str
    model_version: str | None
    denoiser: str | None
    label_map: str | None
    sigma: float
    noise: str
    norm: str
    alpha: float
    alpha_total: float | None
    space: tuple[int, int] | None
    seed: str
    epoch: str | None
    name: str
    claim: dict[str, Any] | None = None
    schema: str = SUMMARY_SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        found = asdict(self)
        if self.claim is not None:
            found = {**_without_intervals(found), "claim": found["claim"]}
        return {**found, "space": None if self.space is None else list(self.space)}

    def to_json(self) -> str:
        """One line of JSON."""
        return one_line(self.to_dict())


def _without_intervals(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: None if name in ("low", "high", "acr_low", "acr_high") else _without_intervals(each)
            for name, each in value.items()
        }
    return [*map(_without_intervals, value)] if isinstance(value, list | tuple) else value


def certified_at(found: Certificate, radius: float) -> str | None:
    """The label that is certified at `radius`, None where there is none.

    Of several radii that were read from the votes the one that was asked about says so, or any larger one.
    """
    for read in found.radii:
        if read["radius"] >= radius and read["reached"]:
            return read["label"]
    return found.label if found.label is not None and found.radius >= radius else None


def share(k: int, n: int) -> Share:
    """`k` of `n` with the exact interval."""
    low, high = intervals.exact(k, n, CONFIDENCE)
    return Share(k=k, n=n, value=k / n if n else None, low=low, high=high)


class Judged:
    """The certificates of a run, each with the label that would be right.

    `right` is None where nothing can be: the data set's label is no class of the provider, or nothing is known.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.certificates: Sequence[Certificate] = run.certificates
        truths = [_truth(found) for found in self.certificates]
        self.reference = (
            "truth" if any(truth is not None or given for truth, given in truths) else "unsmoothed"
        )
        self.unmapped = sum(given and truth is None for truth, given in truths)
        self.clean = [run.clean.get(item_of(found)) for found in self.certificates]
        self.right: Sequence[str | None] = (
            [truth for truth, _ in truths] if self.reference == "truth" else self.clean
        )

    def is_certified(self, radius: float) -> list[bool]:
        """Of each image, whether the label certified at `radius` is the right one."""
        return [
            right is not None and certified_at(found, radius) == right
            for found, right in zip(self.certificates, self.right, strict=True)
        ]

    def radii(self) -> list[float]:
        """Of each image the radius within which the right label is certified; 0 where it is not."""
        return [
            _largest(found) if right is not None and certified_at(found, 0.0) == right else 0.0
            for found, right in zip(self.certificates, self.right, strict=True)
        ]


def summarize(run: Run, radii: Iterable[float] | None = None) -> Summary:
    """The summary of a run at `radii`, those that it was asked about where None.

    Raises ConfigurationError for a run without images.
    """
    judged = Judged(run)
    found, lost = judged.certificates, len(run.unreadable)
    n = len(found) + lost
    if not n:
        raise ConfigurationError(f"{run.path} has no images yet: let the run go on")
    at = sorted(_asked(run) if radii is None else set(radii))
    smoothed = [next(iter(one.counts), None) for one in found]
    both = [
        (a, b) for one, a, b in zip(found, smoothed, judged.clean, strict=True) if item_of(one) in run.clean
    ]
    clean_known = [
        (c, r)
        for one, c, r in zip(found, judged.clean, judged.right, strict=True)
        if item_of(one) in run.clean
    ]
    certified, most = judged.radii(), _most_radius(run, found)
    low, high = intervals.mean([min(r, most) for r in certified] + [0.0] * lost, most, CONFIDENCE)
    settings, first = run.header.settings, found[0] if found else None
    totals = {one.alpha_total for one in found}
    return Summary(
        reference=judged.reference,
        planned=run.images,
        images=n,
        radii=tuple(AtRadius(radius=r, certified=share(sum(judged.is_certified(r)), n)) for r in at),
        clean=share(sum(c is not None and c == r for c, r in clean_known), len(clean_known))
        if judged.reference == "truth" and clean_known
        else None,
        smoothed=share(sum(a is not None and a == r for a, r in zip(smoothed, judged.right, strict=True)), n),
        agreement=share(sum(a is not None and a == b for a, b in both), len(both)) if both else None,
        abstained=share(sum(_abstains(one) for one in found), n),
        failed=share(sum(one.stopped == "failed" for one in found) + lost, n),
        unmapped=judged.unmapped,
        acr=sum(certified) / n,
        acr_low=low,
        acr_high=high,
        queries=run.queries,
        cached=run.cached,
        usd=run.usd,
        seconds=run.seconds,
        provider=str(settings.get("provider", "")),
        model=str(settings.get("model", "")),
        model_version=None if first is None else first.model_version,
        denoiser=settings.get("denoiser"),
        label_map=settings.get("label_map"),
        sigma=float(settings.get("sigma", 0.0)),
        noise=str(settings.get("noise", "gaussian")),
        norm="l2" if first is None else first.norm,
        alpha=float(settings.get("alpha", 0.0)),
        alpha_total=None if None in totals else max((t for t in totals if t is not None), default=None),
        space=None if len({one.space for one in found}) != 1 or first is None else first.space,
        seed=str(settings.get("seed", "")),
        epoch=settings.get("epoch"),
        name=run.name,
        claim=None
        if run.claim is None
        else {k: v for k, v in run.claim.items() if k not in ("schema", "chain")},
    )


def _truth(found: Certificate) -> tuple[str | None, bool]:
    """The true class of an image, and whether the data set has a label for it."""
    truth = None if found.item is None else found.item["truth"]
    return truth, truth is not None or found.extra.get(GIVEN) is not None


def _abstains(found: Certificate) -> bool:
    return certified_at(found, 0.0) is None and found.stopped != "failed"


def _largest(found: Certificate) -> float:
    reached = [read["radius"] for read in found.radii if read["reached"]]
    return max([found.radius if found.label is not None else 0.0, *reached])


def _asked(run: Run) -> set[float]:
    """The radii that a run was about; of certificates for a number of answers a few along their range."""
    settings = run.header.settings
    asked = {float(r) for r in settings.get("radii") or ()}
    if settings.get("radius") is not None:
        asked.add(float(settings["radius"]))
    if asked:
        return asked
    sigma = float(settings.get("sigma", 0.25))
    return {0.0} | {round(sigma * step, 6) for step in (0.5, 1.0, 1.5, 2.0)}


def _most_radius(run: Run, found: Sequence[Certificate]) -> float:
    """What no radius of the run can exceed, whatever the votes; decided by its settings alone where they say."""
    from api_smoothing.certify.radius import radius

    settings = run.header.settings
    n = settings.get("n")
    if n and not settings.get("radius"):
        noise: Any = settings.get("noise", "gaussian")
        p = float(settings["alpha"]) ** (1.0 / int(n))
        return max(radius(p, sigma=float(settings["sigma"]), noise=noise), 1e-9)
    return max([1e-9, *(_asked(run)), *(_largest(one) for one in found)])
