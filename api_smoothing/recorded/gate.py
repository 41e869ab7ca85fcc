"""Whether a run may pass: beside an earlier one, by the exact test for paired images, or above a floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    Compared are the images that both runs have, by their id; one that can no longer be read is certified nowhere, as in
    the table, and one that could not be read in the baseline is left out. Raises ConfigurationError where there is
    none, where their pixels or truths differ, or where one of them was not asked about that radius.
    """
    for one in (baseline, run):
        _check_asked(one, radius)
    before, after = _right(baseline, radius), _right(run, radius)
    after |= {
        item: (before[item][0], False) for item in run.unreadable if item in before and item not in after
    }
    common = [item for item in after if item in before]
    if not common:
        raise ConfigurationError(
            f"{baseline.path} and this run have no image in common: compare runs of the same data set"
        )
    check_same_images(baseline, _digests(run))
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


def check_same_images(baseline: Run, digests: Mapping[str, str | None]) -> None:
    """Raise ConfigurationError where an image of `baseline` has other pixels here; `digests` are here by id.

    One that could not be read, in either, is no other image.
    """
    before = _digests(baseline)
    other = [
        item
        for item, digest in digests.items()
        if digest is not None and before.get(item) not in (None, digest)
    ]
    if other:
        more = f" and {len(other) - 1:,} more have" if len(other) > 1 else " has"
        raise ConfigurationError(
            f"{other[0]}{more} other pixels here than in {baseline.path}: compare runs of the same files, brought to "
            "the same --size, or make a new baseline"
        )


def at_least(run: Run, radius: float, share: float) -> Gate:
    """Fails where certified accuracy at `radius` is below `share`, significantly so; raises as `no_worse_than`."""
    _check_asked(run, radius)
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


def write_junit(
    path: Path, gates: Sequence[Gate], *, name: str, seconds: float, unfinished: str = ""
) -> None:
    """The gates as JUnit's XML, for build servers. Raises ConfigurationError where it cannot be written.

    `unfinished` says why the run did not come to its end: that is an error, beside what the gates say so far.
    """
    failures = sum(not gate.passed for gate in gates)
    suite = ElementTree.Element(
        "testsuite",
        name=f"api-smooth evaluate {name}",
        tests=str(len(gates) + bool(unfinished)),
        failures=str(failures),
        errors=str(int(bool(unfinished))),
        time=f"{seconds:.3f}",
    )
    for gate in gates:
        case = ElementTree.SubElement(suite, "testcase", name=_plain(gate.name), classname="api-smooth")
        if not gate.passed:
            ElementTree.SubElement(case, "failure", message=_plain(gate.why))
    if unfinished:
        case = ElementTree.SubElement(
            suite, "testcase", name="the run came to its end", classname="api-smooth"
        )
        ElementTree.SubElement(case, "error", message=_plain(unfinished))
    try:
        ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None


def _check_asked(run: Run, radius: float) -> None:
    """Where answers end with the largest radius that was asked about, none is certified at a larger one."""
    settings = run.header.settings
    asked = [float(r) for r in (*(settings.get("radii") or ()), settings.get("radius")) if r is not None]
    by_number = settings.get("radius") is None and isinstance(settings.get("n_asked", settings.get("n")), int)
    if asked and not by_number and radius > max(asked):
        raise ConfigurationError(
            f"{run.path} asked about radii up to {max(asked):g}, which shows nothing of {radius:g}: give --radius "
            f"{max(asked):g}, or ask for it in --radii"
        )


def _digests(run: Run) -> dict[str, str | None]:
    """Of each image, what its pixels were when it was planned, or asked about."""
    planned = {str(line["id"]): line["image_sha256"] for line in run.planned}
    return planned | {item_of(found): found.image_sha256 for found in run.certificates}


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
