"""Check a run file of api-smooth from the file alone: `python verify.py RUN [CHAIN …]`.

It imports the standard library only, so that it can be copied, read and run anywhere (Python 3.11 or later). Votes,
bounds, radii, errors, dollars and what was committed to before the first query are derived again from the answers in
the file, to one part in 10⁹. A CHAIN published while the file was made must stand in it. Exit code 0: verified; 1: not
verified, each fault on a line; 2: no run file that can be read. Format: docs/evidence.md; proofs: docs/soundness.md.
"""

import hashlib
import json
import math
import sys
from bisect import bisect_left
from collections.abc import Callable
from functools import cache, lru_cache, partial
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist
from typing import Any

FAILED = object()
SETTINGS = ("provider", "model", "denoiser", "label_map", "sigma", "alpha", "noise", "seed")
GRID = [math.erfc(-i / 1000 / math.sqrt(2)) / 2 for i in range(7000)]  # of the confidence sequence


class Fault(Exception):  # what does not hold, in a line
    pass


def need(truth: object, says: str) -> None:
    if not truth:
        raise Fault(says)


def tail(k: int, n: int, p: float) -> float:  # P(Bin(n, p) ≥ k), the sum of its terms
    if not 0 < p < 1:
        return float(k <= n * p)
    log, hit, miss = math.lgamma(n + 1), math.log(p), math.log1p(-p)
    logs = (
        log - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * hit + (n - i) * miss for i in range(k, n + 1)
    )
    return math.fsum(map(math.exp, logs))


def largest(holds: Callable[[float], bool], low: float, high: float) -> float:  # the p up to which it holds
    for _ in range(64):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


@cache
def chosen_before(
    k: int, n: int, alpha: float
) -> float:  # Clopper and Pearson, on a class that other votes chose
    return largest(lambda p: tail(k, n, p) <= alpha, 0.0, 1.0) if k else 0.0


@cache
def no_split(k: int, n: int, alpha: float) -> float:  # on the class with most votes, chosen by these
    least = bisect_left(range(n + 1), True, lo=n // 2 + 1, key=lambda k: 2 * tail(k, n, 0.5) <= alpha)
    high = (k - 1) / (n - 1) if 1 < n > k else 1.0
    return largest(lambda p: tail(k, n, p) + tail(least, n, 1 - p) <= alpha, 0.5, high) if k >= least else 0.0


@cache
def of_leader(k: int, n: int, alpha: float) -> float:  # on the class with most votes, where none is certified
    return (
        largest(lambda p: tail(k, n, p) <= alpha * p, 0.0, min((k - 1) / (n - 1), 0.5)) if n > 1 < k else 0.0
    )


@lru_cache(1 << 20)
def log_e(k: int, n: int, p: float) -> float:  # e-value against ≤ p: 0.8 Beta(½,½) above p, 0.2 at 1
    a, b, x, f = k + 0.5, n - k + 0.5, p, 1.0
    null = k * math.log(p) + (n - k) * math.log1p(-p)
    log = math.lgamma(a) + math.lgamma(b) - math.lgamma(n + 1)
    if swap := x >= (a + 1) / (a + b + 2):
        a, b, x = b, a, 1 - x
    for m in range(30 + 3 * math.isqrt(n), 0, -1):  # the continued fraction of I_x(a, b), from its end
        odd = 1 - (a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)) / f
        f = 1 + m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)) / odd
    part = math.exp(a * math.log(x) + b * math.log1p(-x) - log) / a / (1 - (a + b) * x / (a + 1) / f)
    above = part if swap else 1 - part
    beta = log - null + math.log(0.4 * above / math.asin(math.sqrt(1 - p))) if above > 0 else -math.inf
    one = math.log(0.2) - null if k == n else beta - 99
    return max(beta, one) + math.log1p(math.exp(-abs(beta - one))) if above > 0 else -math.inf


@cache
def of_leader_anytime(k: int, n: int, alpha: float) -> float:  # as of_leader, wherever one stops
    j = 1
    while k > 1 and j < min(1000, 2000 * k / n) and log_e(k, n, j / 2000) >= -math.log(alpha * j / 2000):
        j += 1
    return (j - 1) / 2000


