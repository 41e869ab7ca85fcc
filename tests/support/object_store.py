"""Buckets on this machine, for tests that read and write them through fsspec.

S3's protocol is moto's, Google's gcp-storage-emulator's and Azure's azurite's (npm); what is not installed is skipped.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

#: The key of azurite's own account, which all of them have.
_AZURITE = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_SERVER = "from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"


@contextmanager
def bucket(folder: Path | None = None) -> Iterator[str]:
    """The URL of a new bucket with the files of `folder`; skips the test where s3fs or moto is not installed."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    import fsspec
    import s3fs

    port = _free_port()
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


@contextmanager
def google() -> Iterator[str]:
    """The URL of a new bucket by Google's protocol."""
    with pytest.MonkeyPatch.context() as patch:  # it would ask by gRPC, which the emulator has not
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        pytest.importorskip("gcsfs")
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    import fsspec

    port = _free_port()
    running = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="tests")
    running.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        patch.setitem(fsspec.config.conf, "gcs", {"token": "anon", "project": "p"})
        yield "gs://tests/set"
    running.stop()


@contextmanager
def azure(folder: Path) -> Iterator[str]:
    """The URL of a new container by Azure's protocol; the server keeps its files in `folder`."""
    adlfs = pytest.importorskip("adlfs")
    if (server := shutil.which("azurite-blob")) is None:
        pytest.skip("azurite is not installed (npm install azurite)")
    import fsspec

    port = _free_port()
    where = ["--location", str(folder), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    process = subprocess.Popen([server, "--silent", "--skipApiVersionCheck", *where])
    keys = {
        "connection_string": f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={_AZURITE};"
        f"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
    }
    try:
        _wait_for(port)
        adlfs.AzureBlobFileSystem(**keys).mkdir("tests")
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(fsspec.config.conf, "az", keys)
            patch.setitem(fsspec.config.conf, "abfs", keys)
            yield "az://tests/set"
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError


@contextmanager
def in_memory() -> Iterator[str]:
    """A bucket in this process, which fsspec takes for S3's; it ends with the block."""
    import fsspec
    from fsspec.implementations.memory import MemoryFileSystem
    from fsspec.registry import _registry

    class Store(MemoryFileSystem):  # type: ignore[misc]
        protocol = "s3"
        store: ClassVar[dict[str, Any]] = {}
        pseudo_dirs: ClassVar[list[str]] = [""]

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return str(MemoryFileSystem._strip_protocol(path.replace("s3://", "memory://")))

    before = _registry.get("s3")
    fsspec.register_implementation("s3", Store, clobber=True)
    try:
        yield "s3://tests"
    finally:
        _registry.pop("s3", None)
        if before is not None:
            _registry["s3"] = before
