"""What a run returns: frozen values that go to JSON and come back unchanged.

The rule by which certificates and run headers grow, so that every version reads what any other of its major wrote:

- A field is never removed, renamed, or given another meaning or unit. That would be another major: `…/2` is refused.
- A new field has a default, which stands for everything written before there was one. Where that would claim too much
  the reader says better: `runs` takes the kind of a line about presence from its header.
- A field that the reader does not know is kept in `extra`, and written back as it was. Word fields (`kind`, `method`,
  `stopped`) may get new values, which a reader shows as they are.
- A minor (`…/1.3`) may be told, and never decides anything.

`tests/golden/` has files of past versions and one from the future; they stay readable for ever.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal, Self, TypeAlias, TypedDict, TypeVar

from api_smoothing.shown import shown, shown_json

SCHEMA: Final = "api-smooth/certificate/1"
RUN_SCHEMA: Final = "api-smooth/run/1"

#: What a certificate is about: the label of most answers, or that one label is, or is not, in most of them.
Kind: TypeAlias = Literal["label", "present", "absent"]

_NOT: Final = "not: "  # before the label of a certificate of absence


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most a run may spend: queries sent (attempts that failed included), US dollars, or both.

    None means no limit, and a Budget says all: where none is given, a run has 5 US dollars at a provider with a price;
    any Budget takes their place, and `Budget(usd=None)` lifts them. `usd_per_day` limits what all runs of the
    provider's account on this installation spend together in a day (UTC), whoever of them has such a limit. `run` names
    the run the budget belongs to: every object and process that names the same one, now or later, shares what is left
    of it. Without a name the budget is one object's own.
    """

    queries: int | None = None
    usd: float | None = None
    usd_per_day: float | None = None
    run: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What answered, and under which settings: everything that the certificates of one object have in common.

    `provider` is the card's name, a sandbox told apart; `model` what answered beyond it; `denoiser` and `label_map`
    are name@sha256, shortened; `sigma` is in [0,1] pixel units; `seed` is the seed's public label, `epoch` names a
    round of fresh votes.
    """

    provider: str
    model: str
    denoiser: str | None
    label_map: str | None
    sigma: float
    alpha: float
    method: str
    noise: str
    seed: str
    epoch: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values; those that came later only where they say something."""
        return {name: value for name, value in asdict(self).items() if name != "epoch" or value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a question is, among all of its stream: whether it is a `later` one, how many there are (`looks`), the error
    of all their answers together (None: no bound), whether its reading was chosen after votes were seen, the `rule` by
    which it is answered, and of the prior that shapes the rule its sha256 (`prior`) and all it says (`learned`).
    """

    later: bool
    rule: str
    looks: int
    alpha_total: float | None
    exploratory: bool
    prior: str | None = None
    learned: dict[str, Any] | None = None


class Item(TypedDict):
    """The example of a data set that an image is: its `id` there, its `path`, and its true label."""

    id: str
    path: str | None
    truth: str | None


class RadiusReached(TypedDict):
    """One of several radii asked about at once: the label certified there, and the votes that decided it.

    `reached` is None while it is undecided; `n` counts the image's answers up to the decision.
    """

    radius: float
    label: str | None
    reached: bool | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A proof, with error probability at most `alpha`, that no perturbation within `radius` changes `label`.

    `label` is None when nothing was certified (abstained). `radius` is in [0,1] pixel units of `norm`, for
    perturbations of the image as it enters the noise (`space`: height, width); `radius_original` is the same
    guarantee for the image as it was given, before resizing. `p_lower` bounds from below the probability of
    `label` under the noise; where nothing was certified that of the label with the most votes, a claim of its own with
    error `alpha` that allows for these votes having chosen it (0: nothing is claimed). `votes` of the `n` counted
    answers were for `label`; `n0` separate answers chose it (paper protocol only); `failed` answers counted in `n`
    but voted for no class. `counts` maps label to votes; "no label" and failures are not in it. `queries` were sent
    for this certificate now, attempts that failed and canaries included; `cached` were answered before and read from
    the cache. `reached` says whether `target_radius` was certified (None without a target), and `stopped` why the
    queries ended: "target",
    "futile", "budget", "n" or "failed"; `reason` says more, and what would likely certify where this did not.
    `model` names what answered beyond the provider's name: weights or operation, options, endpoint; it is empty
    for a function nobody can name. `image_sha256` is the digest of the pixels that enter the noise. `created` is
    UTC, ISO 8601.

    `kind` "present" says of `label` that more than half of the noisy copies report it with a score of at least
    `threshold`, "absent" ("not: NAME") that more than half do not; `claim` says it in words. `linf_radius` is
    derived: the ℓ∞ ball inside the ℓ2 ball of `radius`, radius/√d for the d = 3·height·width values of `space`,
    rounded down; None for other norms. `space_original` is (height, width) of the image as it was given, and
    `original` its kind, in whose own values `radius_original` is measured: "RGB", "grey", …. Where no change of such
    values bounds that of the pixels that enter the noise (a palette, 16 bits read as 8), `unbounded` says why, and
    `radius_original` is 0: there is none. `looks` counts the questions put to these votes, this one included, and
    `alpha_total` bounds the probability that any of their answers is wrong; None where the version that wrote it did
    not say. `exploratory` marks a reading that was chosen after the votes were seen. `radii` are those read from this
    image's votes where several were asked about; then `radius` is the best one proved by the same votes. `parent` is
    the `image_sha256` of the certificate that answers for this neighbour of its image: the votes, `looks` and
    `alpha_total` are those of that one, and nothing was asked. `prior` is the sha256 of a learned prior, `rule` the
    stopping and bounding rule with its version (`certify.Spec.rule`), `epoch` the name of a round of fresh votes, and
    `item` what the image is in a data set. `extra` holds what a newer version wrote beside these, the settings that
    `reason` suggests (`hint`), the prior itself (`learned_prior`), and of a label that is a `general_tag` the more
    specific ones among the same answers, with how many report each.
    """

    label: str | None
    radius: float
    radius_original: float
    p_lower: float
    votes: int
    n: int
    n0: int
    sigma: float
    alpha: float
    norm: str
    method: str
    target_radius: float | None
    reached: bool | None
    stopped: str
    reason: str
    runner_up: str | None
    counts: dict[str, int]
    failed: int
    queries: int
    cached: int
    cost_usd: float
    provider: str
    model: str
    model_version: str | None
    denoiser: str | None
    label_map: str | None
    noise: str
    seed: str
    image: str
    image_sha256: str
    space: tuple[int, int]
    created: str
    kind: Kind = "label"
    threshold: float | None = None
    linf_radius: float | None = None
    space_original: tuple[int, int] | None = None
    looks: int = 1
    alpha_total: float | None = None
    exploratory: bool = False
    radii: tuple[RadiusReached, ...] = ()
    parent: str | None = None
    prior: str | None = None
    rule: str | None = None
    epoch: str | None = None
    item: Item | None = None
    original: str | None = None
    unbounded: str | None = None
    schema: str = SCHEMA
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    def __bool__(self) -> bool:
        raise TypeError(
            "a Certificate is neither true nor false: test .label is not None, .reached, or .radius >= r"
        )

    @property
    def claim(self) -> str | None:
        """What is certified, in words, or of an abstention what is not: "cat", "cat present at 0.5 or more".

        None where nothing can be named: of an abstention every label might have been meant.
        """
        name = self.label
        if self.kind == "label":
            return name
        if name is None:
            name = next(iter(self.counts), None)
        if name is None:
            return None
        with_score = "" if self.threshold is None else f" {self.threshold:g} or more"
        if self.kind == "absent":
            return f"{name.removeprefix(_NOT)} absent: not reported{with_score and ' with' + with_score}"
        return f"{name} {self.kind}{with_score and ' at' + with_score}"

    @property
    def in_original(self) -> str:
        """The radius for the image as it was given, in words: "0.0577 (grey)", or "none: " and why."""
        if self.unbounded is not None:
            return f"none: {self.unbounded}"
        kind = "" if self.original in (None, "RGB") else f" ({self.original})"
        return f"{self.radius_original:.4f}{kind}"

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values, those of `extra` among them."""
        return _plain(
            self,
            space=list(self.space),
            space_original=None if self.space_original is None else list(self.space_original),
            radii=list(self.radii),
        )

    def to_json(self) -> str:
        """One line of JSON."""
        return one_line(self.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave. Raises ValueError when it is not a certificate of this major version."""
        known = _known(cls, values, SCHEMA)
        try:
            for name in ("space", "space_original", "radii"):
                if known.get(name) is not None:
                    known[name] = tuple(known[name])
            return cls(**known)
        except TypeError as error:
            raise ValueError(f"not a Certificate: {error}") from None

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote. Raises ValueError when it is not a certificate of this major version."""
        return cls.from_dict(_object(text, "Certificate"))

    def _repr_html_(self) -> str:
        return _table(self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        of_one = self.kind != "label" and self.claim is not None
        what = self.claim or "abstained"
        if self.label is None and of_one:
            what = f"abstained: {what} is not proved"
        rows: list[tuple[str, str]] = [("claim" if of_one else "label", what)]
        if self.label is not None:
            space = f"{self.space[0]}×{self.space[1]}"
            rows.append(("radius", f"{self.radius:.4f} ({self.norm}, pixels in [0,1], {space})"))
            if self.linf_radius is not None:
                rows.append(("radius, ℓ∞", f"{self.linf_radius:.3g} (derived: the ℓ2 radius/√d)"))
            if self.radius_original != self.radius:
                rows.append(("radius, original image", self.in_original))
        if self.target_radius is not None:
            rows.append(("target", f"{self.target_radius:g}: {'reached' if self.reached else 'not reached'}"))
        rows.append(("votes", f"{self.votes} of {self.n}"))
        rows.append(("σ, α, method", f"{self.sigma:g}, {self.alpha:g}, {self.method}"))
        if told := told_of_looks(self):
            rows.append(("", told))
        rows.append(("stopped", self.reason or self.stopped))
        return [*rows, _cost(self)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The smoothed classifier's answer without a radius (Cohen et al. 2019, PREDICT).

    `label` is the most probable class with error probability at most `alpha`, or None (abstained). `looks`,
    `alpha_total` and `exploratory` are as in a Certificate: a prediction is a question like any other. `p_value` is
    that of the n votes alone; as a later question a label takes a proved majority.
    """

    label: str | None
    p_value: float
    votes: int
    n: int
    counts: dict[str, int]
    failed: int
    sigma: float
    alpha: float
    queries: int
    cached: int
    cost_usd: float
    provider: str
    image: str
    image_sha256: str
    looks: int = 1
    alpha_total: float | None = None
    exploratory: bool = False

    def __bool__(self) -> bool:
        raise TypeError("a Prediction is neither true nor false: test .label is not None")

    def to_json(self) -> str:
        """One line of JSON."""
        return one_line(asdict(self))

    def _repr_html_(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        rows = [
            ("label", self.label or "none: abstained"),
            ("votes", f"{self.votes} of {self.n}{failed}"),
            ("p, σ, α", f"{self.p_value:.2g}, {self.sigma:g}, {self.alpha:g}; there is no radius"),
        ]
        if told := told_of_looks(self):
            rows.append(("", told))
        return _table([*rows, _cost(self)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsmoothed:
    """What the provider says of an image as it is: one query without noise and denoiser, which certifies nothing.

    `label` is None where the answer names no label that counts, and where there is none: it `failed`, or the budget was
    spent (neither `queries` nor `cached`). `scores` has the best score of each class that the answer
    names, where it has scores.
    """

    label: str | None
    failed: bool
    queries: int
    cached: int
    cost_usd: float
    image: str
    image_sha256: str
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def answered(self) -> bool:
        """Whether there is an answer."""
        return not self.failed and bool(self.queries or self.cached)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostEstimate:
    """What a run would cost, computed without sending anything.

    Low, expected and high are over the images' unknown vote shares (see `assumptions`), summed over `images`.
    `max_radius` is the largest radius these settings can certify at all; None when there is no cap on queries.
    """

    images: int
    queries_low: int
    queries_expected: int
    queries_high: int
    usd_low: float
    usd_expected: float
    usd_high: float
    seconds_low: float
    seconds_expected: float
    seconds_high: float
    max_radius: float | None
    assumptions: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """One line of JSON."""
        return one_line(asdict(self))

    def _repr_html_(self) -> str:
        spans = [
            ("queries", "{:,}", (self.queries_low, self.queries_expected, self.queries_high)),
            ("US dollars", "{:,.4f}", (self.usd_low, self.usd_expected, self.usd_high)),
            ("seconds", "{:,.1f}", (self.seconds_low, self.seconds_expected, self.seconds_high)),
        ]
        reach = "no cap on queries" if self.max_radius is None else f"{self.max_radius:.4f} at most"
        return _table(
            [
                (f"{self.images:,} image{'s' * (self.images != 1)}", "low", "expected", "high"),
                *((name, *map(form.format, span)) for name, form, span in spans),
                ("radius", reach),
                *(("assuming", told) for told in self.assumptions),
            ]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHeader:
    """The first line of a run file: the settings every certificate in it shares.

    `version` is the one that began the file; `created` is UTC, ISO 8601. `command` is the command line that began it,
    if one did: `argv` without its secrets, the `folder` it was given in, and the settings of its `environment`. `extra`
    holds what a newer version wrote besides.
    """

    settings: dict[str, Any]
    version: str
    created: str
    schema: str = RUN_SCHEMA
    command: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values, those of `extra` among them; no `command` where none began the run."""
        values = _plain(self)
        return {name: value for name, value in values.items() if (name, value) != ("command", None)}

    def to_json(self) -> str:
        """One line of JSON."""
        return one_line(self.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave. Raises ValueError when it is not a run header of this major version."""
        try:
            return cls(**_known(cls, values, RUN_SCHEMA))
        except TypeError as error:
            raise ValueError(f"not a RunHeader: {error}") from None

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote. Raises ValueError when it is not a run header of this major version."""
        return cls.from_dict(_object(text, "RunHeader"))


def told_of_looks(found: Certificate | Prediction) -> str:
    """What having been asked before means for an answer, in words; nothing of the first question."""
    if found.exploratory:
        return "exploratory: it reads votes in a way chosen after they were seen, for which no bound holds"
    if found.looks == 1 or found.alpha_total is None:
        return ""
    return f"question {found.looks} about these votes; all answers together: α = {found.alpha_total:g}"


def one_line(value: Mapping[str, Any]) -> str:
    """`value` as JSON in one line; letters as they are, what is not seen or has no UTF-8 escaped."""
    return shown_json(json.dumps(value, ensure_ascii=False, allow_nan=False))


_Growing = TypeVar("_Growing", Certificate, RunHeader)


def _known(kind: type[_Growing], values: Mapping[str, Any], schema: str) -> dict[str, Any]:
    """The fields of `kind` in `values`, and the others as its `extra`. Raises ValueError for another schema."""
    theirs = values.get("schema")
    if not isinstance(theirs, str) or theirs.rpartition("/")[0] != schema.rpartition("/")[0]:
        raise ValueError(f"not a {kind.__name__} of schema {schema}")
    if theirs.split(".")[0] != schema:
        raise ValueError(
            f"it has schema {theirs}, this version reads {schema}: upgrade api-smooth to read it"
        )
    names = {f.name for f in fields(kind)} - {"extra"}
    known = {name: value for name, value in values.items() if name in names}
    return known | {"extra": {name: value for name, value in values.items() if name not in names}}


def _plain(value: Certificate | RunHeader, **as_json: Any) -> dict[str, Any]:
    """The fields of `value`, some of them `as_json`, and after them those of its `extra` that are no fields."""
    known = {**asdict(value), **as_json}
    extra = known.pop("extra")
    return known | {name: kept for name, kept in extra.items() if name not in known}


def _object(text: str, kind: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not a {kind}: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"not a {kind}: no JSON object")
    return values


def _cost(found: Certificate | Prediction) -> tuple[str, str]:
    usd = f"${found.cost_usd:.4f}"
    if found.cost_usd and found.provider.endswith("@sandbox"):
        usd = f"nothing charged ({usd} at list prices)"
    return "queries", f"{found.queries} sent, {found.cached} cached, {usd}"


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows of a name and its cells, the last of which is as wide as is left; everything escaped."""
    width = max(map(len, rows))
    lines = []
    for name, *cells in rows:
        *first, last = (html.escape(shown(cell)) for cell in cells)
        wide = f' colspan="{width - len(cells)}"' if len(cells) < width - 1 else ""
        lines.append(
            f"<tr><th>{html.escape(name)}</th>{''.join(f'<td>{cell}</td>' for cell in first)}<td{wide}>{last}</td></tr>"
        )
    return f"<table>{''.join(lines)}</table>"
