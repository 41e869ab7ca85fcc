"""The check of a run file: honest ones pass, tampered ones do not, and it shares no arithmetic with what it checks."""

from __future__ import annotations

import ast
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from api_smoothing import images
from api_smoothing.certify import FAILED, Spec, anytime, certifier_of, clopper_pearson, fixed
from api_smoothing.certify.crossing import passage
from api_smoothing.certify.target import TargetCertifier
from api_smoothing.claims.claim import Claim, least_right
from api_smoothing.evidence import verify, verify_claim, verify_original

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "api_smoothing" / "evidence" / "verify.py"
CLAIM = SOURCE.with_name("verify_claim.py")
ORIGINAL = SOURCE.with_name("verify_original.py")


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """benchmarks/evidence.py, which makes honest run files and tampers with them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield import_module("evidence")
    for name in ("evidence", "rows"):
        sys.modules.pop(name)


@pytest.mark.parametrize(
    ("source", "most"), [(SOURCE, 300), (CLAIM, 120), (ORIGINAL, 65)], ids=["runs", "claims", "originals"]
)
def test_it_stands_alone(source: Path, most: int) -> None:
    """At most 300 lines that import the standard library and nothing else, 120 of claims, and 65 of resizing."""
    text = source.read_text()
    assert len(text.splitlines()) <= most
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add("" if node.level else node.module or "")
    assert {name.split(".")[0] for name in imported} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("population", "share", "at_least"), [(30, 0.9, 0.6), (500, 0.5, 0.7), (1000, 0.8, 0.5)]
)
def test_claims_agree_with_the_state_machine(population: int, share: float, at_least: float) -> None:
    """The same certificates, one after the other: the same bounds at every stop, and decided at the same image."""
    rng, claim, hits = (
        random.Random(population),
        Claim(at_least, population=population, alpha=0.002),
        list[bool](),
    )
    goal = least_right(at_least, population)
    while claim.state == "open":
        hits.append(rng.random() < share)
        claim.add(hits[-1])
        if len(hits) % 7 == 0 or claim.state != "open":
            low, proved = verify_claim.least(population, goal - 1, 0.002, 0.05, hits)
            high, refuted = verify_claim.least(
                population, population - goal, 0.0, 0.05, [not hit for hit in hits]
            )
            assert (low / population, 1 - high / population) == (claim.lower, claim.upper)
            assert (proved <= len(hits), refuted <= len(hits)) == (
                claim.state == "proved",
                claim.state == "refuted",
            )


def test_a_claim_is_checked_by_its_file_or_not_at_all(bench: ModuleType, tmp_path: Path) -> None:
    """A copy without it says so, and verifies nothing; with the file beside it, it does."""
    path, copy = tmp_path / "run.jsonl", tmp_path / "verify.py"
    copy.write_text(SOURCE.read_text())
    (tmp_path / ORIGINAL.name).write_text(ORIGINAL.read_text())
    for seed in range(400):
        path.unlink(missing_ok=True)
        bench.honest(path, random.Random(seed))
        if '"at_least"' in path.read_text():
            break
    command = [sys.executable, "-I", "-S", str(copy), str(path)]
    alone = subprocess.run(command, capture_output=True, text=True, check=False)
    assert alone.returncode == 1
    assert "what needs verify_claim.py beside this file is not checked" in alone.stdout
    (tmp_path / "verify_claim.py").write_text(CLAIM.read_text())
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("shape", "size", "noise"),
    [
        ((32, 32, 3), 32, "gaussian"), ((32, 32), 32, "laplace"), ((500, 375, 3), 224, "gaussian"),
        ((375, 500, 3), 224, "laplace"), ((64, 48, 4), 32, "gaussian"), ((20, 31, 3), 64, "gaussian"),
        ((40, 32, 3), 32, "gaussian"),
    ],
)  # fmt: skip
def test_the_radius_of_the_original_follows_from_the_sizes(
    shape: tuple[int, ...], size: int, noise: str
) -> None:
    """Never below what the image's own way gives; above it by what rounding has moved these very pixels, which the
    file does not tell, and by the last digits of an iteration.
    """
    pixels = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    loaded = images.load(Image.fromarray(pixels), size=size)
    norm: Literal["l1", "l2"] = "l2" if noise == "gaussian" else "l1"
    radius = 40.0 * loaded.rounding_l1 + 40.0 * loaded.rounding + 0.5
    bound = verify_original.carried(radius, norm, loaded.original_size, loaded.size, loaded.original.name)
    ours = loaded.radius_original(radius, norm=norm)
    charge = loaded.rounding if norm == "l2" else loaded.rounding_l1
    assert 1.0 - 1e-12 <= bound / ours <= 1.001 * radius / (radius - charge)


@pytest.mark.slow
def test_honest_files_pass_and_tampered_ones_are_caught(bench: ModuleType) -> None:
    """Of every rule, with kills, budgets and failures; every way to tamper, mostly with the chain made anew."""
    found = bench.measure(64, seed=7)
    assert not found["wrong"]
    assert found["passed"] == found["caught"] == 64


@pytest.mark.parametrize(
    "way",
    [
        "flipped",
        "omitted",
        "second_try",
        "number",
        "late_boundary",
        "topped_up",
        "truncated",
        "claimed",
        "original",
        "neighbour",
    ],
)
def test_each_kind_of_tampering_is_told(bench: ModuleType, way: str, tmp_path: Path) -> None:
    """Whatever the rule: what was done to the file is found, and said in a line."""
    done = 0
    for seed in range(400):
        rng, path = random.Random(seed), tmp_path / "run.jsonl"
        path.unlink(missing_ok=True)
        bench.honest(path, rng)
        if bench.tampered(path, bench.WAYS[way], rng, rechained=True):
            faults = verify.check(str(path))["faults"]
            assert faults, seed
            assert all("\n" not in fault for fault in faults)
            done += 1
        if done == 5:
            return
    raise AssertionError("nothing to tamper with")


def test_without_the_package(bench: ModuleType, tmp_path: Path) -> None:
    """A copy elsewhere, in a Python without anything: 0 verified, 1 not, each fault a line, 2 unreadable."""
    copy, path = tmp_path / "check.py", tmp_path / "run.jsonl"
    copy.write_text(SOURCE.read_text())
    (tmp_path / ORIGINAL.name).write_text(ORIGINAL.read_text())
    bench.honest(path, random.Random(1))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-S", str(copy), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    good = run(str(path))
    assert good.returncode == 0, good.stdout + good.stderr
    told = json.loads(good.stdout.splitlines()[-1])
    assert told["verified"] is True
    assert run(str(path), told["chain"]).returncode == 0
    assert run(str(path), "0" * 64).returncode == 1, "a chain that was published, and is not in the file"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], *lines[4:]]))
    bad = run(str(path))
    assert bad.returncode == 1
    assert "line 4: the chain is broken" in bad.stdout
    for text in ("", "[1]", "[" * 100_000, "no json", '{"schema": "other/1"}\n', lines[0] + "[1]\n"):
        path.write_text(text)
        assert run(str(path)).returncode == 2, text
    path.write_text(lines[0] + "[" * 100_000 + "\n" + lines[1])
    assert "line 2: malformed" in run(str(path)).stdout
    assert run(str(tmp_path / "none")).returncode == 2
    assert run().returncode == 2


@pytest.mark.slow
def test_bounds_agree_with_the_certifiers() -> None:
    """Sums and continued fractions here, scipy there: the same bounds to 10⁻¹⁰, in thousands of random cases."""
    rng, worst = random.Random(3), 0.0
    for _ in range(250):
        n, alpha = rng.choice([2, 5, 20, 60, 100, 300, 1000]), rng.choice([0.1, 0.01, 0.001])
        k = min(n, int(rng.triangular(0, n + 1, n)))
        pairs = [
            (verify.bound("no-split", k, n, alpha), fixed.no_split_lower(k, n, alpha)),
            (verify.bound("leader", k, n, alpha), fixed.leader_lower(k, n, alpha)),
            (verify.bound("cohen", k, n, alpha), float(clopper_pearson.lower(k, n, alpha))),
            (verify.of_leader_anytime(k, n, alpha), anytime.leader_lower(k, n, alpha)),
        ]
        p = rng.choice([0.5, 0.6, 0.8413, 0.9, 0.977])
        if k > p * n:
            pairs.append((verify.log_e(k, n, p), anytime.log_e(k, n, p)))
        worst = max([worst, *(abs(mine - theirs) for mine, theirs in pairs)])
    assert worst < 1e-10


@pytest.mark.parametrize(
    "spec",
    [
        Spec(sigma=0.25, n=100),
        Spec(sigma=0.5, n=60, noise="uniform", slack=1e-9),
        Spec(sigma=0.25, n=80, method="fixed", radius=0.1),
        Spec(sigma=0.25, n=80, n0=20, method="clopper-pearson"),
        Spec(sigma=0.25, n=80, n0=20, method="runner-up", slack=1e-9),
        Spec(sigma=0.25, n=120, method="sequential"),
        Spec(sigma=0.25, n=100, radius=0.1),
        Spec(sigma=0.25, n=100, radius=0.25),
        Spec(sigma=0.25, n=150, radii=(0.0, 0.1, 0.25)),
    ],
    ids=lambda spec: f"{spec.rule} {spec.radius}",
)
def test_decisions_agree_with_the_certifiers(spec: Spec) -> None:
    """The same votes, put to both: the same label, radius and bound, of whatever votes."""
    rng = random.Random(5)
    plan: dict[str, Any] = {
        "rule": spec.rule,
        "n": spec.n,
        "n0": (spec.most or 0) - (spec.n or 0),
        "alpha": spec.alpha,
        "radius": spec.radius,
        "radii": list(spec.radii),
        "sigma": spec.sigma,
        "noise": spec.noise,
    }
    for _ in range(120):
        top, certifier, votes = rng.choice([1.0, 0.97, 0.9, 0.7, 0.5]), certifier_of(spec), list[Any]()
        while wanted := certifier.need():
            rest = (1.0 - top) / 3
            new = rng.choices(["cat", "dog", None, FAILED], [top, rest, rest, rest / 4], k=wanted)
            certifier.add(new)
            votes += new
        bound = certifier.result()
        if bound.stopped == "failed":
            continue
        votes = [verify.FAILED if vote is FAILED else vote for vote in votes]
        if isinstance(certifier, TargetCertifier):
            label, p, radius, told = verify.capped(plan, votes, spec.slack, certifier.boundary())
        elif spec.rule == "anytime/1":
            hits: dict[float, Any] = {}
            label, p, radius, told = verify.anytime(plan, votes, spec.slack, None, hits)
            read = [(r.radius, (r.label, r.n)) for r in bound.radii if r.reached]
            assert [*hits.items()] == read
        else:
            label, p, radius, told = verify.fixed(plan, votes, spec.slack)
        if radius <= 0:
            label, p, radius = None, told, 0.0
        assert (label, radius) == (bound.label, pytest.approx(bound.radius, rel=1e-10))
        assert p == pytest.approx(bound.p_lower, rel=1e-10)


def test_the_error_of_a_boundary_is_exact() -> None:
    """The chance to meet a boundary as the engine computes it, and by playing every sequence of ten answers."""
    made = certifier_of(Spec(sigma=0.25, n=60, radius=0.2))
    assert isinstance(made, TargetCertifier)
    line = made.boundary()
    assert line is not None
    for p in (0.3, 0.5, line["p0"]):
        import numpy as np

        assert verify.met(line["counts"], p) == pytest.approx(
            passage(np.array(line["counts"]), p).upper, rel=1e-9, abs=1e-14
        )
    small = [2, 2, 3, 3, 4, 5, 5, 6, 6, 7]
    exact = 0.0
    for path in range(1024):
        hits = [path >> i & 1 for i in range(10)]
        if any(sum(hits[: n + 1]) >= small[n] for n in range(10)):
            exact += 0.6 ** sum(hits) * 0.4 ** (10 - sum(hits))
    assert verify.met(small, 0.6) == pytest.approx(exact, rel=1e-12)
    assert 0.0005 < verify.error(json.dumps(line)) <= 0.001
    for number in range(len(line["levels"])):
        lower = json.loads(json.dumps(line))
        lower["levels"][number][2] = [max(1, k - 3) for k in lower["levels"][number][2]]
        assert verify.error(json.dumps(lower)) > 0.001, f"level {number} certifies too early"
    for levels in (line["levels"][1:], line["levels"][::-1]):
        assert verify.error(json.dumps({**line, "levels": levels})) > 0.001, (
            "no majority first, or not rising"
        )
