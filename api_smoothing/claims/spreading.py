"""One budget over many images: which of them to ask about next, so that most are certified in the end.

An image whose class has k of n votes is worth going on with as long as a certificate is likely for the answers it
will take. Its *index* is the largest ratio of P(certified before τ) to E[answers until τ], over all rules τ for
stopping: the certificates that an answer buys. The next answers go to the images with the largest index, and an
image whose votes disappoint falls back behind those not begun; it may be taken up again. For independent projects
of which one is advanced at a time this is the optimal order for a long budget [Gittins 1979]; with the last of a
budget it is nearly so.

*How it is computed.* For a price λ of an answer let V(k, n) be the largest expected value of a certificate (1) less
the answers paid: 1 where the boundary of the open rule is met, else max(0, −λ + P(vote)·V(k+1, n+1) + P(none)·V(k,
n+1)), P(vote) from the posterior of the prior given k of n. Going on pays at λ below the index, and only there. V
is computed backwards from a horizon for a grid of λ at once. Beyond it the index is the posterior chance that p >
p0, by the answers that the mean of such p would take.

*Soundness.* The rule is the open one, valid at every look whenever one stops: what makes one go on or leave off may
depend on all votes of all images (`certify.sequential`; an image's votes are independent of those of others). The
certificates are those that the images would get alone. A bad prior costs certificates, never soundness. Which
images are certified depends on their votes, so the share of certified ones says nothing of the images not taken up:
it is a lower bound for the set, no estimate, and a claim about the set (`claim`) is not to be made from it.

Sources: Gittins 1979; Weber 1992; Robbins 1970.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from api_smoothing.certify.boundary import OpenBoundary
from api_smoothing.certify.crossing import Floats
from api_smoothing.certify.mixture import divergence
from api_smoothing.certify.plan import target_boundary
from api_smoothing.claims.caps import compressed, for_budget

_PRICES: Final = 32
_SHORTEST, _LONGEST = 256, 2048  # answers that the index looks ahead
_TIMES: Final = 8  # the unanimous minimum: between those two
_FIRST: Final = 4  # answers an image gets at once at least,
_GROWTH: Final = 8  # and n/8 later: what is learnt of it meanwhile comes too late
_MORE: Final = 1.1  # that spreading must promise, as a multiple, to be preferred to a cap
_EDGE: Final = (
    1e-6  # shares of 0 and 1 are taken to be this far inside: one vote must not exclude all of the prior
)


class Spreading:
    """Which images to go on with, for certificates of p > `p0` by the open rule at error `alpha`."""

    def __init__(
        self, shares: Floats, weights: Floats, *, p0: float, alpha: float = 0.001, right: float = 1.0
    ) -> None:
        """`shares` in [0, 1] of the top class, `weights` sum to 1; with probability `right` it is the class wanted.

        Where it is not, the wanted class is taken to have what the top class leaves.
        """
        boundary = target_boundary(p0, alpha=alpha)
        assert isinstance(boundary, OpenBoundary)
        self._boundary, self._p0, self._alpha = boundary, p0, alpha
        p, w = compressed(np.asarray(shares, dtype=np.float64), np.asarray(weights, dtype=np.float64))
        p, w = np.concatenate([p, 1.0 - p]), np.concatenate([right * w, (1.0 - right) * w])
        p, w = p[w > 0.0], w[w > 0.0]
        self._share, self._weight = np.clip(p, _EDGE, 1.0 - _EDGE), w / w.sum()
        least = boundary.reach(0, 0) or _LONGEST
        self.horizon = min(_LONGEST, max(_SHORTEST, _TIMES * least))
        self._prices = 1.0 / np.geomspace(max(1, least // 2), 2 * self.horizon, _PRICES)
        self._pays = self._solve()
        self._known = lru_cache(maxsize=1 << 16)(self._index)

    def certified(self, votes: int, n: int) -> bool:
        """Whether the votes so far certify the class; once they have, later ones do not undo it."""
        return n > 0 and votes >= self._boundary.at(n)

    def index(self, votes: int, n: int) -> float:
        """Certificates that an answer buys, at best, of an image with `votes` of `n` and not certified yet."""
        return self._known(votes, n)

    def _index(self, votes: int, n: int) -> float:
        if n >= self.horizon:
            return self._far(votes, n)
        # `_pays[i, n]` is the fewest votes with which price i is worth it, prices falling.
        paid = np.nonzero(votes >= self._pays[:, n])[0]
        return (
            float(self._prices[paid[0]]) if paid.size else min(self._far(votes, n), float(self._prices[-1]))
        )

    def take(self, states: Sequence[tuple[int, int] | None], answers: int) -> list[tuple[int, int]]:
        """The images to ask about next, the most promising first, and how many answers each gets, `answers` in all.

        `states` are (votes, n) of the images in their order; None where one is done: certified, failed, or given up.
        So many go to an image that few are in vain, and never more than could certify it.
        """
        index = {state: self.index(*state) for state in {state for state in states if state is not None}}
        places = [i for i, state in enumerate(states) if state is not None]
        places.sort(key=lambda i: -index[states[i]])  # type: ignore[index]
        given = []
        for i in places:
            state = states[i]
            assert state is not None
            if answers <= 0:
                break
            more = min(answers, self._at_once(*state))
            given.append((i, more))
            answers -= more
        return given

    def _at_once(self, votes: int, n: int) -> int:
        return max(1, min(self._boundary.reach(votes, n) or 1, max(_FIRST, n // _GROWTH)))

    def _solve(self) -> Floats:
        """By price and n, the fewest votes with which going on pays; n + 1 if it never does."""
        horizon = self.horizon
        tops = self._boundary.counts(horizon)
        pays = np.empty((_PRICES, horizon))
        # Counts past a boundary are never gone on with, so their value is 1, whatever n.
        value = np.tile(np.arange(horizon + 1) >= tops[-1], (_PRICES, 1)).astype(np.float64)
        for n in range(horizon - 1, -1, -1):
            hit = self._next_vote(n)
            going = hit * value[:, 1:] + (1.0 - hit) * value[:, :-1] - self._prices[:, None]
            worth = going > 0.0
            pays[:, n] = np.where(worth.any(axis=1), worth.argmax(axis=1), n + 1)
            value = np.maximum(going, 0.0)
            if n:
                value[:, tops[n - 1] :] = 1.0
        return pays

    def _next_vote(self, n: int) -> Floats:
        """P(the next answer is a vote) after 0 … n votes of n."""
        k = np.arange(n + 1)[:, None]
        log = np.log(self._weight) + k * np.log(self._share) + (n - k) * np.log1p(-self._share)
        weight = np.exp(log - log.max(axis=1, keepdims=True))
        return np.asarray((weight @ self._share) / weight.sum(axis=1))

    def _far(self, votes: int, n: int) -> float:
        """The posterior chance of p > p0, by the answers that its mean given that would take."""
        above = self._share > self._p0
        if not above.any():
            return 0.0
        log = np.log(self._weight) + votes * np.log(self._share) + (n - votes) * np.log1p(-self._share)
        weight = np.exp(log - log[above].max())
        share = float(weight[above] @ self._share[above] / weight[above].sum())
        missing = self._boundary.log_threshold - float(self._boundary.mixture.log_e(votes, n))
        answers = max(1.0, missing / float(divergence(share, self._p0)))
        return float(weight[above].sum() / weight.sum()) / answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How to spend a budget: with `cap`, fixed beforehand for all images in their order, or by `Spreading` where None.

    About `certified` images will be certified for the true class.
    """

    cap: int | None
    certified: float


