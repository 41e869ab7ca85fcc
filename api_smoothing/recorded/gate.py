"""Whether a run may pass: beside an earlier one, by the exact test for paired images, or above a floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from api_smoothing.claims import paired
from api_smoothing.errors import ConfigurationError
from api_smoothing.recorded.run import Run, item_of
from api_smoothing.recorded.summary import Judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One thing that a run had to show: its `name`, whether it `passed`, and one line `why`."""

    name: str
    passed: bool
    why: str
    p_value: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        return {"name": self.name, "passed": self.passed, "why": self.why, "p_value": self.p_value}


def no_worse_than(baseline: Run, run: Run, radius: float, *, max_drop: float = 0.0) -> Gate:
    """Fails where certified accuracy at `radius` has fallen by more than `max_drop`, significantly so.

    Compared are the images that both runs have, by their id. Raises ConfigurationError where there is none, or where
    their truths differ.
    """
    before, after = _right(baseline, radius), _right(run, radius)
    common = [item for item in after if item in before]
    if not common:
        raise ConfigurationError(
            f"{baseline.path} and this run have no image in common: compare runs of the same data set"
        )
    for item in common:
        if before[item][0] != after[item][0]:
            raise ConfigurationError(
                f"{item} is {before[item][0]!r} in {baseline.path} and {after[item][0]!r} here: use the same labels"
            )
    found = paired.gate([(before[item][1], after[item][1]) for item in common], max_drop)
    return Gate(
        name=f"certified accuracy at {radius:g} fell by at most {max_drop:g} since {baseline.name}",
        passed=found.passed,
        why=found.why,
        p_value=found.p_value,
    )


def at_least(run: Run, radius: float, share: float) -> Gate:
    """Fails where certified accuracy at `radius` is below `share`, significantly so."""
    right = _right(run, radius)
    n = len(right) + len(run.unreadable)
    found = paired.floor(sum(hit for _, hit in right.values()), n, share)
    return Gate(
        name=f"certified accuracy at {radius:g} is at least {share:g}",
        passed=found.passed,
        why=found.why,
        p_value=found.p_value,
    )


def claimed(claim: Any) -> Gate:
    """Passes where the claim is proved."""
    name = f"certified accuracy at {claim['radius']:g} is at least {claim['at_least']:g}"
    return Gate(name=name, passed=claim["state"] == "proved", why=str(claim["statement"]))


def write_junit(path: Path, gates: Sequence[Gate], *, name: str, seconds: float) -> None:
    """The gates as JUnit's XML, for build servers. Raises ConfigurationError where it cannot be written."""
    failures = sum(not gate.passed for gate in gates)
    suite = ElementTree.Element(
        "testsuite",
        name=f"api-smooth evaluate {name}",
        tests=str(len(gates)),
        failures=str(failures),
        errors="0",
        time=f"{seconds:.3f}",
    )
    for gate in gates:
        case = ElementTree.SubElement(suite, "testcase", name=_plain(gate.name), classname="api-smooth")
        if not gate.passed:
            ElementTree.SubElement(case, "failure", message=_plain(gate.why))
    try:
        ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None


def _right(run: Run, radius: float) -> dict[str, tuple[str | None, bool]]:
    """Of each image, what would be right, and whether it is certified."""
    judged = Judged(run)
    flags = judged.is_certified(radius)
    return {
        item_of(found): (None if found.item is None else found.item["truth"], flag)
        for found, flag in zip(judged.certificates, flags, strict=True)
    }


def _plain(text: str) -> str:
    """Without characters that XML cannot have."""
    return "".join(c if c.isprintable() or c == " " else "�" for c in text)
