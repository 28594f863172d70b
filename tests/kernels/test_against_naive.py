"""The kernels say what the rules say: every block equals that of a naive reading, user by user."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exp_platform.aggregates import ALL, COHORT, Aggregates
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import DayWindow, Metric
from exp_platform.config.plans import AnalysisPlan
from exp_platform.config.trigger import Trigger
from exp_platform.stats.moments import Moments
from kernels.cases import (
    OTHER_METRICS,
    Data,
    Exposure,
    Outcome,
    aggregates_of,
    events_experiment,
    local,
    units_experiment,
)
from kernels.naive import Naive

# The window of each holds a change of clocks; at Sao Paulo and Apia's it takes midnight, or a whole day, away.
ZONES = {
    "UTC": date(2025, 3, 27),
    "Europe/Berlin": date(2025, 3, 27),
    "America/New_York": date(2024, 11, 1),
    "America/Sao_Paulo": date(2018, 11, 2),
    "Pacific/Apia": date(2011, 12, 28),
}
DAILY = ("proportion", "count", "mean")
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
USERS = ["a", "b", "c", "d"]
DEVICES = st.sampled_from([None, "mobile", "desktop"])


@st.composite
def moments(draw: st.DrawFn, experiment: Experiment) -> datetime:
    """A moment around the window, often on the border of a local day or a microsecond beside it."""
    day = draw(st.integers(-6, 9))
    hours = draw(st.sampled_from([0.0, 0.0, 1.5, 2.5, 12.0, 22.5, 23.5]))
    return local(experiment, day, hours) + draw(st.sampled_from([-1, 0, 0, 1])) * MICROSECOND


@st.composite
def event_data(draw: st.DrawFn, experiment: Experiment) -> Data:
    variants = st.sampled_from(["control", "control", "blue", "amber", "ghost"])
    attributes = st.none() | st.fixed_dictionaries(
        {"device": DEVICES}, optional={"tier": st.sampled_from("xyz")}
    )
    exposure = st.builds(Exposure, st.sampled_from(USERS), variants, moments(experiment), attributes)
    exposures = draw(st.lists(exposure, max_size=7))
    if exposures:  # exact duplicates and contradictions at the same instant
        for seen in draw(st.lists(st.sampled_from(exposures), max_size=2)):
            exposures.append(replace(seen, variant=draw(variants), attributes=draw(attributes)))
    at = moments(experiment)
    if exposures:  # on the border of a day since exposure
        steps = st.builds(
            lambda day, step: day * DAY + step * MICROSECOND, st.integers(-5, 5), st.integers(-1, 1)
        )
        at = at | st.builds(lambda e, step: e.at + step, st.sampled_from(exposures), steps)
    events = st.sampled_from(["view", "order", "purchase", "unrelated"])
    values = st.none() | st.sampled_from([0.0, 0.1, 0.2, 0.3, 1e9, -7.7])
    items = st.none() | st.sampled_from("xyz")
    outcome = st.builds(Outcome, st.sampled_from([*USERS, "stranger"]), events, at, values, items)
    return Data(exposures, draw(st.lists(outcome, max_size=14)))


def assert_equal(got: Aggregates, expected: Naive) -> None:
    experiment = expected.experiment
    variants = [v.id for v in experiment.variants]
    everybody = Counter(u.variant for u in expected.everybody)
    crossed = Counter(u.variant for u in expected.everybody if u.crossover)
    assert got.assigned == {v: everybody[v] for v in variants}
    assert got.crossovers == {v: crossed[v] for v in variants}
    found = 0
    for metric in experiment.metrics:
        rows = {u.id: row for u in expected.users if (row := expected.row(u, metric)) is not None}
        lower, upper = got.caps.get(metric.id, (None, None))
        if metric.winsorise is not None and rows:
            pooled = [row[0] for row in rows.values()]
            assert lower == np.quantile(pooled, metric.winsorise.lower, method="inverted_cdf")
            assert upper == np.quantile(pooled, metric.winsorise.upper, method="inverted_cdf")
        for user in expected.users:
            for segment, value in [(ALL, ALL), *user.attributes.items()]:
                block = got.block(metric.id, user.variant, segment, value)
                same = [
                    rows[u.id]
                    for u in expected.users
                    if u.variant == user.variant
                    and u.id in rows
                    and ({ALL: ALL} | u.attributes)[segment] == value
                ]
                assert (block is None) == (not same)
                if block is not None:
                    x = np.array(same)
                    assert block.successes == np.count_nonzero(x[:, 0])
                    if segment == ALL and metric.kind != "ratio":
                        assert block.median == np.quantile(x[:, 0], 0.5)
                        assert block.p95 == np.quantile(x[:, 0], 0.95)
                        assert (block.capped_share is None) == (metric.winsorise is None)
                    if metric.winsorise is not None:
                        x[:, 0] = np.clip(x[:, 0], lower, upper)
                    assert_moments(block.moments, x)
        found += assert_daily_blocks(got, expected, metric)
        assert_cohort_blocks(got, expected, metric)
    assert found == sum(b.kind == "daily" for b in got.blocks)
    assert_daily_rows(got, expected)


def assert_daily_blocks(got: Aggregates, expected: Naive, metric: Metric) -> int:
    found = 0
    for variant in {u.variant for u in expected.users}:
        days = [
            d for u in expected.users if u.variant == variant and (d := expected.daily(u, metric)) is not None
        ]
        block = got.block(metric.id, variant, kind="daily")
        threshold = metric.numerator.at_least is not None
        expects = expected.experiment.source.kind != "units" and metric.kind in DAILY and not threshold
        assert (block is not None) == (expects and len(days) > 0)
        if block is not None:
            before = expected.experiment.analyses.did_pre_days or 3
            assert block.columns == tuple(f"day{day}" for day in range(-before, 3))
            assert_moments(block.moments, np.array(days))
            found += 1
    return found


def assert_cohort_blocks(got: Aggregates, expected: Naive, metric: Metric) -> None:
    """Thirds of the window of six days; a window that never closes is cut to the first three days of everybody."""
    experiment = expected.experiment
    window = (
        metric.window
        if metric.window.end is not None
        else DayWindow(metric.window.start, metric.window.start + 3)
    )
    cut = replace(metric, window=window, covariates=())
    values: dict[tuple[str, str], list[tuple[float, ...]]] = defaultdict(list)
    if experiment.source.kind != "units" and metric.kind != "quantile":
        for user in expected.users:
            row = expected.row(user, cut)
            third = (expected.date(user.exposed_at) - experiment.window.start).days // 2
            if row is not None:
                first = experiment.window.start + timedelta(days=2 * third)
                values[user.variant, first.isoformat()].append(row)
    blocks = {
        (b.variant_id, b.segment_value): b
        for b in got.blocks
        if b.kind == "cohort" and b.metric_id == metric.id
    }
    assert blocks.keys() == values.keys()
    for key, rows in values.items():
        x = np.array(rows)
        if metric.winsorise is not None:
            x[:, 0] = np.clip(x[:, 0], *got.caps[metric.id])
        assert blocks[key].segment == COHORT
        assert_moments(blocks[key].moments, x)


def assert_daily_rows(got: Aggregates, expected: Naive) -> None:
    experiment = expected.experiment
    start = experiment.window.start
    rows = {(r.metric_id, r.variant_id, r.local_date): r for r in got.daily}
    days = [start + i * DAY for i in range((got.as_of_date - start).days + 1)]
    assert len(got.daily) == len(rows) == len(days) * len(experiment.metrics) * len(experiment.variants)
    for metric in experiment.metrics:
        for variant in experiment.variants:
            for day in days:
                row = rows[metric.id, variant.id, day]
                new, active, value, base = expected.series(metric, variant.id, day)
                assert (row.new_users, row.active_users) == (new, active)
                assert row.value_sum == pytest.approx(value, abs=1e-6)
                assert row.denominator_sum == (None if base is None else pytest.approx(base))


def assert_moments(got: Moments, x: np.ndarray) -> None:
    assert got.n == len(x)
    scale = np.abs(x).max(axis=0)
    scale[scale == 0] = 1.0
    np.testing.assert_allclose(got.mean / scale, x.mean(axis=0) / scale, rtol=0, atol=1e-12)
    m2 = np.cov(x.T, ddof=0).reshape(got.m2.shape) * len(x)
    np.testing.assert_allclose(
        got.m2 / np.outer(scale, scale), m2 / np.outer(scale, scale), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("timezone", ZONES)
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_events_equal_the_naive_reading(timezone: str, data: st.DataObject) -> None:
    plan = AnalysisPlan(
        pre_period_days=4,
        did_days=3,
        did_pre_days=data.draw(st.sampled_from([None, 1, 4])),
        anchor=data.draw(st.sampled_from(["experiment_start", "first_exposure"])),
        crossovers=data.draw(st.sampled_from(["exclude", "first"])),
        strata=data.draw(st.sampled_from([(), ("tier",), ("device", "tier")])),
    )
    experiment = events_experiment(ZONES[timezone], timezone=timezone, analyses=plan)
    rows = data.draw(event_data(experiment))
    as_of = experiment.window.start + timedelta(days=data.draw(st.integers(0, 8)))
    assert_equal(aggregates_of(rows, experiment, [as_of])[0], Naive(rows, experiment, as_of))


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_ways_that_are_no_sum_equal_the_naive_reading_for_any_order_and_number_of_buckets(
    data: st.DataObject,
) -> None:
    plan = AnalysisPlan(
        pre_period_days=4,
        did_days=3,
        anchor=data.draw(st.sampled_from(["experiment_start", "first_exposure"])),
        crossovers=data.draw(st.sampled_from(["exclude", "first"])),
    )
    zone = data.draw(st.sampled_from(sorted(ZONES)))
    experiment = events_experiment(ZONES[zone], timezone=zone, analyses=plan, metrics=OTHER_METRICS)
    rows = data.draw(event_data(experiment))
    as_of = experiment.window.start + timedelta(days=data.draw(st.integers(0, 8)))
    (once,) = aggregates_of(rows, experiment, [as_of])
    assert_equal(once, Naive(rows, experiment, as_of))

    shuffled = Data(rows.exposures, data.draw(st.permutations(rows.outcomes)))
    assert told(aggregates_of(shuffled, experiment, [as_of])[0]) == told(once)
    (parts,) = aggregates_of(shuffled, experiment, [as_of], buckets=3)
    assert_equal(parts, Naive(rows, experiment, as_of))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_triggered_users_count_from_the_trigger_on_and_all_exposed_ones_beside_them(
    data: st.DataObject,
) -> None:
    """The pre-period ends at exposure, all windows begin with the trigger; `exposed` blocks know of no trigger."""
    plan = AnalysisPlan(
        pre_period_days=4,
        did_days=3,
        anchor=data.draw(st.sampled_from(["experiment_start", "first_exposure"])),
        crossovers=data.draw(st.sampled_from(["exclude", "first"])),
        strata=data.draw(st.sampled_from([(), ("tier",)])),
    )
    zone = data.draw(st.sampled_from(sorted(ZONES)))
    trigger = Trigger(data.draw(st.sampled_from(["unrelated", "view"])), data.draw(st.integers(1, 3)))
    experiment = events_experiment(ZONES[zone], timezone=zone, analyses=plan, trigger=trigger)
    rows = data.draw(event_data(experiment))
    as_of = experiment.window.start + timedelta(days=data.draw(st.integers(0, 8)))
    (day,) = aggregates_of(rows, experiment, [as_of], buckets=data.draw(st.sampled_from([1, 3])))
    expected = Naive(rows, experiment, as_of)
    assert_equal(day, expected)

    reached = Counter(u.variant for u in expected.everybody if u.began is not None)
    (found,) = day.triggered.values()
    assert found.assigned == {v.id: reached[v.id] for v in experiment.variants}

    everybody = Naive(rows, replace(experiment, trigger=None), as_of)
    blocks = {(b.metric_id, b.variant_id): b for b in day.blocks if b.kind == "exposed"}
    for metric in experiment.metrics:
        alone = replace(metric, covariates=())
        of_arm = defaultdict(list)
        for user in everybody.users:
            if (row := everybody.row(user, alone)) is not None:
                of_arm[user.variant].append(row)
        for variant, values in of_arm.items():
            x = np.array(values)
            if metric.winsorise is not None and day.caps[metric.id] != (None, None):
                x[:, 0] = np.clip(x[:, 0], *day.caps[metric.id])
            assert_moments(blocks.pop((metric.id, variant)).moments, x)
    assert not blocks


def told(day: Aggregates) -> list[str]:
    return [str((b.metric_id, b.moments.mean.tolist(), b.moments.m2.tolist())) for b in day.blocks] + [
        str(row) for row in day.daily
    ]


@pytest.mark.parametrize("missing", ["zero", "exclude"])
@settings(max_examples=50)
@given(data=st.data())
def test_units_equal_the_naive_reading(missing: str, data: st.DataObject) -> None:
    experiment = units_experiment(missing)
    rows = Data()
    number = st.none() | st.sampled_from([0.0, 1.0, 2.5, -3.0])
    for user in data.draw(st.lists(st.sampled_from("abcdefgh"), unique=True)):
        at = experiment.window.starts_at() + data.draw(st.integers(0, 3)) * DAY
        rows.exposures.append(Exposure(user, data.draw(st.sampled_from(["control", "blue"])), at))
        values = {"visit": data.draw(number), "spend": data.draw(number), "history": data.draw(number)}
        rows.outcomes += [
            Outcome(user, column, at - DAY if column == "history" else at, value)
            for column, value in values.items()
            if value is not None
        ]
    as_of = experiment.window.end
    assert_equal(aggregates_of(rows, experiment, [as_of])[0], Naive(rows, experiment, as_of))
