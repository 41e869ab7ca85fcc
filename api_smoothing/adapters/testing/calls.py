"""How the suite of adapters asks, counts and looks: what its laws are written in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from api_smoothing.adapters.base import Adapter, Answer, EncodedImage, Verdict


def ask(adapter: Adapter, images: Sequence[NDArray[np.uint8]]) -> Sequence[Answer | Verdict]:
    """One call about `images`, in the form the card asks for."""
    if adapter.card.accepts == "tensor":
        import torch

        return adapter.label(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255)
    return adapter.label([encoded(image) for image in images])


def outcome(
    adapter: Adapter, images: Sequence[NDArray[np.uint8]]
) -> tuple[Sequence[Answer | Verdict], Exception | None]:
    """What comes of one call: its answers, or the one verdict on the error it raises, and that error."""
    try:
        return ask(adapter, images), None
    except Exception as error:
        return [adapter.verdict(error)], error


def patiently(adapter: Adapter, images: Sequence[NDArray[np.uint8]]) -> Sequence[Answer | Verdict]:
    """The answers of a sound server, asked again if need be: half a second may be short on a busy machine."""
    for _ in range(3):
        told, error = outcome(adapter, images)
        if error is None:
            return told
    return ask(adapter, images)


def requests_seen(server: Any, expected: int) -> int:
    """The requests the server has seen; one it is still reading is waited for."""
    until = time.monotonic() + 60
    while server.meter.requests < expected and time.monotonic() < until:
        time.sleep(0.01)
    return int(server.meter.requests)


def encoded(image: NDArray[np.uint8]) -> EncodedImage:
    """An image (H,W,3) as a PNG."""
    file = BytesIO()
    Image.fromarray(image).save(file, "png")
    return EncodedImage(data=file.getvalue(), height=image.shape[0], width=image.shape[1])


def names_of(answers: Sequence[Answer | Verdict]) -> list[tuple[str, ...]]:
    """The names of each answer's labels, in their order."""
    assert all(isinstance(answer, Answer) for answer in answers), answers
    return [tuple(label.name for label in answer.labels) for answer in answers if isinstance(answer, Answer)]


def alone(adapter: Adapter, images: Sequence[NDArray[np.uint8]]) -> list[tuple[str, ...]]:
    """What each image is called when it is asked about by itself."""
    own = [names_of(ask(adapter, [image]))[0] for image in images]
    assert len(set(own)) > 1, "all images get the same answer; override the fixture images"
    return own


def version_of(answer: Answer | Verdict) -> str | None:
    """The version of the model that gave an answer."""
    return answer.model_version if isinstance(answer, Answer) else None


def texts_of(error: Exception | None) -> list[str]:
    """Everything that can be printed of an error, of those it came from too."""
    return [] if error is None else [str(error), repr(error), "".join(traceback.format_exception(error))]


def hides(secrets: Sequence[str], *texts: str) -> None:
    """Assert that no secret shows in any text, without showing it in the message."""
    for text in texts:
        for secret in secrets:
            assert secret not in text, "a secret shows: " + re.sub(re.escape(secret), "[secret]", text)


def imported(code: str, modules: Sequence[str], *, home: Path) -> list[str]:
    """Which of `modules` are loaded after `code` ran in an interpreter of its own, without variables or network."""
    script = (
        "import socket, sys\n"
        "def offline(*_): raise AssertionError('this must not use the network')\n"
        "socket.socket.connect = socket.getaddrinfo = offline\n"
        f"{code}\n"
        f"print(*[name for name in {list(modules)!r} if name in sys.modules])\n"
    )
    keep = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    done = subprocess.run(  # noqa: S603  # the code is the test's own
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**keep, "HOME": str(home), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
