"""The rule of retention: rows of single users go at their age, results stay and say so, and a kill costs nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import TypeAdapter

from end_to_end.state_bytes import files_with
from exp_platform.analyses.rows import ResultRow
from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.privacy import Retention
from exp_platform.errors import ConfigError
from exp_platform.json_file import write_json
from exp_platform.report.content import load_report
from exp_platform.report.memo import appendix
from exp_platform.report.one_page import render
from exp_platform.results.reader import Results
from exp_platform.stages.start import start_run
from exp_platform.tables import erasure, retention
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.erasure import USER_LEVEL
from exp_platform.tables.lease import Lease
from exp_platform.tables.maintenance import maintain
from exp_platform.tables.retention import delete_single_cells, last_day, require_shorter
from exp_platform.tables.write import replace_rows
from stages.frozen_runs import D3, a_run, an_experiment, carry_out, stage_exposures
from tables.killed import Killed, one_step

DAYS = 90
LAST = an_experiment().last_as_of + timedelta(days=DAYS)  # on which rows of users may be there
AFTER = datetime(LAST.year, LAST.month, LAST.day, 12, tzinfo=UTC) + timedelta(days=1)


@pytest.fixture
def ruled(environment: Environment) -> Environment:
    return environment.model_copy(update={"retention": Retention(user_level_days=DAYS)})


def registered(experiment: Experiment) -> dict[str, object]:
    return {
        "spec": TypeAdapter(Experiment).dump_json(experiment).decode(),
        "window_end": experiment.window.end,
    }


def test_the_shorter_rule_and_the_later_end_count(environment: Environment, ruled: Environment) -> None:
    plain = an_experiment()
    own = replace(plain, retention_days=7)
    end = plain.last_as_of
    assert last_day(environment, registered(plain), plain) is None
    assert last_day(ruled, registered(plain), None) == end + timedelta(days=DAYS)
    assert last_day(ruled, registered(plain), own) == end + timedelta(days=7)
    assert last_day(environment, registered(own), plain) == end + timedelta(days=7)
    longer = replace(plain, window=replace(plain.window, end=plain.window.end + timedelta(days=5)))
    assert last_day(ruled, registered(plain), longer) == end + timedelta(days=DAYS + 5)
    old = json.loads(str(registered(plain)["spec"])) | {"source": {"kind": "of an older version"}}
    row = {"spec": json.dumps(old), "window_end": plain.window.end}
    assert last_day(ruled, row, None) == end + timedelta(days=DAYS)


def test_a_spec_may_ask_for_fewer_days_and_never_for_more(ruled: Environment) -> None:
    require_shorter(replace(an_experiment(), retention_days=DAYS), ruled)
    with pytest.raises(
        ConfigError, match=r"retention.user_level_days: found 91; the environment embedded allows at most 90"
    ):
        require_shorter(replace(an_experiment(), retention_days=DAYS + 1), ruled)


@pytest.mark.e2e
def test_rows_of_users_go_everywhere_and_results_stay_and_say_so(ruled: Environment) -> None:
    named_user(ruled)
    before = Results(ruled).rows(ResultRow, "exp_a")
    assert maintain(ruled, now=AFTER - timedelta(days=1)).aged == ()
    done = maintain(ruled, now=AFTER)
    assert (done.aged, done.busy) == (("exp_a",), ())
    assert files_with(ruled.state_dir, "r2-b") == []
    for name in USER_LEVEL:
        assert len(table(open_catalog(ruled), name).scan().to_arrow()) == 0
    assert not (ruled.runs_dir / "exp_a").exists()
    assert Results(ruled).rows(ResultRow, "exp_a") == before
    report = load_report(Results(ruled), an_experiment())
    said = f"rows of single users were deleted on {AFTER.date()} by the rule of retention; the results stay"
    assert report.deletion == said
    assert said in render(report)
    assert said in appendix(report)
    assert maintain(ruled, now=AFTER + timedelta(days=1)).aged == ()  # nothing is left to be deleted
    with pytest.raises(
        ConfigError, match=r"were deleted on .* A run reads them from the source again, .*`--force` does so"
    ):
        start_run(an_experiment(), ruled, as_of_dates=[D3])


def named_user(environment: Environment) -> None:
    """An experiment published twice, with a message that names a user, and a staged file of a run that died."""
    carry_out(a_run(environment, "r1", (D3,)), "publish")
    run = a_run(environment, "r2", (D3,))
    message = "'r2-b' has 9 of 10 exposures (90.00 %), far beyond any other user"
    check = {"as_of_date": str(D3), "check": "dominant_user", "severity": "warning", "status": "failed"}
    write_json(run.path / "quality.json", [{**check, "observed": 0.9, "threshold": 0.1, "message": message}])
    carry_out(run)
    stage_exposures(environment, a_run(environment, "r3"), ["r2-b"])


@pytest.mark.e2e
def test_maintenance_that_is_killed_after_any_step_is_completed_by_the_next(
    ruled: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    named_user(ruled)
    steps: list[str] = []
    for module, name in (
        (erasure, "replace_files"),
        (erasure, "replace_rows"),
        (erasure, "delete_file"),
        (retention, "rmtree"),
    ):
        monkeypatch.setattr(module, name, one_step(getattr(module, name), name, steps))
    catalog = open_catalog(ruled)
    for _ in range(40):
        seen = len(steps)
        try:
            retention.delete_aged(ruled, catalog, AFTER)
        except Killed:
            assert len(steps) > seen
            continue
        break
    assert set(steps) == {"replace_files", "replace_rows", "delete_file", "rmtree"}
    assert files_with(ruled.state_dir, "r2-b") == []
    assert Results(ruled).latest_decision("exp_a") is not None


@pytest.mark.e2e
def test_an_experiment_that_is_being_run_keeps_its_rows_until_the_next_maintenance(
    ruled: Environment,
) -> None:
    carry_out(a_run(ruled, "r2", (D3,)), "publish")
    lease = Lease("exp_a", "a run", ruled)
    lease.acquire()
    done = maintain(ruled, now=AFTER)
    assert (done.aged, done.busy) == ((), ("exp_a",))
    assert len(table(open_catalog(ruled), "exposures").scan().to_arrow()) == 3
    lease.release()
    assert maintain(ruled, now=AFTER).aged == ("exp_a",)


@pytest.mark.e2e
def test_cells_of_one_user_go_with_the_rows_and_no_result_counts_as_lost(ruled: Environment) -> None:
    carry_out(a_run(ruled, "r2", (D3,)))
    catalog = open_catalog(ruled)
    key = {"experiment_id": "exp_a"}
    daily = table(catalog, "metric_aggregates_daily").scan().to_arrow().to_pylist()
    replace_rows(catalog, "metric_aggregates_daily", key, [{**daily[0], "active_users": 1}, *daily[1:]], "r2")
    rows = table(catalog, "analysis_results").scan().to_arrow().to_pylist()
    single = {**rows[0], "n_control": 1, "mean_control": 4.5, "sd_control": 0.0, "mean_treatment": 2.0}
    replace_rows(catalog, "analysis_results", key, [single, *rows[1:]], "r2")
    delete_single_cells(catalog, "exp_a")
    assert len(table(catalog, "metric_aggregates_daily").scan().to_arrow()) == len(daily) - 1
    stored_rows = table(catalog, "analysis_results").scan().to_arrow().to_pylist()
    (left,) = [row for row in stored_rows if row["n_control"] == 1 and row["mean_treatment"] == 2.0]
    assert (left["mean_control"], left["sd_control"], left["mean_treatment"]) == (None, None, 2.0)
    stored = Results(ruled).latest_decision("exp_a")
    assert stored is not None
    assert Results(ruled).missing_rows(stored) == {}
