"""Many runs at once on the compose stack: experiments finish one after another, and a backfill computes once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
import yaml

from exp_demo.stack import applications
from exp_platform.config.asset import dag_id_of
from exp_platform.orchestration.priority import CHECK
from stack.running import ROOT, RUNNING, Stack, until

pytestmark = RUNNING

EIGHT = tuple(yaml.safe_load((ROOT / "configs" / "dev.yaml").read_text())["experiments"])
BACKFILLED = "stack_test_backfill"
DAYS = 14
FIRST_DAY = date(2026, 1, 5)
SPEC = f"""
id: {BACKFILLED}
owner: platform
hypothesis: Fourteen days of a backfill are one computation.
variants: [{{id: control, control: true}}, {{id: green}}]
window: {{start: {FIRST_DAY}, days: {DAYS}}}
source: {{kind: synthetic, n_users: 2000, effect_lift_conversion: 0.05, seed: 9}}
metrics: [{{id: conversion, type: proportion, event: purchase, role: primary}}]
schedule: {{cron: "0 6 * * *", active: true}}
"""


def test_of_eight_experiments_at_once_the_first_decides_in_a_third_of_the_last_one_s_time(
    stack: Stack,
) -> None:
    """Else nobody has a result until all have."""
    began = datetime.now(UTC)
    runs = stack.start(*EIGHT)
    for run in runs:
        stack.end(run, 3600)
    seconds = {
        run.experiment_id: (stack.ended_at(run, "decision") - began).total_seconds()
        for run in runs
        if run.own_run and stack.task(run, "decision")["state"] == "success"
    }
    print(
        "\ndecisions after",
        {name: round(after) for name, after in sorted(seconds.items(), key=lambda x: x[1])},
    )
    assert len(seconds) >= 7  # one may be refused by its quality checks
    assert min(seconds.values()) <= max(seconds.values()) / 3


@pytest.fixture
def scheduled(stack: Stack) -> Iterator[str]:
    """An experiment with a schedule, whose window has passed."""
    spec = ROOT / "configs" / "experiments" / f"{BACKFILLED}.yaml"
    spec.write_text(SPEC)
    dag_id = dag_id_of(BACKFILLED)
    try:
        until(lambda: stack.knows(dag_id), 180, "the new experiment's DAG")
        stack.airflow.unpause(dag_id)
        yield dag_id
    finally:
        spec.unlink()


def test_a_backfill_of_fourteen_days_is_green_and_computes_once(stack: Stack, scheduled: str) -> None:
    known = set(stack.airflow.run_ids(scheduled))
    before = {application["id"] for application in applications(stack.master)}
    began = datetime.now(UTC)
    stack.airflow.backfill(scheduled, FIRST_DAY + timedelta(days=1), FIRST_DAY + timedelta(days=DAYS))

    def ended() -> dict[str, str] | None:
        made = [run for run in stack.airflow.run_ids(scheduled) if run not in known]
        states = {run: stack.airflow.run_state(scheduled, run) for run in made}
        over = len(states) == DAYS and set(states.values()) <= {"success", "failed"}
        return states if over else None

    states = until(ended, 3600, "the end of the backfill")
    assert list(states.values()) == ["success"] * DAYS
    checked = [stack.airflow.returned(scheduled, run, CHECK) for run in states]
    computed = [result["as_of_dates"] for result in checked if not result["up_to_date"]]
    print(f"\n{DAYS} days in {(datetime.now(UTC) - began).total_seconds():.0f} s, computed: {computed}")
    assert len(computed) == 1
    assert len(computed[0]) == DAYS
    ran = [app["name"] for app in applications(stack.master) if app["id"] not in before]
    assert ran.count(f"ingest {BACKFILLED}") == 1