def radius_of(
    p: float, plan: Any, slack: float
) -> float:  # Cohen et al. 2019, Thm 1; Yang et al. 2020, Table 1
    if (p := p - slack) <= 0.5:
        return 0.0
    if plan["noise"] == "gaussian":
        return float(plan["sigma"] * NormalDist().inv_cdf(p))
    scale = math.sqrt(12) * (p - 0.5) if plan["noise"] == "uniform" else -math.log(2 - 2 * p) / math.sqrt(2)
    return float(plan["sigma"] * scale)


def share_for(radius: float, plan: Any, slack: float) -> float:  # what p must exceed, its rounding included
    z = radius / plan["sigma"]
    shares = {"gaussian": math.erfc(-z / math.sqrt(2)) / 2, "uniform": 0.5 + z / math.sqrt(12)}
    return shares.get(plan["noise"], 1 - math.exp(-z * math.sqrt(2)) / 2) * (1 + 1e-14) + slack


def met(
    counts: list[int], p: float
) -> float:  # P(ever K(n) votes of n); what is left out, 10⁻¹⁸ a step, is added
    mass, first, crossed = [1.0], 0, 0.0
    for top in counts:
        mass = [p * a + (1 - p) * b for a, b in zip([0.0, *mass], [*mass, 0.0], strict=True)]
        while mass and (first + len(mass) > top or mass[-1] < 1e-18):
            crossed += mass.pop()
        while mass and mass[0] < 1e-18:
            crossed, first = crossed + mass.pop(0), first + 1
    return crossed


@cache
def error(
    text: str,
) -> float:  # of a boundary and the levels below it, over all classes; infinite where none is proved
    line = json.loads(text)
    p0, levels, f = line["p0"], line["levels"], cache(partial(met, line["counts"]))
    for p, counts in [(p0, line["counts"]), *((p, counts) for _, p, counts in levels)]:
        early = any(k <= n and k - 1 < p * (n - 1) * (1 - 1e-12) for n, k in enumerate(counts, 1))
        if early or p < 0.5 or any(b > a + 1 for a, b in pairwise(counts)):
            return math.inf
    low = cache(partial(met, levels[0][2])) if levels else lambda p: 0.0
    last = low(1 - levels[-1][1]) if levels else 0.0
    grid = [0.5 + share * (p0 - 0.5) for share in (0.0, 0.4, 0.7, 0.85, 0.95, 1.0)]
    errors = [2 * (f(0.5) + low(0.5)), *(f(b) + f(1 - a) + last for a, b in pairwise(grid))]
    pairs = pairwise(levels)
    return max(*errors, *(met(b[2], b[1]) + f(b[1]) + low(1 - a[1]) + f(1 - a[1]) for a, b in pairs))


class Tally:
    def __init__(self, votes: Any = ()) -> None:
        self.counts, self.leader, self.n, self.top, self.failed = dict[Any, int](), None, 0, 0, 0
        for vote in votes:
            self.add(vote)

    def add(self, vote: Any) -> None:  # a tie keeps the earlier leader
        self.n, self.failed = self.n + 1, self.failed + (vote is FAILED)
        if vote is not None and vote is not FAILED:
            self.counts[vote] = self.counts.get(vote, 0) + 1
            if self.counts[vote] > self.top:
                self.leader, self.top = vote, self.counts[vote]


Proof = tuple[Any, float, float, float]  # label, bound, radius; the bound that an abstention tells


def fixed(
    plan: Any, votes: list[Any], slack: float
) -> Proof:  # no-split/1; cohen/1, where n0 votes choose the class
    n, n0, alpha, target, after = (
        plan["n"],
        plan["n0"],
        plan["alpha"],
        plan["radius"],
        Tally(votes[plan["n0"] :]),
    )
    bound, label = (chosen_before, Tally(votes[:n0]).leader) if n0 else (no_split, after.leader)
    k, p0 = after.counts.get(label, 0), 2.0 if target is None else share_for(target, plan, slack)
    told = (
        of_leader(k, n, alpha) if not n0 else min(0.5, bound(k, n, alpha)) if label == after.leader else 0.0
    )
    if bound(k, n, alpha) >= p0:  # whatever the other votes would say
        return label, p0, target, told
    p = bound(k, n, alpha) if after.n == n else 0.0
    return label, p, radius_of(p, plan, slack), told


