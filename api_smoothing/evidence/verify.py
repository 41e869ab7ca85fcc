"""Check a run file of api-smooth from the file alone: `python verify.py RUN [CHAIN …]`.

With the two files verify_….py beside it, it can be copied and run anywhere with the standard library (Python 3.11).
Votes, bounds, radii, errors, dollars, claims and what was committed to before the first query are derived again from
the answers in RUN, to one part in 10⁹. A CHAIN published while it was made must stand in it. Exit code 0: verified; 1:
not, each fault on a line; 2: no run file that can be read. docs/evidence.md: the format, and what is not checked.
"""

# fmt: off
import hashlib
import json
import math
import runpy
import sys
from bisect import bisect_left
from collections.abc import Iterator
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist
from typing import Any

FAILED, SETTINGS = object(), ("provider", "model", "denoiser", "label_map", "sigma", "alpha", "noise", "seed")
GRID = [math.erfc(-i / 1000 / math.sqrt(2)) / 2 for i in range(7000)]  # of the confidence sequence

class Fault(ValueError): ...  # what does not hold, in a line
def need(truth: object, says: str) -> None:
    if not truth:
        raise Fault(says)
def tail(k: int, n: int, p: float) -> float:  # P(Bin(n, p) ≥ k), the sum of its terms
    log, hit, miss = math.lgamma, math.log(p), math.log1p(-p)
    logs = (log(n + 1) - log(i + 1) - log(n - i + 1) + i * hit + (n - i) * miss for i in range(k, n + 1))
    return math.fsum(map(math.exp, logs))
