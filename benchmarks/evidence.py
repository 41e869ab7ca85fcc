"""A thousand honest run files and a thousand tampered ones, through `api_smoothing/evidence/verify.py`.

    python benchmarks/evidence.py [--files 1000] [--seed 0] [--json]

Votes are simulated; the file is made by what makes any: the certifiers, the reports, the writer of evidence. Some runs
are killed and go on, some spend their budget, some queries fail. Of each honest file one tampered copy is made, by one
of the ways in `WAYS`; all but the plainest rewrite the chain from there on, as a forger would. Prints how many honest
ones pass and how many tampered ones are caught, by way, and the seconds of a check.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rows import Plan, Row

from api_smoothing import evidence, images, runs
from api_smoothing.certify import FAILED, Spec, certifier_of
from api_smoothing.certify.target import TargetCertifier
from api_smoothing.claims.claim import Claim
from api_smoothing.engine.report import certificate
from api_smoothing.engine.votes import QueryCount
from api_smoothing.evaluation.drive import claim_line
from api_smoothing.events import AnswersCounted, CountedAnswer, ImageCertified, ImageStarted
from api_smoothing.evidence.verify import check
from api_smoothing.recorded.run import read_run
from api_smoothing.recorded.summary import certified_at
from api_smoothing.results import Certificate, Item, Look, Provenance

PRICE = 0.001
SLACK = 3e-15
Lines = list[dict[str, Any]]
Way = Callable[[Lines, random.Random], Lines | None]


# Honest runs


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run asks of every image; `radii` are read off the one bound of a rule that is not for several.

    `at_least` makes a claim of it, about the first of `radii`, or the radius.
    """

    spec: Spec
    radii: tuple[float, ...] = ()
    at_least: float | None = None


def plans() -> list[Asked]:
    """One of every rule that is checked, with one radius, several, and none."""
    base = Spec(sigma=0.25, alpha=0.001, n=100)
    several = (0.0, 0.1, 0.25)
    return [
        Asked(base),
        Asked(base, several),
        Asked(replace(base, n=60, noise="laplace")),
        Asked(replace(base, method="fixed", radius=0.1)),
        Asked(replace(base, method="sequential")),
        Asked(replace(base, radii=several, noise="uniform")),
        Asked(replace(base, radii=several, n=200)),
        Asked(replace(base, radii=several, n=None, cap=150)),
        Asked(replace(base, method="clopper-pearson", n0=20), several),
        Asked(replace(base, method="clopper-pearson", n0=20, radius=0.1)),
        Asked(replace(base, method="runner-up", n0=20)),
        Asked(replace(base, method="runner-up", n0=20), several),
        Asked(replace(base, radius=0.1), at_least=0.3),
        Asked(replace(base, n=60), (0.0,), at_least=0.7),
        Asked(replace(base, radius=0.1)),
        Asked(replace(base, radius=0.2, n=60)),
    ]


@dataclass(slots=True)
class Image:
    """A picture, where it stands in the data, and what the model says of its noisy copies."""

    item: Item
    loaded: images.Loaded
    votes: list[Any]
    told: int = 0  # answers that are kept


def pictures(count: int, rng: random.Random) -> list[Image]:
    """`count` pictures, resized to four by four pixels or not, some of them twice; votes for 400 queries."""
    found: list[Image] = []
    for number in range(count):
        shape = rng.choice([(4, 4, 3), (4, 4, 3), (4, 4), (9, 6, 3), (3, 3, 3), (7, 4, 3)])
        pixels = np.array([rng.randrange(256) for _ in range(math.prod(shape))], np.uint8).reshape(shape)
        item: Item = {"id": f"{number}", "path": f"{number}.png", "truth": rng.choice(["cat", "dog", None])}
        if found and rng.random() < 0.1:
            found.append(Image(item, found[-1].loaded, found[-1].votes))
            continue
        top, fails = rng.choice([1.0, 0.97, 0.9, 0.75, 0.6, 0.4]), rng.choice([0.0, 0.0, 0.0, 0.01, 0.08])
        names = ["cat", "dog", "ship", None, FAILED]
        weights = [top, *[(1.0 - top) / 3] * 3, fails]
        found.append(Image(item, images.load(pixels, size=4), rng.choices(names, weights, k=400)))
    return found


