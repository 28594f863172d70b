"""How a DAG run ended, as its task `release` finds it: stopped by a person, failed and in which task, or well.

Or as Airflow finds it: a run that takes too long it ends with all its tasks, `release` too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Context

from exp_platform.config.environment import Environment, load_environment
from exp_platform.config.loading import load_experiment
from exp_platform.config.notify import Notify
from exp_platform.errors import ConfigError
from exp_platform.orchestration.limits import hours
from exp_platform.orchestration.notify import tell_failure
from exp_platform.orchestration.priority import CHECK, ENDED, RELEASE, WAIT
from exp_platform.orchestration.shown import refusing
from exp_platform.report.event import Event, event_of_timeout, event_of_waiting, events_of_failure
from exp_platform.stages.graph import STAGES
from exp_platform.stages.run import Run
from exp_platform.tables.last_runs import run_json_of

LAST = STAGES[-1].name
_ORDER = (WAIT, CHECK, *(stage.name for stage in STAGES))


def stopped_in(context: Context, checked: Mapping[str, Any]) -> str:
    """The tasks at which a person stopped the run, whose other tasks Airflow has skipped, the last one too; else empty.

    Any other failure reaches the last stage, by which Airflow sees it. `checked` is what `check` returned.
    """
    states = _states(context)
    if states.get(LAST) != "skipped" or checked.get("up_to_date"):
        return ""
    if failed := _failed(context):
        return ", ".join(sorted(failed))
    # Stopped while none of them ran, which Airflow skips too: one was due, or was to be tried again
    run = _run(checked.get("run_path"))
    asked = (WAIT, CHECK, *(stage.name for stage in run.stages if stage.required)) if run else _ORDER
    return next(name for name in asked if states.get(name) == "skipped")


def tell_end(context: Context, environment: Environment, experiment_id: str, run_json: str | None) -> None:
    """Tell why the run failed, if it did, to whom its spec names, as it was frozen or is. Raises nothing."""
    run = _run(run_json)
    failed = [name for name in _ORDER if name in _failed(context)]
    events = _events(context, experiment_id, failed[0], run) if failed else []
    tell_failure(context, environment, experiment_id, _listeners(environment, experiment_id, run), events)


def tell_timeout(context: Context, experiment_id: str) -> None:
    """Airflow calls it, in a DAG processor, after each run that failed: tell of one whose time was over, as no task could."""
    if context.get("reason") != "timed_out":
        return
    environment, limit = load_environment(), context["dag"].dagrun_timeout
    assert limit is not None
    event = event_of_timeout(experiment_id, hours(limit.total_seconds()))
    tell_failure(context, environment, experiment_id, _listeners(environment, experiment_id, None), [event])


def _events(context: Context, experiment_id: str, task: str, run: Run | None) -> list[Event]:
    if task == WAIT:
        return [event_of_waiting(experiment_id)]
    manifest = context["ti"].xcom_pull(task_ids=task)
    error = manifest.get("error") if isinstance(manifest, dict) else None
    return events_of_failure(experiment_id, task, error or "", refusing(run, task) if run else ())


def _states(context: Context) -> dict[str, str]:
    ti = context["ti"]
    states: dict[str, str] = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).get(ti.run_id, {})
    return states


def _failed(context: Context) -> set[str]:
    return {
        name for name, state in _states(context).items() if state == "failed" and name not in (ENDED, RELEASE)
    }


def _run(run_json: str | None) -> Run | None:
    try:
        return Run.load(run_json) if run_json else None
    except (OSError, ValueError):  # gone as old runs are, or of another version
        return None


def _listeners(environment: Environment, experiment_id: str, run: Run | None) -> tuple[Notify, ...] | None:
    """Whom the spec names, of one that is broken as the last run has it; None where it leaves that to the environment."""
    try:
        return (run.experiment if run else load_experiment(experiment_id)).notify
    except ConfigError:
        last = _run(run_json_of(environment, experiment_id))
        return last.experiment.notify if last else None
