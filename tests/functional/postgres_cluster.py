"""A PostgreSQL cluster of the tests' own: on loopback, as an unprivileged user, in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Cluster", "binaries", "cluster"]

PASSWORD = "s3cret-w0rd"


@dataclass(frozen=True)
class Cluster:
    """Where the cluster listens."""

    port: int

    def url(self, database: str, password: str = PASSWORD) -> str:
        """The URL of a database."""
        return f"postgresql://tester:{password}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> Any:
        """A connection that commits every statement."""
        import psycopg

        return psycopg.connect(self.url(database), autocommit=True)

    def make(self, database: str, encoding: str = "UTF8") -> str:
        """Make a database and return its URL."""
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {database} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
        return self.url(database)


def binaries() -> Path | None:
    """Where Debian's package, or anybody's, has the server's programs."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return places[-1].parent if places else None


def _user() -> dict[str, Any]:
    """Whom to be: PostgreSQL refuses to be run by root."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    return {}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def cluster(programs: Path) -> Iterator[Cluster]:
    """Start a cluster and end it."""
    folder = Path(tempfile.mkdtemp(prefix="ehrsynth-postgres-"))
    who = _user()
    data, secret = folder / "data", folder / "password"
    try:
        secret.write_text(PASSWORD)
        if who:
            for path in (folder, secret):
                os.chown(path, who["user"], who["group"])

        def run(*command: str) -> None:
            done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, **who)
            assert done.returncode == 0, done.stdout + done.stderr

        init = ("--auth=scram-sha-256", f"--pwfile={secret}", "-U", "tester", "-E", "UTF8", "--locale=C", "--no-sync")
        run(str(programs / "initdb"), "-D", str(data), *init)
        port = _free_port()
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_wal_size=4GB"
        control = (str(programs / "pg_ctl"), "-D", str(data), "-w", "-l", str(folder / "log"))
        run(*control, "-o", options, "start")
        try:
            yield Cluster(port)
        finally:
            run(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