def honest(path: Path, rng: random.Random) -> None:
    """Write one run, from its commitment to its end, as the engine would with these votes."""
    plan = rng.choice(plans())
    done = pictures(rng.randrange(2, 6) if plan.at_least is None else rng.randrange(12, 30), rng)
    lost = rng.randrange(len(done)) if rng.random() < 0.2 else None  # one that cannot be read
    stops = rng.random() < 0.2  # the process is killed in the middle of an image
    left = 1 if rng.random() < 0.2 else 0
    with runs.open(path, _settings(plan, len(done))) as run:
        _commit(run, plan, done, lost)
        with evidence.Writer(run) as writer:
            for index, image in enumerate(done[: len(done) - left]):
                if index == lost:
                    line = {"schema": "api-smooth/unreadable/1", "item": image.item["id"], "reason": "torn"}
                    run.append_line(line)
                    continue
                if stops and index == 1:
                    _ask(plan, image, index, writer, rng, stop=rng.randrange(1, 15))
                    break
                if rng.random() < 0.1:  # the budget ends this one, and a later run takes it up again
                    run.append(_ask(plan, image, index, writer, rng, stop=rng.randrange(15)))
                run.append(_ask(plan, image, index, writer, rng))
    if stops:
        with runs.open(path, _settings(plan, len(done))) as run:
            _commit(run, plan, done, lost)
            with evidence.Writer(run) as writer:
                for index, image in enumerate(done[: len(done) - left]):
                    if index == lost and index > 0:
                        run.append_line(
                            {"schema": "api-smooth/unreadable/1", "item": image.item["id"], "reason": "torn"}
                        )
                    elif index != lost and index >= 1:
                        run.append(_ask(plan, image, index, writer, rng))
    with runs.open(path, _settings(plan, len(done))) as run:
        if plan.at_least is not None:
            run.append_line(_claimed(path, plan, done[: len(done) - left], len(done)))
        evidence.finish(run, seconds=1.5, left=left)


def _settings(plan: Asked, population: int) -> dict[str, Any]:
    settings = {**_provenance(plan.spec).to_dict(), "question": "evaluate", "n": plan.spec.n}
    if plan.at_least is None:
        return settings
    return {**settings, "at_least": plan.at_least, "confidence": 0.95, "population": population}


def _claimed(path: Path, plan: Asked, done: list[Image], population: int) -> Mapping[str, Any]:
    """The claim's line, of the state machine that is told one image after the other until it is decided."""
    assert plan.at_least is not None
    radius = plan.radii[0] if plan.radii else plan.spec.radius
    assert radius is not None
    claim = Claim(plan.at_least, population=population, alpha=2 * plan.spec.alpha)
    found = read_run(path).by_item()
    for image in done:
        certificate_ = found.get(image.item["id"])
        if certificate_ is not None and certificate_.stopped == "budget":
            break
        if claim.state == "open":
            label_ = None if certificate_ is None else certified_at(certificate_, radius)
            claim.add(label_ is not None and label_ == image.item["truth"], plan.spec.alpha)
    return claim_line(claim, radius, "truth")


def _provenance(spec: Spec) -> Provenance:
    return Provenance(
        provider="toy", model="v1", denoiser=None, label_map=None, sigma=spec.sigma, alpha=spec.alpha,
        method=spec.method, noise=spec.noise, seed="secret:0123456789abcdef",
    )  # fmt: skip


def _commit(run: runs.RunFile, plan: Asked, done: list[Image], lost: int | None) -> None:
    planned = [
        {**image.item, "image_sha256": None if number == lost else image.loaded.digest.hex()}
        for number, image in enumerate(done)
    ]
    evidence.commit(run, planned, spec=plan.spec, price_usd=PRICE, radii=plan.radii or plan.spec.radii)


