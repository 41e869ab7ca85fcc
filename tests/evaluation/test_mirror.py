"""A run file in an object store: gone on with from there, or from the disk, and never overwritten by another run."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interrupting import never_left_locked
from object_store import azure, bucket, google, in_memory

from api_smoothing import SmoothedAPI, evaluate
from api_smoothing.errors import ConfigurationError, ProviderError
from api_smoothing.evaluation.mirror import _ended, mirrored
from api_smoothing.home import home
from api_smoothing.remote import Remote

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(params=["memory", "s3", "gs", "az"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A place in a store: in fsspec's own memory, and in a bucket where there is a server for one."""
    buckets = {"s3": bucket, "gs": google, "az": partial(azure, tmp_path / "azurite")}
    if request.param in buckets:
        with buckets[request.param]() as found:
            yield f"{found}/run.jsonl"
        return
    with in_memory() as found:
        yield f"{found}/run.jsonl"


def there(url: str) -> bytes:
    return Remote(url).read_bytes()


def append(path: Path, text: bytes) -> None:
    """As a run writes: what was there is never away for a moment."""
    with path.open("ab") as file:
        file.write(text)


def test_an_evaluation_is_gone_on_with_from_another_machine(url: str) -> None:
    """What is in the store is enough: nothing is asked twice, and the file is whole."""
    asked = list[int]()

    def model(x: Any) -> list[str]:
        asked.append(len(x))
        return ["cat"] * len(x)

    data = [(np.full((8, 8, 3), k, np.uint8), "cat") for k in range(3)]
    with SmoothedAPI(model, denoiser=None, seed=0, store="memory") as api:
        first = evaluate(api, data, radii=(0,), n=30, output=url)
        written, sent = there(url), sum(asked)
        shutil.rmtree(home() / "uploads")
        again = evaluate(api, data, radii=(0,), n=30, output=url)
    assert (len(first.run.certificates), again.run.queries, sum(asked)) == (3, first.run.queries, sent)
    assert there(url).startswith(written)


def test_a_checkpoint_is_there_before_the_end(url: str) -> None:
    """Whole lines only; what a killed run had more of is on the disk, and goes on from there."""
    with mirrored(url, every=0.1) as path:
        append(path, b"one\ntw")
        until = time.monotonic() + 60
        while not Remote(url).size() and time.monotonic() < until:
            time.sleep(0.05)
        assert there(url) == b"one\n"
        append(path, b"o\n")
    assert there(url) == b"one\ntwo\n"
    path.write_bytes(b"one\ntwo\nthree\n")
    with mirrored(url) as again:
        assert again.read_bytes() == b"one\ntwo\nthree\n"
    assert there(url) == b"one\ntwo\nthree\n"


def test_another_run_is_not_written_over(url: str) -> None:
    """Neither one that has begun since, nor one that has parted."""

    def two() -> None:
        with mirrored(url) as path:
            path.write_bytes(b"one\n")
            fs, place = Remote(url).system()
            fs.pipe_file(place, b"a longer one\n")

    with pytest.raises(ConfigurationError, match="another run is writing"):
        two()
    with pytest.raises(ConfigurationError, match="have parted"), mirrored(url):
        pytest.fail("is not opened")
    assert there(url) == b"a longer one\n"


def test_http_cannot_be_written_to() -> None:
    """In a line, before anything is asked."""
    with (
        pytest.raises(ConfigurationError, match="nothing can be written to http"),
        mirrored("https://h/run.jsonl"),
    ):
        pytest.fail("is not opened")


def test_a_store_that_is_away_at_the_end_leaves_the_file_here(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says where it is; the same command brings it there."""

    def away(self: Remote) -> Any:
        raise OSError("no route")

    def losing() -> None:
        with mirrored(url) as path:
            path.write_bytes(b"one\n")
            patch.setattr(Remote, "system", away)

    with monkeypatch.context() as patch, pytest.raises(ProviderError, match="all of it is in"):
        losing()
    with mirrored(url):
        assert Remote(url).size() is None
    assert there(url) == b"one\n"


@pytest.mark.usefixtures("as_from_a_terminal")
def test_an_interrupt_does_not_leave_the_upload_waiting() -> None:
    """Ctrl-C at any place of the end: no lock keeps the thread that uploads, which is waited for."""

    def make() -> tuple[Callable[[], object], Callable[[], object]]:
        stop, thread = threading.Event(), threading.Thread(target=lambda: None)
        thread.start()
        return partial(_ended, stop, thread), partial(stop.wait, 0.01)

    assert never_left_locked(make, "mirror") > 5
