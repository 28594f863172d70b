"""The compose stack as its tests see it from this machine: Airflow's API, Spark's page, S3, tables, containers."""

from __future__ import annotations

import json
import math
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import boto3
import duckdb
import httpx
import pyarrow as pa
import pytest
import yaml
from botocore.config import Config

from end_to_end.installation import OF_THE_RUN, run_of
from exp_demo.stack import ENTRY, Followed, applications, trigger
from exp_platform.config.asset import dag_id_of
from exp_platform.config.environment import Environment, load_environment, project_root
from exp_platform.orchestration.rest import AirflowApi, AirflowError
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.schemas import RESULT_TABLES, TABLES
from exp_platform.tables.selection import selection

Found = TypeVar("Found")
Content = dict[str, tuple[int, int | None]]
FIRST, SECOND = "exp_checkout_button_001", "exp_pricing_test_003"
RUNNING = [
    pytest.mark.stack,
    pytest.mark.skipif(
        "EXP_STACK" not in os.environ, reason="needs the running compose stack: make test-stack"
    ),
]
ROOT = project_root()


def address(variable: str, port: int) -> str:
    return f"http://127.0.0.1:{os.environ.get(variable, port)}"


def secret_file(name: str) -> str:
    """One of the stack's secrets."""
    return (ROOT / ".secrets" / name).read_text().strip()


def until(found: Callable[[], Found | None], seconds: float, what: str) -> Found:
    """What `found` gives as soon as it gives something."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if answer := found():
            return answer
        time.sleep(0.5)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")


def rows(environment: Environment, name: str, experiment_id: str) -> pa.Table:
    """A table's rows of an experiment, of results those that count, without what names the run."""
    catalog, mine = open_catalog(environment), selection({"experiment_id": experiment_id})
    found = table(catalog, name).scan(mine).to_arrow()
    if name in RESULT_TABLES:
        counts = {run_of(row) for row in table(catalog, "decisions").scan(mine).to_arrow().to_pylist()}
        found = found.filter(pa.array([run_of(row) in counts for row in found.to_pylist()], pa.bool_()))
    return without_run(found)


def without_run(found: pa.Table) -> pa.Table:
    return found.drop_columns([column for column in found.column_names if column in OF_THE_RUN])


def digest(stored: pa.Table) -> tuple[int, int | None]:
    """The rows as their number and a hash, whatever their order: equal to the bit is equal here."""
    database = duckdb.connect()
    database.register("stored", stored)
    (found,) = database.execute("SELECT count(*), sum(hash(row)::HUGEINT) FROM stored AS row").fetchall()
    return found