@cache
def bound(rule: str, k: int, n: int, alpha: float) -> float:  # on a class with k of n votes, with error α; 0: none
    least = bisect_left(range(n + 1), True, lo=n // 2 + 1, key=lambda k: 2 * tail(k, n, 0.5) <= alpha)
    # cohen: other votes chose the class; no-split: these did; leader: they did, and nothing is certified
    low, high = {"cohen": (0.0, 1.0), "no-split": (0.5, 1.0), "leader": (0.0, 0.5)}[rule]
    for _ in range(48):
        p = (low + high) / 2
        errs = tail(k, n, p) / (p if rule == "leader" else 1) + (tail(least, n, 1 - p) if rule == "no-split" else 0)
        low, high = (p, high) if errs <= alpha else (low, p)
    return 0.0 if rule == "no-split" and k < least else low
@cache
def log_e(k: int, n: int, p: float) -> float:  # e-value against ≤ p: 0.8 Beta(½,½) above p, 0.2 at 1
    a, b, x, f = k + 0.5, n - k + 0.5, p, 1.0
    null, log = k * math.log(p) + (n - k) * math.log1p(-p), math.lgamma(a) + math.lgamma(b) - math.lgamma(n + 1)
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
    steps = range(1, math.ceil(min(1000, 2000 * k / n)) if k > 1 else 1)
    return next((j - 1 for j in steps if log_e(k, n, j / 2000) < -math.log(alpha * j / 2000)), len(steps)) / 2000
NOISES: dict[str, Any] = {  # the share that a radius takes, in units of σ, and back
    "gaussian": (lambda z: math.erfc(-z / math.sqrt(2)) / 2, NormalDist().inv_cdf),  # Cohen et al. 2019, Thm 1
    "uniform": (lambda z: 0.5 + z / math.sqrt(12), lambda p: math.sqrt(12) * (p - 0.5)),  # Yang et al. 2020, Table 1
    "laplace": (lambda z: 1 - math.exp(-z * math.sqrt(2)) / 2, lambda p: -math.log(2 - 2 * p) / math.sqrt(2)),
}
def radius_of(p: float, plan: Any, slack: float) -> float:
    return float(plan["sigma"] * NOISES[plan["noise"]][1](p - slack)) if p - slack > 0.5 else 0.0
def share_for(radius: float, plan: Any, slack: float) -> float:  # what p must exceed, its rounding included
    return float(NOISES[plan["noise"]][0](radius / plan["sigma"]) * (1 + 1e-14) + slack)
def met(counts: list[int], p: float) -> float:  # P(ever K(n) votes of n); what is left out, 10⁻¹⁸ a step, is added
    mass, first, crossed = [1.0], 0, 0.0
    for top in counts:
        mass = [p * a + (1 - p) * b for a, b in zip([0.0, *mass], [*mass, 0.0], strict=True)]
        while mass and (first + len(mass) > top or mass[-1] < 1e-18):
            crossed += mass.pop()
        while mass and mass[0] < 1e-18:
            crossed, first = crossed + mass.pop(0), first + 1
    return crossed
@cache
def error(text: str) -> float:  # of a boundary and the levels below it, over all classes; ∞ where there is no proof
    line = json.loads(text)
    p0, levels, f = line["p0"], line["levels"], cache(partial(met, line["counts"]))
    steps = [*((p, counts) for _, p, counts in levels), (p0, line["counts"])]
    rising = all(a < b for (a, _), (b, _) in pairwise(steps)) and (not levels or levels[0][1] < 0.5 + 1e-6)
    early = any(k <= n and k - 1 < p * (n - 1) * (1 - 1e-12) for p, counts in steps for n, k in enumerate(counts, 1))
    if early or not rising or any(p < 0.5 or any(b > a + 1 for a, b in pairwise(counts)) for p, counts in steps):
        return math.inf
    low = cache(partial(met, levels[0][2])) if levels else lambda p: 0.0
    last = low(1 - levels[-1][1]) if levels else 0.0
    grid = [0.5 + share * (p0 - 0.5) for share in (0.0, 0.4, 0.7, 0.85, 0.95, 1.0)]
    errors = [2 * (f(0.5) + low(0.5)), *(f(b) + f(1 - a) + last for a, b in pairwise(grid))]
    return max(*errors, *(met(b, q) + f(q) + low(1 - p) + f(1 - p) for (_, p, _), (_, q, b) in pairwise(levels)))

def tallies(votes: list[Any]) -> Iterator[tuple[dict[Any, int], Any, int]]:  # counts, leader, its votes; vote by vote
    counts, leader = dict[Any, int](), None
    yield counts, leader, 0
    for vote in votes:
        if vote is not None and vote is not FAILED:
            counts[vote] = counts.get(vote, 0) + 1
            leader = vote if counts[vote] > counts.get(leader, 0) else leader  # a tie keeps the earlier one
        yield counts, leader, counts.get(leader, 0)
def tally(votes: list[Any]) -> tuple[dict[Any, int], Any, int]:
    return [*tallies(votes)][-1]
def fixed(plan: Any, votes: list[Any], slack: float, *about: Any) -> Any:  # n0 votes choose the class, or all n do
    n, n0, alpha, target = map(plan.get, ("n", "n0", "alpha", "radius"))
    counts, leader, _ = tally(votes[n0:])
    need(len(votes) <= n0 + n, f"{len(votes)} answers, where {n0 + n} were planned")
    rule, label = ("cohen", tally(votes[:n0])[1]) if n0 else ("no-split", leader)
    p = bound(rule, k := counts.get(label, 0), n, alpha)
    told = (bound("leader", k, n, alpha) if not n0 else min(0.5, p)) if label == leader else 0.0
    if target is not None and p >= (share := share_for(target, plan, slack)):  # whatever the others will say
        return label, share, target, told
    if len(votes) < n0 + n or plan["rule"] != "runner-up/1":
        return label, p, radius_of(p, plan, slack) if len(votes) == n0 + n else 0.0, told
    most = max([n - sum(counts.values()), *(count for name, count in counts.items() if name != label)])  # no label: one
    p, z = bound(rule, k, n, 0.9 * alpha), NormalDist().inv_cdf  # Cohen et al. 2019, Thm 1, equation (3)
    q = min(1 - bound(rule, n - most, n, 0.1 * alpha), 1 - p) + slack
    return label, p, max(0.0, plan["sigma"] / 2 * (z(p - slack) - z(q))) if p - slack > q else 0.0, told
def anytime(plan: Any, votes: list[Any], slack: float, line: Any, hits: dict[float, Any]) -> Any:  # hits: label, n
    proved, label, p = dict[Any, int](), None, 0.0
    wanted = {r: share_for(r, plan, slack) for r in [*plan["radii"], plan["radius"]] if r is not None}
    for n, (vote, (counts, *_)) in enumerate(zip([None, *votes], tallies(votes), strict=True)):
        k, at = counts.get(vote, 0), proved.get(vote, 0)
        while 2 * k > n and at < len(GRID) and k > n * GRID[at]:
            low, log = GRID[at], -math.log(plan["alpha"] * GRID[at])
            most = k * math.log(k / n / low) + ((n - k) * math.log((n - k) / n / (1 - low)) if k < n else 0.0)
            if most < log - 1e-6 or log_e(k, n, low) < log:  # no mixture exceeds the best alternative
                break
            proved[vote] = at = at + 1
        label = max(proved, key=lambda name: proved[name], default=None)
        p = GRID[proved[label] - 1] if label is not None else 0.0
        hits |= {r: (label, n) for r, share in wanted.items() if p >= share and r not in hits}
    radius, top = radius_of(p, plan, slack), tally(votes)[2]
    return label, p, radius, 0.0 if radius else of_leader_anytime(top, len(votes), plan["alpha"])
def capped(plan: Any, votes: list[Any], slack: float, line: Any, *_: Any) -> Any:  # and levels below, on the way
    label, level, levels, top = None, 0, line["levels"], 0
    for n, (_counts, leader, top) in enumerate(tallies(votes)):
        if n and top >= line["counts"][n - 1]:
            return leader, line["p0"], plan["radius"], 0.0
        while n and level < len(levels) and top >= levels[level][2][n - 1] and (level == 0 or leader == label):
            label, level = leader, level + 1
    radius, p = levels[level - 1][:2] if level > 1 else (0.0, 0.0)
    return label, p, radius, 0.0 if radius else of_leader_anytime(top, len(votes), plan["alpha"])
METHODS = {"no-split/1": "fixed", "cohen/1": "clopper-pearson", "runner-up/1": "runner-up"}
RULES: dict[str, Any] = {**dict.fromkeys(METHODS, fixed), "anytime/1": anytime, "capped/2": capped}
KINDS = ("commitment", "planned", "boundary", "answers", "unreadable", "clean", "certificate", "claim")
@cache
def beside(name: str) -> Any:  # what is too long for this file
    need((file := Path(__file__).with_name(name)).exists(), f"what needs {name} beside this file is not checked")
    return runpy.run_path(str(file))
def same(a: Any, b: Any) -> bool:
    real = isinstance(a, float) or isinstance(b, float)
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) if real and None not in (a, b) else bool(a == b)
def canonical(values: Any) -> bytes:
    line = {name: value for name, value in values.items() if name != "chain"}
    return json.dumps(line, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
def agree(says: Any, right: dict[str, Any]) -> None:
    for name, value in right.items():
        need(same(says.get(name), value), f"{name} is {says.get(name)}, and not {value}")

class Run:  # what the lines have told so far; a method for each kind of line
    def __init__(self, header: Any) -> None:
        need(header["schema"] == "api-smooth/run/1", "this is no run file")
        self.settings, self.plan, self.price, self.promise = header["settings"], dict[str, Any](), 0.0, dict[str, Any]()
        self.items, self.places, self.digest, self.done = list[Any](), dict[str, int](), hashlib.sha256(), list[int]()
        self.told, self.open, self.about = dict[str, Any](), dict[str, list[Any]](), dict[str, Any]()  # by image
        self.boundaries: dict[str, Any] = {"": {"p0": 1.0, "counts": [], "levels": []}}
        self.versions, self.queries, self.certificates, self.reused, self.claimed = set[Any](), 0, 0, 0, False
        self.last, self.unsmoothed = dict[str, Any](), dict[str, Any]()  # by item
    def commitment(self, line: Any) -> None:
        need(not (self.plan or self.about or self.done), "it was not committed to once, before everything")
        self.plan, self.price, self.promise = line["plan"], line["price_usd"], line
        for name, value in {**self.plan, "price_usd": self.price}.items():
            need(name in ("radius", "radii") or same(self.settings.get(name, value), value), f"{name} is not the run's")
    def planned(self, line: Any) -> None:
        need(line["number"] == len(self.items) and not self.about, "an image is planned too late, or out of its place")
        need(self.places.setdefault(line["id"], line["number"]) == line["number"], "an image is planned twice")
        self.told[line["image_sha256"]], self.open[line["image_sha256"]] = dict[int, Any](), list[Any]()
        self.items.append({name: line[name] for name in ("id", "path", "truth", "image_sha256")})
        self.digest.update(canonical(line) + b"\n")
    def boundary(self, line: Any) -> None:
        text = canonical({name: line[name] for name in ("p0", "counts", "levels")}).decode()
        need(error(text) <= self.plan["alpha"] * (1 + 1e-9), f"the boundary errs with probability {error(text):.3g}")
        self.boundaries[hashlib.sha256(text.encode()).hexdigest()] = line
    def answers(self, line: Any) -> None:  # from number 0 on without a gap; after a stop they are told again, as kept
        image = line["image_sha256"]
        need(image in self.open, "answers about an image that was not planned")
        tries, first = self.open[image], self.about.setdefault(image, line)
        there = line.get("boundary", "") in self.boundaries and line.get("boundary") == first.get("boundary")
        need(there and line["slack"] == first["slack"], "what decides was not there before the first answer")
        for number, vote, how, digest, *_ in line["answers"]:
            tries += [] if number else [[]]
            need(tries and number == len(tries[-1]), f"answer {number} is out of its place, or one before is missing")
            first, self.told[image][number] = self.told[image].get(number, (None, None)), (vote, digest)
            told = (first[1] is None or first == (vote, digest)) and (vote is None or digest)  # failed: asked again
            need(told, f"answer {number} {'was asked twice' if how == 'asked' else 'is not what it was'}")
            tries[-1].append((FAILED if digest is None else vote, how))
    def unreadable(self, line: Any, digest: Any = None) -> None:  # or certified, with its digest
        place, last = self.places[line["item"]], max(self.done, default=-1)
        need(self.items[place]["image_sha256"] == digest, "an image that was read is said not to be readable")
        due = place == last + 1 or place in self.done or not self.promise["ordered"]
        self.done.append(place)
        need(due, "an image before this one is missing, or this one is not in its place")
    def clean(self, line: Any) -> None:
        self.queries += (queries := line["queries"])
        need(same(line["cost_usd"], queries * self.price), "the dollars are not those of its queries")
        self.unsmoothed[line["item"]] = line["label"]
    def claim(self, line: Any) -> None:
        self.claimed = True
        need(not (found := [*beside("verify_claim.py")["faults"](self, line)]), "; ".join(found))
    def certificate(self, c: Any) -> None:
        plan, rule, image = self.plan, c["rule"].partition("+")[0], c["image_sha256"]  # +: the prior of a boundary
        item, n, tries = self.items[self.places[c["item"]["id"]]], c["n"] + c["n0"], self.open[image]
        self.queries, self.certificates = self.queries + c["queries"], self.certificates + 1
        self.unreadable({"item": item["id"]}, item["image_sha256"])
        self.last[item["id"]], self.reused = c, self.reused + (c["parent"] is not None)
        if c["parent"] is not None:  # the distance that decides is not in the file
            return
        self.versions |= {c["model_version"]} if c["n"] > c["failed"] else set()
        need(len(self.versions) <= 1, f"the model is another one: {c['model_version']}")
        need(rule in RULES and rule in (plan["rule"], "anytime/1" * (c["looks"] > 1)), f"not checked: rule {rule}")
        kept = [t for t in tries if sum(how == "kept" for _, how in t) == c["cached"]]  # not one that was cut off
        fits = [t for t in kept if len(t) // plan["paths"] == n or (c["stopped"] == "failed" and len(t) > n)]
        need(fits or n == c["cached"] == 0, f"there are no {n} answers for it, {c['cached']} of them kept")
        segment = tries.pop(tries.index(fits[0])) if n else []
        need(c["queries"] >= sum(how == "asked" for vote, how in segment if vote is not FAILED), "queries are too few")
        polls = [[vote for vote, _ in segment[i * plan["paths"] :][: plan["paths"]]] for i in range(n)]  # of all paths
        votes = [FAILED if FAILED in poll else max(dict.fromkeys(poll), key=poll.count) for poll in polls]
        about: Any = self.about[image] if votes else {"slack": 0.0}
        line, slack, hits = self.boundaries[about.get("boundary", "")], about["slack"], dict[float, Any]()
        for r, p in [(plan["radius"] or 0.0, line["p0"]), *((r, p) for r, p, _ in line["levels"])]:
            need(p >= share_for(r, plan, slack) - 1e-15 and 0 <= slack < 1e-6, f"the boundary for {r:g} is too low")
        label, p, radius, told = RULES[rule](plan, votes, slack, line, hits)  # told: the bound of an abstention
        if hits and same(c["radius"], max(hits)):  # the largest that was asked for, not the most that is proved
            radius, p = max(hits), share_for(max(hits), plan, slack)
        if failed := votes.count(FAILED) > 0.05 * len(votes) and c["stopped"] != "budget":
            radius = told = 0.0
        label, radius, p = (label, radius, p) if radius > 0 else (None, 0.0, told)
        (counts, leader, _), total = tally(votes[plan["n0"] :]), plan["alpha"]
        shown, hit = leader if label is None else label, radius >= (plan["radius"] or math.inf)
        second = max((name for name in counts if name != shown), key=counts.__getitem__, default=None)
        if plan["rule"] != "anytime/1" or failed:  # all are read from the one bound
            hits = {r: (label, n) for r in plan["radii"] if label and r <= radius and c["stopped"] != "budget"}
        agree(c, {name: self.settings[name] for name in SETTINGS if name in self.settings} | {
            "item": {name: item[name] for name in ("id", "path", "truth")}, "image_sha256": item["image_sha256"],
            "kind": "label", "exploratory": False, "epoch": self.settings.get("epoch"), "target_radius": plan["radius"],
            "norm": "l2" if plan["noise"] == "gaussian" else "l1", "method": METHODS.get(rule, "sequential"),
            "alpha_total": total if c["looks"] == 1 else min(max(c["alpha_total"], total), 2 * total),
            "n0": min(plan["n0"], len(votes)), "n": max(0, len(votes) - plan["n0"]), "counts": counts,
            "failed": votes.count(FAILED), "votes": counts.get(shown, 0), "runner_up": second,
            "label": label, "radius": radius, "p_lower": p, "reached": None if plan["radius"] is None else hit,
            "stopped": "failed" if failed else "target" if hit else c["stopped"], "cost_usd": c["queries"] * self.price,
            "linf_radius": radius / math.sqrt(3 * math.prod(c["space"])) if c["norm"] == "l2" else None,
        })
        seen = radius, c["norm"], tuple(c["space_original"]), tuple(c["space"]), c.get("original")
        most = beside("verify_original.py")["carried"](*seen) if radius else 0.0
        need(0 <= c["radius_original"] <= most * (1 + 1e-9), "radius_original is more than follows")
        said = [[r["radius"], r["label"], r["n"]] if r["reached"] else [r["radius"], r["label"]] for r in c["radii"]]
        right = [[r, *hits.get(r, [None])] for r in plan["radii"]]
        need(said == right, f"radii, labels and n are {said}, and not {right}")

def check(path: str, *published: str) -> dict[str, Any]:  # raises an error where it is no run file
    *lines, torn = Path(path).read_bytes().split(b"\n")
    run, faults, line = Run(json.loads(lines[0])), list[str](), dict[str, Any]()
    chains = [hashlib.sha256(b"\n" + canonical(json.loads(lines[0]))).hexdigest()]
    for number, text in enumerate(lines[1:], 2):
        try:
            line = json.loads(text)
            chain = hashlib.sha256(chains[-1].encode() + b"\n" + canonical(line)).hexdigest()
            chains.append(line["chain"])
            if line["chain"] != chain:
                faults.append(f"line {number}: the chain is broken: a line is missing here, or was changed")
            if (kind := line["schema"].split("/")[1]) in KINDS:
                getattr(run, kind)(line)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as raised:
            faults.append(f"line {number}: {raised if isinstance(raised, Fault) else f'malformed: {raised!r}'}")
    left, digest = len(run.items) - len(set(run.done)), run.digest.hexdigest()
    faults += [says for holds, says in [
        (not torn, "the last line is torn"),
        (set(published) <= set(chains), "a chain that was published is not in the file"),
        ([len(run.items), digest] == [*map(run.promise.get, ("items", "items_sha256"))], "other images were planned"),
        (line.get("schema") == "api-smooth/finished/1", "the run is not finished, or its end is missing"),
        (left <= line.get("left", left), f"{left} images are missing, and {line.get('left')} are said to be"),
        (run.claimed or "at_least" not in run.settings, "the state of its claim is missing"),
        (not run.reused, f"not checked: {run.reused} answers for a neighbour (reuse): no distance is in the file"),
    ] if not holds]
    faults = faults if run.plan else ["it has no commitment, and so shows nothing that could be checked"]
    asked = run.queries + sum(h == "asked" and v is not FAILED for t in run.open.values() for a in t for v, h in a)
    sums = {"certificates": run.certificates, "queries": asked, "usd": asked * run.price}  # cut-off sessions' as well
    return {"verified": not faults, "faults": faults, "images": len(run.items), **sums, "chain": chains[-1]}

if __name__ == "__main__":
    try:
        result = check(*sys.argv[1:])
    except (LookupError, OSError, ValueError, TypeError, AttributeError, RecursionError) as raised:
        sys.exit(print(f"cannot be read: {raised}", file=sys.stderr) or 2)
    sys.exit(print(*result.pop("faults"), json.dumps(result), sep="\n") or int(not result["verified"]))
