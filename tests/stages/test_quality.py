"""Each check on counts made by hand: where it passes, where it fails, and what it says; then the stage's verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exp_platform.checks import CheckResult
from exp_platform.config.allocation import Allocation
from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment, Window
from exp_platform.config.metrics import DayWindow
from exp_platform.config.plans import QualityThresholds
from exp_platform.errors import DataError
from exp_platform.json_file import write_json
from exp_platform.kernels.measured import HEAVY_ROWS, Measured, heaviest
from exp_platform.stages import quality
from exp_platform.stages.quality import failures_of, read_checks, refuse
from exp_platform.stages.quality_checks import judge
from exp_platform.stages.quality_evidence import Evidence
from exp_platform.tables.catalog import open_catalog, table
from stages.raw_data import END, START, events_experiment, frozen, units_experiment

EVENTS = events_experiment(Path("unused"))
UNITS = units_experiment(Path("unused"))
DAY = timedelta(days=1)

GOOD = Measured(
    rows_in={"exposures": 1000, "outcomes": 5000},
    rows_out={"exposures": 1000, "outcomes": 5000},
    nulls={"exposures.user_id": 0, "outcomes.event": 0},
    users_out={"exposures": 1000, "outcomes": 900},
    squared_rows={"exposures": 1000, "outcomes": 900 * 36 + 100**2},
    heaviest={"exposures": {}, "outcomes": {"u1": 100}},
    duplicates={"exposures": 0, "outcomes": 0},
    future={"exposures": 0, "outcomes": 0},
    users={START.isoformat(): {"control": 480, "treatment": 500}, END.isoformat(): {"control": 20}},
    outcomes={START.isoformat(): {"after": 4000, "before": 900, "unexposed": 100}},
    newest={"exposures": END.isoformat(), "outcomes": END.isoformat()},
)
GOOD_UNITS = Measured(
    rows_in={"units": 1000},
    rows_out={"exposures": 1000, "outcomes": 3000},
    nulls={"units.user_id": 0, "units.visited": 0, "units.spent": 30},
    duplicates={"units": 0},
    future={"exposures": 0, "outcomes": 0},
    users={START.isoformat(): {"control": 500, "treatment": 500}},
    outcomes={START.isoformat(): {"after": 2000}},
    newest={"exposures": START.isoformat(), "outcomes": START.isoformat()},
)


def judged(
    measured: Measured = GOOD,
    experiment: Experiment = EVENTS,
    as_of: date = END,
    published: int | None = None,
) -> dict[str, CheckResult]:
    checks = judge(Evidence(experiment, as_of, measured, published))
    assert len({check.check for check in checks}) == len(checks)
    return {check.check: check for check in checks}


def allowing(**limits: Any) -> Experiment:
    return replace(EVENTS, quality=QualityThresholds(**limits))


@pytest.mark.parametrize(("measured", "experiment"), [(GOOD, EVENTS), (GOOD_UNITS, UNITS)])
def test_good_data_pass(measured: Measured, experiment: Experiment) -> None:
    checks = judged(measured, experiment)
    assert {check.status for check in checks.values()} == {"passed", "skipped"}
    skipped = {name for name, check in checks.items() if check.status == "skipped"}
    units_only = {
        "time_order",
        "freshness",
        "outcomes_found",
        "time_grain",
        "just_before_exposure",
        "dominant_user",
    }
    events_only = {"missing_values", "outside_window"}
    assert skipped == {"unexposed_outcomes"} | (events_only if experiment is EVENTS else units_only)


WARNINGS = {"crossovers", "dominant_user", "srm", "freshness"}

FAULTS: dict[str, tuple[str, dict[str, Any], float | None, str]] = {
    # name: check, what is measured, observed, a piece of the message
    "no rows": ("empty", {"rows_in": {"exposures": 1000, "outcomes": 0}}, None, "no rows in outcomes"),
    "nobody in the window": ("empty", {"users": {}}, 0, "window, time zone or variants"),
    "nulls": ("nulls", {"nulls": {"exposures.user_id": 20, "outcomes.event": 50}}, 0.02, "20 rows of exposures.user_id (2.00 %)"),
    "malformed": (
        "malformed",
        {"malformed": {"outcomes.value": 5}, "examples": {"outcomes.value": ["1,5"]}},
        0.001,
        "such as '1,5'",
    ),
    "duplicates": ("duplicates", {"duplicates": {"exposures": 11, "outcomes": 0}}, 0.011, "allowed 1.00 %"),
    "unknown": ("unknown_variants", {"unknown_variants": {"Treatment": 7}}, 7, "'Treatment' (7): the spec has control, treatment"),
    "one arm": ("missing_arm", {"users": {START.isoformat(): {"control": 50}}}, 1, "no users in treatment, 50 in the others"),
    "all before": ("time_order", {"outcomes": {START.isoformat(): {"before": 40}}}, 1.0, "clocks and time zones"),
    "crossovers": ("crossovers", {"crossovers": {START.isoformat(): {"control": 11}}}, 0.011, "control 11, treatment 0"),
    "one user's": (
        "dominant_user",
        {"heaviest": {"outcomes": {"bot": 700}}, "squared_rows": {"outcomes": 700**2 + 900 * 36}},
        0.14,
        "'bot' has 700 of 5,000 outcomes (14.00 %), far beyond any other user: find out",
    ),
    "srm": ("srm", {"users": {START.isoformat(): {"control": 600, "treatment": 400}}}, 2.5396e-10, "60.00 %"),
    "stale": ("freshness", {"newest": {"exposures": "2025-04-02", "outcomes": "2025-04-04"}}, 2, "2 days before 2025-04-06"),
    "future": ("future_dates", {"future": {"exposures": 1, "outcomes": 0}}, 0.001, "more than a day after the run began"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_its_own_check(fault: str) -> None:
    name, change, observed, message = FAULTS[fault]
    checks = judged(replace(GOOD, **change))
    failed = {check.check for check in checks.values() if check.status == "failed"}
    assert failed - {"srm"} == {name} - {"srm"}
    assert name in failed
    assert checks[name].severity == ("warning" if name in WARNINGS else "error")
    assert message in checks[name].message
    if observed is not None:
        assert checks[name].observed == pytest.approx(observed, rel=1e-4)


BORDERS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("nulls", {"nulls": {"exposures.user_id": 20}}, {"max_null_share": 0.02}),
    ("malformed", {"malformed": {"exposures.exposed_at": 20}}, {"max_null_share": 0.02}),
    ("future_dates", {"future": {"exposures": 20}}, {"max_null_share": 0.02}),
    ("duplicates", {"duplicates": {"exposures": 10}}, {}),
    ("crossovers", {"crossovers": {START.isoformat(): {"control": 10}}}, {}),
    (
        "unexposed_outcomes",
        {"outcomes": {START.isoformat(): {"after": 95, "unexposed": 5}}},
        {"max_unexposed_share": 0.05},
    ),
    ("time_order", {"outcomes": {START.isoformat(): {"after": 1, "before": 999}}}, {}),
    (
        "time_order",
        {"outcomes": {START.isoformat(): {"after": 9, "before": 1}}},
        {"max_before_exposure_share": 0.1},
    ),
    ("freshness", {"newest": {"outcomes": (END - DAY).isoformat()}}, {}),
]


@pytest.mark.parametrize(("name", "change", "limits"), BORDERS)
def test_a_limit_itself_is_allowed(name: str, change: dict[str, Any], limits: dict[str, Any]) -> None:
    assert judged(replace(GOOD, **change), allowing(**limits))[name].status == "passed"


def test_nulls_say_which_words_stand_for_them() -> None:
    said = replace(
        GOOD, nulls={"exposures.user_id": 20}, null_words={"exposures.user_id": {"nan": 4, "undefined": 15}}
    )
    message = judged(said)["nulls"].message
    assert "20 rows of exposures.user_id (2.00 %) are null (of them 'undefined' 15, 'nan' 4)" in message


def of_users(rows: Any) -> Measured:
    """What is measured of users' numbers of outcomes."""
    named = {f"u{i}": int(n) for i, n in enumerate(sorted(rows, reverse=True)) if n >= HEAVY_ROWS}
    return replace(
        GOOD,
        rows_out={**GOOD.rows_out, "outcomes": int(sum(rows))},
        users_out={**GOOD.users_out, "outcomes": len(rows)},
        squared_rows={**GOOD.squared_rows, "outcomes": int(sum(n * n for n in rows))},
        heaviest={"exposures": {}, "outcomes": heaviest(named)},
    )


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        ([1, 2] * 1000 + [100], "failed"),  # 3 % of the rows, 197 standard deviations (0.5) above 1.5
        ([1, 2] * 1000 + [99], "passed"),
        ([1, 2] * 4000 + [240], "passed"),  # below 2 %
        ([1, 2] * 4000 + [250], "failed"),
        ([0, 10] * 500 + [500], "passed"),  # 99 standard deviations (5)
        ([0, 10] * 500 + [510], "failed"),
        ([1, 2] * 1000 + [300] * 8, "failed"),  # several, which do not hide each other
        ([500], "passed"),  # nobody to compare with
        ([300, 300, 0, 0], "passed"),  # and too few
        ([1] * 19 + [300], "passed"),
        ([1] * 20 + [300], "failed"),
        ([], "passed"),
    ],
)
def test_a_dominant_user_has_a_share_and_a_distance_from_all_others(rows: list[int], status: str) -> None:
    assert judged(of_users(rows))["dominant_user"].status == status


