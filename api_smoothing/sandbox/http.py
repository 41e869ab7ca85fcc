"""The base of the HTTP front ends: what befalls a request, and in which order.

Key first, then the limits of a request, the rate, and the fault. A provider's front end says only how its
requests are read, and how its answers and errors are worded.
"""

from __future__ import annotations

import json
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from api_smoothing.errors import ConfigurationError, ImageError
from api_smoothing.sandbox.listener import Call, Listener, Reply
from api_smoothing.sandbox.meter import Request
from api_smoothing.sandbox.server import next_version
from api_smoothing.sandbox.window import SlidingWindow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from api_smoothing.sandbox.server import Sandbox

Scores = Mapping[str, float]

#: Faults after which nothing, or nothing whole, is sent.
SILENT: Final = ("reset", "timeout", "drip")
#: Faults that stand for a refusal of the provider's, which is not billed.
UNBILLED: Final = ("throttle", "throttle-retry-after", "throttle-coded", "expired-key", "quota", "bad-image")
#: Faults with an error of the provider's own wording.
WORDED: Final = (*UNBILLED, "500", "503", "billed-400")

_HTML: Final = {"Content-Type": "text/html"}
_GATEWAY: Final = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1>\
</center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
_PORTAL: Final = (
    b'<!DOCTYPE html><html><head><title>Sign in to the network</title></head><body><form action="/login" \
method="post"><input name="user"><input type="submit" value="Connect"></form></body></html>'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request that was understood: its encoded images in order, and the provider's settings.

    `partial`: it is a batch, whose answer may succeed without some of its images; these have scores None.
    """

    images: Sequence[bytes]
    settings: Mapping[str, Any] = field(default_factory=dict)
    partial: bool = False


class Refused(Exception):
    """The request, or one image of it, is refused in the provider's own words."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def json_reply(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A reply with a JSON body."""
    text = json.dumps(body, separators=(",", ":")).encode()
    return Reply(status=status, body=text, headers={"Content-Type": "application/json", **(headers or {})})


class HttpFront:
    """An HTTP server for one provider; subclasses speak that provider's protocol."""

    #: The one of `WORDED` that answers a request beyond the rate.
    over_rate: ClassVar[str] = "throttle-coded"

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._window = SlidingWindow()
        self._stopping = threading.Event()
        self._listener: Listener | None = None

    # What a provider supplies. Every method but the last two may raise Refused.

    def operation(self, call: Call) -> str:
        """The name of what is asked for; unknown paths and methods are refused."""
        raise NotImplementedError

    def authorise(self, call: Call) -> None:
        """Refuse a request without the sandbox's key."""
        raise NotImplementedError

    def read(self, call: Call, operation: str) -> Question:
        """Images and settings; what is missing or out of range is refused."""
        raise NotImplementedError

    def see(self, call: Call, operation: str, data: bytes) -> NDArray[np.uint8]:
        """The pixels (H, W, 3) of one image within the provider's limits. ImageError for what is no image."""
        raise NotImplementedError

    def answer(self, operation: str, question: Question, scores: Sequence[Scores | None]) -> Reply:
        """The labels for each image's class scores."""
        raise NotImplementedError

    def unlabelled(self, operation: str, question: Question) -> Reply:
        """An answer without the field that holds the labels."""
        raise NotImplementedError

    def refused(self, call: Call, fault: str) -> Reply:
        """The provider's answer to one of `WORDED`."""
        raise NotImplementedError

    # What is the same for all.

    def start(self) -> int:
        """Serve on the sandbox's port, or a free one when that is 0; returns the port.

        Raises ConfigurationError when it is taken.
        """
        try:
            self._listener = Listener(self._sandbox.port, self)
        except OSError as error:
            raise ConfigurationError(
                f"port {self._sandbox.port} cannot be used ({error.strerror or error}); "
                "choose another, or 0 for a free one"
            ) from None
        return self._listener.start()

    def stop(self) -> None:
        """End every request, held ones too, and close the port."""
        self._stopping.set()
        if self._listener is not None:
            self._listener.stop()

    @property
    def drip(self) -> float:
        """Seconds between the bytes of an answer that drips."""
        return self._sandbox.drip

    def serve(self, call: Call) -> tuple[Reply, str | None]:
        """Decide about a request, record it, and let the latency pass: what to send, and the fault it meets.

        It is recorded before it is sent: whoever reads the meter after an answer finds the request in it.
        """
        operation, images, billed, fault = f"{call.method} {call.path}", 0, 0, None
        try:
            operation = self.operation(call)
            self.authorise(call)
            question = self.read(call, operation)
            images = len(question.images)
            if not self._window.admits(call.at, images, self._sandbox.rate):
                raise Refused(self.refused(call, self.over_rate))
            fault = self._sandbox.faults.next()
            reply, billed = self._reply(call, operation, question, fault)
        except Refused as refused:
            reply = refused.reply
        except Exception:  # a classifier that fails: the client gets an answer, and its owner sees why
            traceback.print_exc()
            reply, billed = self.refused(call, "500"), images
        self._sandbox.meter.record(
            Request(
                at=call.at,
                operation=operation,
                images=images,
                billed=billed,
                fault=fault,
                status=fault if fault in SILENT else str(reply.status),
            )
        )
        left = call.at + self._sandbox.latency - time.monotonic()
        if left > 0 and self._stopping.wait(left):
            return reply, "reset"  # no answer before its time
        return reply, fault

    def _reply(self, call: Call, operation: str, question: Question, fault: str | None) -> tuple[Reply, int]:
        """What goes back, and the images to pay for."""
        count = len(question.images)
        spoilt = count // 2 if fault == "bad-image" and question.partial else None
        if fault in WORDED and spoilt is None:
            return self.refused(call, fault), 0 if fault in UNBILLED else count
        if fault in ("reset", "timeout", "504", "empty"):
            return Reply(status=504 if fault == "504" else 200), count
        if fault == "502":
            return Reply(status=502, body=_GATEWAY, headers=_HTML), count
        if fault == "html":
            return Reply(body=_PORTAL, headers=_HTML), count
        if fault == "missing-key" or (fault == "wrong-count" and not question.partial):
            return self.unlabelled(operation, question), count
        if fault == "version":
            self._sandbox.version = next_version(self._sandbox.version)
        scores = self._scores(call, operation, question, spoilt)
        reply = self.answer(operation, question, scores[:-1] if fault == "wrong-count" else scores)
        if fault == "truncated":
            reply = replace(reply, body=reply.body[: len(reply.body) // 2])
        return reply, sum(one is not None for one in scores)

    def _scores(
        self, call: Call, operation: str, question: Question, spoilt: int | None
    ) -> list[Scores | None]:
        """The classifier's scores for each image; None for one that cannot be read, and for number `spoilt`."""
        pixels: list[NDArray[np.uint8] | None] = []
        for number, data in enumerate(question.images):
            try:
                pixels.append(None if number == spoilt else self._look(call, operation, data))
            except Refused:
                if not question.partial:
                    raise
                pixels.append(None)
        seen = [image for image in pixels if image is not None]
        scores = iter(self._sandbox.classifier(seen) if seen else ())
        return [None if image is None else next(scores) for image in pixels]

    def _look(self, call: Call, operation: str, data: bytes) -> NDArray[np.uint8]:
        try:
            return self.see(call, operation, data)
        except ImageError:
            raise Refused(self.refused(call, "bad-image")) from None
