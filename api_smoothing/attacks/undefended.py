"""Attacks on answers to images as they are, one image after the other, each answer paid on the api's budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from api_smoothing.attacks.ball import Pixels, distance
from api_smoothing.attacks.holding import climb, pixels_of, unknown_to
from api_smoothing.attacks.hopskipjump import HopSkipJump
from api_smoothing.attacks.outcome import Attacked
from api_smoothing.attacks.pgd import PGD
from api_smoothing.attacks.search import Ask, Found, Spent, through
from api_smoothing.attacks.square import Square
from api_smoothing.attacks.twins import Twin
from api_smoothing.attacks.victim import Victim, victim_of
from api_smoothing.datasets import DataSet, Example, Truths
from api_smoothing.errors import ConfigurationError, ImageError

if TYPE_CHECKING:
    from api_smoothing.smoothed import SmoothedAPI

Attack: TypeAlias = PGD | Square | HopSkipJump


def attack_answers(
    api: SmoothedAPI, data: DataSet, truths: Truths, attack: Attack, *, twins: Sequence[Twin] = ()
) -> Iterator[Attacked]:
    """Each image's answer, and the nearest image of the attack that is answered otherwise; ends with the budget.

    Images that are answered wrongly as they are need no attack. One whose attack the budget cut off before anything was
    found is left out, as nothing can be said of it. PGD follows the gradients of a local model, or of
    `twins` in the place of what is asked: a transfer attack. What it finds is asked about like everything else.
    """
    if not isinstance(attack, PGD | Square | HopSkipJump):
        raise ConfigurationError(f"an attack on answers is a PGD, Square or HopSkipJump, not {attack!r}")
    if twins and not isinstance(attack, PGD):
        raise ConfigurationError("twins are for attacks that follow gradients: pgd-l2 and pgd-linf")
    victim = victim_of(api, smoothed=False, twins=twins) if isinstance(attack, PGD) else None
    ask = through(api)
    for example in data:
        try:
            yield _attacked(example, truths, attack, victim, ask)
        except Spent:
            return


def _attacked(example: Example, truths: Truths, attack: Attack, victim: Victim | None, ask: Ask) -> Attacked:
    result = Attacked(id=example.id, path=example.path, label=None, right=None, norm=attack.norm)
    try:
        pixels = pixels_of(example)
    except ImageError as error:
        return replace(result, reason=str(error))
    replies = ask([pixels])
    if not replies:
        raise Spent
    label, truth = replies[0].label, truths.of(example)
    result = replace(result, label=label, right=None if truth is None else label == truth, queries=1)
    if label is None:
        return replace(result, reason="no label as it is")
    if result.right is False:
        return replace(result, reason=f"wrong as it is: {truth}")
    if isinstance(attack, PGD):
        assert victim is not None
        if not victim.knows(label):
            return replace(result, reason=unknown_to(victim, label))
        found = _by_gradients(attack, victim, pixels, label, ask)
        result = replace(result, gradients=victim.said)
    else:
        found = attack(pixels, label, ask)
    if found.unpaid and found.image is None:
        raise Spent
    return replace(result, distance=found.distance, image=found.image, queries=result.queries + found.queries)


def _by_gradients(pgd: PGD, victim: Victim, pixels: Pixels, label: str, ask: Ask) -> Found:
    """What PGD finds, if it is answered otherwise."""
    tried = climb(pgd, victim, pixels, label)
    replies = ask([tried])
    turned = bool(replies) and not replies[0].failed and replies[0].label != label
    return Found(
        label=label,
        image=tried if turned else None,
        distance=distance(pixels, tried, pgd.norm) if turned else None,
        queries=len(replies),
        spent=not replies,
        unpaid=not replies,
    )