def test_a_long_tail_of_people_is_no_dominant_user() -> None:
    """Events a user lognormal with sd 1.5, 99th percentile 33 times the median: told in at most 5 % of experiments."""
    rng = np.random.default_rng(3)
    draws = [np.ceil(rng.lognormal(1.0, 1.5, 3000)).astype(int).tolist() for _ in range(100)]
    assert sum(judged(of_users(rows))["dominant_user"].status == "failed" for rows in draws) <= 5


def test_a_table_of_everybodys_outcomes_is_no_fault_unless_the_spec_says_so() -> None:
    """A company's event table: 94 of 100 outcomes are of users who are not in the experiment."""
    company = replace(GOOD, outcomes={START.isoformat(): {"after": 6, "unexposed": 94}})
    assert judged(company)["unexposed_outcomes"].status == "skipped"
    check = judged(company, allowing(max_unexposed_share=0.93))["unexposed_outcomes"]
    assert (check.status, check.severity, check.observed) == ("failed", "warning", 0.94)


def test_time_order_keeps_to_a_lower_limit() -> None:
    some = replace(GOOD, outcomes={START.isoformat(): {"after": 80, "before": 20}})
    assert judged(some, allowing(max_before_exposure_share=0.1))["time_order"].status == "failed"


@pytest.mark.parametrize(("users", "status"), [(9, "passed"), (10, "failed")])
def test_an_arm_may_be_empty_by_chance_while_users_are_few(users: int, status: str) -> None:
    """Half of the users in each arm: 1 in 512 of such starts, then 1 in 1024, below one in a thousand."""
    few = replace(GOOD, users={START.isoformat(): {"control": users}})
    assert judged(few)["missing_arm"].status == status


