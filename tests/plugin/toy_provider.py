"""A provider as another package would add it: one file, one entry point. It answers from the query's bytes.

`model` sets it up: "share=0.9" of the queries are a cat and the others a dog, "delay" seconds each, "usd" a
query, and after "fail" queries in one process it fails for good.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from api_smoothing.adapters import AdapterCard, Answer, EncodedImage, Label, Verdict


@dataclass
class Toy:
    share: float
    delay: float
    fail: float
    card: AdapterCard
    asked: int = field(default=0)

    def label(self, images: Sequence[EncodedImage], /) -> list[Answer]:
        time.sleep(self.delay * len(images))
        self.asked += len(images)
        if self.asked > self.fail:
            raise PermissionError("the key was revoked")
        return [Answer(labels=(Label(name=self._name(image.data)),)) for image in images]

    def verdict(self, error: Exception, /) -> Verdict:
        return Verdict(kind="fatal", message=str(error))

    def _name(self, data: bytes) -> str:
        draw = int.from_bytes(hashlib.sha256(data).digest()[:8], "big") / 2**64
        return "cat" if draw < self.share else "dog"


def load(model: str = "", **options: Any) -> Toy:
    given = dict(part.split("=") for part in model.split(",") if part)
    share = float(given.get("share", 1.0))
    return Toy(
        share=share,
        delay=float(given.get("delay", 0)),
        fail=float(given.get("fail", "inf")),
        card=AdapterCard(
            name="toy",
            fingerprint=f"toy/1/{share}",
            batch=int(given.get("batch", 1)),
            usd_per_query=float(given.get("usd", 0)),
            labels=("cat", "dog"),
        ),
    )