def _ask(
    plan: Asked, image: Image, index: int, writer: evidence.Writer, rng: random.Random, stop: int = 1000
) -> Certificate:
    """One image's certificate, after `stop` new answers at most; tells the writer what the engine tells observers."""
    spec = replace(plan.spec, slack=SLACK)
    certifier, count, sha256 = certifier_of(spec), QueryCount(), image.loaded.digest.hex()
    boundary = certifier.boundary if isinstance(certifier, TargetCertifier) else None
    about = {"image": image.loaded.source, "index": index, "image_sha256": sha256}
    writer(ImageStarted(**about, planned=spec.n, slack=SLACK, boundary=boundary))
    taken: list[Any] = []
    while wanted := certifier.need():
        fresh = max(0, len(taken) + wanted - image.told)
        wanted = wanted - max(0, fresh - stop)
        votes = image.votes[len(taken) : len(taken) + wanted]
        if not votes:
            break
        answers = [_answer(number, image, rng) for number in range(len(taken), len(taken) + wanted)]
        count.cached += sum(answer.kept for answer in answers)
        count.sent += sum(not answer.kept for answer in answers)
        stop -= sum(not answer.kept for answer in answers)
        for vote in votes:
            count.count(vote)
        writer(AnswersCounted(**about, answers=tuple(answers)))
        taken += votes
        image.told = max(image.told, len(taken))
        certifier.add(votes)
    count.sent += rng.choice([0, 0, 0, 1]) if count.sent else 0  # an attempt that failed, and was made again
    found = certificate(
        certifier.result(), count, image.loaded, provenance=_provenance(spec), target=spec.radius,
        cost_usd=count.sent * PRICE,
        look=Look(later=False, rule=spec.rule, looks=1, alpha_total=spec.alpha, exploratory=False),
        radii=plan.radii,
    )  # fmt: skip
    writer(ImageCertified(image=image.loaded.source, index=index, certificate=found))
    return replace(found, item=image.item)


def _answer(number: int, image: Image, rng: random.Random) -> CountedAnswer:
    vote = image.votes[number]
    return CountedAnswer(
        number=number,
        vote=None if vote is FAILED else vote,
        failed=vote is FAILED,
        kept=number < image.told,
        sha256=f"{number:064x}",
        request_id=f"{rng.getrandbits(64):x}" if number % 2 else None,
    )


# Tampering


def flipped(lines: Lines, rng: random.Random) -> Lines | None:
    """One vote that is counted is for another class."""
    line = _one(lines, "answers", rng)
    n0 = _of(lines, "commitment")[0]["plan"]["n0"]  # votes that choose the class are told by no count
    counted = [c for c in _of(lines, "certificate") if c["image_sha256"] == line["image_sha256"]]
    last = min(
        (c["n0"] + c["n"] for c in counted if c["stopped"] == "failed"), default=1000
    )  # later ones in none
    answer = rng.choice([answer for answer in line["answers"] if n0 <= answer[0] < last])
    answer[1] = "ship" if answer[1] != "ship" else "cat"
    return lines


def flipped_and_counted(lines: Lines, rng: random.Random) -> Lines | None:
    """One vote is for the class that is certified, and the counts say so; the bound is another one then.

    The confidence sequence is on a grid: there a vote may move nothing, and a file that fits itself is not caught.
    """
    if _of(lines, "commitment")[0]["plan"]["rule"] == "anytime/1":
        return None
    found = _last_certificates(lines)
    found = [c for c in found if c["label"] and len(c["counts"]) > 1]
    if not found:
        return None
    c = rng.choice(found)
    other = next(name for name in c["counts"] if name != c["label"])
    places = [
        answer
        for line in lines
        if line["schema"] == "api-smooth/answers/1" and line["image_sha256"] == c["image_sha256"]
        for answer in line["answers"]
        if answer[1] == other
    ]
    number = rng.choice(places)[0]
    for answer in places:
        if answer[0] == number:
            answer[1] = c["label"]
    if number < c["n0"]:
        return None
    c["counts"][c["label"]] += 1
    c["votes"] += 1
    c["counts"][other] -= 1
    if not c["counts"][other]:
        del c["counts"][other]
    return lines if c["target_radius"] is None else None  # with a target the same stop may still be right


def swapped_answers(lines: Lines, rng: random.Random) -> Lines | None:
    """Two answers of an image have changed places."""
    line = _one(lines, "answers", rng)
    if len(line["answers"]) < 2:
        return None
    i = rng.randrange(len(line["answers"]) - 1)
    line["answers"][i], line["answers"][i + 1] = line["answers"][i + 1], line["answers"][i]
    return lines


