"""Fresh votes on an attacked image: they decide whether what was certified is turned, and stop once they do.

They are asked through the facade: by noise that has nothing to do with that of the certificate, as it depends on the
image, nor with what the attack drew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from api_smoothing.attacks.ball import Pixels
from api_smoothing.attacks.outcome import Votes
from api_smoothing.attacks.search import Spent

if TYPE_CHECKING:
    from api_smoothing.results import Certificate
    from api_smoothing.smoothed import SmoothedAPI

#: (an attacked image, n) → the first n of its fresh votes; fewer where the budget is spent.
Revote = Callable[[Pixels, int], Votes]

ABSENT: Final = "not: "

_LOOKS: Final = (1 / 16, 1 / 4, 1)  # of the votes, after which they are looked at
_FEWEST: Final = 50  # at a look, but where all are fewer
#: Probability, at a look, that the votes on a turned image end with "kept". It bears on the power, not on the level.
_MISSED: Final = 1e-3


def decide(
    revote: Revote, image: Pixels, most: int, *, error: float, runner_up: bool = False
) -> tuple[Votes, bool]:
    """The votes on `image`, `most` at most, and whether it is turned, which is said of one that is not with `error`.

    At each of three looks a third of `error` may say so; one that is surely kept is not asked about further. Raises
    Spent where the budget is, before anything could be said.
    """
    looks = sorted({min(most, max(_FEWEST, round(share * most))) for share in _LOOKS})
    for n in looks:
        found = revote(image, n)
        if found.is_turned(error=error / len(_LOOKS), runner_up=runner_up):
            return found, True
        if found.is_kept(error=_MISSED, runner_up=runner_up):
            break
        if found.n < n:
            raise Spent
    return found, False


def by_prediction(api: SmoothedAPI, label: str) -> Revote:
    """Votes for `label`, by `api.predict`: on the api's budget."""

    def revote(pixels: Pixels, n: int) -> Votes:
        found = api.predict(pixels, n=n)
        others = [votes for name, votes in found.counts.items() if name != label]
        return Votes(k=found.counts.get(label, 0), other=max(others, default=0), n=found.n)

    return revote


def by_report(api: SmoothedAPI, certificate: Certificate, thresholds: float | Mapping[str, float]) -> Revote:
    """Votes on whether the label of a certificate of presence, or absence, is reported, or is not."""
    assert certificate.label is not None
    absent = [certificate.label.removeprefix(ABSENT)] if certificate.kind == "absent" else []

    def revote(pixels: Pixels, n: int) -> Votes:
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
