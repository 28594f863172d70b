"""What Airflow's own pages show of a result: a link from the task to its run's page, the decision at the end of the log, the asset's extra."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

from exp_platform.checks import CheckResult
from exp_platform.escaping import line
from exp_platform.stages.run import Run

DECISION, MEMO = "decision", "memo"
RESULT_STAGES = (DECISION, MEMO)  # whose manifest says what was decided
JUDGING_STAGES = ("ingest", "quality")  # that refuse data
_SAID = ("as_of_date", "winner", "action", "final")


class ResultLink(BaseOperatorLink):
    """The button "Result" on a task: the result as of the run's day."""

    name = "Result"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The address of the page; `ti_key` names the DAG and its run."""
        return result_page(ti_key.dag_id, ti_key.run_id)


def result_page(dag_id: str, run_id: str) -> str:
    """Where Airflow shows the result of a run: a tab of it, see `plugins/experiment_pages.py`."""
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    return f"{base}/dags/{dag_id}/runs/{quote(run_id, safe='')}/plugin/run-results"


def told(details: Mapping[str, Any], page: str) -> list[str]:
    """The last lines of a log: what was decided, and where to read it; none where the manifest does not say."""
    if "winner" not in details:
        return []
    plainly = f"as of {details['as_of_date']}: {details['winner']}, {details['action']}"
    return [
        details.get("decided", plainly),
        *([details["why"]] if "why" in details else []),
        f"Result: {page}",
    ]


def refused(run: Run, stage: str) -> list[str]:
    """Of data that were refused each failed check in a line of its own: what was found, and the remedy."""
    return [line(f"{check.check}: {check.message}") for check in refusing(run, stage)]


def refusing(run: Run, stage: str) -> list[CheckResult]:
    """The checks that refused the data of a run that failed in this stage."""
    if stage not in JUDGING_STAGES:
        return []
    from exp_platform.stages.quality import read_checks

    try:
        checks = read_checks(run.path / "quality.json")
    except (OSError, ValueError):  # it failed for another reason
        return []
    return [c for c in checks if (c.status, c.severity, c.as_of_date) == ("failed", "error", run.as_of_date)]


def extra_of(details: Mapping[str, Any], page: str) -> dict[str, Any]:
    """What the event of the results' asset carries for whoever is started by it."""
    return {name: details[name] for name in _SAID if name in details} | {"link": page}
