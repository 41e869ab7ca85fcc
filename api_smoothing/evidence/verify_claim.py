"""What a run file claims about all images, derived again: `verify.py` runs this file, which must lie beside it.

Standard library only, and no arithmetic shared with `api_smoothing.claims`, which has the proofs. Of a finite set in
random order a likelihood ratio rejects, for one number of images after the other, that no more are right; an image that
is not right has a certificate with probability at most α. The same of those not certified bounds the share from above.
"""

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from typing import Any

LOOKED_AT = {
    "radii": (),
    "label": None,
    "radius": -1.0,
    "stopped": "n",
    "alpha_total": 0.0,
}  # one that cannot be read


@cache
def laws(size: int, most: int, alpha: float) -> tuple[list[float], list[float], list[float]]:
    """Logs of factorials, and of the chance that d certificates more than `most` would come of all, d = 0, 1, …:
    if `most` are right, and if more are.
    """
    left, mode, f = (
        size - most,
        math.floor((size - most + 1) * alpha),
        [math.lgamma(i + 1) for i in range(size + 1)],
    )
    hit, miss = math.log(alpha or 1e-300), math.log1p(-alpha)
    null = [f[left] - f[d] - f[left - d] + d * hit + (left - d) * miss for d in range(left + 1)]
    weights = [(d > mode) / max(d - mode, 2 * math.sqrt(size)) for d in range(left + 1)]
    total = math.fsum(weights)
    return f, null, [math.log(weight / total) if weight else -math.inf for weight in weights]


def rejects(size: int, most: int, alpha: float, error: float, k: int, n: int) -> bool:
    """Whether k certificates among n images of the `size` show that more than `most` are right."""
    f, *both = laws(size, most, alpha)
    runs = [
        (d, f[most + d] + f[size - most - d] - f[most + d - k] - f[size - n - most - d + k])
        for d in range(max(k - most, 0), size - n + k - most + 1)
    ]
    top = max((law[d] + run for law in both for d, run in runs), default=0.0)
    null, other = (math.fsum(math.exp(law[d] + run - top) for d, run in runs) for law in both)
    return other > 0 and other * error >= null


def least(size: int, goal: int, alpha: float, error: float, hits: list[bool]) -> tuple[int, float]:
    """So many images are right, and after how many of `hits` it was shown that more than `goal` are."""
    grid, place, k, first = sorted({i * size // 400 for i in range(400)} | {goal}), 0, 0, math.inf
    for n, hit in enumerate(hits, 1):
        k += hit
        while place < len(grid) and rejects(size, grid[place], alpha, error, k, n):
            first = min(first, n if grid[place] >= goal else math.inf)
            place += 1
    return grid[place - 1] + 1 if place else 0, first


def certified(c: Any, radius: float) -> str | None:
    """The label that a certificate has at `radius`."""
    for read in c["radii"]:
        if read["radius"] >= radius and read["reached"]:
            return str(read["label"])
    return c["label"] if c["radius"] >= radius else None


def faults(run: Any, line: Any) -> Iterator[str]:
    """What does not hold of a claim's line, given the certificates before it."""
    size, n, share, radius = (line[name] for name in ("population", "looked", "at_least", "radius"))
    if line["reference"] != "truth" and any(item["truth"] is not None for item in run.items):
        yield "the truth is known, and is not what counts"
    true = (
        {item["id"]: item["truth"] for item in run.items} if line["reference"] == "truth" else run.unsmoothed
    )
    alpha, error, hits = 2 * run.plan["alpha"], 1 - line["confidence"], list[bool]()
    for place, item in enumerate(run.items[:n]):
        c = run.last.get(item["id"], LOOKED_AT)
        if place not in run.done or c["stopped"] == "budget":
            yield f"the claim looks at {item['id']}, which is not decided"
        label = certified(c, radius)
        hits.append(label is not None and label == true.get(item["id"]) and c["alpha_total"] <= alpha)
    goal = math.ceil(Fraction(repr(float(share))) * size)
    low, proved = least(size, goal - 1, alpha, error, hits)
    high, refuted = least(size, size - goal, 0.0, error, [not hit for hit in hits])
    state = "open" if proved == refuted == math.inf else "proved" if proved <= refuted else "refuted"
    lower, upper, of = low / size, 1 - high / size, f"of the {size} images"
    says = f"at least {lower:.4g} {of} are right and robust" + f"; {share:g} is not shown" * (state == "open")
    says = f"certifying all would count at most {upper:.4g} {of}" if state == "refuted" else says
    told = f"({sum(hits)} of {len(hits)} looked at are certified; confidence {line['confidence']:.4g})"
    right = {name: run.settings[name] for name in ("at_least", "confidence", "population")} | {
        "radius": [*run.plan["radii"], run.plan["radius"]][0],
        "looked": len(hits),
        "certified": sum(hits),
        "state": state,
        "lower": lower,
        "upper": upper,
        "statement": f"{state}: {says} {told}",
    }
    for name, value in right.items():
        real = isinstance(value, float)
        if not (math.isclose(line[name], value, rel_tol=1e-9) if real else line[name] == value):
            yield f"{name} of the claim is {line[name]}, and not {value}"
