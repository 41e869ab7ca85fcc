"""The check that must never fail, and can: attacks on the smoothed classifier inside its certified radius.

The attack knows everything but the noise of the votes: it follows the gradient of the mean probability through size,
noise, denoiser and 8 bits (`Victim`), from many starts, in the space the image was given in. Its worst image is then
voted on afresh, see `revote`. One image a radius is voted on, so that the level is that of one test.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from api_smoothing.attacks.ball import Ball, Pixels, distance
from api_smoothing.attacks.outcome import ERROR, Attacked, Attempt
from api_smoothing.attacks.pgd import PGD
from api_smoothing.attacks.revote import ABSENT, Revote, by_prediction, decide
from api_smoothing.attacks.search import Spent
from api_smoothing.attacks.twins import Twin
from api_smoothing.attacks.victim import Path, Victim, victim_of
from api_smoothing.datasets import DataSet, Example, Truths
from api_smoothing.decode import decode
from api_smoothing.errors import ConfigurationError, ImageError
from api_smoothing.original import GREY, RGB

if TYPE_CHECKING:
    from api_smoothing.results import Certificate
    from api_smoothing.smoothed import SmoothedAPI

#: Values of noisy images that go through the networks together: more gain nothing on a CPU.
_AT_ONCE: Final = 32 * 3 * 32 * 32
#: A run is left where the label's mean probability is e² times smaller than another's.
_ENOUGH: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """An image (uint8, (H,W) or (H,W,3)) with its certificate, and who votes on what becomes of it.

    `radii` are pairs (factor, radius) to attack it at, in place of those of the `Holding`.
    """

    pixels: Pixels
    certificate: Certificate
    revote: Revote
    radii: tuple[tuple[float | None, float], ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """An attack on certificates: within `factors` times the certified radius, or within `radius` itself.

    `steps`, `restarts`, `losses` and `eot` are those of `PGD`, in ℓ2; at most `votes` fresh ones decide whether the
    image is turned, with probability `error` of saying so of one that is not. What was turned beyond the certified
    radius is attacked `narrow` times more, each halving what is left between that radius and the nearest success.
    """

    factors: tuple[float, ...] = (1.0, 4.0)
    radius: float | None = None
    steps: int = 20
    restarts: int = 2
    losses: tuple[str, ...] = ("cross-entropy", "margin")
    eot: int = 8
    votes: int = 1_000
    error: float = ERROR
    narrow: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings, before a query is paid for."""
        self._pgd(self.radius or 0.0, self.losses)
        if not self.factors or not all(0 < factor < math.inf for factor in self.factors):
            raise ConfigurationError(f"the factors of an attack are numbers above 0, not {self.factors!r}")
        for name, least in (("votes", 1), ("narrow", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigurationError(
                    f"{name} of an attack must be a whole number from {least} on, not {value!r}"
                )
        if not 0 < self.error < 1:
            raise ConfigurationError(f"the error of an attack lies between 0 and 1, not {self.error!r}")

    def __call__(
        self, victim: Victim, pixels: Pixels, certificate: Certificate, revote: Revote, /
    ) -> list[Attempt]:
        """An attempt a radius, on the image (uint8, (H,W) or (H,W,3)) that `certificate` is about."""
        return self.each(victim, [Target(pixels=pixels, certificate=certificate, revote=revote)])[0]

    def each(self, victim: Victim, targets: Sequence[Target]) -> list[list[Attempt]]:
        """The attempts on each of several images, which go through the networks together where they are small."""
        plans = [self._radii(target) for target in targets]
        found: list[list[Attempt]] = [[] for _ in targets]
        for turn in range(max(map(len, plans), default=0)):
            self._turn(victim, targets, {row: p[turn] for row, p in enumerate(plans) if turn < len(p)}, found)
        low = [target.certificate.radius_original for target in targets]
        for _ in range(self.narrow):
            high = [min((one.distance for one in tried if one.turned), default=0.0) for tried in found]
            rows = [row for row in range(len(targets)) if high[row] > low[row]]
            self._turn(victim, targets, {row: (None, (low[row] + high[row]) / 2) for row in rows}, found)
            for row in rows:
                if not found[row][-1].turned:
                    low[row] = found[row][-1].radius
        return found

    def _turn(
        self,
        victim: Victim,
        targets: Sequence[Target],
        radii: Mapping[int, tuple[float | None, float]],
        found: Sequence[list[Attempt]],
    ) -> None:
        """One more attempt on those that have a radius."""
        rows = list(radii)
        for together in _together([targets[row] for row in rows], self.eot, victim.size):
            chosen = [rows[i] for i in together]
            worst = self._worst(victim, [targets[row] for row in chosen], [radii[row][1] for row in chosen])
            for row, image in zip(chosen, worst, strict=True):
                found[row].append(self._attempt(targets[row], *radii[row], image))

    def _radii(self, target: Target) -> tuple[tuple[float | None, float], ...]:
        certificate = target.certificate
        if certificate.label is None or certificate.norm != "l2":
            raise ConfigurationError("what is attacked is a certificate of a label with an ℓ2 radius")
        if target.radii is not None:
            return target.radii
        if self.radius is not None:
            return ((None, self.radius),)
        return tuple((factor, factor * certificate.radius_original) for factor in self.factors)

    def _worst(self, victim: Victim, targets: Sequence[Target], radii: Sequence[float]) -> list[Pixels]:
        kind, losses = targets[0].certificate.kind, self.losses
        if kind != "label":  # one label alone: its own probability is all there is to change
            losses = ("towards",) if kind == "absent" else ("cross-entropy",)
        pgd = self._pgd(max(radii), losses)
        labels = [str(target.certificate.label).removeprefix(ABSENT) for target in targets]
        return climb_all(pgd, victim, [target.pixels for target in targets], labels, radii)

    def _pgd(self, radius: float, losses: tuple[str, ...]) -> PGD:
        return PGD(
            norm="l2",
            radius=radius,
            steps=self.steps,
            restarts=self.restarts,
            losses=losses,
            eot=self.eot,
            seed=self.seed,
            enough=_ENOUGH,
        )

    def _attempt(self, target: Target, factor: float | None, radius: float, worst: Pixels) -> Attempt:
        far, runner_up = distance(target.pixels, worst, "l2"), target.certificate.method == "runner-up"
        if far == 0:
            return Attempt(factor=factor, radius=radius, distance=0.0, votes=None, turned=False)
        votes, turned = decide(target.revote, worst, self.votes, error=self.error, runner_up=runner_up)
        return Attempt(factor=factor, radius=radius, distance=far, votes=votes, turned=turned, image=worst)


def _together(targets: Sequence[Target], eot: int, size: tuple[int, int] | None) -> Iterator[list[int]]:
    """Numbers of the targets of one shape and kind, as many as go through the networks at once."""
    alike: dict[object, list[int]] = {}
    for i, target in enumerate(targets):
        alike.setdefault((target.pixels.shape, target.certificate.kind), []).append(i)
    for numbers in alike.values():
        height, width = size or targets[numbers[0]].pixels.shape[:2]
        most = _most((height, width), eot)
        yield from (numbers[first : first + most] for first in range(0, len(numbers), most))


def together_of(victim: Victim, holding: Holding) -> int:
    """How many images of a data set are attacked together: one where they have no size in common."""
    return 1 if victim.size is None else _most(victim.size, holding.eot)


def _most(size: tuple[int, int], eot: int) -> int:
    """How many images of that size, each with `eot` draws of noise."""
    return max(1, _AT_ONCE // (3 * size[0] * size[1] * eot))


def climb(pgd: PGD, victim: Victim, pixels: Pixels, label: str) -> Pixels:
    """What `pgd` makes of one image (uint8), checked in whole numbers to lie in its ball."""
    return climb_all(pgd, victim, [pixels], [label], [pgd.radius])[0]


def climb_all(
    pgd: PGD, victim: Victim, images: Sequence[Pixels], labels: Sequence[str], radii: Sequence[float]
) -> list[Pixels]:
    """The same of several images of one shape, each in a ball of its own."""
    import torch

    columns = torch.tensor([victim.index(label) for label in labels])
    planes = np.stack([pixels if pixels.ndim == 3 else pixels[..., None] for pixels in images])
    x = torch.from_numpy(planes).permute(0, 3, 1, 2).float() / 255
    found = pgd(x, columns, victim, radii=radii).permute(0, 2, 3, 1).double().mul(255).round()
    attacked = []
    for pixels, values, radius in zip(images, found.to(torch.uint8).numpy(), radii, strict=True):
        Ball(norm=pgd.norm, radius=radius).check(pixels, image := values.reshape(pixels.shape))
        attacked.append(np.ascontiguousarray(image))
    return attacked


def pixels_of(example: Example) -> Pixels:
    """The image as it was given, uint8: (H,W) of a grey one, else (H,W,3).

    Raises ImageError for one that is neither grey nor RGB of 8 bits: it has no 8-bit values of its own to change.
    """
    found = decode(example.read())
    if found.peak != 255 or found.original not in (GREY, RGB):
        raise ImageError(f"{example.id}: attacks change 8-bit grey and RGB images, not {found.original.name}")
    values = found.values[..., 0] if found.original == GREY else found.values
    return np.ascontiguousarray(values)


def attack_certificates(
    api: SmoothedAPI,
    data: DataSet,
    truths: Truths,
    holding: Holding,
    *,
    n: int | Literal["auto"] | None = "auto",
    radius: float | None = None,
    twins: Sequence[Twin] = (),
    path: Path = "resampled",
) -> Iterator[Attacked]:
    """Certify each image (with `n` and `radius` as of `certify`), then attack what is certified; ends with the budget.

    The gradients are those of the model that is asked, or of `twins`; see `Victim` for them and for `path`.

    Raises ConfigurationError where there are no gradients, and what `certify` raises.
    """
    victim = victim_of(api, smoothed=True, seed=holding.seed, twins=twins, path=path)
    most = 1 if api.has_budget else together_of(victim, holding)  # it is spent on the earliest images
    left = iter(data)
    while examples := list(islice(left, most)):
        certified = (_certified(api, example, truths, victim, n=n, radius=radius) for example in examples)
        found = list(takewhile(lambda one: one is not None, certified))
        try:
            yield from _attacked(victim, holding, [one for one in found if one is not None])
        except Spent:
            return
        if len(found) < len(examples):
            return


def _certified(
    api: SmoothedAPI,
    example: Example,
    truths: Truths,
    victim: Victim,
    *,
    n: int | Literal["auto"] | None,
    radius: float | None,
) -> tuple[Attacked, Target | None] | None:
    """The image as certified, and what of it is to be attacked; None where the budget is spent."""
    named = {"id": example.id, "path": example.path, "norm": "l2"}
    try:
        pixels = pixels_of(example)
    except ImageError as error:
        return Attacked(**named, label=None, right=None, reason=str(error)), None  # type: ignore[arg-type]
    found = api.certify(pixels, n=n, radius=radius)
    if found.stopped == "budget":
        return None
    truth = truths.of(example)
    result = Attacked(
        **named,  # type: ignore[arg-type]
        label=found.label,
        right=None if truth is None else found.label == truth,
        certified=found.radius_original if found.label is not None else None,
        alpha=found.alpha if found.alpha_total is None else found.alpha_total,
        queries=found.queries,
        reason="" if found.label is not None else found.reason or f"nothing certified ({found.stopped})",
    )
    if found.label is None:
        return result, None
    if not victim.knows(found.label):
        return replace(result, reason=unknown_to(victim, found.label)), None
    return result, Target(pixels=pixels, certificate=found, revote=by_prediction(api, found.label))


def _attacked(
    victim: Victim, holding: Holding, certified: Sequence[tuple[Attacked, Target | None]]
) -> Iterator[Attacked]:
    attempts = iter(holding.each(victim, [target for _, target in certified if target is not None]))
    for result, target in certified:
        yield (
            result
            if target is None
            else replace(with_attempts(result, next(attempts)), gradients=victim.said)
        )


def unknown_to(victim: Victim, label: str) -> str:
    """Why an image of that class cannot be attacked by these gradients."""
    return f"{victim.of} have no class {label!r} to lead away from"


def with_attempts(result: Attacked, attempts: Sequence[Attempt]) -> Attacked:
    """`result` with what attacks on it came to; the nearest image that turned it counts."""
    turned = min((one for one in attempts if one.turned), key=lambda one: one.distance, default=None)
    return replace(
        result,
        attempts=tuple(attempts),
        queries=result.queries + sum(one.votes.n for one in attempts if one.votes is not None),
        distance=None if turned is None else turned.distance,
        image=None if turned is None else turned.image,
    )
