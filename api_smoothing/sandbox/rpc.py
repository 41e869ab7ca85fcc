"""The base of the gRPC front ends: one unary method on 127.0.0.1 with faults, latency, rate, key and meter.

Messages cross it as raw bytes, so that what goes back can be no message at all.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from api_smoothing.adapters._transport import sdk
from api_smoothing.errors import ConfigurationError, ImageError
from api_smoothing.sandbox.meter import Request
from api_smoothing.sandbox.request_image import open_picture
from api_smoothing.sandbox.rpc_reply import ERRORS, PORTAL, REFUSALS, RESET, SILENT, Reply
from api_smoothing.sandbox.server import next_version
from api_smoothing.sandbox.window import SlidingWindow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from api_smoothing.sandbox.server import Sandbox

#: Calls in progress at once, held ones included: more than the 64 threads a client may send from.
WORKERS: Final = 128

Scores = Mapping[str, float]


class RpcFront:
    """A gRPC server for one method of one provider; subclasses speak that provider's messages.

    Two faults can only be approached. A "drip" sends its headers at once and never its message: gRPC hides the
    bytes of a call. A "reset" ends with the status and the text by which a client reports that its connection
    was reset. To close the connection itself would also fail the calls beside it, and often the next one before
    it is sent, though no fault was drawn for those.
    """

    service: ClassVar[str]
    method: ClassVar[str]
    unit: ClassVar[Literal["image", "request"]]  # what the rate counts
    formats: ClassVar[tuple[str, ...]]  # of images, as Pillow calls them
    response: Any  # the protobuf class of an answer

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._window = SlidingWindow()
        self._server: Any = None

    # What a provider supplies.

    def load(self) -> None:
        """Import the SDK's messages. Raises MissingExtraError."""
        raise NotImplementedError

    def parse(self, raw: bytes) -> Any:
        """The request message. Raises when the bytes are none."""
        raise NotImplementedError

    def pictures(self, query: Any) -> list[bytes]:
        """The encoded images of a request, in order."""
        raise NotImplementedError

    def refusal(self, query: Any, metadata: Mapping[str, str]) -> Reply | None:
        """The provider's answer to a wrong key or a request outside its limits; None to go on."""
        raise NotImplementedError

    def refused(self, fault: str) -> Reply:
        """The answer to one of `REFUSALS`; "throttle-coded" answers a request beyond the rate."""
        raise NotImplementedError

    def answer(self, query: Any, scores: Sequence[Scores | None]) -> Reply:
        """The labels for each image's class scores; None stands for an image that cannot be read."""
        raise NotImplementedError

    def unlabelled(self, query: Any) -> bytes:
        """A valid message without the field that holds the labels."""
        raise NotImplementedError

    # The server.

    def start(self) -> int:
        """Serve on the sandbox's port, or a free one when that is 0; returns the port.

        Raises ConfigurationError when the port cannot be used.
        """
        self.load()
        grpc = sdk("grpc", extra=self._sandbox.provider)
        handler = grpc.method_handlers_generic_handler(
            self.service, {self.method: grpc.unary_unary_rpc_method_handler(self._serve)}
        )
        self._grpc, self._pool = grpc, ThreadPoolExecutor(WORKERS, thread_name_prefix="sandbox")
        options = {
            "grpc.so_reuseport": 0,
            "grpc.max_receive_message_length": -1,
            "grpc.max_send_message_length": -1,
        }
        self._server = grpc.server(self._pool, handlers=(handler,), options=tuple(options.items()))
        try:
            _try_port(self._sandbox.port)
            port: int = self._server.add_insecure_port(f"127.0.0.1:{self._sandbox.port}")
        except (OSError, RuntimeError) as error:
            why = getattr(error, "strerror", None) or "taken meanwhile"
            raise ConfigurationError(
                f"port {self._sandbox.port} cannot be used ({why}); choose another, or 0 for a free one"
            ) from None
        self._server.start()
        return port

    def stop(self) -> None:
        """End every call, held ones too, and close the port."""
        # Without a moment's grace the clients' gRPC prints a line about the sudden end.
        self._server.stop(0.05).wait()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _serve(self, raw: bytes, context: Any) -> bytes:
        at = time.monotonic()
        images, fault, reply = self._decide(at, raw, context)
        # Recorded before it is sent: whoever reads the meter after an answer finds the request in it.
        self._sandbox.meter.record(
            Request(
                at=at,
                operation=self.method,
                images=images,
                billed=reply.billed,
                fault=fault,
                status=reply.status or reply.code,
            )
        )
        if fault == "drip":
            context.send_initial_metadata(())
        if fault in ("drip", "timeout"):
            _wait(context, None)
        elif self._sandbox.latency > 0:
            _wait(context, at + self._sandbox.latency - time.monotonic())
        if reply.code == "OK":
            return reply.body
        if reply.details:
            context.set_trailing_metadata((("grpc-status-details-bin", reply.details),))
        context.abort(getattr(self._grpc.StatusCode, reply.code), reply.message)
        raise AssertionError("abort raises")

    def _decide(self, at: float, raw: bytes, context: Any) -> tuple[int, str | None, Reply]:
        """How many images the request has, the fault it meets, and what goes back."""
        try:
            query = self.parse(raw)
        except Exception:  # protobuf's DecodeError has several classes
            return 0, None, Reply(code="INTERNAL", message="Exception deserializing request!")
        pictures = self.pictures(query)
        count = len(pictures)
        refusal = self.refusal(query, dict(context.invocation_metadata()))
        if refusal is not None:
            return count, None, refusal
        if not self._window.admits(at, count if self.unit == "image" else 1, self._sandbox.rate):
            return count, None, self.refused("throttle-coded")
        fault = self._sandbox.faults.next()
        return count, fault, self._reply(query, pictures, fault)

    def _reply(self, query: Any, pictures: Sequence[bytes], fault: str | None) -> Reply:
        billed = len(pictures)
        if fault in SILENT:
            return Reply(code="UNAVAILABLE", message=RESET, billed=billed, status=fault)
        if fault in ERRORS:
            code, message = ERRORS[fault]
            return Reply(code=code, message=message, billed=billed)
        if fault in REFUSALS:
            return self.refused(fault)
        if fault == "empty":
            return Reply(billed=billed)
        if fault == "html":
            return Reply(body=PORTAL, billed=billed)
        if fault == "missing-key":
            return Reply(body=self.unlabelled(query), billed=billed)
        if fault == "version":
            self._sandbox.version = next_version(self._sandbox.version)
        scores = self._scores(pictures, spoilt=len(pictures) // 2 if fault == "bad-image" else None)
        if fault == "wrong-count":
            return replace(self.answer(query, scores[:-1]), billed=billed)
        reply = replace(self.answer(query, scores), billed=sum(score is not None for score in scores))
        return replace(reply, body=self._half(reply.body), billed=billed) if fault == "truncated" else reply

    def _scores(self, pictures: Sequence[bytes], *, spoilt: int | None) -> list[Scores | None]:
        """The classifier's scores for each image; None for one that cannot be read, and for number `spoilt`."""
        pixels = [None if number == spoilt else self._see(data) for number, data in enumerate(pictures)]
        readable = [image for image in pixels if image is not None]
        scores = iter(self._sandbox.classifier(readable) if readable else ())
        return [None if image is None else next(scores) for image in pixels]

    def _see(self, data: bytes) -> NDArray[np.uint8] | None:
        try:
            return open_picture(data, self.formats).pixels()
        except ImageError:
            return None

    def _half(self, body: bytes) -> bytes:
        """The first half of a message, cut where what is left is no message."""
        for end in range(max(1, len(body) // 2), 0, -1):
            try:
                self.response.FromString(body[:end])
            except Exception:
                return body[:end]
        return PORTAL


def _try_port(port: int) -> None:
    """Raise OSError if nothing can listen on `port`; gRPC would print a line of its own about it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def _wait(context: Any, seconds: float | None) -> None:
    """Wait, but no longer than the call lives: it ends with the client's patience, and with the server."""
    ended = threading.Event()
    if (seconds is None or seconds > 0) and context.add_callback(ended.set):
        ended.wait(seconds)
