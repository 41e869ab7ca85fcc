"""What each fault of a server may be taken for, and how an adapter is held to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from api_smoothing.adapters.base import Adapter, Answer, Verdict
from api_smoothing.adapters.testing.calls import (
    ask,
    hides,
    names_of,
    outcome,
    patiently,
    requests_seen,
    texts_of,
    version_of,
)

_PASSING: Final = ("500", "502", "503", "504", "reset", "timeout", "drip")
_NO_ANSWER: Final = ("empty", "missing-key", "truncated", "html", "wrong-count")

#: What each fault of a server may be taken for. A "version" is no failure: the answer is good, the model is new.
FAULTS: Final[dict[str, frozenset[str]]] = {
    **dict.fromkeys(("throttle", "throttle-retry-after", "throttle-coded"), frozenset({"throttled"})),
    **dict.fromkeys(_PASSING, frozenset({"transient"})),
    **dict.fromkeys(_NO_ANSWER, frozenset({"broken", "transient"})),
    **dict.fromkeys(("expired-key", "quota"), frozenset({"fatal"})),
    "billed-400": frozenset({"refused"}),
    "bad-image": frozenset({"refused", "transient"}),  # some services take a moment later what they refused
    "version": frozenset(),
}


def check_fault(
    fault: str,
    adapter: Adapter,
    server: Any,
    images: Sequence[NDArray[np.uint8]],
    *,
    secrets: Sequence[str],
    patient: Adapter,
) -> None:
    """Spoil one request with `fault`, and assert what has to come of it; then the usual answers must come again.

    What they are is asked by `patient`, the same adapter where that one gives up soon: all its requests are counted.
    """
    usual = ask(patient, images)
    assert all(isinstance(answer, Answer) for answer in usual)

    before = server.meter.requests
    server.faults.inject(fault)
    for _ in range(3):  # a call that is given up before a busy server has it may never be seen
        told, error = outcome(adapter, images)
        if (seen := requests_seen(server, before + 1)) > before:
            break
    assert seen == before + 1, "a call is one request, come what may"
    verdicts = [one for one in told if isinstance(one, Verdict)]
    for verdict in verdicts:
        assert verdict.kind in FAULTS[fault]
        assert verdict.sent, "the server saw the request, so it may cost"
        assert verdict.message == " ".join(verdict.message.split()) != ""
        assert verdict.retry_after is None or 0 <= verdict.retry_after < 3600
    if fault == "version":
        assert not verdicts
        if adapter.card.drift == "version":
            assert {version_of(one) for one in told}.isdisjoint(version_of(one) for one in usual)
        return
    assert verdicts
    assert len(verdicts) == len(told) or fault == "bad-image", "an answer came of a response that failed"
    hides(secrets, *(verdict.message for verdict in verdicts), *texts_of(error))
    assert names_of(patiently(adapter, images)) == names_of(usual)
