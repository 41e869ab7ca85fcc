"""What attacks on the images of a run came to, beside its certificates: certified ≤ true ≤ attacked.

A file of attacks is JSONL. Its first line has the schema, and the `settings` of the attack and of the run. Every other
line is an image: its `item` and `image_sha256`, the `certified` radius and its `alpha`, the `distance` of the nearest
image that turned the vote, the `attempts`. Distances are ℓ2, in [0,1] units of the image as it was given. It lies
beside the run's file, which it does not change: `run.jsonl` and `run.attacks.jsonl`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from api_smoothing.claims import intervals
from api_smoothing.errors import ConfigurationError
from api_smoothing.recorded.run import Run, item_of

SCHEMA: Final = "api-smooth/attacks/1"

#: So unlikely a number of images turned inside contradicts the certificates' α.
LEVEL: Final = 0.001


def file_beside(run: str | Path) -> Path:
    """Where the attacks on a run are written."""
    return Path(run).with_suffix(".attacks.jsonl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """An image of a run: the radius within which its label is proved, and the nearest image that turned it.

    `attacked` is None where no attack turned it. `broken` says that it was turned inside the radius.
    """

    item: str
    certified: float
    attacked: float | None
    broken: bool
    turned_beyond: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacks:
    """All attacked images of a run, in its order; `level` bounds the probability that one certificate is wrong.

    `passed_over` are lines about another certificate than the run has now.
    """

    images: tuple[Joined, ...]
    level: float
    settings: Mapping[str, Any]
    passed_over: int = 0

    @property
    def broken(self) -> int:
        """How many were turned inside their certified radius."""
        return sum(one.broken for one in self.images)

    @property
    def p_value(self) -> float:
        """The probability of so many or more, were every certificate as good as it claims."""
        return intervals.at_least(self.broken, len(self.images), self.level)

    @property
    def holds(self) -> bool:
        """Whether α is not contradicted."""
        return self.p_value >= LEVEL

    @property
    def power(self) -> tuple[int, int]:
        """(turned, attacked) beyond the certified radius: whether the attack could turn anything."""
        beyond = [one.turned_beyond for one in self.images if one.turned_beyond is not None]
        return sum(beyond), len(beyond)

    @property
    def gap(self) -> float | None:
        """The median of attacked over certified, over the images that were turned; None where none was."""
        found = [one.attacked / one.certified for one in self.images if one.attacked and one.certified > 0]
        return median(found) if found else None

    def by_item(self) -> dict[str, Joined]:
        """The images by the id of their item."""
        return {one.item: one for one in self.images}

    def to_dict(self) -> dict[str, Any]:
        """The figures and all images, as plain JSON values."""
        low, high = intervals.exact(self.broken, len(self.images))
        return {
            "images": len(self.images),
            "broken": self.broken,
            "low": low,
            "high": high,
            "level": self.level,
            "p_value": self.p_value,
            "holds": self.holds,
            "power": list(self.power),
            "gap": self.gap,
            "passed_over": self.passed_over,
            "settings": dict(self.settings),
            "each": [asdict(one) for one in self.images],
        }


def attacks_on(run: Run) -> Attacks | None:
    """What lies beside the file of a run; None where nothing does. Raises ConfigurationError for a damaged file."""
    path = file_beside(run.path)
    return join(run, *read(path)) if path.is_file() else None


def join(run: Run, settings: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> Attacks:
    """The lines about the certificates that the run has now; of several about one image the last counts."""
    own = {item_of(found): found for found in run.certificates}
    joined: dict[str, Joined] = {}
    passed_over, level = 0, 0.0
    for line in lines:
        found = own.get(line["item"])
        if found is None or (found.image_sha256, found.label) != (line["image_sha256"], line["label"]):
            passed_over += 1
            continue
        if line["certified"] != found.radius_original:
            passed_over += 1
            continue
        tried = [one for one in line["attempts"] if one["votes"] is not None]
        inside = [one for one in tried if one["radius"] <= line["certified"]]
        beyond = max(
            (one for one in tried if one["radius"] > line["certified"]),
            key=lambda one: one["radius"],
            default=None,
        )
        if not inside:
            continue
        level = max(level, float(line["alpha"]))
        joined[line["item"]] = Joined(
            item=line["item"],
            certified=line["certified"],
            attacked=line["distance"],
            broken=any(one["turned"] for one in inside),
            turned_beyond=None if beyond is None else bool(beyond["turned"]),
        )
    order = [item for item in own if item in joined]
    return Attacks(
        images=tuple(joined[item] for item in order),
        level=min(1.0, level + float(settings.get("error", 0.0))),
        settings=settings,
        passed_over=passed_over,
    )


def read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The settings and the lines of a file of attacks, a last one that was cut off left out.

    Raises ConfigurationError for what is none, or damaged elsewhere.
    """
    try:
        data = path.read_bytes()
        head, *lines = [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]
        if head["schema"] != SCHEMA:
            raise ValueError(head["schema"])
        for line in lines:
            line["item"], line["image_sha256"], line["label"], line["certified"], line["distance"]
            [(one["radius"], one["turned"], one["votes"]) for one in line["attempts"]]
        return head["settings"], lines
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{path} is no file of attacks, or damaged ({type(error).__name__}): move it away, and attack again"
        ) from None
