"""What a run returns: frozen values that go to JSON and come back unchanged."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Self, TypeVar

SCHEMA: Final = "api-smooth/certificate/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most a run may spend: queries sent (attempts that failed included), US dollars, or both.

    None means no limit. `run` names the run the budget belongs to: every object and process that names the same
    one, now or later, shares what is left of it. Without a name the budget is one object's own.
    """

    queries: int | None = None
    usd: float | None = None
    run: str | None = None


T = TypeVar("T")


def _from_dict(kind: type[T], values: Mapping[str, Any]) -> T:
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"not a {kind.__name__}: unknown field {unknown[0]!r}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"not a {kind.__name__}: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A proof, with error probability at most `alpha`, that no perturbation within `radius` changes `label`.

    `label` is None when nothing was certified (abstained). `radius` is in [0,1] pixel units of `norm`, for
    perturbations of the image as it enters the noise (`space`: height, width); `radius_original` is the same
    guarantee for the image as it was given, before resizing. `p_lower` bounds from below the probability of
    `label` under the noise. `votes` of the `n` counted answers were for `label`; `n0` separate answers chose
    it (paper protocol only); `failed` answers counted in `n` but voted for no class. `counts` maps label to
    votes; "no label" and failures are not in it. `queries` were sent for this certificate now, attempts that
    failed and canaries included; `cached` were answered before and read from the cache. `reached` says whether
    `target_radius` was certified (None without a target), and `stopped` why the queries ended: "target",
    "futile", "budget", "n" or "failed".
    `model` names what answered beyond the provider's name: weights or operation, options, endpoint; it is empty
    for a function nobody can name. `image_sha256` is the digest of the pixels that enter the noise. `created` is
    UTC, ISO 8601.
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
    schema: str = SCHEMA

    def __bool__(self) -> bool:
        raise TypeError(
            "a Certificate is neither true nor false: test .label is not None, .reached, or .radius >= r"
        )

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        return {**asdict(self), "space": list(self.space)}

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote. Raises ValueError when it is not a certificate of this schema."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"not a Certificate: {error}") from None
        if not isinstance(values, dict) or values.get("schema") != SCHEMA:
            raise ValueError(f"not a Certificate of schema {SCHEMA}")
        if "space" in values:
            values["space"] = tuple(values["space"])
        return _from_dict(cls, values)

    def _repr_html_(self) -> str:
        rows: list[tuple[str, str]] = [("label", "abstained" if self.label is None else self.label)]
        if self.label is not None:
            rows.append(
                (
                    "radius",
                    f"{self.radius:.4f} ({self.norm}, pixels in [0,1], {self.space[0]}×{self.space[1]})",
                )
            )
            if self.radius_original != self.radius:
                rows.append(("radius, original image", f"{self.radius_original:.4f}"))
        if self.target_radius is not None:
            rows.append(("target", f"{self.target_radius:g}: {'reached' if self.reached else 'not reached'}"))
        rows.append(("votes", f"{self.votes} of {self.n}"))
        rows.append(("σ, α, method", f"{self.sigma:g}, {self.alpha:g}, {self.method}"))
        rows.append(("stopped", self.reason or self.stopped))
        rows.append(("queries", f"{self.queries} sent, {self.cached} cached, ${self.cost_usd:.4f}"))
        cells = "".join(f"<tr><th>{html.escape(a)}</th><td>{html.escape(b)}</td></tr>" for a, b in rows)
        return f"<table>{cells}</table>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The smoothed classifier's answer without a radius (Cohen et al. 2019, PREDICT).

    `label` is the most probable class with error probability at most `alpha`, or None (abstained).
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

    def __bool__(self) -> bool:
        raise TypeError("a Prediction is neither true nor false: test .label is not None")

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)


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
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHeader:
    """The first line of a run file: the settings every certificate in it shares."""

    settings: dict[str, Any]
    version: str
    created: str
    schema: str = "api-smooth/run/1"

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote. Raises ValueError when it is not a run header."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"not a run file: {error}") from None
        if not isinstance(values, dict) or values.get("schema") != "api-smooth/run/1":
            raise ValueError("not a run file: the first line is no header")
        return _from_dict(cls, values)
