"""Days whose rows were published and went: refused, whatever came for others; what comes late is no loss."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from exp_platform.aggregates import LeftOut
from exp_platform.checks import CheckResult
from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import DayWindow
from exp_platform.config.plans import QualityThresholds
from exp_platform.errors import DataError
from exp_platform.kernels.measured import Counts, Measured
from exp_platform.stages import ingest, publish, quality
from exp_platform.stages.last_publication import known, published_days
from exp_platform.stages.quality_checks import judge
from exp_platform.stages.quality_evidence import Evidence
from stages.raw_data import END, START, deliver, events_experiment, exposures, frozen, outcomes

EVENTS = events_experiment(Path("unused"))
DAY = timedelta(days=1)


def judged(measured: Measured, before: Mapping[str, Counts], experiment: Experiment = EVENTS) -> CheckResult:
    (found,) = (c for c in judge(Evidence(experiment, END, measured, None, before)) if c.check == "row_drop")
    return found


FIRST, SECOND, THIRD = (day.isoformat() for day in (START, START + DAY, START + 2 * DAY))


def of_days(users: Counts, outcomes: Counts) -> Measured:
    arms = {day: {"control": n // 2, "treatment": n - n // 2} for day, n in users.items()}
    return Measured(users=arms, outcomes={day: {"after": n, "before": 7} for day, n in outcomes.items()})


@pytest.mark.parametrize(
    ("users", "outcomes", "told"),
    [
        ({FIRST: 100, SECOND: 100}, {FIRST: 300, SECOND: 300}, None),
        # As many come as go
        ({SECOND: 100, THIRD: 100}, {FIRST: 300, SECOND: 300}, f"{FIRST} lost 100 of 100 users"),
        (
            {FIRST: 100, SECOND: 100, THIRD: 300},
            {FIRST: 300, THIRD: 900},
            f"{SECOND} lost 300 of 300 outcomes",
        ),
        # Who is seen each day is first seen on the next one, where the first day's rows are gone
        ({SECOND: 200}, {FIRST: 300, SECOND: 300}, f"{FIRST} lost 100 of 100 users"),
        ({FIRST: 80, SECOND: 80}, {FIRST: 240, SECOND: 240}, None),
        ({FIRST: 79, SECOND: 100}, {FIRST: 300, SECOND: 300}, f"{FIRST} lost 21 of 100 users"),
        # Rows that came late move users to earlier days, and outcomes come to count
        ({FIRST: 190, SECOND: 10}, {FIRST: 600, SECOND: 30}, None),
        ({FIRST: 100, SECOND: 100, THIRD: 50}, {FIRST: 300, SECOND: 310, THIRD: 10}, None),
    ],
)
def test_a_day_that_lost_its_rows_is_told_whatever_came_for_others(
    users: Counts, outcomes: Counts, told: str | None
) -> None:
    before = of_days({FIRST: 100, SECOND: 100}, {FIRST: 300, SECOND: 300}).by_day()
    check = judged(of_days(users, outcomes), before)
    assert check.status == ("failed" if told else "passed")
    assert told is None or told in check.message


@pytest.mark.parametrize(
    ("control", "treatment", "told"),
    [
        ({"order": 500}, {"order": 500}, None),
        ({"order": 700}, {"order": 420}, None),
        ({"order": 700}, {"order": 390}, "'order' of treatment lost 110 of 500 from exposure on"),
        ({}, {}, "'order' of control lost 500 of 500 from exposure on"),
    ],
)
def test_an_event_that_lost_its_rows_is_told_by_arm_however_many_others_there_are(
    control: Counts, treatment: Counts, told: str | None
) -> None:
    before = known(Measured(after={"control": {"order": 500, "gone": 90}, "treatment": {"order": 500}}))
    check = judged(
        Measured(after={"control": control, "treatment": treatment}), before
    )  # no metric measures `gone` any more
    assert check.status == ("failed" if told else "passed")
    assert told is None or told in check.message


def test_single_people_who_were_taken_out_of_a_small_day_are_no_loss() -> None:
    before = of_days({FIRST: 25}, {FIRST: 30}).by_day()
    assert judged(of_days({FIRST: 6}, {FIRST: 11}), before).status == "passed"


def test_rows_of_whoever_is_to_be_forgotten_are_not_missed() -> None:
    """A crawler had most of a day's outcomes."""
    before = of_days({FIRST: 100}, {FIRST: 900}).by_day()
    now = of_days({FIRST: 99}, {FIRST: 300})
    assert judged(now, before).status == "failed"
    left_out = {"outcomes": {LeftOut.FORGOTTEN.value: 600}, "exposures": {LeftOut.FORGOTTEN.value: 1}}
    assert judged(replace(now, left_out=left_out), before).status == "passed"
    few = {"outcomes": {LeftOut.FORGOTTEN.value: 60}}
    assert judged(replace(now, left_out=few), before).status == "failed"


def test_of_many_days_three_are_named_and_a_higher_limit_lets_them_go() -> None:
    days = {(START + i * DAY).isoformat(): 50 for i in range(9)}
    before = of_days(days, {}).by_day()
    check = judged(of_days({}, {}), before)
    assert (check.status, check.observed) == ("failed", 1.0)
    assert f"{START} lost 50 of 50 users" in check.message
    assert "and 6 more such days: " in check.message
    may_go = replace(EVENTS, quality=QualityThresholds(max_row_drop=1))
    assert judged(of_days({}, {}), before, may_go).status == "passed"


def test_a_day_that_is_gone_is_refused_while_more_rows_come_for_others(
    environment: Environment, tmp_path: Path
) -> None:
    """As where a lake keeps files for so many days: each night one goes and another comes. One that comes late is no loss."""
    seen, happened = exposures(600), outcomes(600)
    first = min(seen["seen"]) + timedelta(days=1)
    keep = [at >= first for at in seen["seen"]]
    later = {name: [v for v, kept in zip(values, keep, strict=True) if kept] for name, values in seen.items()}
    more = {
        **later,
        "uid": [f"more {i}" for i in range(len(later["uid"]))],
        "id": [f"m{i}" for i in range(len(later["uid"]))],
    }
    grown = {name: [*values, *more[name]] for name, values in later.items()}

    experiment = replace(events_experiment(tmp_path), id="lake")
    for run_id, rows in (("without", later), ("late", seen)):
        deliver(tmp_path, rows, happened)
        run = frozen(environment, experiment, run_id)
        ingest.run(run)
        quality.run(run)
        publish.run(run)
    deliver(tmp_path, grown, happened)
    run = frozen(environment, experiment, "gone")
    ingest.run(run)
    with pytest.raises(DataError, match=f"row_drop: .*{START} lost 47 of 47 users"):
        quality.run(run)
    window = replace(experiment.window, start=START + DAY)
    run = frozen(environment, replace(experiment, window=window), "narrower")
    ingest.run(run)
    quality.run(run)


def test_days_that_no_window_of_a_metric_reaches_any_more_are_not_missed() -> None:
    longer, shorter = (
        replace(EVENTS, metrics=tuple(replace(m, window=DayWindow(0, days)) for m in EVENTS.metrics))
        for days in (9, 2)
    )
    days = [(END + i * DAY).isoformat() for i in range(10)]
    published = known(of_days({}, dict.fromkeys(days, 300)))
    registered = {
        "spec": json.dumps(TypeAdapter(Experiment).dump_python(longer, mode="json")),
        "days": json.dumps(published),
    }
    assert published_days(longer, registered) == published
    assert [*published_days(shorter, registered)["outcomes"]] == days[:3]
