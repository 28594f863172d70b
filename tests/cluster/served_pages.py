"""The pages as the compose stack serves them: a real API server of several workers, users of FAB, results and memos in buckets."""

from __future__ import annotations

import secrets
import subprocess
import time
from functools import cached_property

import httpx
import psutil
import yaml

from cluster.cluster import ClusterInstallation
from cluster.servers import Server
from cluster.standing_airflow import StandingAirflow
from end_to_end.installation import ROOT

STACK = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["airflow-apiserver"]
PERMISSIONS = "AIRFLOW__FAB__UPDATE_FAB_PERMS"  # at each start of a worker
SETTINGS = {
    name: STACK["environment"][name]
    for name in ("AIRFLOW__CORE__AUTH_MANAGER", "AIRFLOW__API__WORKERS", PERMISSIONS)
}
WORKERS = int(SETTINGS["AIRFLOW__API__WORKERS"])
PAGES = "/experiments"


class ServedPages(StandingAirflow):
    """API server and DAG processor; database and the user admin are made by what the stack's own service runs."""

    def __init__(self, installation: ClusterInstallation, database: str) -> None:
        super().__init__(installation, database, **SETTINGS)
        del self.servers["scheduler"], self.servers["triggerer"]
        self.passwords = {"admin": self.password}
        self._tokens: dict[str, str] = {}

    def start(self) -> None:
        """Set up as the stack does at each start, the second time with another password, and start."""
        for password in (secrets.token_hex(8), self.password):
            self._set_up(password)
        for server in reversed(self.servers.values()):
            server.start()

    def _set_up(self, password: str) -> None:
        file = self.home / "admin_password"
        file.write_text(password)
        variables = self.variables | {"AIRFLOW_ADMIN_PASSWORD_FILE": str(file), PERMISSIONS: "True"}
        done = subprocess.run(
            [ROOT / "docker" / "airflow-init.sh"], env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert password not in done.stdout + done.stderr

    # ---- users

    def role(self, name: str, **reads: str) -> None:
        """Make a role that may read these resources, each under any name."""
        actions = [
            {"action": {"name": "can_read"}, "resource": {"name": resource}} for resource in reads.values()
        ]
        self._post("/auth/fab/v1/roles", {"name": name, "actions": actions})

    def user(self, name: str, *roles: str) -> None:
        """Make a user with these roles, who can log in."""
        self.passwords[name] = secrets.token_hex(8)
        names = {"first_name": name, "last_name": name, "username": name, "email": f"{name}@example.com"}
        given = [{"name": role} for role in roles]
        self._post("/auth/fab/v1/users", names | {"password": self.passwords[name], "roles": given})

    def reader(self, name: str) -> httpx.Client:
        """A client of its own connection by the name of who is logged in; empty: nobody."""
        client = httpx.Client(base_url=self.url, timeout=120)
        if name:
            client.headers["Authorization"] = f"Bearer {self._token(name)}"
        return client

    def _token(self, name: str) -> str:
        if name not in self._tokens:
            body = {"username": name, "password": self.passwords[name]}
            answer = httpx.post(f"{self.url}/auth/token", json=body, timeout=120)
            assert answer.status_code == 201, answer.text
            self._tokens[name] = answer.json()["access_token"]
        return self._tokens[name]

    def _post(self, path: str, body: dict[str, object]) -> None:
        answer = self.reader("admin").post(path, json=body)
        assert answer.is_success, answer.text

    # ---- workers

    @cached_property
    def workers(self) -> dict[int, httpx.Client]:
        """A connection to each worker, by its process; admin is logged in."""
        found: dict[int, httpx.Client] = {}
        limit = time.monotonic() + 120
        while len(found) < WORKERS and time.monotonic() < limit:
            client = self.reader("admin")
            with client.stream("GET", f"{PAGES}/static/icon.svg") as answer:
                address = answer.extensions["network_stream"].get_extra_info("client_addr")
                found.setdefault(self._serving(address[1]), client)
        assert len(found) == WORKERS, f"only {sorted(found)} have answered"
        return found

    def processes(self) -> list[psutil.Process]:
        """All processes of the API server."""
        server: Server = self.servers["api-server"]
        assert server.pid is not None
        first = psutil.Process(server.pid)
        return [first, *first.children(recursive=True)]

    def _serving(self, port: int) -> int:
        """The process at the other end of a connection from this port."""
        (found,) = (
            process.pid
            for process in self.processes()
            for connection in process.net_connections("tcp")
            if connection.raddr and connection.raddr.port == port
        )
        return found
