"""A real Airflow of a test's own: API server, scheduler, DAG processor and triggerer as processes, on Postgres.

Not on SQLite: where a backfill's request finds that locked, Airflow takes back runs that its scheduler has seen already, and
the scheduler dies.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx

from cluster.servers import Server, free_ports
from end_to_end.installation import ROOT, Installation
from exp_platform.orchestration.rest import AirflowApi, AirflowError

Found = TypeVar("Found")
STARTS_WITHIN_SECONDS = 300  # of several workers on a busy machine
PROCESSES = ("scheduler", "dag-processor", "triggerer")
# A spark-submit without Spark: the stage itself, in Python. One bucket on a local master needs no session anyway.
SUBMIT = """#!/bin/sh
while [ "$1" != --run ]; do shift; done
exec {python} {stage} "$@"
"""


class StandingAirflow:
    """The processes and what they answer; the DAGs are the project's own, of the installation's specs."""

    def __init__(self, installation: Installation, database: str, **variables: str) -> None:
        self.database = database
        self.home = installation.folder / "airflow"
        self.home.mkdir()
        self._port, *log_ports = free_ports(3)
        self.url = f"http://127.0.0.1:{self._port}"
        self.password = secrets.token_hex(8)  # of the user admin
        passwords = self.home / "passwords.json"
        passwords.write_text(json.dumps({"admin": self.password}))
        programs = self.home / "bin"
        programs.mkdir()
        submit = programs / "spark-submit"
        submit.write_text(SUBMIT.format(python=sys.executable, stage=ROOT / "jobs" / "stage.py"))
        submit.chmod(0o755)
        self.variables = {
            **airflow_variables(),
            **installation.variables_of_airflow,
            "PATH": f"{programs}:{Path(sys.executable).parent}:/usr/bin:/bin",
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "AIRFLOW__API__PORT": str(self._port),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(log_ports[0]),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(log_ports[1]),
            **variables,
        }
        self.servers = {"api-server": self._server("api-server", self._answers)}
        self.servers |= {name: self._server(name, lambda: True) for name in PROCESSES}
        self.api = AirflowApi(self.url, "admin", self.password)

    def _server(self, name: str, answers: Callable[[], bool]) -> Server:
        command = [sys.executable, "-m", "airflow", name]
        log = self.home / f"{name}.txt"
        return Server(command, log, answers, variables=self.variables, within=STARTS_WITHIN_SECONDS)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/api/v2/version", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def start(self) -> None:
        """Make the database, and start all processes; the API server, whose start takes longest, is waited for."""
        self.command("db", "migrate")
        self.command("pools", "import", str(ROOT / "configs" / "pools.json"))
        for server in reversed(self.servers.values()):
            server.start()

    def command(self, *arguments: str) -> None:
        """Carry out one of Airflow's own commands."""
        program = [sys.executable, "-m", "airflow", *arguments]
        subprocess.run(program, env=self.variables, check=True, capture_output=True)

    def slots(self, pool: str, slots: int) -> None:
        """Give a pool other slots: none holds its tasks back until it has some again."""
        self.command("pools", "set", pool, str(slots), "as a test needs it")

    def kill(self) -> None:
        for server in self.servers.values():
            server.kill()

    def knows(self, dag_id: str) -> bool:
        """Whether there is such a DAG yet."""
        try:
            self.api.dag(dag_id)
        except AirflowError:
            return False
        return True

    def all_ended(self, dag_id: str) -> bool:
        """Whether every run of the DAG has ended."""
        return all(
            self.api.run_state(dag_id, run) in ("success", "failed") for run in self.api.run_ids(dag_id)
        )

    def state(self, dag_id: str, run_id: str, task_id: str) -> str | None:
        """The state of a task; None before it has one."""
        tasks = self.api.tasks(dag_id, run_id)
        return next((task["state"] for task in tasks if task["task_id"] == task_id), None)

    def log(self, name: str) -> str:
        return self.servers[name].log.read_text(errors="replace")


def airflow_variables() -> dict[str, str]:
    """What every process here is told, and what makes it quick to see what a test did."""
    return {
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW_CONN_SPARK_DEFAULT": '{"conn_type": "spark", "host": "local[*]", "extra": {"deploy-mode": "client"}}',
    }


@contextmanager
def standing_airflow(
    installation: Installation, database: str, **variables: str
) -> Iterator[StandingAirflow]:
    """One that runs for the length of a `with` block."""
    airflow = StandingAirflow(installation, database, **variables)
    try:
        airflow.start()
        yield airflow
    finally:
        airflow.kill()


def until(found: Callable[[], Found | None], seconds: float, what: str) -> Found:
    """What `found` gives as soon as it gives something."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if answer := found():
            return answer
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")
