"""The target certifier: all classes at once, until one meets the boundary or none will.

The error over all classes is part of the boundary (see `error_bounds`), so no answers are set aside to choose a
class and the vocabulary may be open. At most one class can meet a boundary of p0 ≥ ½, as it takes more than
half the votes.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, Literal

from api_smoothing.certify.anytime import leader_lower
from api_smoothing.certify.base import Bound, Stopped
from api_smoothing.certify.boundary import Boundary
from api_smoothing.certify.fallback import Fallback
from api_smoothing.certify.futility import until_certain, until_likely
from api_smoothing.certify.mixture import divergence
from api_smoothing.certify.tally import Tally, bound, most_failed, refuse_surplus


class TargetCertifier:
    """Certifies the radius `target` for whichever class meets `upper`; gives up when that is in vain.

    `lower` is the futility boundary for the share `hopeless` (None: give up only when certain). `limit` is the
    number of answers after which the run ends: the cap of `upper`, or, for a boundary without one, whatever the
    budget allows (None: no limit). `fallback` proves smaller radii along the way, for a run that ends without
    the target.
    """

    def __init__(
        self,
        *,
        target: float,
        p0: float,
        alpha: float,
        upper: Boundary,
        hopeless: float,
        lower: Boundary | None,
        limit: int | None,
        limit_name: Literal["n", "budget"],
        fallback: Fallback | None,
        method: str,
    ) -> None:
        """`p0` ≥ ½ is the probability that must be exceeded for `target`."""
        if p0 < 0.5:
            raise ValueError("a target certifier needs p0 of at least ½")
        self._target, self._p0, self._alpha = target, p0, alpha
        self._upper, self._lower, self._hopeless = upper, lower, hopeless
        self._limit, self._limit_name, self._fallback = limit, limit_name, fallback
        self.method = method
        self._tally = Tally()
        self._stopped: Stopped | None = None
        self._reason = ""

    def need(self) -> int:
        """See Certifier: exact, as each way to a decision is the shortest run of answers that takes it."""
        if self._stopped:
            return 0
        top, n = self._tally.top, self._tally.n
        ways = (
            self._upper.reach(top, n),
            until_certain(self._upper, self._limit, top, n),
            until_likely(self._lower, top, n),
            None if self._limit is None else self._limit - n,
        )
        return max(1, min((way for way in ways if way is not None), default=1))

    def add(self, answers: Sequence[Hashable | None], /) -> None:
        """See Certifier; raises ConfigurationError beyond the decision."""
        for i, answer in enumerate(answers):
            if self._stopped == "failed":
                return
            if self._stopped:
                refuse_surplus(answers[i:], 0, self.method)
            self._tally.add(answer)
            self._decide()

    def _decide(self) -> None:
        top, n = self._tally.top, self._tally.n
        if self._limit is not None and self._tally.failed > most_failed(self._limit):
            self._stopped = "failed"
            return
        if top >= self._upper.at(n):
            self._stopped = "target"
            return
        if self._fallback is not None:
            self._fallback.look(self._tally.leader, top, n)
        if n == self._limit:
            self._stopped, self._reason = self._limit_name, self._missing()
        elif until_certain(self._upper, self._limit, top, n) == 0:
            # What the budget cannot decide is not futile: with more money it might be certified.
            self._stopped = "budget" if self._limit_name == "budget" else "futile"
            self._reason = f"certain: {top} of {n} votes, and {self._limit} answers cannot make them enough"
        elif self._lower is not None and n - top >= self._lower.at(n):
            self._stopped = "futile"
            self._reason = f"in all likelihood: every class is below p={self._hopeless:.4g} at level 0.01"

    def result(self) -> Bound:
        """The target if it was met, else the largest smaller radius proved so far."""
        label, p_lower, certified = self._tally.leader, self._p0, self._target
        if self._stopped != "target":
            label, p_lower, certified = None, 0.0, 0.0
            if self._fallback is not None:
                label, p_lower, certified = self._fallback.best
        return bound(
            self._tally,
            method=self.method,
            stopped=self._stopped,
            label=label,
            radius=certified,
            p_lower=p_lower,
            reached=self._stopped == "target",
            reason=self._reason,
            leader_lower=leader_lower(self._tally.top, self._tally.n, self._alpha),
        )

    def boundary(self) -> dict[str, Any] | None:
        """All that decides, to be written down before the first answer; None without a cap.

        `counts` are K(1) … K(N) for p0, and `levels` those of the smaller radii, lowest first, as [radius, p, counts].
        """
        cap = self._upper.cap
        if cap is None:
            return None
        levels = () if self._fallback is None else self._fallback.levels
        return {
            "p0": self._p0,
            "counts": self._upper.counts(cap).tolist(),
            "levels": [[radius, p, level.counts(cap).tolist()] for radius, p, level in levels],
        }

    def _missing(self) -> str:
        top, n = self._tally.top, self._tally.n
        share = top / n
        if self._upper.cap is not None or share <= self._p0:
            return f"{top} of {n} votes; the target needed {self._upper.at(n)}"
        at_least = self._upper.reach(top, n)
        drift = float(divergence(min(share, 1.0 - 1.0 / (2.0 * n)), self._p0))
        short = self._p0 * n + math.sqrt(n) if at_least is None else at_least * -math.log(self._p0)
        about = max(at_least or 0, math.ceil(short / max(drift, 1e-12)))
        return f"{top} of {n} votes; the target needs {at_least} more answers at least, at this share about {about}"
