"""The same photographs decided by two rules through a service's sandbox: what each asks, and what that would cost."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, Literal

from api_smoothing import SmoothedAPI
from api_smoothing.recorded import certified_at
from reproduce import inputs

CHOOSE, BOUND = 20, 100  # queries of the paper's protocol

Rule = Literal["fixed", "sequential"]


def decided(
    args: argparse.Namespace, service: str, sigma: float, radius: float, alpha: float
) -> dict[str, Any]:
    """{"images", "same", and by rule {"certified", "queries", "usd"}}, each rule with votes of its own storage.

    Certified is what is within `radius` the service's own answer to the clean photograph.
    """
    pictures = [pixels for pixels, _ in inputs.photographs(args.data, args.photographs)]
    rules: Mapping[Rule, tuple[Any, dict[str, Any]]] = {
        "fixed": ("clopper-pearson", {"n0": CHOOSE, "n": BOUND}),
        "sequential": ("auto", {"n": CHOOSE + BOUND, "radius": radius}),
    }
    found: dict[str, Any] = {"images": len(pictures)}
    decisions = []
    for rule, (method, sizes) in rules.items():
        with SmoothedAPI(
            service,
            sandbox=True,
            sigma=sigma,
            alpha=alpha,
            denoiser="unet-natural" if args.side > 32 else None,
            size=args.side,
            method=method,
            labels="imagenet-coarse",
            seed=args.seed,
            store="memory",
            observers=(),
        ) as api:
            clean = [one.label for one in api.unsmoothed(pictures)]
            done = list(api.certify_many(pictures, **sizes))
            price = api.usd_per_query or 0.0
        right = [a is not None and certified_at(c, radius) == a for a, c in zip(clean, done, strict=True)]
        queries = sum(one.n + one.n0 for one in done)
        found[rule] = {"certified": sum(right), "queries": queries, "usd": queries * price}
        decisions.append(right)
    found["same"] = sum(a == b for a, b in zip(*decisions, strict=True))
    return found
