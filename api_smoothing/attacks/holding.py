"""The check that must never fail, and can: attacks on the smoothed classifier inside its certified radius.

The attack knows everything but the noise of the votes: it follows the gradient of the mean probability through size,
noise, denoiser and 8 bits (`Victim`), from many starts, in the space the image was given in. Its worst image is then
voted on afresh, through the facade: by noise that has nothing to do with that of the certificate, as it depends on the
image, nor with what the attack drew. One image a radius is voted on, so that the level is that of one test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from api_smoothing.attacks.ball import Ball, Pixels, distance
from api_smoothing.attacks.outcome import ERROR, Attacked, Attempt, Votes
from api_smoothing.attacks.pgd import PGD
from api_smoothing.attacks.victim import Victim, victim_of
from api_smoothing.datasets import DataSet, Example, Truths
from api_smoothing.decode import decode
from api_smoothing.errors import ConfigurationError, ImageError
from api_smoothing.original import GREY, RGB

if TYPE_CHECKING:
    from api_smoothing.results import Certificate
    from api_smoothing.smoothed import SmoothedAPI

#: An attacked image → fresh votes on it.
Revote = Callable[[Pixels], Votes]

_ABSENT: Final = "not: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """An attack on certificates: within `factors` times the certified radius, or within `radius` itself.

    `steps`, `restarts`, `losses` and `eot` are those of `PGD`, in ℓ2; `votes` fresh ones decide whether the image is
    turned, with probability `error` of saying so of one that is not.
    """

    factors: tuple[float, ...] = (1.0, 4.0)
    radius: float | None = None
    steps: int = 20
    restarts: int = 2
    losses: tuple[str, ...] = ("cross-entropy", "margin")
    eot: int = 8
    votes: int = 1_000
    error: float = ERROR
    seed: int = 0

    def __call__(
        self, victim: Victim, pixels: Pixels, certificate: Certificate, revote: Revote, /
    ) -> list[Attempt]:
        """An attempt a radius, on the image (uint8, (H,W) or (H,W,3)) that `certificate` is about."""
        if certificate.label is None or certificate.norm != "l2":
            raise ConfigurationError("what is attacked is a certificate of a label with an ℓ2 radius")
        radii: list[tuple[float | None, float]] = [
            (factor, factor * certificate.radius_original) for factor in self.factors
        ]
        if self.radius is not None:
            radii = [(None, self.radius)]
        return [
            self._attempt(victim, pixels, certificate, revote, factor, radius) for factor, radius in radii
        ]

    def _attempt(
        self,
        victim: Victim,
        pixels: Pixels,
        certificate: Certificate,
        revote: Revote,
        factor: float | None,
        radius: float,
    ) -> Attempt:
        assert certificate.label is not None
        name, losses = certificate.label, self.losses
        if certificate.kind != "label":  # one label alone: its own probability is all there is to change
            name = name.removeprefix(_ABSENT)
            losses = ("towards",) if certificate.kind == "absent" else ("cross-entropy",)
        pgd = PGD(
            norm="l2",
            radius=radius,
            steps=self.steps,
            restarts=self.restarts,
            losses=losses,
            eot=self.eot,
            seed=self.seed,
        )
        worst = climb(pgd, victim, pixels, name)
        far = distance(pixels, worst, "l2")
        if far == 0:
            return Attempt(factor=factor, radius=radius, distance=0.0, votes=None, turned=False)
        votes = revote(worst)
        turned = votes.is_turned(error=self.error, runner_up=certificate.method == "runner-up")
        return Attempt(factor=factor, radius=radius, distance=far, votes=votes, turned=turned, image=worst)


def climb(pgd: PGD, victim: Victim, pixels: Pixels, label: str) -> Pixels:
    """What `pgd` makes of one image (uint8), checked in whole numbers to lie in its ball."""
    import torch

    columns = torch.tensor([victim.index(label)])
    planes = pixels if pixels.ndim == 3 else pixels[..., None]
    x = torch.from_numpy(planes.copy()).permute(2, 0, 1)[None].float() / 255
    found = pgd(x, columns, victim)[0].permute(1, 2, 0).double().mul(255).round()
    attacked = found.to(torch.uint8).numpy().reshape(pixels.shape)
    Ball(norm=pgd.norm, radius=pgd.radius).check(pixels, attacked)
    return np.ascontiguousarray(attacked)


def by_prediction(api: SmoothedAPI, label: str, n: int) -> Revote:
    """Fresh votes for `label`, by `api.predict`: on the api's budget; fewer where that is spent."""

    def revote(pixels: Pixels) -> Votes:
        found = api.predict(pixels, n=n)
        others = [votes for name, votes in found.counts.items() if name != label]
        return Votes(k=found.counts.get(label, 0), other=max(others, default=0), n=found.n)

    return revote


def by_report(
    api: SmoothedAPI, certificate: Certificate, thresholds: float | Mapping[str, float], n: int
) -> Revote:
    """Fresh votes on whether the label of a certificate of presence, or absence, is reported, or is not."""
    assert certificate.label is not None
    absent = [certificate.label.removeprefix(_ABSENT)] if certificate.kind == "absent" else []

    def revote(pixels: Pixels) -> Votes:
        found = api.certify_labels(pixels, thresholds=thresholds, n=n, absent=absent)
        n_found = max((one.n for one in found), default=0)
        k = sum(
            votes
            for one in found
            for name, votes in one.counts.items()
            if one.kind == certificate.kind and name == certificate.label
        )
        return Votes(k=k, other=n_found - k, n=n_found)

    return revote


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
) -> Iterator[Attacked]:
    """Certify each image (with `n` and `radius` as of `certify`), then attack what is certified; ends with the budget.

    Raises ConfigurationError where there are no gradients, and what `certify` raises.
    """
    victim = victim_of(api, smoothed=True, seed=holding.seed)
    for example in data:
        found = _attacked(api, example, truths, victim, holding, n=n, radius=radius)
        if found is None:
            return
        yield found


def _attacked(
    api: SmoothedAPI,
    example: Example,
    truths: Truths,
    victim: Victim,
    holding: Holding,
    *,
    n: int | Literal["auto"] | None,
    radius: float | None,
) -> Attacked | None:
    """None where the budget is spent."""
    named = {"id": example.id, "path": example.path, "norm": "l2"}
    try:
        pixels = pixels_of(example)
    except ImageError as error:
        return Attacked(**named, label=None, right=None, reason=str(error))  # type: ignore[arg-type]
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
        return result
    attempts = holding(victim, pixels, found, by_prediction(api, found.label, holding.votes))
    turned = min((one for one in attempts if one.turned), key=lambda one: one.distance, default=None)
    return replace(
        result,
        attempts=tuple(attempts),
        queries=result.queries + sum(one.votes.n for one in attempts if one.votes is not None),
        distance=None if turned is None else turned.distance,
        image=None if turned is None else turned.image,
    )
