"""Say which radius is within reach and what it takes, before the first query. No image, no model, no network.

Without --radius: the largest radius that N answers can certify, if they all agree. With --radius: how often a label
must win, and the mean number of answers for labels that win more often than that; -n is the cap.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
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
    settings = resolve_settings(args, SETTINGS)
    facts = {"sigma": settings.sigma, "alpha": settings.alpha, "noise": settings.noise, **_radii(settings)}
    if settings.radius is not None:
        facts |= _target(settings, settings.radius)
    print(json.dumps(facts) if args.json else _describe(facts))
    return 0


def _radii(settings: Settings) -> dict[str, Any]:
    from api_smoothing.certify.plan import max_radius

    counts = ANSWERS if settings.n is None else (settings.n,)
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
    if settings.n is not None and settings.n < fewest:
        raise UnreachableRadiusError(
            f"radius {radius:g} cannot be certified with {settings.n} answers at σ={settings.sigma:g} and "
            f"α={settings.alpha:g}: it takes at least {fewest}, all agreeing; raise -n, or ask for a smaller radius"
        )
    shares = [p for p in SHARES if p > p0 + 0.1 * (1 - p0)] or [1 - (1 - p0) / 10]
    expected = [expected_queries(p, p0, alpha=settings.alpha, cap=settings.n) for p in shares]
    return {
        "radius": radius,
        "n": settings.n,
        "p_needed": p0,
        "min_queries": fewest,
        "expected": [{"p": one.p, "queries": one.calls, "power": one.power} for one in expected],
    }


def _describe(facts: dict[str, Any]) -> str:
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
    return "\n".join(lines)
