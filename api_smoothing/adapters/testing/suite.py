"""The laws every adapter keeps, as a pytest class to subclass.

```python
class TestAcme(AdapterSuite):
    build = "from acme_adapter import load; load(key='k')"

    @pytest.fixture
    def server(self):  # anything with .meter.requests and .faults.inject, such as a Sandbox
        with AcmeServer() as server:
            yield server

    @pytest.fixture
    def adapter(self, server):
        return load(endpoint=server.endpoint, key=server.key)

    @pytest.fixture
    def twin(self, server):
        return load(endpoint=server.endpoint, key=server.key, timeout=0.5)
```

A law is skipped when it needs a fixture that is not given. The fixtures may have any scope.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any, ClassVar, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from api_smoothing.adapters import registry
from api_smoothing.adapters.base import Adapter, Answer, Verdict
from api_smoothing.adapters.testing.calls import (
    alone,
    ask,
    hides,
    imported,
    names_of,
    outcome,
    texts_of,
)
from api_smoothing.adapters.testing.faults import FAULTS, check_fault
from api_smoothing.errors import ApiSmoothError

__all__ = ["FAULTS", "HEAVY", "AdapterSuite"]

#: Modules that building an adapter must not import: those that the built-in providers declare.
HEAVY: Final = tuple(
    sorted({module for name in registry.BUILT_IN for module in registry.provider(name).heavy})
)

_THREADS: Final = 16


class AdapterSuite:
    """Subclass with a fixture `adapter`, for a remote provider also with those below that are None here.

    `build` is Python code that builds the adapter, run in an interpreter of its own without credentials or
    network; `heavy` are the modules it must not import.
    """

    build: ClassVar[str | None] = None
    heavy: ClassVar[tuple[str, ...]] = HEAVY

    @pytest.fixture
    def adapter(self) -> Adapter:
        """The adapter under test."""
        raise NotImplementedError("give the class a fixture named adapter")

    @pytest.fixture
    def server(self) -> Any:
        """What the adapter talks to: `.meter.requests` counts, `.faults.inject(kind)` spoils the next request."""
        return None

    @pytest.fixture
    def twin(self) -> Adapter | None:
        """The same adapter loaded a second time, with a timeout of half a second."""
        return None

    @pytest.fixture
    def silent(self) -> Adapter | None:
        """An adapter whose server finds nothing in any image, and says so."""
        return None

    @pytest.fixture
    def evasive(self) -> Mapping[str, Adapter]:
        """Adapters whose servers succeed and yet answer nothing, by how: another kind of answer, an unknown, `{}`."""
        return {}

    @pytest.fixture
    def nowhere(self) -> Adapter | None:
        """An adapter of an address at which nobody listens."""
        return None

    @pytest.fixture
    def secrets(self, server: Any) -> tuple[str, ...]:
        """What must never be seen: keys, tokens and the like."""
        key = getattr(server, "key", None)
        return (key,) if isinstance(key, str) else ()

    @pytest.fixture
    def images(self, adapter: Adapter) -> list[NDArray[np.uint8]]:
        """Sixteen images (H,W,3) the server tells apart: not all of them get the same answer."""
        card = adapter.card
        side = card.native_side or min(max(card.min_side, 32), card.max_side or card.min_side + 32)
        draw = np.random.default_rng(7)
        return [draw.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(_THREADS)]

    def test_the_card_is_complete(self, adapter: Adapter) -> None:
        """The card has a name and a fingerprint, limits that can hold together, and one kind of price."""
        card = adapter.card
        assert card.name == " ".join(card.name.split()) != ""
        assert card.fingerprint == " ".join(card.fingerprint.split()) != ""
        assert card.accepts in ("png", "tensor")
        assert card.batch >= 1
        assert 1 <= card.min_side <= (card.native_side or card.max_side or card.min_side)
        assert (card.native_side or card.min_side) <= (card.max_side or 1 << 30)
        for limit in (card.max_labels, card.max_image_bytes, card.max_request_bytes):
            assert limit is None or limit >= 1
        assert card.labels is None or 0 < len(card.labels) == len(set(card.labels))
        assert card.usd_per_query is None or card.usd_per_query >= 0
        assert not (card.price and card.usd_per_query), "a price in the table and one of its own"
        for quota in card.quotas:
            assert quota.unit in ("image", "request")
            assert quota.count >= 1
            assert quota.seconds > 0
        assert card.drift in ("version", "canary") or (card.drift == "none" and card.accepts == "tensor")
        assert card.end_of_life is None or date.fromisoformat(card.end_of_life)
        assert adapter.card == card

    def test_loaded_again_it_is_the_same(self, adapter: Adapter, twin: Adapter | None) -> None:
        """Two adapters with the same settings have the same card: cached answers and quotas are shared."""
        assert _given(twin, "twin").card == adapter.card

    def test_it_is_built_from_nothing(self, tmp_path: Any) -> None:
        """Building an adapter imports no SDK, and needs neither credentials nor network."""
        assert imported(_given(self.build, "build"), self.heavy, home=tmp_path) == []

    def test_one_call_is_one_request(
        self, adapter: Adapter, server: Any, images: list[NDArray[np.uint8]]
    ) -> None:
        """However many images a call has, the server sees one request, and none before it to connect."""
        server = _given(server, "server")
        if connect := getattr(adapter, "connect", None):
            before = server.meter.requests
            connect()
            assert server.meter.requests == before
        for count in sorted({1, min(adapter.card.batch, len(images))}):
            before = server.meter.requests
            assert len(ask(adapter, images[:count])) == count
            assert server.meter.requests == before + 1

    def test_a_full_batch_is_taken_and_never_split(
        self, adapter: Adapter, server: Any, images: list[NDArray[np.uint8]]
    ) -> None:
        """As many images as the card says go in one request; more are not sent in two, which would cost unseen."""
        server = _given(server, "server")
        full = [images[i % len(images)] for i in range(adapter.card.batch)]
        before = server.meter.requests
        assert len(names_of(ask(adapter, full))) == len(full)
        assert server.meter.requests == before + 1
        told, error = outcome(adapter, [*full, images[0]])
        if error is None:
            assert len(told) == len(full) + 1
        else:
            assert all(isinstance(one, Verdict) and one.kind in ("fatal", "refused") for one in told)
        assert server.meter.requests <= before + 2

    def test_answers_come_in_order(self, adapter: Adapter, images: list[NDArray[np.uint8]]) -> None:
        """Image i gets answer i, alone or in company, in whatever order."""
        own = alone(adapter, images)
        batch = adapter.card.batch
        for order in (range(len(images)), range(len(images) - 1, -1, -1)):
            for start in range(0, len(images), batch):
                part = list(order)[start : start + batch]
                assert names_of(ask(adapter, [images[i] for i in part])) == [own[i] for i in part]

    def test_threads_get_their_own_answers(
        self, adapter: Adapter, server: Any, images: list[NDArray[np.uint8]]
    ) -> None:
        """Sixteen threads at once each get the answer to their own image, for one request a call."""
        own = alone(adapter, images)
        before = 0 if server is None else server.meter.requests
        with ThreadPoolExecutor(_THREADS) as pool:
            told = list(pool.map(lambda image: names_of(ask(adapter, [image]))[0], images * 3))
        assert told == own * 3
        if server is not None:
            assert server.meter.requests == before + len(told)

    def test_answers_are_within_bounds(self, adapter: Adapter, images: list[NDArray[np.uint8]]) -> None:
        """Names are never empty, scores lie in [0, 1], and there are no more labels than the card says."""
        card = adapter.card
        for image in images:
            (answer,) = ask(adapter, [image])
            assert isinstance(answer, Answer)
            assert len(answer.labels) <= (card.max_labels or len(answer.labels))
            for label in answer.labels:
                assert label.name == label.name.strip() != ""
                assert label.id is None or label.id
                assert label.score is None or 0 <= label.score <= 1
                assert all(isinstance(parent, str) and parent for parent in label.parents)
                assert card.labels is None or label.name in card.labels
            if card.drift == "version":
                assert answer.model_version

    def test_nothing_seen_is_an_answer(self, silent: Adapter | None, images: list[NDArray[np.uint8]]) -> None:
        """A server that finds nothing is believed: an answer without labels, with the version of the model."""
        silent = _given(silent, "silent")
        for answer in ask(silent, images[: silent.card.batch]):
            assert isinstance(answer, Answer)
            assert answer.labels == ()
            assert answer.model_version or silent.card.drift != "version"

    def test_what_is_no_answer_is_no_vote(
        self, evasive: Mapping[str, Adapter], images: list[NDArray[np.uint8]]
    ) -> None:
        """A missing key is not an empty list, and an unknown is not a no: neither is read as "no labels"."""
        for way, adapter in _given(evasive or None, "evasive").items():
            told, error = outcome(adapter, images[:1])
            (verdict,) = told
            assert isinstance(verdict, Verdict), way
            assert verdict.kind != "throttled", way
            assert verdict.sent or isinstance(error, ApiSmoothError), way
            assert verdict.message == " ".join(verdict.message.split()) != "", way

    @pytest.mark.parametrize("fault", FAULTS)
    def test_a_fault_is_a_verdict(
        self,
        adapter: Adapter,
        twin: Adapter | None,
        server: Any,
        secrets: tuple[str, ...],
        images: list[NDArray[np.uint8]],
        fault: str,
    ) -> None:
        """A fault costs one request, is never taken for an answer, and is over with the next call."""
        asked = _given(twin, "twin") if fault in ("timeout", "drip") else adapter
        few = images[: min(asked.card.batch, 3)]
        check_fault(fault, asked, _given(server, "server"), few, secrets=secrets, patient=adapter)

    def test_where_nobody_listens_nothing_is_sent(
        self, nowhere: Adapter | None, secrets: tuple[str, ...], images: list[NDArray[np.uint8]]
    ) -> None:
        """A request that cannot have left is called unsent: it costs nothing, and may be tried again."""
        told, error = outcome(_given(nowhere, "nowhere"), images[:1])
        (verdict,) = told
        assert isinstance(verdict, Verdict)
        assert (verdict.kind, verdict.sent) == ("transient", False)
        assert verdict.message == " ".join(verdict.message.split()) != ""
        hides(secrets, verdict.message, *texts_of(error))

    def test_secrets_stay_secret(
        self, adapter: Adapter, secrets: tuple[str, ...], images: list[NDArray[np.uint8]]
    ) -> None:
        """No key is in the card or the fingerprint, nor in what is printed of the adapter after a call."""
        if not secrets:
            pytest.skip("there are no secrets; give the class a fixture named secrets")
        ask(adapter, images[:1])
        hides(secrets, repr(adapter), str(adapter), repr(adapter.card), adapter.card.fingerprint)


def _given(value: Any, name: str) -> Any:
    if value is None:
        pytest.skip(f"needs a fixture or attribute: {name}")
    return value
