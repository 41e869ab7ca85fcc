"""The paper's protocol: n0 votes choose the class, n other votes bound its probability."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial

import numpy as np

from api_smoothing.certify import clopper_pearson
from api_smoothing.certify.base import Bound, Stopped
from api_smoothing.certify.fixed import Decision
from api_smoothing.certify.radius import Noise, radius, runner_up_radius
from api_smoothing.certify.tally import Tally, bound, most_failed, refuse_surplus
from api_smoothing.errors import ConfigurationError


class ClopperPearsonCertifier:
    """`n0` votes choose the class, `n` others certify it; a run is not complete early and not topped up.

    Source: Cohen et al. 2019, CERTIFY. With `runner_up` the radius uses the second class as well: p_A at λ·α
    and an upper bound on the largest other count at (1−λ)·α, λ = 0.9. That bound grows with the count, so it
    covers the true runner-up whichever class it is; answers without a label count as one more class.
    """

    def __init__(
        self,
        *,
        n: int,
        n0: int,
        alpha: float,
        sigma: float,
        target: float | None = None,
        p0: float | None = None,
        noise: Noise = "gaussian",
        slack: float = 0.0,
        runner_up: bool = False,
    ) -> None:
        """As FixedCertifier; `runner_up` takes no target and Gaussian noise only."""
        if n0 < 1:
            raise ConfigurationError(f"n0 must be at least 1, not {n0}: these votes choose the class")
        if runner_up and (noise != "gaussian" or target is not None):
            raise ConfigurationError(
                "the runner-up radius needs Gaussian noise and no target: use another method"
            )
        self.method = "runner-up" if runner_up else "clopper-pearson"
        self._n, self._n0, self._alpha, self._target, self._p0 = n, n0, alpha, target, p0
        self._sigma, self._slack, self._runner_up = sigma, slack, runner_up
        self._radius = partial(radius, sigma=sigma, noise=noise, slack=slack)
        wanted = 0.5 + slack if p0 is None else p0
        good = np.nonzero(clopper_pearson.lower(np.arange(n + 1), n, alpha) >= wanted)[0]
        least = int(good[0]) if good.size else n + 1
        self.decision = Decision(
            n=n,
            enough=n + 1 if p0 is None else least,
            floor=0 if runner_up else least,
            most_failed=most_failed(n0 + n),
        )
        self._choosing, self._tally = Tally(), Tally()
        self._label: Hashable | None = None
        self._stopped: Stopped | None = None

    @property
    def _votes(self) -> int:
        return 0 if self._label is None else self._tally.counts.get(self._label, 0)

    def need(self) -> int:
        """See Certifier. While the class is being chosen, nothing can be settled before that is done."""
        if self._stopped:
            return 0
        choosing = self._n0 - self._choosing.n
        if choosing and self._choosing.leader is None:
            return choosing
        return choosing + self.decision.until_settled(self._votes, self._tally.n)

    def add(self, answers: Sequence[Hashable | None], /) -> None:
        """See Certifier; raises ConfigurationError beyond n0 + n, or beyond the decision."""
        for i, answer in enumerate(answers):
            if self._stopped == "failed":
                return
            if self._stopped:
                refuse_surplus(answers[i:], 0, self.method)
            choosing = self._choosing.n < self._n0
            (self._choosing if choosing else self._tally).add(answer)
            failed = self._choosing.failed + self._tally.failed
            self._stopped = self.decision.settle(self._votes, self._tally.n, failed)
            if choosing and self._choosing.n == self._n0 and not self._stopped:
                self._label = self._choosing.leader
                self._stopped = "futile" if self._label is None else None

    def result(self) -> Bound:
        """The bound once all n are complete or the target decided; abstained before."""
        votes, reached = self._votes, None if self._target is None else self._stopped == "target"
        p_lower = certified = 0.0
        if self._stopped == "target" and self._target is not None and self._p0 is not None:
            p_lower, certified = self._p0, self._target
        elif self._stopped == "n" and self._runner_up:
            p_lower, certified = self._against_runner_up(votes)
        elif self._stopped == "n":
            p_lower = float(clopper_pearson.lower(votes, self._n, self._alpha))
            certified = self._radius(p_lower)
        reason = self.decision.reason(self._stopped, votes)
        if self._stopped and self._label is None:
            reason = f"none of the {self._n0} answers that choose the class had a label"
        return bound(
            self._tally,
            method=self.method,
            stopped=self._stopped,
            label=self._label,
            radius=certified,
            p_lower=p_lower,
            reached=reached,
            reason=reason,
            n0=self._choosing.n,
            failed_before=self._choosing.failed,
            leader_lower=self._abstained(votes),
        )

    def _abstained(self, votes: int) -> float:
        """The bound on the class that other votes chose, if it has the most of these: no selection to pay for."""
        if self._label is None or self._tally.leader != self._label:
            return 0.0
        return min(0.5, float(clopper_pearson.lower(votes, self._n, self._alpha)))

    def _against_runner_up(self, votes: int) -> tuple[float, float]:
        second = self._tally.runner_up(self._label)
        others = max(self._tally.counts.get(second, 0), self._tally.unlabelled + self._tally.failed)
        p_a, p_b = clopper_pearson.runner_up(votes, others, self._n, self._alpha)
        return p_a, runner_up_radius(p_a, p_b, sigma=self._sigma, slack=self._slack)
