"""Say which radius is within reach and what it takes, before the first query. No image, no model, no network.

Without --radius: the largest radius that N answers can certify, if they all agree. With --radius: how often a label
must win, and the mean number of answers for labels that win more often than that. -n is the cap ("none" for none);
without it the one of `certify` where queries cost money or their price is unknown: 1,000, never fewer than the radius
needs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from api_smoothing.cli.setting_kinds import norm_of
from api_smoothing.cli.settings import Settings, add_setting_flags, resolve_settings
from api_smoothing.errors import UnreachableRadiusError

SUMMARY = "say which radius is within reach, and what it takes"
EXAMPLE = "api-smooth plan --sigma 0.12 --radius 0.1"
SETTINGS = ("sigma", "radius", "n", "alpha", "method", "noise")
ANSWERS = (20, 50, 100, 200, 500, 1000, 10_000, 100_000)
SHARES = (0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_setting_flags(parser, SETTINGS)
    parser.add_argument("--json", action="store_true", help="one JSON object, and nothing else")


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    asked = resolve_settings(args, SETTINGS)
    usual = asked.n == "auto" and asked.radius is not None
    settings = replace(asked, n=_cap(asked, asked.radius)) if usual and asked.radius is not None else asked
    facts = {"sigma": asked.sigma, "alpha": asked.alpha, "noise": asked.noise, **_radii(asked)}
    if settings.radius is not None:
        facts |= _target(settings, settings.radius)
    print(json.dumps(facts) if args.json else _describe(facts, usual=usual))
    return 0


def _cap(settings: Settings, radius: float) -> int | None:
    """What `certify` would take for a cap; None where it would take none unasked."""
    from api_smoothing.engine.estimate.defaults import usual_cap

    try:
        return usual_cap(radius, "paid", sigma=settings.sigma, alpha=settings.alpha, noise=settings.noise)
    except UnreachableRadiusError:
        return None


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
    if usual:
        lines += ["", *_about_the_cap(facts["n"])]
    return "\n".join(lines)
