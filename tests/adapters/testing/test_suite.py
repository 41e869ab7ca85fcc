"""Every adapter in the package against a server that speaks its provider's protocol, by the suite that ships."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from evasive_services import evasive
from numpy.typing import NDArray

from api_smoothing import adapters
from api_smoothing.adapters._transport.service import BrokenContract
from api_smoothing.adapters.base import Adapter, Answer, Verdict
from api_smoothing.adapters.suite import FAULTS, AdapterSuite
from api_smoothing.sandbox import KINDS, Sandbox
from api_smoothing.sandbox.classifier import scripted_brain

SHARES = {"cat": 0.3, "dog": 0.3, "ship": 0.2, "truck": 0.2}


def test_the_suite_knows_every_fault() -> None:
    """Each fault a sandbox can show has its line in the suite's table."""
    assert set(FAULTS) == set(KINDS)


class Remote(AdapterSuite):
    """An adapter of this package against its provider's sandbox."""

    provider: ClassVar[str]
    needs: ClassVar[str]

    @classmethod
    def load(cls, sandbox: Sandbox, **options: Any) -> Adapter:
        return adapters.load(cls.provider, **sandbox.options(), **options)

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls) -> Iterator[Sandbox]:
        pytest.importorskip(cls.needs)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NO_PROXY", "127.0.0.1,localhost")
            with Sandbox(cls.provider, classifier=scripted_brain(SHARES)) as sandbox:
                yield sandbox

    @pytest.fixture(scope="class")
    @classmethod
    def adapter(cls, server: Sandbox) -> Adapter:
        return cls.load(server)

    @pytest.fixture(scope="class")
    @classmethod
    def twin(cls, server: Sandbox) -> Adapter:
        return cls.load(server, timeout=0.5)

    @pytest.fixture
    def silent(self, server: Sandbox) -> Iterator[Adapter]:
        with Sandbox(self.provider, classifier=scripted_brain({})) as sandbox:
            yield self.load(sandbox)

    evasions: ClassVar[Mapping[str, Any]] = {}

    @pytest.fixture
    def evasive(self, server: Sandbox) -> Iterator[Mapping[str, Adapter]]:
        with evasive(self.provider, **self.evasions) as found:
            yield found

    @pytest.fixture
    def nowhere(self, server: Sandbox) -> Adapter:
        with Sandbox(self.provider, classifier=scripted_brain({}), key=server.key) as sandbox:
            return self.load(sandbox)


class TestAws(Remote):
    provider, needs = "aws", "boto3"
    build = "from api_smoothing import adapters; adapters.load('aws', region='us-east-1')"


class TestAzure(Remote):
    provider, needs = "azure", "azure.ai.vision.imageanalysis"
    build = "from api_smoothing import adapters; adapters.load('azure')"

    @classmethod
    def load(cls, sandbox: Sandbox, **options: Any) -> Adapter:
        return super().load(
            sandbox, model="latest", **options
        )  # of a named one, another version is no answer


class TestAzure32(Remote):
    provider, needs = "azure", "azure.cognitiveservices.vision.computervision"
    build = "from api_smoothing import adapters; adapters.load('azure', api='3.2')"
    evasions: ClassVar = {"api": "3.2"}

    @classmethod
    def load(cls, sandbox: Sandbox, **options: Any) -> Adapter:
        return super().load(sandbox, api="3.2", model="latest", **options)


class TestGoogle(Remote):
    provider, needs = "google", "google.cloud.vision"
    build = "from api_smoothing import adapters; adapters.load('google')"


class TestSafeSearch(Remote):
    """Google's other feature, with a closed list of labels that an answer must know all about."""

    provider, needs = "google", "google.cloud.vision"
    build = "from api_smoothing import adapters; adapters.load('google', feature='safe-search')"
    evasions: ClassVar = {"feature": "safe-search"}

    @classmethod
    def load(cls, sandbox: Sandbox, **options: Any) -> Adapter:
        return super().load(sandbox, feature="safe-search", **options)

    @pytest.fixture
    def silent(self) -> None:
        """Its answers are never without labels."""

    test_answers_come_in_order = None  # all images get the same names
    test_threads_get_their_own_answers = None
    test_nothing_seen_is_an_answer = None


class TestClarifai(Remote):
    provider, needs = "clarifai", "clarifai_grpc"
    build = "from api_smoothing import adapters; adapters.load('clarifai')"


class TestHttp(Remote):
    """The http adapter with a batch of images in JSON."""

    provider, needs = "http", "requests"
    build = "from api_smoothing import adapters; adapters.load('http', model='sandbox-json')"
    evasions: ClassVar = {"model": "sandbox-json"}


