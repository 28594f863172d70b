"""Airflow's REST API, as far as the compose stack's demo and its tests use it."""

from __future__ import annotations

import time
from datetime import date
from typing import Any

import httpx

from exp_platform.errors import ExpPlatformError

_PATIENCE_SECONDS = 120  # how long a server that restarts is waited for
_PAUSE_SECONDS = 2


class AirflowError(ExpPlatformError):
    """Airflow refused a request, or did not answer; the message says which and why."""


class AirflowApi:
    """The REST API of one Airflow, as one user. Waits out a server that restarts; raises AirflowError."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self._url = url.rstrip("/")
        self._login = {"username": user, "password": password}
        self._client = httpx.Client(timeout=30)
        self._token = ""

    def dag(self, dag_id: str) -> dict[str, Any]:
        """What Airflow knows of a DAG; raises AirflowError where there is none."""
        return self._json("GET", f"/dags/{dag_id}")

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Start a run of the DAG, which must not be paused, and return the run's id."""
        body = {"logical_date": None, "conf": conf}
        return str(self._json("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def unpause(self, dag_id: str) -> None:
        """Let the DAG run."""
        self._json("PATCH", f"/dags/{dag_id}", {"is_paused": False})

    def backfill(
        self,
        dag_id: str,
        first: date,
        last: date,
        *,
        max_active_runs: int = 50,
        backwards: bool = False,
        reprocess: str = "none",
    ) -> None:
        """Have every run of the schedule made whose logical date is from `first` to `last`; runs that are there as `reprocess` says."""
        body = {
            "dag_id": dag_id,
            "from_date": f"{first}T00:00:00Z",
            "to_date": f"{last}T23:59:59Z",
            "max_active_runs": max_active_runs,
            "run_backwards": backwards,
            "reprocess_behavior": reprocess,
        }
        self._json("POST", "/backfills", body)

    def stop(self, dag_id: str, run_id: str) -> None:
        """End a run as failed, as a person does in the UI."""
        self._json("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}", {"state": "failed"})

    def run_state(self, dag_id: str, run_id: str) -> str:
        """The state of a run: queued, running, success or failed."""
        return str(self._json("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def run_ids(self, dag_id: str) -> list[str]:
        """The runs of the DAG, oldest first."""
        runs = self._json("GET", f"/dags/{dag_id}/dagRuns?order_by=id&limit=1000")["dag_runs"]
        return [str(run["dag_run_id"]) for run in runs]

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a run, each with task_id, state, try_number, start_date, duration."""
        answer = self._json("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=100")
        return list(answer["task_instances"])

    def returned(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """What the task returned; raises AirflowError where it returned nothing."""
        return self.xcom(dag_id, run_id, task_id, "return_value")

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str) -> Any:
        """One XCom of a task; raises AirflowError where there is none."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}?deserialize=true"
        return self._json("GET", path)["value"]

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int) -> str:
        """The text of one try's log, an exception as its type and message."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        return "\n".join(map(_text, self._json("GET", path)["content"]))

    def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        patience = time.monotonic() + _PATIENCE_SECONDS
        while True:
            response = self._send(method, path, body)
            if response is not None and response.status_code < 500:
                break
            if time.monotonic() > patience:
                raise AirflowError(f"{self._url} gave no answer for {_PATIENCE_SECONDS} s: {method} {path}")
            time.sleep(_PAUSE_SECONDS)
        if response.status_code >= 400:
            raise AirflowError(f"{method} {path}: {response.status_code} {response.text}")
        return dict(response.json())

    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response | None:
        """The answer to one attempt, with a new token where the old one is over; None where nobody listens."""
        try:
            for _ in range(2):
                if not self._token:
                    answer = self._client.post(f"{self._url}/auth/token", json=self._login)
                    if answer.status_code >= 400:
                        return answer
                    self._token = answer.json()["access_token"]
                bearer = {"Authorization": f"Bearer {self._token}"}
                answer = self._client.request(method, f"{self._url}/api/v2{path}", json=body, headers=bearer)
                if answer.status_code != 401:
                    return answer
                self._token = ""
            return answer
        except httpx.TransportError:
            return None


def _text(line: str | dict[str, Any]) -> str:
    if isinstance(line, str):
        return line
    raised = [f"{error['exc_type']}: {error['exc_value']}" for error in line.get("error_detail") or []]
    return "\n".join([str(line.get("event", line)), *raised])