def test_under_a_ramp_an_arm_may_be_empty_as_long_as_its_smallest_share_so_far_allows() -> None:
    """One in a hundred until the second day: 600 users without it happen once in 400 times, 700 once in 1,100."""
    ramp = (Allocation(START, (0.99, 0.01)), Allocation(START + DAY, (0.5, 0.5)))
    for users, status in ((600, "passed"), (700, "failed")):
        few = replace(GOOD, users={START.isoformat(): {"control": users}})
        assert judged(few, replace(EVENTS, ramp=ramp), as_of=START)["missing_arm"].status == status


def test_srm_holds_each_period_of_a_ramp_against_its_own_shares() -> None:
    ramp = (Allocation(START, (0.9, 0.1)), Allocation(END, (0.5, 0.5)))
    as_planned = {
        START.isoformat(): {"control": 900, "treatment": 100},
        END.isoformat(): {"control": 200, "treatment": 200},
    }
    swapped = {
        START.isoformat(): {"control": 500, "treatment": 500},
        END.isoformat(): {"control": 360, "treatment": 40},
    }
    for users, status in ((as_planned, "passed"), (swapped, "failed")):
        assert judged(replace(GOOD, users=users), replace(EVENTS, ramp=ramp))["srm"].status == status


@pytest.mark.parametrize(
    ("rows", "status"), [(1000, "passed"), (800, "passed"), (799, "failed"), (2000, "passed")]
)
def test_row_drop(rows: int, status: str) -> None:
    check = judged(replace(GOOD, rows_out={**GOOD.rows_out, "exposures": rows}), published=1000)["row_drop"]
    assert (check.status, check.severity) == (status, "error")
    assert check.observed == pytest.approx(max(0, 1 - rows / 1000))