def anytime(
    plan: Any, votes: list[Any], slack: float, hits: dict[float, Any]
) -> Proof:  # hits: label, n by radius
    tally, proved, label, p = Tally(), dict[Any, int](), None, 0.0
    wanted = {r: share_for(r, plan, slack) for r in [*plan["radii"], plan["radius"]] if r is not None}
    for vote in votes:
        tally.add(vote)
        k, n, at = tally.counts.get(vote, 0), tally.n, proved.get(vote, 0)
        while 2 * k > n and at < len(GRID) and k > n * GRID[at]:
            low, log = GRID[at], -math.log(plan["alpha"] * GRID[at])
            most = k * math.log(k / n / low) + ((n - k) * math.log((n - k) / n / (1 - low)) if k < n else 0.0)
            if most < log - 1e-6 or log_e(k, n, low) < log:  # no mixture exceeds the best alternative
                break
            proved[vote] = at = at + 1
        label = max(proved, key=lambda name: proved[name], default=None)
        p = GRID[proved[label] - 1] if label is not None else 0.0
        hits |= {r: (label, n) for r, share in wanted.items() if p >= share and r not in hits}
    return label, p, radius_of(p, plan, slack), of_leader_anytime(tally.top, tally.n, plan["alpha"])


def capped(
    plan: Any, votes: list[Any], line: Any
) -> Proof:  # capped/2: by a boundary, and levels below it on the way
    tally, label, level = Tally(), None, 0
    for n, vote in enumerate(votes):
        tally.add(vote)
        if tally.top >= line["counts"][n]:
            return tally.leader, line["p0"], plan["radius"], 0.0
        while level < len(line["levels"]) and tally.top >= line["levels"][level][2][n]:
            if level and tally.leader != label:
                break
            label, level = tally.leader, level + 1
    radius, p = line["levels"][level - 1][:2] if level > 1 else (0.0, 0.0)
    return label, p, radius, of_leader_anytime(tally.top, tally.n, plan["alpha"])


def same(a: Any, b: Any) -> bool:
    real = isinstance(a, float) or isinstance(b, float)
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) if real and None not in (a, b) else bool(a == b)


