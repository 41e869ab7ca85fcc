"""Cells of a comparison of defences: one classifier under one condition behind several of them."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from api_smoothing.defences import compare, load
from reproduce.cells import Cells
from reproduce.pages import NOT_RUN, per_cent
from reproduce.places import BARE, Place, is_trained, trained_by

#: The cells of `Comparison.to_dict`, by defence.
Found = Mapping[str, Mapping[str, Any]]

#: Loaded once a process.
defence_of = functools.cache(load)


def measured(
    args: argparse.Namespace,
    cells: Cells,
    place: Place,
    victim: str,
    conditions: Sequence[str],
    defences: Sequence[str],
    *,
    images: int,
    adaptive: bool = False,
) -> list[Found]:
    """For each condition, as `defences.conditions` names it, the cells by defence; {} of what was not run.

    With `adaptive` the attack knows the defence. All conditions of a classifier share a run file, so that no answer
    is computed twice.
    """
    attacks = [one for one in conditions if one == BARE or one.startswith("pgd-")]
    steps, eot = (args.adaptive_steps, args.draws) if adaptive else (args.attack_steps, 1)
    told: dict[str, Any] = {"set": place.name, "size": place.size, "victim": victim, "images": images}
    told |= {"steps": steps, "eot": eot, "seed": args.seed}
    if is_trained(victim):
        told["training"] = trained_by(args)
    run = cells.file(f"{place.name}-{victim}", told, ".jsonl")
    asked = {**told, "conditions": list(conditions), "adaptive": adaptive, "defences": list(defences)}

    def measure() -> list[dict[str, Any]]:
        network = place.network(victim)
        run.parent.mkdir(parents=True, exist_ok=True)
        comparison = compare(
            place.pairs(images),
            network,
            [defence_of(name) for name in defences],
            attacks=attacks,
            corruptions=[one for one in conditions if one not in attacks],
            adaptive=adaptive,
            seed=args.seed,
            steps=steps,
            eot=eot,
            size=place.size,
            class_names=place.classes,
            output=run,
        )
        return [one.to_dict() for one in comparison.cells]

    words = [place.name, victim, *(["adaptive"] if adaptive else []), conditions[-1].partition(":")[0]]
    made = cells.get("-".join(words).replace("/", "of"), asked, measure) or ()
    given = {defence_of(name).name: name for name in defences}  # a setting at its default is in no name
    wanted = [f"adaptive {one}" if adaptive else one for one in conditions]
    return [{given[cell["defence"]]: cell for cell in made if cell["condition"] == one} for one in wanted]


def corrupted(args: argparse.Namespace, cells: Cells, place: Place, victim: str, name: str) -> list[Found]:
    """Of one corruption the cells at every severity, of no defence and of the paper's method."""
    shown = [BARE] if is_trained(victim) else [BARE, place.method]
    at = [f"{name}:{severity}" for severity in args.severities]
    return measured(args, cells, place, victim, at, shown, images=min(args.corrupted_images, place.images))


def by_corruption(
    args: argparse.Namespace, cells: Cells, place: Place, victim: str
) -> dict[str, dict[str, tuple[int, int]]]:
    """{defence: {corruption: (right, of)}} over the severities; without the corruptions that were not run."""
    shown = [BARE] if is_trained(victim) else [BARE, place.method]
    sums: dict[str, dict[str, tuple[int, int]]] = {defence: {} for defence in shown}
    for name in args.corruptions:
        made = corrupted(args, cells, place, victim, name)
        for defence in shown if all(made) else ():
            k, n = (sum(one[defence][key] for one in made) for key in ("k", "n"))
            sums[defence][name] = k, n
    return sums


def right(cell: Mapping[str, Any] | None) -> str:
    """Per cent right, with the interval."""
    return NOT_RUN if cell is None else per_cent(cell["k"], cell["n"])


def value(cell: Mapping[str, Any] | None) -> float | None:
    """Per cent right."""
    return None if cell is None else 100 * cell["k"] / cell["n"]
