"""A bucket on this machine, by S3's own protocol (moto), for tests that read and write it through s3fs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_SERVER = "from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"


@contextmanager
def bucket(folder: Path | None = None) -> Iterator[str]:
    """The URL of a new bucket with the files of `folder`; skips the test where s3fs or moto is not installed."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    import fsspec
    import s3fs

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    # Without PYTHONPATH: s3fs may lie in a folder with a botocore of its own.
    given = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER.format(port=port)],
        env=given,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    endpoint = f"http://127.0.0.1:{port}"
    keys = {
        "key": "k",
        "secret": "s",
        "endpoint_url": endpoint,
        "client_kwargs": {"region_name": "eu-west-1"},
    }
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(endpoint, timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        fsspec.config.conf["s3"] = keys
        fs = s3fs.S3FileSystem(**keys)
        fs.mkdir("tests", region_name="eu-west-1")
        for file in folder.rglob("*") if folder is not None else ():
            if file.is_file():
                fs.pipe_file(f"tests/set/{file.relative_to(folder).as_posix()}", file.read_bytes())
        yield "s3://tests/set"
    finally:
        fsspec.config.conf.pop("s3", None)
        process.kill()
        process.wait()
