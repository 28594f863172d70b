"""`make stack-demo`: experiments through the compose stack by Airflow's REST API, all at once, followed to the end.

| variable | meaning | default |
|---|---|---|
| `AIRFLOW_URL` | Airflow's API server | `http://127.0.0.1:8080` |
| `AIRFLOW_ADMIN_PASSWORD`, or `AIRFLOW_ADMIN_PASSWORD_FILE` | password of the user `admin`, or its file | |
| `SPARK_MASTER_UI` | the page of the Spark master | `http://127.0.0.1:8081` |
| `MEMOS_ENDPOINT` | where a browser on this machine finds the S3 server | `http://127.0.0.1:9000` |
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
from rich.console import Console
from rich.text import Text

from exp_platform.config.asset import dag_id_of
from exp_platform.config.secret_values import secret
from exp_platform.errors import ExpPlatformError
from exp_platform.escaping import terminal
from exp_platform.orchestration.rest import AirflowApi, AirflowError

EXPERIMENTS = ("exp_checkout_button_001", "exp_pricing_test_003")
ENTRY = "run_experiment"  # the DAG that takes an experiment's id

_ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")
_LINK_SECONDS = 24 * 3600
_PATIENCE_SECONDS = 1800
_PAUSE_SECONDS = 2
_WIDTH = 150  # where standard output is no terminal


class StackDemoError(ExpPlatformError):
    """A run of the demo did not end as it must; the message says which and where to look."""


@dataclass
class Followed:
    """One experiment on its way through Airflow: the run of `run_experiment`, and that of its own DAG once it is known."""

    experiment_id: str
    entry_run: str
    own_run: str = ""
    state: str = "queued"
    shown: set[tuple[str, int]] = field(default_factory=set)

    @property
    def dag_id(self) -> str:
        """The experiment's own DAG."""
        return dag_id_of(self.experiment_id)

    @property
    def ended(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.state in ("success", "failed")

    def look(self, api: AirflowApi) -> Iterator[dict[str, Any]]:
        """Ask how it stands; gives the task instances that have ended since the last look."""
        if not self.own_run:
            try:
                self.own_run = str(api.xcom(ENTRY, self.entry_run, "run", "trigger_run_id"))
            except AirflowError:  # not triggered yet, or never
                self.state = api.run_state(ENTRY, self.entry_run)
                return
        self.state = api.run_state(ENTRY, self.entry_run)
        ended = [task for task in api.tasks(self.dag_id, self.own_run) if task["state"] in _ENDED]
        for task in sorted(ended, key=lambda task: task["end_date"] or ""):
            key = (task["task_id"], task["try_number"])
            if key not in self.shown:
                self.shown.add(key)
                yield task


def trigger(api: AirflowApi, experiment_ids: list[str]) -> list[Followed]:
    """Start `run_experiment` once for each experiment, whose own DAG is unpaused first."""
    for experiment_id in experiment_ids:
        api.unpause(dag_id_of(experiment_id))
    return [
        Followed(experiment_id, api.trigger(ENTRY, {"experiment_id": experiment_id, "force": True}))
        for experiment_id in experiment_ids
    ]


def follow(
    api: AirflowApi, runs: list[Followed], console: Console, patience: float = _PATIENCE_SECONDS
) -> None:
    """Show every task as it ends, until all runs have ended. Raises StackDemoError after `patience` seconds."""
    width = max(len(run.experiment_id) for run in runs)
    limit = time.monotonic() + patience
    while not all(run.ended for run in runs):
        for run in runs:
            for task in run.look(api):
                _show(console, run.experiment_id.ljust(width), task)
        if time.monotonic() > limit:
            late = ", ".join(run.experiment_id for run in runs if not run.ended)
            raise StackDemoError(f"after {patience:.0f} s these still run: {late}; see Airflow's pages")
        time.sleep(_PAUSE_SECONDS)


def _show(console: Console, name: str, task: dict[str, Any]) -> None:
    seconds = f"{task['duration']:6.1f} s" if task["duration"] is not None else " " * 8
    colour = {"success": "green", "failed": "red"}.get(task["state"], "yellow")
    tries = f", try {task['try_number']}" if task["try_number"] > 1 else ""
    told = terminal(f"  {name}  {task['task_id']:<12}{seconds}  ")
    console.print(Text.assemble(told, (terminal(str(task["state"])), colour), tries), highlight=False)


def applications(master: str) -> list[dict[str, Any]]:
    """The applications that the Spark master knows, running and ended, in the order of their start."""
    page = httpx.get(f"{master}/json/", timeout=10).raise_for_status().json()
    return sorted(
        page["activeapps"] + page["completedapps"], key=lambda application: application["starttime"]
    )


def link(location: str, endpoint: str) -> str:
    """A link that opens `s3://bucket/key` in a browser for a day, without a login."""
    import boto3
    from botocore.config import Config

    logging.getLogger("botocore").setLevel(logging.WARNING)  # it tells where it found its keys
    bucket, key = urlsplit(location).netloc, urlsplit(location).path.lstrip("/")
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=os.environ.get("AWS_REGION", "us-east-1"),
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    params = {"Bucket": bucket, "Key": key, "ResponseContentType": "text/plain; charset=utf-8"}
    return str(client.generate_presigned_url("get_object", Params=params, ExpiresIn=_LINK_SECONDS))


def run_stack_demo(console: Console, experiment_ids: list[str]) -> None:
    """Run the experiments at once and show states, Spark applications, decisions and memos. Raises StackDemoError."""
    master = os.environ.get("SPARK_MASTER_UI", "http://127.0.0.1:8081")
    password = secret("AIRFLOW_ADMIN_PASSWORD", "the password of Airflow's user admin")
    api = AirflowApi(os.environ.get("AIRFLOW_URL", "http://127.0.0.1:8080"), "admin", password)
    began = time.monotonic()
    before = {application["id"] for application in applications(master)}
    runs = trigger(api, experiment_ids)
    told = terminal(f" with {', '.join(experiment_ids)}")
    console.print(Text.assemble((ENTRY, "bold"), told), highlight=False)
    follow(api, runs, console)
    failed = [run for run in runs if run.state != "success"]
    if failed:
        raise StackDemoError("\n".join(_where_to_look(run) for run in failed))
    told = f"green after {time.monotonic() - began:.0f} s\n\n"
    console.print(Text.assemble(told, ("On the Spark workers", "bold")), highlight=False)
    for application in applications(master):
        if application["id"] not in before:
            told = (
                f"  {application['id']}  {application['name']:<40}{application['duration'] / 1000:6.1f} s  "
                f"{application['state'].lower()}"
            )
            console.print(terminal(told), highlight=False)
    for run in runs:
        _show_decision(console, run, api.returned(run.dag_id, run.own_run, "memo")["details"])


def _where_to_look(run: Followed) -> str:
    page = f"/dags/{run.dag_id}/runs/{run.own_run}" if run.own_run else f"/dags/{ENTRY}/runs/{run.entry_run}"
    return f"{run.experiment_id}: {run.state}; its last log lines tell the cause: Airflow's page {page}"


def _show_decision(console: Console, run: Followed, memo: dict[str, Any]) -> None:
    endpoint = os.environ.get("MEMOS_ENDPOINT", "http://127.0.0.1:9000")
    told = terminal(f", as of {memo['as_of_date']}")
    console.print(Text.assemble("\n", (terminal(run.experiment_id), "bold"), told), highlight=False)
    told = f"  winner {memo['winner']}, action {memo['action']}\n  memo {memo['memo']}"
    console.print(terminal(told), highlight=False)
    console.print(terminal(f"  {link(memo['memo'], endpoint)}"), highlight=False, soft_wrap=True)


def main() -> int:
    """Run the experiments that the arguments name, or two of the shipped ones."""
    console = Console(width=None if sys.stdout.isatty() else _WIDTH, markup=False, emoji=False)
    try:
        run_stack_demo(console, sys.argv[1:] or list(EXPERIMENTS))
    except ExpPlatformError as error:
        print(terminal(str(error)), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
