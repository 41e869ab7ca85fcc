"""Results as short blocks for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from api_smoothing.results import Certificate, CostEstimate, Prediction
from api_smoothing.shown import shown

SANDBOX: Final = "sandbox"  # the place in the provider's name where nothing is charged


def number_of(count: int, one: str, many: str = "") -> str:
    """A count and its noun, as in "1 image" and "1,200 queries"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def describe_certificate(done: Certificate) -> str:
    """A block of lines: what was certified, where, on which votes, and what it cost."""
    height, width = done.space
    norm = done.norm.replace("l", "ℓ")
    if done.label is None:
        result = [
            ("label" if done.kind == "label" else "claim", "none: abstained"),
            ("", _why_abstained(done)),
        ]
    else:
        general = ", which is a general tag" if "general_tag" in done.extra else ""
        result = [
            ("label" if done.kind == "label" else "claim", f"{done.claim or done.label}{general}"),
            (
                "radius",
                f"{done.radius:.4f} {norm} as it enters the noise ({height}×{width}, pixels in [0,1])",
            ),
        ]
        if done.linf_radius is not None:
            result.append(("", f"{done.linf_radius:.3g} ℓ∞, derived from it (R/√d)"))
        if done.unbounded is not None:
            result.append(("", f"no radius for the image as given: {done.unbounded}"))
        elif done.radius_original != done.radius:
            kind = "" if done.original in (None, "RGB") else f", which is {done.original}"
            result.append(("", f"{done.radius_original:.4f} {norm} for the image as given{kind}"))
    if done.target_radius is not None:
        result.append(("target", f"{done.target_radius:g}: {'reached' if done.reached else 'not reached'}"))
    chosen = f", after {done.n0} that chose it" if done.n0 else ""
    failed = f", {done.failed} failed" if done.failed else ""
    votes = f"{done.votes} of {done.n}{chosen}{failed}"
    return _block(
        done.image,
        [
            *result,
            ("votes", f"{votes}; runner-up {done.runner_up}" if done.runner_up else votes),
            ("proof", f"σ = {done.sigma:g}, α = {done.alpha:g}, {done.method}, {_seed(done.seed)}"),
            *_looks(done),
            *_why_stopped(done),
            ("provider", done.provider + (f", version {done.model_version}" if done.model_version else "")),
            ("cost", _cost(done)),
        ],
    )


def describe_prediction(done: Prediction) -> str:
    """A block of lines: the label and the votes behind it."""
    label = done.label or "none: abstained (the leading label's majority is not significant)"
    return _block(
        done.image,
        [
            ("label", label),
            ("votes", f"{done.votes} of {done.n}" + (f", {done.failed} failed" if done.failed else "")),
            ("proof", f"p = {done.p_value:.2g}, σ = {done.sigma:g}, α = {done.alpha:g}; there is no radius"),
            *_looks(done),
            ("cost", _cost(done)),
        ],
    )


def _looks(done: Certificate | Prediction) -> list[tuple[str, str]]:
    from api_smoothing.results import told_of_looks

    told = told_of_looks(done)
    return [("", told)] if told else []


def describe_estimate(done: CostEstimate, norm: str = "ℓ2") -> str:
    """A block of lines: low, expected and high, and what they assume; `norm` is that of the radius."""
    span = "{:>12} {:>12} {:>12}".format
    usd, digits = (done.usd_low, done.usd_expected, done.usd_high), 2 if done.usd_high >= 1 else 4
    rows = [
        ("", span("low", "expected", "high")),
        ("queries", span(f"{done.queries_low:,}", f"{done.queries_expected:,}", f"{done.queries_high:,}")),
        ("dollars", span(*(f"{amount:,.{digits}f}" for amount in usd))),
    ]
    if done.seconds_high:
        times = (done.seconds_low, done.seconds_expected, done.seconds_high)
        rows.append(("time", span(*map(_duration, times))))
    if done.max_radius is not None:
        rows.append(("radius", f"at most {done.max_radius:.4f} {norm} can be certified with these settings"))
    rows += [("assuming" if not i else "", text) for i, text in enumerate(done.assumptions)]
    return _block(f"Estimate for {number_of(done.images, 'image')}; nothing was sent.", rows)


def _duration(seconds: float) -> str:
    """In the two largest units that matter: "4.2 s", "3 min 20 s", "2 h 5 min", "3 d 4 h"."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24:,} d {hours % 24} h"


def _why_abstained(done: Certificate) -> str:
    if not done.n:
        return "nothing was asked"
    what = "that any label keeps its majority" if done.kind == "label" or not done.claim else done.claim
    return f"the votes do not prove {what}; this says nothing else about the image"


def _why_stopped(done: Certificate) -> list[tuple[str, str]]:
    why = {
        "target": "the target is certified",
        "futile": f"radius {done.target_radius:g} is out of reach"
        if done.target_radius is not None
        else "no label can get its majority any more",
        "budget": "the budget is spent",
        "n": "all queries are counted",
        "failed": "too many queries failed",
    }.get(done.stopped, done.stopped)
    return [("stopped", why), *(("", part) for part in done.reason.split("; ") if part)]


def _seed(seed: str) -> str:
    return "secret seed" if seed.startswith("secret:") else f"public seed {seed.removeprefix('public:')}"


def _cost(done: Certificate | Prediction) -> str:
    sent = f"{number_of(done.queries, 'query', 'queries')} sent, {done.cached:,} from the cache"
    if done.cost_usd and done.provider.endswith(f"@{SANDBOX}"):
        return f"{sent}; nothing was charged (${done.cost_usd:.4f} at list prices)"
    return f"{sent}, ${done.cost_usd:.4f}"


def _block(title: str, rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join([shown(title), *(f"  {name:<9} {shown(text)}".rstrip() for name, text in rows)])