def test_row_drop_says_the_same_at_the_first_run_and_at_a_rerun() -> None:
    first, again = (judged(GOOD, published=rows)["row_drop"] for rows in (None, GOOD.rows_out["exposures"]))
    assert first == again
    assert first.status == "passed"


def test_what_happened_after_the_day_does_not_count() -> None:
    late = {
        "users": {START.isoformat(): {"control": 500, "treatment": 500}, END.isoformat(): {"control": 900}},
        "crossovers": {END.isoformat(): {"control": 900}},
        "outcomes": {START.isoformat(): {"after": 1}, END.isoformat(): {"unexposed": 900}},
    }
    measured = replace(GOOD, **late)
    assert {c.check for c in judged(measured, as_of=END - DAY).values() if c.status == "failed"} == set()
    at_the_end = {c.check for c in judged(measured).values() if c.status == "failed"}
    assert at_the_end == {"crossovers", "srm"}


def test_srm_asks_for_more_evidence_while_users_arrive() -> None:
    """600 to 480: p = .0003, but the sequential e-value (Lindon and Malek 2020) is 30, of 1000."""
    users = {START.isoformat(): {"control": 600, "treatment": 480}}
    assert judged(replace(GOOD, users=users), as_of=END - DAY)["srm"].status == "passed"
    assert judged(replace(GOOD, users=users))["srm"].status == "failed"


UNIT_FAULTS: list[tuple[str, dict[str, Any], str]] = [
    (
        "duplicates",
        {"duplicates": {"units": 1}},
        "repeat a user_id, allowed 0.00 %: deliver one row per user",
    ),
    ("missing_values", {"nulls": {"units.visited": 1}}, "1 rows of units.visited (0.10 %) are null"),
    ("nulls", {"nulls": {"units.user_id": 1}}, "units.user_id"),
    ("empty", {"rows_in": {"units": 0}}, "no rows in units"),
    ("malformed", {"malformed": {"units.spent": 1}}, "units.spent"),
    (
        "outside_window",
        {"outside": {"before": 1, "after": 500}},
        "501 of 1,000 (50.10 %) users were exposed outside the window",
    ),
]


@pytest.mark.parametrize(("name", "change", "message"), UNIT_FAULTS)
def test_a_fault_of_units_fails_its_own_check(name: str, change: dict[str, Any], message: str) -> None:
    checks = judged(replace(GOOD_UNITS, **change), UNITS)
    assert {check.check for check in checks.values() if check.status == "failed"} == {name}
    assert message in checks[name].message


# ---- the stage