def canonical(values: Any) -> bytes:
    line = {name: value for name, value in values.items() if name != "chain"}
    return json.dumps(line, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


class Run:  # what the lines have told so far; a method for each kind of line that says something
    def __init__(self, header: Any) -> None:
        self.settings, self.plan, self.last, self.items, self.done = header["settings"], None, None, [], []
        self.places, self.told, self.open, self.about, self.lines = (
            {},
            {},
            {},
            {},
            {},
        )  # by id, image or digest
        self.digest, self.versions, self.queries, self.certificates = hashlib.sha256(), set(), 0, 0

    def commitment(self, line: Any) -> None:
        need(
            self.plan is None and not self.told and not self.done,
            "it was not committed to once, before everything",
        )
        self.plan, self.price, self.promise = line["plan"], line["price_usd"], line

    def planned(self, line: Any) -> None:
        need(
            line["number"] == len(self.items) and not self.told,
            "an image is planned too late, or out of its place",
        )
        need(
            self.places.setdefault(line["id"], line["number"]) == line["number"], "an image is planned twice"
        )
        self.items.append(line)
        self.digest.update(canonical(line) + b"\n")

    def boundary(self, line: Any) -> None:
        text = canonical({name: line[name] for name in ("p0", "counts", "levels")}).decode()
        errs = error(text)
        need(errs <= self.plan["alpha"] * (1 + 1e-9), f"the boundary errs with probability {errs:.3g}")
        self.lines[hashlib.sha256(text.encode()).hexdigest()] = line

    def answers(
        self, line: Any
    ) -> None:  # from number 0 on without a gap; after a stop they are told again, as kept
        image = line["image_sha256"]
        told, self.about[image] = self.told.setdefault(image, {}), line
        for number, vote, how, digest, *_ in line["answers"]:
            self.open[image] = self.open.get(image, []) if number else []
            need(
                number == len(self.open[image]),
                f"answer {number} is not in its place, or one before it is missing",
            )
            same = told.setdefault(number, (vote, digest)) == (vote, digest)
            need(same, f"answer {number} was {'asked twice' if how == 'asked' else 'another one before'}")
            need(vote is None or digest is not None, f"answer {number} failed, and has a vote")
            self.open[image].append((FAILED if digest is None else vote, how))

    def unreadable(self, line: Any) -> None:
        self.done.append(place := self.places[line["item"]])
        due = (
            not self.promise["ordered"]
            or place in self.done[:-1]
            or place == max(self.done[:-1], default=-1) + 1
        )
        need(due, "an image before this one is missing, or this one is not in its place")

    def clean(self, line: Any) -> None:
        queries = round(line["cost_usd"] / (self.price or 1))
        need(same(line["cost_usd"], queries * self.price + 0.0), "the dollars are not those of whole queries")
        self.queries += queries

    def certificate(self, c: Any) -> None:
        plan, image, looks, item = (
            self.plan,
            c["image_sha256"],
            c["looks"],
            self.items[self.places[c["item"]["id"]]],
        )
        segment = self.open.pop(image, [])
        self.queries, self.certificates = self.queries + c["queries"], self.certificates + 1
        self.unreadable({"item": item["id"]})
        whole = image == item["image_sha256"] and all(
            c["item"][name] == item[name] for name in ("path", "truth")
        )
        need(whole, "the image is not the one that was planned")
        for name in set(SETTINGS) & set(self.settings):
            need(c[name] == self.settings[name], f"{name} is not the run's")
        self.versions |= {c["model_version"]} if c["n"] > c["failed"] else set()
        need(len(self.versions) <= 1, f"the model is another one: {c['model_version']}")
        planned = c["rule"] == plan["rule"] or (c["rule"] == "anytime/1" and looks > 1)
        need(planned and same(c["target_radius"], plan["radius"]), f"rule {c['rule']} was not planned")
        asked = sum(how == "asked" and vote is not FAILED for vote, how in segment)
        need(
            c["cached"] == sum(how == "kept" for _, how in segment),
            "cached is not how many answers were kept",
        )
        need(c["queries"] >= asked, f"{asked} answers were asked for, with {c['queries']} queries")
        need(same(c["cost_usd"], c["queries"] * self.price + 0.0), "the dollars are not those of the queries")
        votes, paths, n = [vote for vote, _ in segment], plan["paths"], c["n"] + c["n0"]
        if paths > 1:
            polls = [votes[i : i + paths] for i in range(0, len(votes) - paths + 1, paths)]
            votes = [FAILED if FAILED in p else max(dict.fromkeys(p), key=p.count) for p in polls]
        need(n == len(votes) or (c["stopped"] == "failed" and n < len(votes)), f"{len(votes)} votes, not {n}")
        total = plan["alpha"] if looks == 1 else min(max(c["alpha_total"], plan["alpha"]), 2 * plan["alpha"])
        need(
            same(c["alpha_total"], total) and not c["exploratory"], "alpha_total is not what the looks allow"
        )
        self.derive(c, votes[:n], self.about.get(image, {"slack": 0.0}))

    def derive(self, c: Any, votes: list[Any], about: Any) -> None:  # what the votes prove
        plan, slack, rule, hits = self.plan, about["slack"], c["rule"], dict[float, Any]()
        known = c["kind"] == "label" and c["parent"] is None and 0 <= slack < 1e-6
        need(
            known and rule in ("no-split/1", "cohen/1", "anytime/1", "capped/2"), f"not checked: rule {rule}"
        )
        if rule == "capped/2" and votes:
            line = self.lines[about["boundary"]]
            for r, p in [(plan["radius"], line["p0"]), *((r, p) for r, p, _ in line["levels"])]:
                need(p >= share_for(r, plan, slack) - 1e-15, f"the boundary for radius {r:g} is too low")
            proof = capped(plan, votes, line)
        elif rule == "capped/2":
            proof = None, 0.0, 0.0, 0.0
        else:
            proof = anytime(plan, votes, slack, hits) if rule == "anytime/1" else fixed(plan, votes, slack)
        label, p, radius, told = proof
        if hits and same(c["radius"] + 0.0, max(hits)):
            radius, p = max(hits), share_for(max(hits), plan, slack)
        every, counted = Tally(votes), Tally(votes[plan["n0"] :])
        failed = every.failed > 0.05 * every.n and c["stopped"] != "budget"
        label, told = (label, told) if radius > 0 and not failed else (None, told if not failed else 0.0)
        hit = label is not None and plan["radius"] is not None and radius >= plan["radius"]
        found = {
            "label": label,
            "radius": 0.0 if label is None else radius,
            "p_lower": told if label is None else p,
            "votes": counted.counts.get(counted.leader if label is None else label, 0),
            "n": counted.n,
            "counts": counted.counts,
            "failed": every.failed,
            "reached": None if plan["radius"] is None else hit,
            "stopped": "failed" if failed else "target" if hit else c["stopped"],
        }
        found |= (
            {"linf_radius": found["radius"] / math.sqrt(3 * math.prod(c["space"]))}
            if c["norm"] == "l2"
            else {}
        )
        for name, value in found.items():
            need(same(c[name], value), f"{name} is {c[name]}, the votes say {value}")
        need([r["radius"] for r in c["radii"]] == plan["radii"], "the radii are not those that were planned")
        for r in c["radii"]:
            at = (
                hits.get(r["radius"])
                if rule == "anytime/1"
                else (label, c["n"])
                if label and radius >= r["radius"]
                else None
            )
            right = (
                r["reached"] is not True if at is None else [True, *at] == [r["reached"], r["label"], r["n"]]
            )
            need(right, f"at radius {r['radius']:g} the votes say {at}")

    def end(self) -> None:
        need(self.plan is not None, "there is no commitment")
        whole = (
            len(self.items) == self.promise["items"]
            and self.digest.hexdigest() == self.promise["items_sha256"]
        )
        need(whole, "the images are not those that were committed to")
        need(self.last["schema"] == "api-smooth/finished/1", "the run is not finished, or its end is missing")
        left = len(self.items) - len(set(self.done))
        need(left == self.last["left"], f"{left} images are missing, where {self.last['left']} were left")


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    need(len(dict(pairs)) == len(pairs), "a name stands twice")
    return dict(pairs)


def check(path: str, *published: str) -> dict[str, Any]:  # raises ValueError where it is no run file
    *lines, torn = Path(path).read_bytes().split(b"\n")
    header, faults = json.loads(lines[0]), ["the last line is torn"] if torn else []
    need(header["schema"] == "api-smooth/run/1", "this is no run file")
    run, chains = Run(header), [hashlib.sha256(b"\n" + canonical(header)).hexdigest()]
    for number, text in enumerate(lines[1:], 2):
        try:
            run.last = line = json.loads(text, object_pairs_hook=once)
            chains.append(hashlib.sha256(chains[-1].encode() + b"\n" + canonical(line)).hexdigest())
            if line.get("chain") != chains[-1]:
                chains[-1] = line["chain"]
                faults.append(f"line {number}: the chain is broken: a line is missing here, or was changed")
            getattr(run, line["schema"].split("/")[1], lambda line: None)(line)
        except Fault as fault:
            faults.append(f"line {number}: {fault}")
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            faults.append(f"line {number} is not as the format has it: {type(error).__name__} {error}")
    try:
        need(set(published) <= set(chains), "a chain that was published is not in the file")
        run.end()
    except Fault as fault:
        faults.append(str(fault))
    sums = {"certificates": run.certificates, "queries": run.queries, "usd": run.queries * run.price}
    return {"verified": not faults, "faults": faults, "images": len(run.items), **sums, "chain": chains[-1]}


if __name__ == "__main__":
    try:
        result = check(*sys.argv[1:])
    except (LookupError, OSError, ValueError, TypeError, Fault) as error:
        sys.exit(print(f"cannot be read: {error}", file=sys.stderr) or 2)
    print(*result.pop("faults"), json.dumps(result), sep="\n")
    sys.exit(0 if result["verified"] else 1)