def swapped_lines(lines: Lines, rng: random.Random) -> Lines | None:
    """Two neighbouring lines have changed places: of the plan, or of one image, or two certificates."""
    pairs = [i for i in range(1, len(lines) - 1) if _is_order(lines[i], lines[i + 1])]
    i = rng.choice(pairs)
    lines[i], lines[i + 1] = lines[i + 1], lines[i]
    return lines


def _is_order(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether the order of two lines says something; the answers of several images come as they come."""
    kinds = (a["schema"].split("/")[1], b["schema"].split("/")[1])
    of_one = a.get("image_sha256") == b.get("image_sha256")
    return kinds in {("planned", "planned"), ("certificate",) * 2} or (
        kinds == ("answers", "certificate") and of_one
    )


def omitted(lines: Lines, rng: random.Random) -> Lines | None:
    """A line is left out: of the plan, the boundary, the answers, a certificate, an image that could not be read."""
    last = {c["item"]["id"]: c for c in _of(lines, "certificate")}
    once = [
        c
        for c in last.values()
        if [d["item"]["id"] for d in _of(lines, "certificate")].count(c["item"]["id"]) == 1
    ]
    candidates = [*_of(lines, "planned"), *_of(lines, "unreadable"), *_of(lines, "commitment"), *once]
    candidates += [line for line in _of(lines, "answers") if _is_counted(line, lines)]
    lines.remove(rng.choice(candidates))
    return lines


def second_try(lines: Lines, rng: random.Random) -> Lines | None:
    """An image was asked again until the answers were better; both tries are there, the second one is certified."""
    found = [
        line
        for line in _of(lines, "answers")
        if line["answers"][0][0] == 0 and line["answers"][0][2] == "asked"
    ]
    if not found:
        return None
    line = rng.choice(found)
    first = json.loads(json.dumps(line))
    worse = rng.choice(first["answers"])
    worse[1], worse[3] = ("dog" if worse[1] != "dog" else "ship"), "f" * 32
    lines.insert(lines.index(line), first)
    return lines


def second_certificate(lines: Lines, rng: random.Random) -> Lines | None:
    """A certificate stands there twice: the better one is said to be of the same answers."""
    c = rng.choice(_of(lines, "certificate"))
    if not c["n"] and not c["n0"]:
        return None
    lines.insert(lines.index(c), json.loads(json.dumps(c)))
    return lines


def claimed(lines: Lines, rng: random.Random) -> Lines | None:
    """What the certificates show of all images is told a little better, or not at all."""
    found = _of(lines, "claim")
    if not found:
        return None
    line, name = (
        found[0],
        rng.choice(["state", "lower", "upper", "certified", "looked", "statement", "", "truth"]),
    )
    if not name:
        lines.remove(line)
    elif name == "truth":  # what counts is said to be another thing
        line["reference"] = "unsmoothed"
    elif name == "state":
        line["state"] = "proved" if line["state"] != "proved" else "refuted"
    elif name == "statement":
        line["statement"] = line["statement"].replace("at least 0.", "at least 0.9", 1)
    elif name == "upper":
        line["upper"] -= 0.05
    else:
        line[name] += 0.05 if name == "lower" else 1
    return lines


def original(lines: Lines, rng: random.Random) -> Lines | None:
    """The radius for the image as given is larger than what its way into the noise leaves."""
    found = [c for c in _of(lines, "certificate") if c["radius_original"] > 0.0]
    if not found:
        return None
    rng.choice(found)["radius_original"] *= 1.25
    return lines


def neighbour(lines: Lines, rng: random.Random) -> Lines | None:
    """A certificate is said to be that of a neighbour, which no answers of its own need to prove."""
    c = rng.choice(_of(lines, "certificate"))
    c["parent"], c["radius"] = "0" * 64, c["radius"] + 0.1
    return lines


NUMBERS = (
    "radius", "p_lower", "votes", "n", "n0", "sigma", "alpha", "failed", "cached", "alpha_total", "target_radius",
    "linf_radius",
)  # fmt: skip


def number(lines: Lines, rng: random.Random) -> Lines | None:
    """One figure of a certificate is a little better."""
    c, name = rng.choice(_of(lines, "certificate")), rng.choice(NUMBERS)
    if c[name] is None:
        return None
    c[name] = c[name] + 1 if isinstance(c[name], int) else c[name] * 1.0001 + 1e-6
    return lines


def label(lines: Lines, rng: random.Random) -> Lines | None:
    """Another label is certified, or the truth is another one."""
    c = rng.choice(_of(lines, "certificate"))
    if rng.random() < 0.5:
        c["label"] = "ship" if c["label"] != "ship" else "cat"
    else:
        c["item"]["truth"] = "ship"
    return lines


def reached(lines: Lines, rng: random.Random) -> Lines | None:
    """A radius that was not reached is said to be, or the other way round."""
    found = [entry for c in _of(lines, "certificate") for entry in c["radii"]]
    if not found:
        return None
    entry = rng.choice(found)
    entry["reached"], entry["label"] = not entry["reached"], None if entry["reached"] else "cat"
    return lines


def dollars(lines: Lines, rng: random.Random) -> Lines | None:
    """A certificate cost less, or took fewer queries than it has answers."""
    found = [c for c in _of(lines, "certificate") if c["queries"]]
    if not found:
        return None
    c = rng.choice(found)
    if rng.random() < 0.5:
        c["cost_usd"] *= 0.9
    else:
        c["queries"] //= 2
        c["cost_usd"] = c["queries"] * PRICE
        if c["queries"] >= sum(c["counts"].values()) + c["n0"] - c["cached"]:
            return None
    return lines


def price(lines: Lines, rng: random.Random) -> Lines | None:
    """A query is said to have had another price."""
    if not any(c["queries"] for c in _of(lines, "certificate")):
        return None
    _of(lines, "commitment")[0]["price_usd"] *= 0.5
    return lines


def planned(lines: Lines, rng: random.Random) -> Lines | None:
    """The plan says another n, error or rule, or there are other images than were committed to."""
    commitment = _of(lines, "commitment")[0]
    way = rng.choice(["alpha", "rule", "sigma", "items", "image"])
    if way == "alpha":
        commitment["plan"]["alpha"] = 0.0001
    elif way == "sigma":
        commitment["plan"]["sigma"] = 0.5
    elif way == "rule":
        commitment["plan"]["rule"] = "runner-up/1" if commitment["plan"]["rule"] == "cohen/1" else "cohen/1"
    elif way == "items":
        commitment["items"] += 1
    else:
        _one(lines, "planned", rng)["image_sha256"] = "0" * 64
    return lines


def truncated(lines: Lines, rng: random.Random) -> Lines | None:
    """The file ends early."""
    return lines[: rng.randrange(2, len(lines))]


def an_image_less(lines: Lines, rng: random.Random) -> Lines | None:
    """All lines about one image are gone but for the plan."""
    c = rng.choice(_of(lines, "certificate"))
    return [
        line
        for line in lines
        if line.get("item") != c["item"]
        and (line.get("image_sha256") != c["image_sha256"] or "number" in line)
    ]


def lower_boundary(lines: Lines, rng: random.Random) -> Lines | None:
    """The boundary asks for a vote less than is sound, everywhere."""
    found = _of(lines, "boundary")
    if not found:
        return None
    import hashlib

    line = found[0]
    line["counts"] = [max(1, count - 2) for count in line["counts"]]
    text = {name: line[name] for name in ("p0", "counts", "levels")}
    line["sha256"] = hashlib.sha256(runs.canonical(text)).hexdigest()
    for answers in _of(lines, "answers"):
        answers["boundary"] = line["sha256"]
    return lines


def late_boundary(lines: Lines, rng: random.Random) -> Lines | None:
    """What decides was written down after the first answers."""
    boundary, answers = _of(lines, "boundary")[:1], _of(lines, "answers")[:1]
    if not boundary or not answers:
        return None
    lines.remove(boundary[0])
    lines.insert(lines.index(answers[0]) + 1, boundary[0])
    return lines


def topped_up(lines: Lines, rng: random.Random) -> Lines | None:
    """A fixed number of answers was raised for an image, with more of the label that leads."""
    plan = _of(lines, "commitment")[0]["plan"]
    found = [c for c in _last_certificates(lines) if c["stopped"] == "n" and c["counts"]]
    if not found or plan["rule"] not in ("no-split/1", "cohen/1", "runner-up/1"):
        return None
    c = rng.choice(found)
    line = [a for a in _of(lines, "answers") if a["image_sha256"] == c["image_sha256"]][-1]
    leader, first = next(iter(c["counts"])), line["answers"][-1][0] + 1
    line["answers"] += [[number, leader, "asked", f"{number:032x}"] for number in range(first, first + 50)]
    c["counts"][leader] += 50
    c["n"], c["votes"], c["queries"] = c["n"] + 50, c["votes"] + 50, c["queries"] + 50
    c["cost_usd"] = c["queries"] * PRICE
    return lines


WAYS: dict[str, Way] = {
    way.__name__: way
    for way in (
        flipped, flipped_and_counted, swapped_answers, swapped_lines, omitted, second_try, second_certificate, number,
        label, reached, dollars, price, planned, truncated, an_image_less, lower_boundary, late_boundary, topped_up,
        claimed, original, neighbour,
    )
}  # fmt: skip


def tampered(path: Path, way: Way, rng: random.Random, *, rechained: bool) -> bool:
    """Tamper with a file in place; False where it offers nothing to."""
    before = path.read_text()
    lines = [json.loads(line) for line in before.splitlines()]
    try:
        changed = way(lines, rng)
    except IndexError:  # none to choose from
        return False
    if changed is None:
        return False
    if rechained:
        chain = ""
        for line in changed:
            chain = runs.chained(chain, line)
            if "chain" in line:
                line["chain"] = chain
    path.write_text("".join(json.dumps(line) + "\n" for line in changed))
    return [json.loads(line) for line in before.splitlines()] != changed


def _of(lines: Lines, kind: str) -> Lines:
    return [line for line in lines if line["schema"] == f"api-smooth/{kind}/1"]


def _one(lines: Lines, kind: str, rng: random.Random) -> dict[str, Any]:
    return rng.choice(_of(lines, kind))


def _last_certificates(lines: Lines) -> Lines:
    return list({c["item"]["id"]: c for c in _of(lines, "certificate")}.values())


def _is_counted(line: dict[str, Any], lines: Lines) -> bool:
    """Whether a certificate follows that counts these answers: those of a killed process are told again."""
    after = lines[lines.index(line) + 1 :]
    for other in after:
        if other.get("image_sha256") == line["image_sha256"]:
            if other["schema"] == "api-smooth/certificate/1":
                return True
            if other["answers"][0][0] == 0:
                return False
    return False


# The measurement


def files(folder: Path, count: int, seed: int) -> Iterator[tuple[str, Path]]:
    """`count` times an honest file, and then a tampered copy of it with the name of the way."""
    names = list(WAYS)
    for number_ in range(count):
        rng, path = random.Random(seed * 1_000_003 + number_), folder / f"{number_}.jsonl"
        honest(path, rng)
        yield "honest", path
        for attempt in range(100):
            way = names[(number_ + attempt) % len(names)]
            if tampered(path, WAYS[way], rng, rechained=way == "truncated" or rng.random() < 0.8):
                break
        yield way, path
        path.unlink()


def measure(count: int, seed: int) -> dict[str, Any]:
    """How many files of each kind are as they should be found, and what was found of those that are not."""
    right, of, wrong, seconds = Counter[str](), Counter[str](), list[str](), 0.0
    with tempfile.TemporaryDirectory() as folder:
        for kind, path in files(Path(folder), count, seed):
            began = time.perf_counter()
            result = check(str(path))
            seconds += time.perf_counter() - began
            of[kind] += 1
            right[kind] += result["verified"] is (kind == "honest")
            if result["verified"] is not (kind == "honest"):
                wrong.append(f"{kind} {path.name}: {result['faults'][:2]}")
    honest_, caught = right.pop("honest"), sum(right.values())
    return {
        "honest": count,
        "passed": honest_,
        "tampered": count,
        "caught": caught,
        "caught_by_way": {way: f"{right[way]} of {of[way]}" for way in WAYS},
        "wrong": wrong,
        "seconds_each": seconds / (2 * count),
    }


def rows(plan: Plan) -> Iterator[Row]:
    """Both shares; fewer files with --quick."""
    found = measure(plan.count(1000, 100), seed=0)
    for name, right in (("honest files that pass", "passed"), ("tampered files that are caught", "caught")):
        yield Row(name=f"evidence: {name}", figure=found[right] / found["honest"], than="≥", limit=1.0)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.files, options.seed)
    print(
        json.dumps(found) if options.json else "\n".join(f"{name}: {value}" for name, value in found.items())
    )
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