def measured_run(
    environment: Environment, measured: Measured, *as_of: date, published: int | None = None
) -> Any:
    run = frozen(environment, EVENTS, "r1", *as_of)
    staged = environment.state_dir / "staged.parquet"
    staged.write_bytes(b"rows")
    content = {
        "measured": measured.to_json(),
        "published_rows": published,
        "staged": {"exposures": [str(staged)]},
    }
    write_json(run.path / "ingest.json", content)
    return run


def test_a_warning_travels_and_every_check_is_left(environment: Environment) -> None:
    run = measured_run(environment, replace(GOOD, **FAULTS["stale"][1]), END - DAY, END)
    result = quality.run(run)
    (warning,) = result.warnings
    assert warning.startswith("freshness: the newest row is of 2025-04-04")
    checks = read_checks(run.path / "quality.json")
    assert [check.as_of_date for check in checks] == [END - DAY] * len(judged()) + [END] * len(judged())
    assert result.details["checks"] == {"passed": 2 * len(judged()) - 7, "failed": 1, "skipped": 6}
    assert not Path(environment.catalog.uri).exists()  # no table is opened while all is well
    assert (environment.state_dir / "staged.parquet").is_file()


def test_an_error_refuses_the_data_and_is_recorded(environment: Environment) -> None:
    faults = {**FAULTS["nulls"][1], **FAULTS["duplicates"][1], **FAULTS["stale"][1]}
    run = measured_run(environment, replace(GOOD, **faults))
    for _ in range(2):  # a second try records nothing twice
        with pytest.raises(DataError) as refused:
            quality.run(run)
    assert "nulls: 20 rows of exposures.user_id" in str(refused.value)
    assert "duplicates: 11 rows of exposures" in str(refused.value)
    assert "freshness" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (environment.state_dir / "staged.parquet").exists(), "a night of refusals is no lost catalog"
    assert len(json.loads((run.path / "quality.json").read_text())) == len(judged())
    rows = table(open_catalog(environment), "data_quality_results").scan().to_arrow().to_pylist()
    assert sorted(row["check"] for row in rows) == ["duplicates", "freshness", "nulls"]
    assert {(row["experiment_id"], row["run_id"], row["status"]) for row in rows} == {
        ("shop", "r1", "failed")
    }


def test_an_error_of_an_older_day_costs_that_day_its_trust_only(environment: Environment) -> None:
    """Nobody was exposed on the first day: the days after it can be decided."""
    later = replace(GOOD, users={END.isoformat(): {"control": 500, "treatment": 500}})
    run = measured_run(environment, later, START, END)
    quality.run(run)
    failed = [c for c in read_checks(run.path / "quality.json") if c.status == "failed"]
    assert [(check.check, check.as_of_date) for check in failed] == [("empty", START)]


def test_data_that_could_not_be_measured_fail_on_every_day(environment: Environment) -> None:
    run = frozen(environment, EVENTS, "r1", START, END)
    checks = failures_of(run, [("schema", "no column arm")])
    with pytest.raises(DataError, match="schema: no column arm") as refused:
        refuse(run, checks)
    assert str(refused.value).count("no column arm") == 1
    assert read_checks(run.path / "quality.json") == checks
    assert [check.as_of_date for check in checks] == [START, END]


def test_a_day_that_only_a_change_of_clocks_adds_needs_no_row_of_its_own() -> None:
    """The last users' windows are over an hour into 5 April, where the calendar's week ends on the 4th."""
    week = tuple(replace(m, window=DayWindow(0, 7)) for m in EVENTS.metrics)
    spec = replace(EVENTS, metrics=week, window=Window(date(2026, 3, 16), date(2026, 3, 28), "Europe/Berlin"))
    assert spec.last_as_of == date(2026, 4, 5)
    newest = {"exposures": "2026-03-28", "outcomes": "2026-04-03"}
    assert judged(replace(GOOD, newest=newest), spec, date(2026, 4, 5))["freshness"].status == "passed"
    late = replace(GOOD, newest=newest | {"outcomes": "2026-04-02"})
    assert judged(late, spec, date(2026, 4, 5))["freshness"].status == "failed"
