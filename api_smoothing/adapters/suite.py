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

import os
import re
import subprocess
import sys
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from io import BytesIO
from typing import Any, ClassVar, Final

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from api_smoothing.adapters.base import Adapter, Answer, EncodedImage, Verdict

#: What each fault of a server may be taken for. A "version" is no failure: the answer is good, the model is new.
FAULTS: Final[dict[str, frozenset[str]]] = {
    "throttle": frozenset({"throttled"}),
    "throttle-retry-after": frozenset({"throttled"}),
    "throttle-coded": frozenset({"throttled"}),
    "500": frozenset({"transient"}),
    "502": frozenset({"transient"}),
    "503": frozenset({"transient"}),
    "504": frozenset({"transient"}),
    "reset": frozenset({"transient"}),
    "timeout": frozenset({"transient"}),
    "drip": frozenset({"transient"}),
    "empty": frozenset({"transient"}),
    "missing-key": frozenset({"transient"}),
    "truncated": frozenset({"transient"}),
    "html": frozenset({"transient"}),
    "wrong-count": frozenset({"transient"}),
    "bad-image": frozenset(
        {"refused", "transient"}
    ),  # some services say so of images they take a moment later
    "expired-key": frozenset({"fatal"}),
    "quota": frozenset({"fatal"}),
    "version": frozenset(),
    "billed-400": frozenset({"refused"}),
}

