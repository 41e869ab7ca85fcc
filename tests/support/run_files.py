"""Run files of evaluations, as large as wanted: votes are drawn, certificates and lines are real."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from api_smoothing.certify import clopper_pearson
from api_smoothing.certify.radius import radius, threshold
from api_smoothing.results import Certificate, RadiusReached, RunHeader

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ALPHA = 0.001


def settings(**changed: Any) -> dict[str, Any]:
    """The header's settings of an evaluation, some of them `changed`."""
    return {
        "provider": "google@sandbox",
        "model": "images:annotate/v1",
        "denoiser": "unet-cifar10@5b6f58658238a75a",
        "label_map": "cifar10@0a1b2c3d4e5f6071",
        "sigma": 0.25,
        "alpha": ALPHA,
        "method": "auto",
        "noise": "gaussian",
        "seed": "public:7",
        "size": 32,
        "question": "evaluate",
        "radii": [0.0, 0.1, 0.25, 0.5],
        "n": 1000,
        "data": "cifar10-test",
        "price_usd": 0.0015,
        **changed,
    }


def certificates(
    count: int,
    given: Mapping[str, Any],
    *,
    seed: int = 0,
    skill: float = 1.0,
    truths: bool = True,
    names: Sequence[str] | None = None,
) -> list[Certificate]:
    """`count` images whose shares of votes are spread as published ones are; a larger `skill` makes more of them sure.

    With `n` in the settings all votes bound every radius; with radii alone each stops where they are decided.
    """
    draw = np.random.default_rng(seed)
    true = draw.integers(0, len(CLASSES), count)
    shares = draw.beta(1.1 * skill, 0.28, count)
    n, sigma = given["n"] or 2000, given["sigma"]
    votes = draw.binomial(n, shares)
    bounds = clopper_pearson.lower(votes, n, ALPHA)
    second = draw.integers(1, len(CLASSES), count)
    errs = draw.random(count) < 0.04
    found = []
    for i in range(count):
        label_of_most = (true[i] + second[i]) % 10 if errs[i] else true[i]
        reach = radius(float(bounds[i]), sigma=sigma) if votes[i] else 0.0
        label = CLASSES[label_of_most] if bounds[i] > 0.5 else None
        other = CLASSES[(label_of_most + second[i]) % 10]
        used, listed = n, ()
        if given["n"] is None:
            listed, used = _decided(given["radii"], float(shares[i]), reach, label, sigma, n)
            reach = max((one["radius"] for one in listed if one["reached"]), default=0.0)
            label = label if listed[0]["reached"] else None
        held = round(used * int(votes[i]) / n)
        identity = f"test/{CLASSES[true[i]]}/{i:05}.png" if names is None else names[i]
        found.append(
            Certificate(
                label=label,
                radius=reach if label else 0.0,
                radius_original=reach if label else 0.0,
                p_lower=float(bounds[i]),
                votes=held,
                n=used,
                n0=0,
                sigma=sigma,
                alpha=ALPHA,
                norm="l2",
                method="fixed" if given["n"] else "sequential",
                target_radius=None,
                reached=None,
                stopped="n",
                reason="",
                runner_up=other,
                counts={CLASSES[label_of_most]: held, other: used - held}
                if held < used
                else {CLASSES[label_of_most]: held},
                failed=0,
                queries=used - used // 10,
                cached=used // 10,
                cost_usd=(used - used // 10) * given["price_usd"],
                provider=given["provider"],
                model=given["model"],
                model_version=None,
                denoiser=given["denoiser"],
                label_map=given["label_map"],
                noise="gaussian",
                seed=given["seed"],
                image=identity,
                image_sha256=f"{i:064x}",
                space=(32, 32),
                created="2026-11-28T10:00:00+00:00",
                radii=listed,
                item={"id": identity, "path": identity, "truth": CLASSES[true[i]] if truths else None},
            )
        )
    return found


def _decided(
    radii: Sequence[float], share: float, reach: float, label: str | None, sigma: float, cap: int
) -> tuple[tuple[RadiusReached, ...], int]:
    """When each radius would be decided: after about 9/KL answers, which is what the anytime rule takes."""
    found = []
    for r in radii:
        p0 = threshold(r, sigma=sigma)
        q = min(max(share, 1e-6), 1 - 1e-6)
        divergence = q * np.log(q / p0) + (1 - q) * np.log((1 - q) / (1 - p0))
        n = int(min(cap, max(12, 9 / max(divergence, 1e-9))))
        reached = label is not None and reach >= r
        found.append(
            RadiusReached(
                radius=r, label=label if reached else None, reached=reached if n < cap else None, n=n
            )
        )
    last = max(one["n"] for one in found)
    return tuple(found), last


def write(
    path: Path,
    given: Mapping[str, Any],
    found: Sequence[Certificate],
    *,
    clean: Mapping[str, str | None] | None = None,
    unreadable: Sequence[str] = (),
) -> Path:
    """A run file of these certificates, its other lines among them."""
    head = RunHeader(settings=dict(given), version="0.1.0", created="2026-11-28T09:30:00+00:00")
    lines = [head.to_json()]
    paid = {"queries": 1, "cached": 0, "cost_usd": given["price_usd"]}
    lines += [_line("clean", item=item, label=label, **paid) for item, label in (clean or {}).items()]
    lines += [one.to_json() for one in found]
    lines += [_line("unreadable", item=item, path=item, reason="damaged") for item in unreadable]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def run_file(path: Path, count: int, *, seed: int = 0, skill: float = 1.0, **changed: Any) -> Path:
    """A whole run of `count` images in one call, with answers to the images without noise."""
    given = settings(**changed)
    found = certificates(count, given, seed=seed, skill=skill)
    clean = {c.item["id"]: c.item["truth"] if i % 12 else "cat" for i, c in enumerate(found) if c.item}
    return write(path, given, found, clean=clean)


def renamed(found: Sequence[Certificate], names: Sequence[str]) -> list[Certificate]:
    """The same certificates of items with other names."""
    return [
        replace(c, image=name, item={**c.item, "id": name, "path": name} if c.item else None)
        for c, name in zip(found, names, strict=True)
    ]


def _line(kind: str, **values: Any) -> str:
    return json.dumps({"schema": f"api-smooth/{kind}/1", **values}, ensure_ascii=False)
