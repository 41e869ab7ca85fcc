"""What every provider looks like to the engine: a card, `label`, and a verdict on each error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One label of an answer. `score` is in [0, 1]; `id` is the provider's stable identifier, if it has one."""

    name: str
    score: float | None = None
    id: str | None = None
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the provider said about one query: labels, best first; empty when it said "nothing".

    `request_id` is what the provider calls the request, for evidence; two answers that differ in it alone are equal,
    and it is not kept.
    """

    labels: tuple[Label, ...]
    model_version: str | None = None
    request_id: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedImage:
    """One query as it travels: the file's bytes, its side lengths in pixels, and its media type."""

    data: bytes
    height: int
    width: int
    media_type: Literal["image/png"] = "image/png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The provider takes at most `count` images (or requests) in any window of `seconds`."""

    unit: Literal["image", "request"]
    count: int
    seconds: float = 1.0

    @property
    def per_second(self) -> float:
        """The rate this allows in the long run."""
        return self.count / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterCard:
    """The facts about a provider the engine plans with. None stands for "no limit known".

    `accepts` is "tensor" for a local model, which receives a float32 tensor (N,3,H,W) in [0,1] on the
    8-bit grid, or "png" for a service. `fingerprint` names everything that can change an answer (model,
    weights, options, endpoint), never a secret; it is part of the cache key. An empty fingerprint means that
    cannot be named; answers are then cached no longer than the object lives. `labels` is the closed set of
    names the provider can answer with, or None when it is open; `max_labels` the most labels of one answer, the
    best ones; `min_score` the score below which the request has labels left out.

    `native_side` is the side in pixels of the square images the model was made for. `min_side` and `max_side`
    bound the sides the provider takes: smaller images are enlarged by a whole factor, larger ones refused.
    `batch` is the most images one `label` call takes, `max_image_bytes` the most bytes of one encoded image,
    `max_request_bytes` of all images of one call together. A `padded` model computes batches of one shape, whatever
    it is given: further images in a batch cost nothing.

    `price` is a key of the price table; `usd_per_query` is for providers that are not in it:
    0 is free, None says nothing of the price. `quotas` hold for
    everyone who shares `quota_key` (the name, when empty) on this machine. `drift` says how a change of the
    model shows: in each answer's `model_version`, only through a canary image, or never (a local model).
    `end_of_life` is the ISO date on which the service ends. `place` is "sandbox", "loopback" or another
    name for an endpoint that is not the public service; it goes into certificates.
    """

    name: str
    fingerprint: str
    accepts: Literal["png", "tensor"] = "png"
    batch: int = 1
    padded: bool = False
    labels: tuple[str, ...] | None = None
    max_labels: int | None = None
    min_score: float = 0.0
    native_side: int | None = None
    min_side: int = 1
    max_side: int | None = None
    max_image_bytes: int | None = None
    max_request_bytes: int | None = None
    usd_per_query: float | None = None
    price: str | None = None
    quotas: tuple[Quota, ...] = ()
    quota_key: str = ""
    drift: Literal["version", "canary", "none"] = "none"
    end_of_life: str | None = None
    place: str = ""

    @property
    def provider(self) -> str:
        """What certificates call it: the name, with the place where that is not the public service."""
        return f"{self.name}@{self.place}" if self.place else self.name

    @property
    def queries_per_second(self) -> float | None:
        """The most queries a second the quotas allow, with full batches; None without a quota."""
        rates = [q.per_second * (1 if q.unit == "image" else self.batch) for q in self.quotas]
        return min(rates, default=None)


VerdictKind: TypeAlias = Literal["fatal", "transient", "throttled", "refused", "broken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an error means.

    "fatal": no query can succeed (key, quota of the month, a broken contract). "transient": the same query may
    succeed now. "throttled": it may after `retry_after` seconds, and everyone on this quota waits. "refused":
    the provider will not answer about this image. "broken": what came can be no vote, as it is of another kind, is cut
    off, or does not know; it is asked for once more. `message` is one line without secrets: what, and what to do.
    `sent` is False only when the request surely never reached the provider, so that it cannot have cost. `of_image`
    says that the service works, and that another image may well be answered.
    """

    kind: VerdictKind
    message: str = ""
    retry_after: float | None = None
    sent: bool = True
    of_image: bool = False

    FATAL: ClassVar[Verdict]
    TRANSIENT: ClassVar[Verdict]
    REFUSED: ClassVar[Verdict]


Verdict.FATAL = Verdict(kind="fatal")
Verdict.TRANSIENT = Verdict(kind="transient")
Verdict.REFUSED = Verdict(kind="refused")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Whether a provider's credentials are there, by looking only: `source` says where, or what is missing."""

    found: bool
    source: str


@runtime_checkable
class Adapter(Protocol):
    """A provider. Adapters never retry and never wait: the engine does.

    An adapter may also have `connect()`, which does what the first call needs besides the call: import the SDK,
    look up credentials, make a client. It is called before each request, and outside of the request's turn. And
    `find_credentials()`, which only looks for them, and raises CredentialsError where there are surely none: without a
    request to the service, and without its SDK where that can be said without, as the command line calls it before
    anything that takes long. And
    `variables`, the names of environment variables it takes values from, beside those of its declaration's sandbox:
    workers on other machines are given them.
    """

    @property
    def card(self) -> AdapterCard: ...

    def label(self, images: Sequence[EncodedImage] | Tensor, /) -> Sequence[Answer | Verdict]:
        """Answer each image in order. Exactly one request is made for the whole sequence.

        A Verdict stands in the place of an image the provider failed on inside a response that succeeded.
        A response that breaks the provider's contract (missing keys, wrong count) raises; it is never read
        as "no labels": a missing key is not an empty list, and an unknown is not a no. An `ApiSmoothError` passes
        through to the user; anything else goes to `verdict`.
        """
        ...

    def verdict(self, error: Exception, /) -> Verdict:
        """Classify an exception `label` raised."""
        ...
