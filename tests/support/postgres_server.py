"""A PostgreSQL server of the tests' own: an ordinary user's, in a temporary folder, reached by a socket there.

PostgreSQL refuses to run as root: then it is run as nobody. Where there is no `postgres` and `initdb` on PATH, or
no way to become an ordinary user, `missing` says why.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import psycopg
except ImportError:  # which `missing` tells
    psycopg = None  # type: ignore[assignment]

NOBODY = 65534


def missing() -> str | None:
    """Why no server can be started here; None where one can."""
    if psycopg is None:
        return "psycopg is not installed"
    for name in ("postgres", "initdb"):
        if shutil.which(name) is None:
            return f"there is no {name} on PATH"
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        return "PostgreSQL does not run as root, and there is no setpriv to become another user with"
    return None


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class PostgresServer:
    """A running server. `url(database)` is a database's, of the owner of all; `stop` and `start` it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, _free_port()
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._as = (
            ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            if os.getuid() == 0
            else []
        )
        if self._as:
            os.chown(folder, NOBODY, NOBODY)
        options = ["-A", "trust", "-U", "owner", "--no-sync", "-E", "UTF8", "--locale=C"]
        self._run("initdb", "-D", str(self._data), *options)

    def url(self, database: str = "postgres", user: str = "owner") -> str:
        return f"postgresql://{user}@/{database}?host={self.folder}&port={self.port}"

    def start(self, **settings: str) -> None:
        """Start it, with settings of postgresql.conf, and wait until it answers."""
        given = {
            "unix_socket_directories": str(self.folder),
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "max_connections": "300",
            "shared_buffers": "32MB",
            **settings,
        }
        words = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as, "postgres", "-D", str(self._data), *words], stdout=log, stderr=log
            )
        until = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > until or self._process.poll() is not None:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """Shut it down at once, as an administrator does: what was committed is there when it starts again."""
        if self._process is not None and self._process.poll() is None:
            self._run("pg_ctl", "-D", str(self._data), "stop", "-m", "immediate")
            self._process.wait()

    def sql(self, *statements: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run statements as the owner; returns the rows of the last."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description is not None else []

    def _run(self, program: str, *words: str) -> None:
        subprocess.run([*self._as, program, *words], check=True, capture_output=True, cwd=self.folder)


@contextmanager
def server(**settings: str) -> Iterator[PostgresServer]:
    """A new server, which is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="api-smooth-pg-"))
    folder.chmod(0o755)
    running = PostgresServer(folder)
    try:
        running.start(**settings)
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)
