"""Unit days: one row per user, event, local date and day since exposure, alike for any order of the outcomes."""

from __future__ import annotations

import random
from datetime import date, timedelta

import pyarrow as pa
import pytest

from exp_platform.errors import DataError
from exp_platform.kernels.unit_days import unit_day_rows, unit_days
from exp_platform.kernels.users import first_exposures
from exp_platform.tables.schemas import arrow_schema
from kernels.cases import Exposure, Outcome, events_experiment, exposures_table, local, outcomes_table

SPEC = events_experiment()  # 27 March to 1 April 2025 in Berlin; 30 March has 23 hours
MICROSECOND = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
EXPOSED = local(SPEC, 1, 22.0)  # 28 March, 22:00 local


def rows_of(outcomes: list[Outcome], as_of: date = SPEC.window.end) -> pa.Table:
    users = first_exposures(exposures_table([Exposure("u", "blue", EXPOSED)]), SPEC, as_of)
    return unit_day_rows(users, unit_days(users, outcomes_table(outcomes), SPEC, as_of), SPEC)


def listed(table: pa.Table) -> list[tuple]:
    return [(r["event"], r["local_date"].day, r["day"], r["n"], r["value"]) for r in table.to_pylist()]


def test_local_dates_and_days_since_exposure_are_two_clocks() -> None:
    table = rows_of(
        [
            Outcome("u", "order", EXPOSED - MICROSECOND, 1.0),
            Outcome("u", "order", EXPOSED, 2.0),
            Outcome("u", "order", EXPOSED + 1 * HOUR, None),
            Outcome("u", "order", EXPOSED + 24 * HOUR - MICROSECOND, 4.0),  # 29 March, 21:59
            Outcome("u", "order", EXPOSED + 24 * HOUR, 5.0),
            # 30 March, 22:59: clocks went forward
            Outcome("u", "order", EXPOSED + 48 * HOUR - MICROSECOND, 6.0),
            Outcome("u", "order", EXPOSED + 48 * HOUR, 7.0),
            Outcome("u", "order", EXPOSED + 49 * HOUR, 8.0),  # midnight of the 31st, an hour early
        ]
    )
    assert listed(table) == [
        ("exposure", 28, 0, 1, 0.0),
        ("order", 28, -1, 1, 1.0),
        ("order", 28, 0, 2, 2.0),
        ("order", 29, 0, 1, 4.0),
        ("order", 29, 1, 1, 5.0),
        ("order", 30, 1, 1, 6.0),
        ("order", 30, 2, 1, 7.0),
        ("order", 31, 2, 1, 8.0),
    ]
    assert set(table["user_id"].to_pylist()) == {"u"}
    assert set(table["variant_id"].to_pylist()) == {"blue"}


@pytest.mark.parametrize(
    ("timezone", "start", "exposed", "later", "date_and_day"),
    [
        # Clocks go back: two whole days after midnight it is 23:00 of the day before.
        ("America/New_York", date(2024, 11, 1), 24.0, 48, (date(2024, 11, 3), 2)),
        # 30 December 2011 does not exist: two dates further before one day is over, and one more at its end.
        ("Pacific/Apia", date(2011, 12, 28), 47.0, 2, (date(2011, 12, 31), 0)),
        ("Pacific/Apia", date(2011, 12, 28), 47.0, 23.5, (date(2011, 12, 31), 0)),
        ("Pacific/Apia", date(2011, 12, 28), 47.99, 47.99, (date(2012, 1, 1), 1)),
        ("Pacific/Apia", date(2011, 12, 28), 23.0, 25.5, (date(2011, 12, 31), 1)),
    ],
)
def test_dates_and_days_drift_apart_where_clocks_change(
    timezone: str, start: date, exposed: float, later: float, date_and_day: tuple[date, int]
) -> None:
    spec = events_experiment(start, timezone=timezone)
    at = local(spec, 0, exposed)
    users = first_exposures(exposures_table([Exposure("u", "blue", at)]), spec, spec.window.end)
    outcomes = outcomes_table([Outcome("u", "order", at + later * HOUR)])
    (_, row) = unit_day_rows(users, unit_days(users, outcomes, spec, spec.window.end), spec).to_pylist()
    assert (row["local_date"], row["day"]) == date_and_day


def test_rows_have_the_tables_columns_and_types() -> None:
    table, schema = rows_of([Outcome("u", "order", EXPOSED)]), arrow_schema("unit_days")
    assert ["experiment_id", "bucket", *table.column_names] == schema.names
    for field in table.schema:
        if schema.field(field.name).type == pa.string():  # each different one is written once
            assert field.type == pa.dictionary(pa.int32(), pa.string())
        else:
            assert field.type == schema.field(field.name).type


def test_other_users_other_events_later_and_too_old_rows_are_left_out() -> None:
    cutoff = SPEC.window.cutoff(date(2025, 3, 30))
    start = SPEC.window.starts_at()
    table = rows_of(
        [
            Outcome("stranger", "order", EXPOSED),
            Outcome("u", "newsletter", EXPOSED),
            Outcome("u", "order", cutoff),
            Outcome("u", "order", cutoff - MICROSECOND),
            Outcome("u", "order", start - timedelta(days=9)),
            Outcome("u", "order", start - timedelta(days=4)),
        ],
        date(2025, 3, 30),
    )
    assert listed(table)[1:] == [("order", 23, -6, 1, 0.0), ("order", 30, 2, 1, 0.0)]


def test_rows_without_user_event_or_instant_are_left_out() -> None:
    outcomes = outcomes_table([Outcome("u", "order", EXPOSED, 1.0)] * 4)
    for position, name in enumerate(("user_id", "event", "occurred_at")):
        values = outcomes[name].to_pylist()
        values[position] = None
        column = outcomes.schema.get_field_index(name)
        outcomes = outcomes.set_column(column, name, pa.array(values, outcomes[name].type))
    users = first_exposures(exposures_table([Exposure("u", "blue", EXPOSED)]), SPEC, SPEC.window.end)
    assert unit_days(users, outcomes, SPEC, SPEC.window.end).events["order"].n.tolist() == [1]


def test_sums_are_the_same_to_the_last_bit_for_any_order_of_rows() -> None:
    values = [0.1, 0.2, 0.3, 1e16, -1e16, 1 / 3, 1e-9, 0.0]
    outcomes = [Outcome("u", event, EXPOSED, v) for event in ("order", "purchase") for v in values]
    expected = rows_of(outcomes)
    shuffle = random.Random(3)
    for _ in range(30):
        shuffle.shuffle(outcomes)
        assert rows_of(outcomes).equals(expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused_by_name(value: float) -> None:
    with pytest.raises(DataError, match="event 'order'"):
        rows_of([Outcome("u", "view", EXPOSED, 1.0), Outcome("u", "order", EXPOSED, value)])


def test_no_outcomes_and_no_users_are_no_error() -> None:
    assert listed(rows_of([])) == [("exposure", 28, 0, 1, 0.0)]
    nobody = first_exposures(exposures_table([]), SPEC, SPEC.window.end)
    days = unit_days(nobody, outcomes_table([Outcome("u", "order", EXPOSED)]), SPEC, SPEC.window.end)
    assert unit_day_rows(nobody, days, SPEC).num_rows == 0
