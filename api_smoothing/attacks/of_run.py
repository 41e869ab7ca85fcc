"""Attacks on the certificates of a run file: on the same images, written beside it, gone on with after a kill."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api_smoothing.attacks.holding import Holding, Target, pixels_of, together_of, unknown_to, with_attempts
from api_smoothing.attacks.outcome import Attacked
from api_smoothing.attacks.revote import by_prediction
from api_smoothing.attacks.search import Spent
from api_smoothing.attacks.twins import Twin
from api_smoothing.attacks.victim import Path as Chance
from api_smoothing.attacks.victim import Victim, victim_of
from api_smoothing.datasets import Example
from api_smoothing.errors import ConfigurationError, ImageError
from api_smoothing.recorded.attacked import SCHEMA, read
from api_smoothing.recorded.run import Run, item_of

if TYPE_CHECKING:
    from api_smoothing.results import Certificate
    from api_smoothing.smoothed import SmoothedAPI

#: What a run and the facade that attacks it must have in common.
_SAME = ("provider", "model", "denoiser", "label_map", "sigma", "noise")


def attack_run(
    api: SmoothedAPI,
    run: Run,
    examples: Mapping[str, Example],
    holding: Holding,
    file: Path,
    *,
    twins: Sequence[Twin] = (),
    path: Chance = "resampled",
) -> Iterator[Attacked]:
    """Each image of `run` attacked at its certified radius and beyond, by `holding`; ends with the budget.

    `api` must be as the run's; it votes on what is found. `examples` are the images, by the item's id. Whatever is done
    is in `file` (see `recorded.attacked`), and is not done again. Raises ConfigurationError for an `api` or a `file` of
    other settings.
    """
    _check(api, run)
    done = _opened(file, _settings(run, holding, twins, path))
    victim = victim_of(api, smoothed=True, seed=holding.seed, twins=twins, path=path)
    left = iter(run.certificates)
    together = 1 if api.has_budget else together_of(victim, holding)
    while certificates := list(islice(left, together)):
        begun = [
            (found, kept, None) if (kept := done.get(_key(found))) is not None
            else (found, *_begun(api, victim, found, examples))
            for found in certificates
        ]  # fmt: skip
        try:
            attempts = iter(holding.each(victim, [target for _, _, target in begun if target is not None]))
        except Spent:
            return
        for found, result, target in begun:
            if target is not None:
                result = replace(with_attempts(result, next(attempts)), gradients=victim.said)
                _write(file, found, result)
            yield result


def _begun(
    api: SmoothedAPI, victim: Victim, found: Certificate, examples: Mapping[str, Example]
) -> tuple[Attacked, Target | None]:
    """The image as it was certified, and what of it is to be attacked."""
    item = item_of(found)
    truth = None if found.item is None else found.item["truth"]
    result = Attacked(
        id=item,
        path=None if found.item is None else found.item["path"],
        label=found.label,
        right=None if truth is None else found.label == truth,
        norm="l2",
        certified=None if found.label is None else found.radius_original,
        alpha=found.alpha if found.alpha_total is None else found.alpha_total,
    )
    if found.label is None:
        return replace(result, reason=found.reason or f"nothing certified ({found.stopped})"), None
    if found.kind != "label":
        return replace(result, reason="of labels that are present: attack it with Holding, in Python"), None
    if not found.radius_original > 0:
        return replace(result, reason="certified at radius 0: there is no ball to attack"), None
    if not victim.knows(found.label):
        return replace(result, reason=unknown_to(victim, found.label)), None
    try:
        if item not in examples:
            raise ImageError(f"{item}: no such image here; name its data set beside the run")
        pixels = pixels_of(examples[item])
    except ImageError as error:
        return replace(result, reason=str(error)), None
    if api.digest(pixels) != found.image_sha256:
        return replace(result, reason=f"{item} is another image than the one that was certified"), None
    return result, Target(pixels=pixels, certificate=found, revote=by_prediction(api, found.label))


def _check(api: SmoothedAPI, run: Run) -> None:
    settings, own = run.header.settings, api.settings()
    for name in _SAME:
        if settings.get(name) != own.get(name):
            raise ConfigurationError(
                f"{run.path} has {name} {settings.get(name)!r}, this has {own.get(name)!r}: give the run's settings"
            )


def _settings(run: Run, holding: Holding, twins: Sequence[Twin], path: Chance) -> dict[str, Any]:
    own = {name: run.header.settings.get(name) for name in _SAME}
    lent = {"from": [twin.name for twin in twins]} if twins else {}
    return {**json.loads(json.dumps(asdict(holding))), **lent, "path": path, "run": own}


def _key(found: Certificate) -> tuple[str, str, str | None, float]:
    return item_of(found), found.image_sha256, found.label, found.radius_original


def _opened(file: Path, settings: Mapping[str, Any]) -> dict[tuple[str, str, str | None, float], Attacked]:
    """What is done, by what it was done to; a line that was cut off is removed."""
    if not file.exists():
        file.write_text(json.dumps({"schema": SCHEMA, "settings": settings}) + "\n", encoding="utf-8")
        return {}
    before, lines = read(file)
    if before != settings:
        other = next(name for name in settings if before.get(name) != settings[name])
        raise ConfigurationError(
            f"{file} has attacks with {other} {before.get(other)}, not {settings[other]}: move it away, or give that"
        )
    os.truncate(file, file.read_bytes().rfind(b"\n") + 1)
    done = {}
    for line in lines:
        key = (line.pop("item"), line.pop("image_sha256"), line["label"], line["certified"])
        done[key] = Attacked.from_dict(line)
    return done


def _write(file: Path, found: Certificate, result: Attacked) -> None:
    line = {"item": item_of(found), "image_sha256": found.image_sha256, **result.to_dict()}
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line, ensure_ascii=False) + "\n")