#: Modules that building an adapter must not import.
HEAVY: Final = (
    "azure", "boto3", "botocore", "clarifai_grpc", "google.cloud", "grpc", "msrest", "openai", "requests", "torch",
)  # fmt: skip

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
        assert card.usd_per_query >= 0
        assert not (card.price and card.usd_per_query), "a price in the table and one of its own"
        for quota in card.quotas:
            assert quota.unit in ("image", "request")
            assert quota.count >= 1
            assert quota.seconds > 0
        assert card.drift in (
            ("version", "canary") if card.accepts == "png" else ("version", "canary", "none")
        )
        assert card.end_of_life is None or date.fromisoformat(card.end_of_life)
        assert adapter.card == card

    def test_loaded_again_it_is_the_same(self, adapter: Adapter, twin: Adapter | None) -> None:
        """Two adapters with the same settings have the same card: cached answers and quotas are shared."""
        assert _given(twin, "twin").card == adapter.card

    def test_it_is_built_from_nothing(self, tmp_path: Any) -> None:
        """Building an adapter imports no SDK, and needs neither credentials nor network."""
        code = (
            "import socket, sys\n"
            "def offline(*_): raise AssertionError('building an adapter must not use the network')\n"
            "socket.socket.connect = socket.getaddrinfo = offline\n"
            f"{_given(self.build, 'build')}\n"
            f"print([name for name in {self.heavy!r} if name in sys.modules])\n"
        )
        keep = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
        done = subprocess.run(  # noqa: S603  # the code is the suite's own
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env={**keep, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr

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
            assert len(_ask(adapter, images[:count])) == count
            assert server.meter.requests == before + 1

    def test_a_full_batch_is_taken_and_never_split(
        self, adapter: Adapter, server: Any, images: list[NDArray[np.uint8]]
    ) -> None:
        """As many images as the card says go in one request; more are not sent in two, which would cost unseen."""
        server = _given(server, "server")
        full = [images[i % len(images)] for i in range(adapter.card.batch)]
        before = server.meter.requests
        assert len(_names(_ask(adapter, full))) == len(full)
        assert server.meter.requests == before + 1
        told, error = _outcome(adapter, [*full, images[0]])
        if error is None:
            assert len(told) == len(full) + 1
        else:
            assert all(isinstance(one, Verdict) and one.kind in ("fatal", "refused") for one in told)
        assert server.meter.requests <= before + 2

    def test_answers_come_in_order(self, adapter: Adapter, images: list[NDArray[np.uint8]]) -> None:
        """Image i gets answer i, alone or in company, in whatever order."""
        alone = _alone(adapter, images)
        batch = adapter.card.batch
        for order in (range(len(images)), range(len(images) - 1, -1, -1)):
            for start in range(0, len(images), batch):
                part = list(order)[start : start + batch]
                assert _names(_ask(adapter, [images[i] for i in part])) == [alone[i] for i in part]

    def test_threads_get_their_own_answers(
        self, adapter: Adapter, server: Any, images: list[NDArray[np.uint8]]
    ) -> None:
        """Sixteen threads at once each get the answer to their own image, for one request a call."""
        alone = _alone(adapter, images)
        before = 0 if server is None else server.meter.requests
        with ThreadPoolExecutor(_THREADS) as pool:
            told = list(
                pool.map(lambda i: _names(_ask(adapter, [images[i % _THREADS]]))[0], range(3 * _THREADS))
            )
        assert told == alone * 3
        if server is not None:
            assert server.meter.requests == before + 3 * _THREADS

    def test_answers_are_within_bounds(self, adapter: Adapter, images: list[NDArray[np.uint8]]) -> None:
        """Names are never empty, scores lie in [0, 1], and there are no more labels than the card says."""
        card = adapter.card
        for image in images:
            (answer,) = _ask(adapter, [image])
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
        for answer in _ask(silent, images[: silent.card.batch]):
            assert isinstance(answer, Answer)
            assert answer.labels == ()
            assert answer.model_version or silent.card.drift != "version"

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
        server = _given(server, "server")
        asked = _given(twin, "twin") if fault in ("timeout", "drip") else adapter
        query = images[: min(asked.card.batch, 3)]
        usual = _ask(asked, query)
        assert all(isinstance(answer, Answer) for answer in usual)

        before = server.meter.requests
        server.faults.inject(fault)
        told, error = _outcome(asked, query)
        assert server.meter.requests == before + 1, "a call is one request, whatever happens to it"
        verdicts = [one for one in told if isinstance(one, Verdict)]
        for verdict in verdicts:
            assert verdict.kind in FAULTS[fault]
            assert verdict.sent, "the server saw the request, so it may cost"
            assert verdict.message == " ".join(verdict.message.split()) != ""
            assert verdict.retry_after is None or 0 <= verdict.retry_after < 3600
        if fault == "version":
            assert not verdicts
            if asked.card.drift == "version":
                assert {_version(one) for one in told}.isdisjoint(_version(one) for one in usual)
            return
        assert verdicts
        assert len(verdicts) == len(told) or fault == "bad-image", "an answer came of a response that failed"
        _hides(secrets, *(verdict.message for verdict in verdicts), *_texts(error))
        assert _names(_ask(asked, query)) == _names(usual)

    def test_where_nobody_listens_nothing_is_sent(
        self, nowhere: Adapter | None, secrets: tuple[str, ...], images: list[NDArray[np.uint8]]
    ) -> None:
        """A request that cannot have left is called unsent: it costs nothing, and may be tried again."""
        told, error = _outcome(_given(nowhere, "nowhere"), images[:1])
        (verdict,) = told
        assert isinstance(verdict, Verdict)
        assert (verdict.kind, verdict.sent) == ("transient", False)
        assert verdict.message == " ".join(verdict.message.split()) != ""
        _hides(secrets, verdict.message, *_texts(error))

    def test_secrets_stay_secret(
        self, adapter: Adapter, secrets: tuple[str, ...], images: list[NDArray[np.uint8]]
    ) -> None:
        """No key is in the card or the fingerprint, nor in what is printed of the adapter after a call."""
        if not secrets:
            pytest.skip("there are no secrets; give the class a fixture named secrets")
        _ask(adapter, images[:1])
        _hides(secrets, repr(adapter), str(adapter), repr(adapter.card), adapter.card.fingerprint)


def _given(value: Any, name: str) -> Any:
    if value is None:
        pytest.skip(f"needs a fixture or attribute: {name}")
    return value


def _ask(adapter: Adapter, images: Sequence[NDArray[np.uint8]]) -> Sequence[Answer | Verdict]:
    """One call about `images`, in the form the card asks for."""
    if adapter.card.accepts == "tensor":
        import torch

        return adapter.label(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255)
    return adapter.label([_encoded(image) for image in images])


def _outcome(
    adapter: Adapter, images: Sequence[NDArray[np.uint8]]
) -> tuple[Sequence[Answer | Verdict], Exception | None]:
    """What comes of one call: its answers, or the one verdict on the error it raises, and that error."""
    try:
        return _ask(adapter, images), None
    except Exception as error:
        return [adapter.verdict(error)], error


def _encoded(image: NDArray[np.uint8]) -> EncodedImage:
    file = BytesIO()
    Image.fromarray(image).save(file, "png")
    return EncodedImage(data=file.getvalue(), height=image.shape[0], width=image.shape[1])


def _names(answers: Sequence[Answer | Verdict]) -> list[tuple[str, ...]]:
    """The names of each answer's labels, in their order."""
    assert all(isinstance(answer, Answer) for answer in answers), answers
    return [tuple(label.name for label in answer.labels) for answer in answers if isinstance(answer, Answer)]


def _alone(adapter: Adapter, images: Sequence[NDArray[np.uint8]]) -> list[tuple[str, ...]]:
    """What each image is called when it is asked about by itself."""
    alone = [_names(_ask(adapter, [image]))[0] for image in images]
    assert len(set(alone)) > 1, "all images get the same answer; override the fixture images"
    return alone


def _version(answer: Answer | Verdict) -> str | None:
    return answer.model_version if isinstance(answer, Answer) else None


def _texts(error: Exception | None) -> list[str]:
    """Everything that can be printed of an error, of those it came from too."""
    return [] if error is None else [str(error), repr(error), "".join(traceback.format_exception(error))]


def _hides(secrets: Sequence[str], *texts: str) -> None:
    for text in texts:
        for secret in secrets:
            assert secret not in text, "a secret shows: " + re.sub(re.escape(secret), "[secret]", text)
