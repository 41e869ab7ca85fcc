"""The toy's wire format, which its client and its sandbox share.

POST /label {"images": ["iVBORw0KGgo…"], "only": ["Kitty"]}
200 {"version": "4", "answers": [[["Kitty", 0.9]]]}
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from api_smoothing.adapters import Answer, Label


def write_request(images: Sequence[bytes], only: Sequence[str]) -> bytes:
    return json.dumps({"images": [base64.b64encode(i).decode() for i in images], "only": list(only)}).encode()


def read_request(body: bytes) -> tuple[list[bytes], list[str]]:
    asked = json.loads(body)
    return [base64.b64decode(text, validate=True) for text in asked["images"]], list(asked["only"])


def write_answers(answers: Sequence[Sequence[Label]], version: str) -> bytes:
    told = [[[label.name, label.score] for label in labels] for labels in answers]
    return json.dumps({"version": version, "answers": told}).encode()


def read_answers(body: bytes) -> list[Answer]:
    told = json.loads(body)
    return [
        Answer(labels=tuple(Label(name=n, score=s) for n, s in labels), model_version=told["version"])
        for labels in told["answers"]
    ]