class TestChat(Remote):
    """The http adapter with a chat endpoint."""

    provider, needs = "http", "requests"
    build = (
        "from api_smoothing import adapters; "
        "adapters.load('http', model='openai', vision_model='m', classes=['cat'], usd_per_query=0)"
    )

    evasions: ClassVar = {"model": "openai", "vision_model": "m", "classes": ["cat"], "usd_per_query": 0}

    @pytest.fixture
    def silent(self) -> None:
        """Of closed classes a text that is none of them is no answer; who wants "nothing" has it as a class."""

    @classmethod
    def load(cls, sandbox: Sandbox, **options: Any) -> Adapter:
        place = {"endpoint": sandbox.endpoint, "endpoint_id": "sandbox", "key": sandbox.key}
        chat = {"model": "openai", "vision_model": "m", "classes": [*SHARES], "usd_per_query": 0}
        return adapters.load("http", **place, **chat, **options)


def draw() -> list[NDArray[np.uint8]]:
    """Sixteen images of noise."""
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(16)]


@pytest.mark.parametrize(
    "law",
    ["test_the_card_is_complete", "test_answers_come_in_order", "test_threads_get_their_own_answers",
     "test_answers_are_within_bounds"],
)  # fmt: skip
def test_a_model_in_this_process_keeps_the_laws_too(law: str) -> None:
    """The laws that need no server hold for the bundled classifier."""
    local = adapters.load("torchvision", model="cifar10")
    have = {"adapter": local, "server": None, "images": draw()}
    check = getattr(AdapterSuite(), law)
    check(**{name: have[name] for name in inspect.signature(check).parameters})


class Broken:
    """An adapter that breaks one law: what it does differently is given as functions."""

    def __init__(
        self, sound: Adapter, label: Callable[[Adapter, Any], Any], verdict: Callable[[Verdict], Verdict]
    ) -> None:
        self.card, self._sound, self._label, self._verdict = sound.card, sound, label, verdict

    def label(self, images: Any, /) -> Any:
        return self._label(self._sound, images)

    def verdict(self, error: Exception, /) -> Verdict:
        return self._verdict(self._sound.verdict(error))


def twice(adapter: Adapter, images: Any) -> Any:
    adapter.label(images)
    return adapter.label(images)


def one_by_one(adapter: Adapter, images: Any) -> Any:
    return [adapter.label([image])[0] for image in images]


def stubborn(adapter: Adapter, images: Any) -> Any:
    try:
        return adapter.label(images)
    except Exception:
        return adapter.label(images)


def backwards(adapter: Adapter, images: Any) -> Any:
    return adapter.label(images)[::-1]


def gullible(adapter: Adapter, images: Any) -> Any:
    try:
        return adapter.label(images)
    except BrokenContract:
        return [Answer(labels=(), model_version="1")] * len(images)


def unversioned(adapter: Adapter, images: Any) -> Any:
    return [Answer(labels=answer.labels) for answer in adapter.label(images) if isinstance(answer, Answer)]


def percent(adapter: Adapter, images: Any) -> Any:
    answers = [answer for answer in adapter.label(images) if isinstance(answer, Answer)]
    scaled = [
        [replace(label, score=100 * (label.score or 0)) for label in answer.labels] for answer in answers
    ]
    return [replace(answer, labels=tuple(labels)) for answer, labels in zip(answers, scaled, strict=True)]


def sound(adapter: Adapter, images: Any) -> Any:
    return adapter.label(images)


FAULT = "test_a_fault_is_a_verdict"


@pytest.mark.parametrize(
    ("label", "change", "law", "fault"),
    [
        (twice, {}, "test_one_call_is_one_request", ""),
        (one_by_one, {}, "test_a_full_batch_is_taken_and_never_split", ""),
        (stubborn, {}, FAULT, "500"),
        (backwards, {}, "test_answers_come_in_order", ""),
        (unversioned, {}, "test_answers_are_within_bounds", ""),
        (percent, {}, "test_answers_are_within_bounds", ""),
        (gullible, {}, FAULT, "missing-key"),
        (gullible, {}, FAULT, "wrong-count"),
        (sound, {"kind": "fatal"}, FAULT, "503"),
        (sound, {"kind": "transient"}, FAULT, "expired-key"),
        (sound, {"sent": False}, FAULT, "reset"),
        (sound, {"message": "two\nlines"}, FAULT, "500"),
        (sound, {"message": "no access with k3y"}, FAULT, "expired-key"),
    ],
)
def test_the_suite_catches_what_breaks_a_law(
    label: Callable[[Adapter, Any], Any], change: dict[str, Any], law: str, fault: str
) -> None:
    """An adapter that breaks a law fails just that law's test, and the same adapter unbroken passes it."""
    pytest.importorskip("requests")
    suite = AdapterSuite()
    with Sandbox("http", classifier=scripted_brain(SHARES), key="k3y") as server:
        good = adapters.load("http", **server.options())
        have = {"server": server, "images": draw(), "secrets": ("k3y",), "twin": None, "fault": fault}
        wanted = {
            name: have[name] for name in inspect.signature(getattr(suite, law)).parameters if name in have
        }
        getattr(suite, law)(adapter=good, **wanted)
        with pytest.raises(AssertionError):
            getattr(suite, law)(adapter=Broken(good, label, lambda said: replace(said, **change)), **wanted)
