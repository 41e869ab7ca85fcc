"""The toy's sandbox: a few lines on top of what every HTTP front end has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api_smoothing.sandbox.http import HttpFront, Question, Refused, Scores
from api_smoothing.sandbox.listener import Call, Reply
from api_smoothing.sandbox.request_image import open_picture
from api_smoothing.sandbox.vocabulary import labels_of
from toy_provider.wire import read_request, write_answers

STATUSES = {"expired-key": 401, "quota": 402, "500": 500, "503": 503, "bad-image": 422, "billed-400": 400}


class Front(HttpFront):
    def operation(self, call: Call) -> str:
        if (call.method, call.path) != ("POST", "/label"):
            raise Refused(Reply(status=404))
        return "label"

    def authorise(self, call: Call) -> None:
        if call.headers.get("X-Toy-Key") != self._sandbox.key:
            raise Refused(self.refused(call, "expired-key"))

    def read(self, call: Call, operation: str) -> Question:
        try:
            images, only = read_request(call.body)
        except (KeyError, TypeError, ValueError):
            raise Refused(self.refused(call, "billed-400")) from None
        return Question(images=images, settings={"only": only})

    def see(self, call: Call, operation: str, data: bytes) -> Any:
        return open_picture(data, ("PNG",)).pixels()

    def answer(self, operation: str, question: Question, scores: Sequence[Scores | None]) -> Reply:
        version, only = self._sandbox.version, question.settings["only"]
        told = [labels_of("toy", score or {}, version) for score in scores]
        chosen = [[label for label in labels if not only or label.name in only] for labels in told]
        return Reply(body=write_answers(chosen, version))

    def unlabelled(self, operation: str, question: Question) -> Reply:
        return Reply(body=b'{"version": "4"}')

    def refused(self, call: Call, fault: str) -> Reply:
        return Reply(status=STATUSES.get(fault, 429))
