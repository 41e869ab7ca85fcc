"""What certifying will cost, told before anything is sent: queries, dollars, seconds, and the radius within reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from api_smoothing.adapters.base import AdapterCard, Quota
from api_smoothing.certify import Spec, certifier_of, plan
from api_smoothing.engine.estimate.pace import Pace
from api_smoothing.engine.estimate.pricing import STALE_DAYS, Price, dollars
from api_smoothing.engine.estimate.queries import Votes, to_come
from api_smoothing.engine.estimate.shares import UNKNOWN, Prior
from api_smoothing.results import CostEstimate

_SHARED = 1.5  # programs a core, from which on they are told of
_WINDOWS = {1.0: "second", 60.0: "minute", 3600.0: "hour", 86400.0: "day"}


def forecast(
    known: Sequence[Votes],
    *,
    spec: Spec,
    affordable: int | None,
    card: AdapterCard,
    price: Price,
    extra_per_image: int = 0,
    queries_per_vote: int = 1,
    prior: Prior = UNKNOWN,
    pace: Pace | None = None,
    unset: Sequence[str] = (),
    stops_at: float | None = None,
    today: date | None = None,
) -> CostEstimate:
    """The estimate for one image per entry of `known`, which holds the votes it has already.

    `affordable` is what the budget has left, in queries (None: no limit). `extra_per_image` is the number of canary
    queries that an image costs beside its votes, `queries_per_vote` that of one vote. `prior` is what is known of
    vote shares, and `pace` of the time a query takes here (None: nothing, and the quota alone counts). `unset` is what
    holds because nobody set it, in words, and `stops_at` the dollars at which a run without a budget ends. Prices are
    judged old as of `today`. Equal arguments give equal estimates.

    Raises UnreachableRadiusError for a radius no answers can certify.
    """
    certifier_of(spec)  # refuses what no answers could certify
    queries = to_come(
        known, spec, affordable=affordable, extra=extra_per_image, each=queries_per_vote, prior=prior
    )
    amounts = (queries.low, queries.expected, queries.high)
    usd = [price.usd(amount) for amount in amounts]
    rate = card.queries_per_second
    spans = [(pace or Pace(query=0.0)).seconds(amount, rate=rate) for amount in amounts]
    seconds = [spans[0][0], spans[1][1], spans[2][2]]
    each = None if affordable is None else max(0, affordable // max(1, len(known)) - extra_per_image)
    lines = [*unset, *queries.lines]
    if stops_at is not None and usd[2] > stops_at:
        lines.insert(
            len(unset),
            f"no budget is given, so that the run stops at {dollars(stops_at)}; a budget sets another limit",
        )
    elif stops_at is not None and affordable is not None:
        lines.insert(len(unset), f"no budget is given, which means {dollars(stops_at)} a run")
    if queries_per_vote > 1:
        lines.insert(
            0,
            f"the denoiser votes over {queries_per_vote} paths: every answer costs {queries_per_vote} queries",
        )
    if each is not None and spec.n is None:
        lines.append(f"the budget leaves {each:,} queries an image, for which the largest radius is given")
    if extra_per_image:
        lines.append(f"{extra_per_image} canary queries an image, to notice a change of the model")
    lines += _about_money(price, queries.high, seconds[1], today or date.today())
    lines += _about_time(card, pace)
    return CostEstimate(
        images=len(known),
        queries_low=queries.low,
        queries_expected=queries.expected,
        queries_high=queries.high,
        usd_low=usd[0],
        usd_expected=usd[1],
        usd_high=usd[2],
        seconds_low=seconds[0],
        seconds_expected=seconds[1],
        seconds_high=seconds[2],
        max_radius=_reach(spec, None if each is None else each // queries_per_vote),
        assumptions=lines,
    )


def _about_money(price: Price, queries: int, seconds: float, today: date) -> Iterator[str]:
    if price.tiers:
        yield f"{price.describe()}, for every attempt; the estimate lets none fail"
    if price.usd_per_hour is not None:
        used = (
            f", {dollars(round(float(price.usd_per_hour) * seconds / 3600, 2))} for the time expected"
            if seconds
            else ""
        )
        yield f"{dollars(price.usd_per_hour)} an hour while the model runs, not in the dollars above{used}"
    if price.as_of is not None:
        old = f", more than {STALE_DAYS} days ago: look there before you spend" if price.stale(today) else ""
        yield f"price seen on {price.as_of} at {price.source}{old}"
    if price.unconfirmed:
        yield f"unconfirmed: {price.unconfirmed}"
    if price.free_per_month and price.tiers:
        free = f"{price.free_per_month:,} a month"
        if queries <= price.free_per_month:
            yield f"within the free {free} this would cost $0; the estimate ignores it"
        else:
            saved = dollars(round(price.usd(price.free_per_month), 2))
            yield f"{free} are free, worth {saved}; the estimate ignores it"
    if price.note:
        yield price.note


def _about_time(card: AdapterCard, pace: Pace | None) -> Iterator[str]:
    if pace is not None and pace.remembered:
        yield f"{1 / pace.query:.3g} queries a second, as in earlier runs on this machine"
    elif pace is not None:
        yield (
            f"{1 / pace.query:.3g} queries a second are taken to be made on this machine, which is seen with the "
            f"first run; it may be {pace.unsure:g} times as fast, or as slow{_about_others(pace)}"
        )
    rate = card.queries_per_second
    if rate is None:
        where = "this machine" if card.accepts == "tensor" else "the provider"
        yield f"no rate limit applies; the time depends on {where}"
        return
    batches = any(quota.unit == "request" for quota in card.quotas) and card.batch > 1
    quotas = ", ".join(describe_quota(quota) for quota in card.quotas)
    yield f"at most {rate:,.6g} queries a second ({quotas}{f', {card.batch} images a request' if batches else ''})"


def _about_others(pace: Pace) -> str:
    if pace.busy < _SHARED:
        return ""
    return f"; {pace.busy:.2g} programs share each of its cores just now, which is counted in"


def describe_quota(quota: Quota) -> str:
    """A quota in words: "1,800 images a minute"."""
    window = _WINDOWS.get(quota.seconds)
    unit = quota.unit if quota.count == 1 else f"{quota.unit}s"
    return f"{quota.count:,} {unit} {f'a {window}' if window else f'in {quota.seconds:g} s'}"


def _reach(spec: Spec, affordable_each: int | None) -> float | None:
    """The radius that all the answers an image can get certify if they agree; None where nothing limits them.

    With a target it may be a hair (0.02 at most) smaller in truth.
    """
    n = affordable_each if spec.n is None else spec.n
    if n is None:
        return None
    method: plan.Method = spec.method
    if spec.radius is not None and method in ("auto", "sequential"):
        method = "open" if spec.n is None else "fixed"
    settings = {"alpha": spec.alpha, "sigma": spec.sigma, "noise": spec.noise}
    return plan.max_radius(n=n, method=method, **settings) if n else 0.0  # type: ignore[arg-type]
