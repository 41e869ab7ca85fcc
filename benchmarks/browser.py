"""A real browser over its debugging pipe: no driver, no package, one Chromium."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
_END: Final = b"\0"  # between messages


def find(name: str | None = None) -> str | None:
    """The browser's program: `name`, $BROWSER_PROGRAM, or the first that is installed."""
    given = name or os.environ.get("BROWSER_PROGRAM")
    return shutil.which(given) if given else next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One page; `called` holds the address of everything it asked the network for, `complaints` its console."""

    def __init__(self, write: Any, read: Any) -> None:
        self._write, self._read, self._number, self._rest = write, read, 0, b""
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        self.called: list[str] = []
        self.complaints: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What the browser answers. Raises RuntimeError where it refuses."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._write.write(json.dumps(message).encode() + _END)
        self._write.flush()
        while True:
            found = self._next()
            if found.get("id") == self._number:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']['message']}")
                result: dict[str, Any] = found["result"]
                return result

    def open(self, file: Path, *, width: int, height: int, dark: bool, media: str = "screen") -> None:
        """Load a file at that size and colour scheme; returns when all of it is there."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self._events.clear()
        if failed := self.send("Page.navigate", url=file.resolve(strict=True).as_uri()).get("errorText"):
            raise RuntimeError(f"{file}: {failed}")
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._next()

    def value(self, script: str) -> Any:
        """What a JavaScript expression, or its promise, is worth."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"].get("exception", {}).get("description", "it threw"))
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key where the focus is."""
        code = {"Enter": 13, "ArrowRight": 39, "ArrowDown": 40}[key]
        more = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more
            )

    def picture(self, file: Path, *, whole: bool = True) -> None:
        """A PNG of the page, all of it or what fits."""
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        more = {"clip": clip, "captureBeyondViewport": True} if whole else {}
        file.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", **more)["data"]))

    def pdf(self, file: Path) -> None:
        """The page as it prints, on A4."""
        paper = {"paperWidth": 8.27, "paperHeight": 11.69, "printBackground": True, "preferCSSPageSize": True}
        file.write_bytes(base64.b64decode(self.send("Page.printToPDF", **paper)["data"]))

    def _next(self) -> dict[str, Any]:
        while _END not in self._rest:
            read = os.read(self._read.fileno(), 1 << 20)
            if not read:
                raise RuntimeError("the browser has gone")
            self._rest += read
        line, self._rest = self._rest.split(_END, 1)
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self._events.append(message)
            self._note(message)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        about = event["params"]
        if event["method"] == "Network.requestWillBeSent":
            url = about["request"]["url"]
            if not url.startswith(("file:", "data:", "about:")):
                self.called.append(url)
        elif event["method"] == "Runtime.exceptionThrown":
            self.complaints.append(about["exceptionDetails"]["text"])
        elif event["method"] == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.complaints.append(about["entry"]["text"])


@contextmanager
def opened(program: str) -> Iterator[Page]:
    """A browser with a profile of its own, ended afterwards."""
    to_browser, from_here = os.pipe()
    to_here, from_browser = os.pipe()

    def as_three_and_four() -> None:
        # Through numbers that are surely neither, so that no pipe overwrites the other.
        ours = os.dup(to_browser), os.dup(from_browser)
        high = [os.dup2(number, 100 + i) for i, number in enumerate(ours)]
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    with tempfile.TemporaryDirectory(prefix="api-smooth-browser-", ignore_cleanup_errors=True) as profile:
        words = [
            program,
            "--headless=new",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
            "--no-first-run",
        ]
        words += [
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--disable-dev-shm-usage",
            "about:blank",
        ]
        process = subprocess.Popen(
            words,
            close_fds=False,
            preexec_fn=as_three_and_four,  # noqa: PLW1509  one thread runs here
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        with os.fdopen(from_here, "wb") as write, os.fdopen(to_here, "rb") as read:
            try:
                yield Page(write, read)
            finally:
                process.terminate()
                process.wait(timeout=20)
