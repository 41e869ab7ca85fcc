"""A provider as another package would add it: one folder, one entry point. It answers from the query's bytes.

`model` sets it up: "share=0.9" of the queries are a cat and the others a dog, "delay" seconds each, "usd" a
query, "refuse=0.1" of the queries are refused, and after "fail" of them in one process it fails for good. With an
`endpoint` it is a service that is asked over HTTP, such as its own sandbox; see `service`.

With the variable TOY_SIGNAL, as in "15@60", the process that asks gets that signal before the 60th of its queries is
answered: it is amid its run then, however fast it is, and whoever would send it one from outside however late.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from api_smoothing.adapters import (
    Adapter,
    AdapterCard,
    Answer,
    Credentials,
    EncodedImage,
    Label,
    Provider,
    SandboxDeclaration,
    Verdict,
)

PROVIDER = Provider(
    name="toy",
    load="toy_provider:load",
    credentials="toy_provider:credentials",
    heavy=("toy_sdk",),
    vocabulary=True,
    label_maps={"cifar10": "toy_provider:cifar10.toml"},
    filter="names",
    prices="toy_provider:prices.toml",
    sandbox=SandboxDeclaration(
        front="toy_provider.front:Front",
        version="4",
        micro_usd=700,
        environment=lambda endpoint, key: {"TOY_KEY": key},
        vocabulary="toy_provider:vocabulary.toml",
    ),
)


@dataclass
class Toy:
    share: float
    delay: float
    fail: float
    refuse: float
    card: AdapterCard
    signal: tuple[int, int]
    asked: int = field(default=0)
    counting: threading.Lock = field(default_factory=threading.Lock)

    def label(self, images: Sequence[EncodedImage], /) -> list[Answer | Verdict]:
        time.sleep(self.delay * len(images))
        with self.counting:
            before, self.asked = self.asked, self.asked + len(images)
            number, at = self.signal
            if before < at <= self.asked:
                os.kill(os.getpid(), number)
        if before + len(images) > self.fail:
            raise PermissionError("the key was revoked")
        return [self._answer(image.data) for image in images]

    def verdict(self, error: Exception, /) -> Verdict:
        return Verdict(kind="fatal", message=str(error))

    def _answer(self, data: bytes) -> Answer | Verdict:
        draw = int.from_bytes(hashlib.sha256(data).digest()[:8], "big") / 2**64
        if draw >= 1 - self.refuse:
            return Verdict(kind="refused", message="not this one")
        return Answer(labels=(Label(name="cat" if draw < self.share else "dog"),))


def load(model: str = "", endpoint: str | None = None, **options: Any) -> Adapter:
    if endpoint is not None:
        from toy_provider.service import load_service

        return load_service(endpoint=endpoint, **options)
    given = dict(part.split("=") for part in model.split(",") if part)
    share = float(given.get("share", 1.0))
    return Toy(
        share=share,
        delay=float(given.get("delay", 0)),
        fail=float(given.get("fail", "inf")),
        refuse=float(given.get("refuse", 0)),
        card=AdapterCard(
            name="toy",
            fingerprint=f"toy/1/{share}",
            batch=int(given.get("batch", 1)),
            usd_per_query=float(given["usd"]) if "usd" in given else None,
            labels=("cat", "dog"),
        ),
        signal=_signal(os.environ.get("TOY_SIGNAL", "0@0")),
    )


def _signal(told: str) -> tuple[int, int]:
    """Its number, and the query before whose answer it comes."""
    number, _, at = told.partition("@")
    return int(number), int(at)


def credentials() -> Credentials:
    found = bool(os.environ.get("TOY_KEY"))
    return Credentials(found=found, source="TOY_KEY" if found else "set TOY_KEY")
