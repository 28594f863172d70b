"""What a DAG run was asked for: by whom, for which day, and nothing that no DAG knows."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

from airflow.sdk import Context, Param

from exp_platform.config.experiment import Experiment
from exp_platform.config.faults import one_line, suggest
from exp_platform.errors import ConfigError

PARAMS = {
    "as_of": Param(
        None,
        type=["null", "string"],
        format="date",
        title="As of",
        description="Results as of the end of this local day; empty: the last complete day before the run.",
    ),
    "force": Param(
        False,
        type="boolean",
        title="Force",
        description="Run although nothing changed since the stored results.",
    ),
    "full": Param(
        False,
        type="boolean",
        title="Full",
        description="Read everything from the source again, not only what is new.",
    ),
}


# For whom another DAG's operator makes a run, of which Airflow itself knows the operator only.
ON_BEHALF_OF = "on_behalf_of"
_BY_AN_OPERATOR: str = "operator_triggered"  # the type of such runs


def refuse_unknown(context: Context, known: Collection[str]) -> None:
    """Raise ConfigError for a key of the run's conf that is none of the `known`: Airflow would take it and do without."""
    run = context["dag_run"]
    by_us = (ON_BEHALF_OF,) if run.run_type == _BY_AN_OPERATOR else ()
    unknown = [key for key in run.conf or {} if key not in (*known, *by_us)]
    if unknown:
        remedy = suggest(unknown[0], known) if known else "allowed: none, this DAG takes no conf"
        named = ", ".join(f"'{one_line(str(key), 60)}'" for key in unknown[:5])
        raise ConfigError(f"conf of {context['dag_run'].dag_id}: unknown key {named}; {remedy}")


def under_dags_test(context: Context) -> bool:
    """Whether this is a run of `airflow dags test`, which has no scheduler and runs one task after another."""
    return context["dag_run"].triggering_user_name == "dag_test"


def started_by(context: Context) -> str:
    """Whom the audit names: the user who triggered the run, else why Airflow made it; and which run it is."""
    run = context["dag_run"]
    if under_dags_test(context):
        from exp_platform.tables.audit import person

        return f"{person()} by airflow dags test, {run.run_id}"
    # Only a DAG's operator makes a run of that type: who may start runs and write no DAGs can name nobody else.
    asked = (run.conf or {}).get(ON_BEHALF_OF) if run.run_type == _BY_AN_OPERATOR else None
    return f"{asked or run.triggering_user_name or run.run_type} by Airflow, {run.run_id}"


def as_of_dates(context: Context, experiment: Experiment) -> tuple[date, ...]:
    """The day that a DAG run is about: its param `as_of`, else the last complete one before it. Raises ConfigError."""
    from exp_platform.stages.start import default_as_of

    wanted = context["params"].get("as_of")
    if wanted:
        try:
            return (date.fromisoformat(wanted),)
        except ValueError:
            raise ConfigError(f"as_of: found {wanted!r}, allowed is a date such as 2026-01-31") from None
    run = context["dag_run"]
    moment = run.logical_date or run.run_after  # a run may have no logical date
    return (default_as_of(experiment, moment),)
