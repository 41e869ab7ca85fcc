"""Say which radius is within reach and what it takes, before the first query. Nobody is asked.

Without --radius: the largest radius that N answers can certify, if they all agree. With --radius: how often a label
must win, the mean number of answers for labels that win more often than that, and, at a σ that the cards of the
bundled denoisers have, how many images they certified. -n is the cap ("none" for none);
without it the one of `certify` where queries cost money or their price is unknown: 1,000, never fewer than the radius
needs.

With an IMAGE: σ of 0.12, 0.25, 0.5 and 1 are compared for it, best first, by a free run of the sandbox's bundled
classifier behind the denoiser that would be used: how steady its answer is, whether the radius is likely to be
certified, and the queries and dollars that takes at the provider. Without --radius the largest likely radius is
compared. The classifier stands in for the provider's, which may be steadier or less so.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from api_smoothing.cli.measured import READERS, at
from api_smoothing.cli.setting_kinds import norm_of
from api_smoothing.cli.settings import Settings, add_setting_flags, resolve_settings
from api_smoothing.errors import ConfigurationError, UnreachableRadiusError

if TYPE_CHECKING:
    from api_smoothing.stand_in import Share

SUMMARY = "say which radius is within reach, and what it takes"
EXAMPLE = "api-smooth plan --sigma 0.12 --radius 0.1"
SETTINGS = ("sigma", "radius", "n", "alpha", "method", "noise")
OF_AN_IMAGE = ("provider", "model", "denoiser", "labels", "size", "device", "options")
ANSWERS = (20, 50, 100, 200, 500, 1000, 10_000, 100_000)
SHARES = (0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", nargs="?", metavar="IMAGE", help="an image file, to compare σ for")
    add_setting_flags(parser, (*SETTINGS, *OF_AN_IMAGE))
    parser.add_argument("--json", action="store_true", help="one JSON object, and nothing else")


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    if args.image is not None:
        return _compare(args)
    asked = resolve_settings(args, SETTINGS)
    usual = asked.n == "auto" and asked.radius is not None
    settings = replace(asked, n=_cap(asked, asked.radius)) if usual and asked.radius is not None else asked
    facts = {"sigma": asked.sigma, "alpha": asked.alpha, "noise": asked.noise, **_radii(asked)}
    if settings.radius is not None:
        facts |= _target(settings, settings.radius)
        if settings.noise == "gaussian":
            found = at(settings.sigma, settings.radius)
            facts["measured"] = [asdict(one) for one in found]
    print(json.dumps(facts) if args.json else _describe(facts, usual=usual))
    return 0


def _cap(settings: Settings, radius: float) -> int | None:
    """What `certify` would take for a cap; None where it would take none unasked."""
    from api_smoothing.engine.estimate.defaults import usual_cap

    try:
        return usual_cap(radius, "paid", sigma=settings.sigma, alpha=settings.alpha, noise=settings.noise)
    except UnreachableRadiusError:
        return None


def _compare(args: argparse.Namespace) -> int:
    """For one image: what each σ is likely to give, best first."""
    from api_smoothing.cli.smoothing import complain, open_adapter, settings_of
    from api_smoothing.engine.estimate.pricing import price
    from api_smoothing.stand_in import CAP, DRAWS, SIGMAS, shares, whom

    settings = settings_of(args, (*SETTINGS, *OF_AN_IMAGE))
    complain(f"{DRAWS} noisy copies at each of {len(SIGMAS)} σ, on this machine, free …")
    with open_adapter(settings, sends=False) as adapter:
        card, who = adapter.card, whom(adapter)
        usd = price(card).micro_usd / 1e6
        found = [
            _outlook(share, settings, usd)
            for share in shares(
                args.image,
                adapter=adapter,
                labels=settings.labels,
                size=settings.size,
                denoiser=settings.denoiser,
                noise=settings.noise,
                device=settings.device,
            )
        ]
    if not found:
        raise ConfigurationError(
            f"the denoiser {settings.denoiser} is for none of the σ: use --denoiser auto"
        )
    found.sort(key=_best_first)
    facts = {
        "image": args.image,
        "provider": card.provider,
        "radius": settings.radius,
        "n": settings.n if isinstance(settings.n, int) else CAP,
    }
    facts |= {"alpha": settings.alpha, "asked": who, "sigmas": found}
    print(json.dumps(facts) if args.json else _describe_outlook(facts))
    return 0


def _outlook(share: Share, settings: Settings, usd: float) -> dict[str, Any]:
    """The chance of the radius within the cap at one σ, or the largest likely radius; queries and dollars it takes."""
    from api_smoothing.certify.advice import prospect
    from api_smoothing.stand_in import CAP

    radius, queries, chance = prospect(
        share.votes,
        share.n,
        sigma=share.sigma,
        noise=settings.noise,
        alpha=settings.alpha,
        target=settings.radius,
        cap=settings.n if isinstance(settings.n, int) else CAP,
    )
    of = {"sigma": share.sigma, "votes": share.votes, "of": share.n, "radius": radius}
    return {**of, "chance": chance, "queries": queries, "usd": queries * usd}


def _best_first(one: dict[str, Any]) -> tuple[float, ...]:
    """The likelier (by tenths), then the larger radius, then the cheaper."""
    return -round(one["chance"], 1), -one["radius"], one["queries"]


def _describe_outlook(facts: dict[str, Any]) -> str:
    aim = "the largest likely radius" if facts["radius"] is None else f"radius {facts['radius']:g}"
    rows = [
        f"{one['sigma']:>6g} {one['votes']:>4} of {one['of']}   {one['radius']:.4f}   {one['chance']:>6.0%}"
        f" {one['queries']:>9,.0f} {one['usd']:>9.4f}"
        for one in facts["sigmas"]
    ]
    best = facts["sigmas"][0]
    advice = f"best: --sigma {best['sigma']:g}"
    if best["chance"] < 0.5:
        advice = "none is likely: ask for a smaller radius, or allow more queries with -n"
    return "\n".join(
        [
            f"{facts['image']}: {aim} at {facts['provider']}, at most {facts['n']:,} queries, α = {facts['alpha']:g}",
            "",
            "     σ  agreeing     radius   chance   queries   dollars",
            *rows,
            "",
            f"{advice} (by a free run of {facts['asked']} behind the same denoiser)",
        ]
    )


def _radii(settings: Settings) -> dict[str, Any]:
    from api_smoothing.certify.plan import max_radius

    counts = (settings.n,) if isinstance(settings.n, int) else ANSWERS
    return {
        "max_radius": {
            str(n): max_radius(
                n=n,
                alpha=settings.alpha,
                sigma=settings.sigma,
                method=settings.method,
                noise=settings.noise,
            )
            for n in counts
        }
    }


def _target(settings: Settings, radius: float) -> dict[str, Any]:
    from api_smoothing.certify.plan import expected_queries, min_queries
    from api_smoothing.certify.radius import threshold

    noise = {"sigma": settings.sigma, "noise": settings.noise}
    p0 = threshold(radius, **noise)  # type: ignore[arg-type]
    fewest = min_queries(radius, alpha=settings.alpha, **noise)  # type: ignore[arg-type]
    cap = settings.n if isinstance(settings.n, int) else None
    if cap is not None and cap < fewest:
        raise UnreachableRadiusError(
            f"radius {radius:g} cannot be certified with {cap} answers at σ={settings.sigma:g} and "
            f"α={settings.alpha:g}: it takes at least {fewest}, all agreeing; raise -n, or ask for a smaller radius"
        )
    shares = [p for p in SHARES if p > p0 + 0.1 * (1 - p0)] or [1 - (1 - p0) / 10]
    expected = [expected_queries(p, p0, alpha=settings.alpha, cap=cap) for p in shares]
    return {
        "radius": radius,
        "n": cap,
        "p_needed": p0,
        "min_queries": fewest,
        "expected": [{"p": one.p, "queries": one.calls, "power": one.power} for one in expected],
    }


def _about_the_cap(cap: int | None) -> list[str]:
    from api_smoothing.engine.estimate.defaults import CAPS

    if cap is None:
        return ["Without -n, certify refuses this radius: so many answers have to be named, or -n none."]
    free = max(cap, CAPS["free"])
    return [
        f"Without -n, certify asks for at most {cap:,} answers where queries cost money or their price",
        f"is unknown, and {free:,} where they are free; -n {free} plans with that, -n none without a cap.",
    ]


def _describe(facts: dict[str, Any], *, usual: bool) -> str:
    lines = [
        f"σ = {facts['sigma']:g}, α = {facts['alpha']:g}, {facts['noise']} noise, {norm_of(facts['noise'])} radii",
        "",
        "   answers   largest radius, if all agree",
        *(f"{int(n):>10,}   {radius:.4f}" for n, radius in facts["max_radius"].items()),
    ]
    if "radius" in facts:
        cap = "without a cap" if facts["n"] is None else f"within {facts['n']:,} answers"
        lines += [
            "",
            f"Radius {facts['radius']:g} is certified for a label that gets more than {facts['p_needed']:.2%} of",
            f"the answers under this noise; with fewer than {facts['min_queries']} answers no method can do it.",
            "",
            f"     share   mean answers   certified {cap}",
            *(
                f"{one['p']:>10.2%}   {one['queries']:>12,.0f}   {one['power']:.1%}"
                for one in facts["expected"]
            ),
        ]
    if facts.get("measured"):
        lines += [
            "",
            "What the bundled denoisers certified of images they were not made with (their cards' figures):",
            *(
                f"{one['share']:>10.1%}   {one['denoiser']}, radius {one['radius']:g} within {one['cap']:,} answers, "
                f"{READERS.get(one['reader'], one['reader'])}"
                for one in facts["measured"]
            ),
        ]
    if usual:
        lines += ["", *_about_the_cap(facts["n"])]
    return "\n".join(lines)
