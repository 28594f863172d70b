"""Postgres of the distribution, in a folder of its own, with password authentication."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import psycopg2
from psycopg2 import sql

from cluster.servers import Server, free_ports

ADMIN = "postgres"


@cache
def programs() -> Path | None:
    """The folder of `initdb` and `postgres`, the newest where there are several; None where there is none."""
    # Debian and Ubuntu keep the programs of each version away from the path.
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    found = shutil.which("initdb")
    folders = [*reversed(packaged), *([Path(found).resolve().parent] if found else [])]
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


class Postgres:
    """A server with the superuser `postgres`, and users and databases that tests ask for."""

    def __init__(self) -> None:
        binaries = programs()
        assert binaries is not None
        # Not below pytest's own folder, which no other user may enter; and Postgres refuses to be run by root.
        self._folder = Path(tempfile.mkdtemp(prefix="exp-postgres-"))
        self._user = _unprivileged() if os.geteuid() == 0 else None
        (self.port,) = free_ports(1)
        self._password = secrets.token_urlsafe(16)
        data = self._folder / "data"
        self._initialise(binaries, data)
        options = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",  # a machine that crashes takes the tests with it
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        self.server = Server(
            [str(binaries / "postgres"), "-D", str(data), *settings],
            self._folder / "log.txt",
            self._answers,
            user=self._user,
            killed_by=signal.SIGQUIT,  # as a power cut would: its next start recovers from its log
        )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def close(self) -> None:
        self.server.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def make_user(self, user: str, password: str) -> None:
        self._execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(user), sql.Literal(password))
        )

    def make_database(self, name: str, owner: str) -> None:
        self._execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(*map(sql.Identifier, (name, owner))))

    def _execute(self, statement: sql.Composable) -> None:
        connection = self._connect()
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()

    def _connect(self) -> psycopg2.extensions.connection:
        return psycopg2.connect(
            host="127.0.0.1", port=self.port, user=ADMIN, password=self._password, dbname="postgres"
        )

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg2.OperationalError:
            return False
        return True

    def _initialise(self, binaries: Path, data: Path) -> None:
        password_file = self._folder / "password"
        password_file.write_text(self._password)
        if self._user is not None:
            for path in (self._folder, password_file):
                shutil.chown(path, self._user)
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        subprocess.run(
            [binaries / "initdb", "-D", data, "-U", ADMIN, f"--pwfile={password_file}", *options],
            cwd=self._folder,
            user=self._user,
            check=True,
            capture_output=True,
        )
        password_file.unlink()


def _unprivileged() -> str:
    """The user that the package made, else the one that every system has."""
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(user for user in ("postgres", "_postgres", "nobody") if user in known)