def content(environment: Environment, experiment_id: str) -> Content:
    """The digest of every table's rows of an experiment."""
    return {name: digest(rows(environment, name, experiment_id)) for name in TABLES}


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, numbers but for the last digits, which depend on the processor that a sum is made for.

    A p-value near 0 is held to its digits by the `log10_p` beside it.
    """
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(one, str) and isinstance(other, str) and one[:1] in ("{", "["):
        return same(json.loads(one), json.loads(other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def in_order(stored: pa.Table) -> list[dict[str, Any]]:
    """The rows, ordered by what in them is neither a number with digits nor a document."""

    def key(row: dict[str, Any]) -> str:
        exact = (v for v in row.values() if not isinstance(v, float | list) and str(v)[:1] not in ("{", "["))
        return repr(list(exact))

    return sorted(stored.to_pylist(), key=key)


class Stack:
    """The running stack. Where it is says the environment, as `scripts/stack-host-env.sh` and `make` put it there."""

    def __init__(self) -> None:
        password = secret_file("airflow_admin_password")
        self.airflow = AirflowApi(address("AIRFLOW_PORT", 8080), "admin", password)
        self.master = address("SPARK_UI_PORT", 8081)
        self.s3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}))

    @property
    def environment(self) -> Environment:
        return load_environment("cluster")

    def compose(self, *arguments: str) -> str:
        command = [str(ROOT / "scripts" / "compose.sh"), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def up(self) -> None:
        subprocess.run([ROOT / "scripts" / "stack-up.sh"], check=True, capture_output=True)

    @contextmanager
    def otherwise(self, service: str, folder: Path, **settings: Any) -> Iterator[str]:
        """The service with other settings than the file's, for a while; gives its container."""
        override = folder / "override.yml"
        override.write_text(yaml.safe_dump({"services": {service: settings}}))
        files = ["--file", "docker-compose.yml", "--file", str(override)]
        start = ["up", "--detach", "--no-deps", service]
        self.compose(*files, *start)
        try:
            yield self.ready(service)
        finally:
            self.compose(*start)
            self.ready(service)

    def ready(self, service: str) -> str:
        """The service's container, as soon as it is healthy."""
        (container,) = self.containers(service)
        until(lambda: self.healthy(container), 180, f"the health of {service}")
        return container

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "--quiet", service).split()

    def kill(self, container: str) -> None:
        """End the container's process as a crash does. (`docker kill` would count as a wish to have it stopped.)"""
        command = ["docker", "exec", container, "sh", "-c", "kill -9 $(cat /proc/1/task/1/children)"]
        subprocess.run(command, check=False, capture_output=True)

    def inspect(self, container: str, template: str) -> str:
        command = ["docker", "inspect", "--format", template, container]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def restarts(self, container: str) -> int:
        return int(self.inspect(container, "{{.RestartCount}}"))

    def healthy(self, container: str) -> bool:
        return self.inspect(container, "{{.State.Health.Status}}") == "healthy"

    def busy_worker(self, containers: list[str]) -> list[str]:
        """The first of the workers' containers that runs an executor now."""
        workers = httpx.get(f"{self.master}/json/", timeout=10).json()["workers"]
        busy = {worker["host"] for worker in workers if worker["state"] == "ALIVE" and worker["coresused"]}
        address_of = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return [found for found in containers if self.inspect(found, address_of) in busy][:1]

    def start(self, *experiment_ids: str) -> list[Followed]:
        return trigger(self.airflow, list(experiment_ids))

    def end(self, run: Followed, seconds: float = 1200) -> str:
        """Wait for the run's end and return its state."""

        def ended() -> bool:
            list(run.look(self.airflow))
            return run.ended

        until(ended, seconds, f"the end of {run.experiment_id}")
        return run.state

    def first_failure(self, run: Followed) -> tuple[dict[str, Any], str]:
        """The first try that failed, as soon as there is one: the task instance and the try's log."""

        def failed() -> dict[str, Any] | None:
            list(run.look(self.airflow))
            tasks = self.airflow.tasks(run.dag_id, run.own_run) if run.own_run else []
            return next((task for task in tasks if task["state"] in ("failed", "up_for_retry")), None)

        def told() -> str | None:
            log = self.airflow.log(run.dag_id, run.own_run, task["task_id"], task["try_number"])
            return log if "Task failed" in log else None

        task = until(failed, 300, f"a failed try of {run.experiment_id}")
        return task, until(told, 60, f"the log of {task['task_id']}")

    def wait_for_stage(self, run: Followed, stage: str) -> None:
        """Wait until Spark works on the stage: its application has executors."""

        def working() -> bool:
            list(run.look(self.airflow))
            assert not run.ended, f"{run.experiment_id} ended as {run.state} before {stage} was seen"
            name = f"{stage} {run.experiment_id}"
            return any(app["name"] == name and app["state"] == "RUNNING" for app in applications(self.master))

        until(working, 300, f"{stage} of {run.experiment_id} on Spark")

    def knows(self, dag_id: str) -> bool:
        """Whether Airflow has such a DAG."""
        try:
            self.airflow.dag(dag_id)
        except AirflowError:
            return False
        return True

    def task(self, run: Followed, stage: str) -> dict[str, Any]:
        """The stage's last try."""
        tasks = self.airflow.tasks(run.dag_id, run.own_run)
        (found,) = (task for task in tasks if task["task_id"] == stage)
        return found

    def ended_at(self, run: Followed, stage: str) -> datetime:
        """When the stage's last try ended."""
        return datetime.fromisoformat(self.task(run, stage)["end_date"])

    def objects(self, bucket: str) -> dict[str, str]:
        """Every object of a bucket with its checksum."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {found["Key"]: found["ETag"] for page in pages for found in page.get("Contents", [])}

    def history(self, experiment_id: str) -> dict[str, Any]:
        """What a person finds in Airflow about an experiment: runs, tasks, a log."""
        dag_id = dag_id_of(experiment_id)
        runs = self.airflow.run_ids(dag_id)
        return {
            "entry": self.airflow.run_ids(ENTRY),
            "runs": runs,
            "tasks": [(task["task_id"], task["state"]) for task in self.airflow.tasks(dag_id, runs[-1])],
            "log": self.airflow.log(dag_id, runs[-1], "ingest", 1),
        }