def way(
    shares: Floats,
    weights: Floats,
    *,
    p0: float,
    images: int,
    budget: int,
    alpha: float = 0.001,
    right: float = 1.0,
    caps: Sequence[int] | None = None,
) -> Way:
    """The way that likely certifies more of `images` with `budget` answers; see `Spreading` and `for_budget`.

    While there are images not begun an answer buys at most the index of one; in the end the images within reach are
    all there is. Where the second comes first, taking up again is what is left to gain. Otherwise the capped rule is
    the cheaper one of near-unanimous images, and depends less on the prior: it is taken unless the other promises a
    tenth more. That promise is the norm of order −4 of both, near what sets drawn from the prior come to.
    """
    capped = for_budget(shares, weights, p0=p0, images=images, budget=budget, alpha=alpha, caps=caps)[0]
    fresh = budget * Spreading(shares, weights, p0=p0, alpha=alpha, right=right).index(0, 0)
    within = (
        images * right * float(np.asarray(weights)[np.asarray(shares) > p0].sum() / np.asarray(weights).sum())
    )
    spread = (fresh**-4 + within**-4) ** -0.25 if fresh > 0.0 and within > 0.0 else 0.0
    if spread == 0.0 or (fresh < within and _MORE * right * capped.certified >= spread):
        return Way(cap=capped.cap, certified=right * capped.certified)
    return Way(cap=None, certified=spread)
