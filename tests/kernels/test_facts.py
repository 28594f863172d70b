"""Rows of a fact as rows of outcomes: which series each is in, and why the others are in none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import EventsSource, Fact, Series, TableSource
from exp_platform.config.where import conditions
from exp_platform.kernels.facts import outcomes_of
from exp_platform.kernels.measured import Measured
from kernels.cases import TABLE, events_experiment

ORDERS = Fact("orders", TableSource("parquet", "nowhere", {}))
REVENUE = Series("orders.revenue", "orders", value="revenue")
INSIDE = "2025-03-28 12:00"  # of the window, whose pre-period reaches some days back


def spec(*series: Series, zone: str | None = None, dedupe: Any = "none") -> Experiment:
    fact = replace(ORDERS, table=replace(ORDERS.table, timezone=zone))
    source = EventsSource(TABLE, None, {}, dedupe, facts=(fact,), series=series)
    return replace(events_experiment(timezone="UTC"), source=source)


def read(experiment: Experiment, **columns: Any) -> tuple[list[dict[str, Any]], Measured]:
    rows = len(next(iter(columns.values())))
    named = {
        name.replace("__", "."): pa.chunked_array([pa.array(values)]) for name, values in columns.items()
    }
    defaults = {"user_id": ["u"] * rows, "occurred_at": [INSIDE] * rows}
    table = pa.table({**{name: pa.chunked_array([v]) for name, v in defaults.items()}, **named})
    assert isinstance(experiment.source, EventsSource)
    outcomes, measured = outcomes_of(table, experiment.source.facts[0], experiment)
    return outcomes.to_pylist(), measured


def where(**columns: Any) -> Series:
    return Series("filtered", "orders", where=conditions(columns))


def passed(series: Series, **columns: Any) -> list[str]:
    """The users whose rows are in the series; each row has a user of its own."""
    rows = len(next(iter(columns.values())))
    found, _ = read(spec(series), user_id=[str(i) for i in range(rows)], **columns)
    return [row["user_id"] for row in found]


def test_a_row_is_in_every_series_that_it_passes() -> None:
    shoes = Series("shoes", "orders", value="revenue", where=conditions({"category": "shoes"}))
    products = Series("products", "orders", item="category")
    found, measured = read(
        spec(REVENUE, shoes, products),
        value__revenue=["1.5", "2"],
        dimension__category=["shoes", "bags"],
        event_id=["e1", "e2"],
    )
    told = [(row["event"], row["value"], row["event_id"], row["item"]) for row in found]
    assert told == [
        ("orders.revenue", 1.5, "e1", None),
        ("orders.revenue", 2.0, "e2", None),
        ("shoes", 1.5, "e1", None),
        ("products", None, "e1", "shoes"),
        ("products", None, "e2", "bags"),
    ]
    assert measured == Measured(
        in_series={"orders": 2}, left_out={"orders": {}}, newest={"orders": "2025-03-28"}
    )


@pytest.mark.parametrize(
    ("said", "column", "expected"),
    [
        ("shoes", ["shoes", "Shoes", " shoes ", None], ["0", "2"]),
        (["a", "b"], ["a", "b", "c", ""], ["0", "1"]),
        ({"not_in": ["a"]}, ["a", "b", None, "null"], ["1"]),
        ({"is": "missing"}, ["a", None, "", "NULL"], ["1", "2", "3"]),
        ({"is": "present"}, ["a", None, "", "0"], ["0", "3"]),
        ({"is": "missing"}, [1.0, float("nan"), None, 0.0], ["1", "2"]),
        ({"starts_with": "sh"}, ["shoes", "ash", None, "sh"], ["0", "3"]),
        ({"starts_with": ".*"}, ["shoes", ".*x"], ["1"]),
        ({"min": 10}, [9.99, 10.0, 11.0, None], ["1", "2"]),
        ({"max": 10}, ["9.5", "1e1", "11", "ten"], ["0", "1"]),
        ({"min": 2, "max": 3}, [1, 2, 3, 4], ["1", "2"]),
        (5, [5.0, 5.5, None], ["0"]),
        ({"not_in": [5]}, [5, 6, None], ["1"]),
        ("123", [123, 124], ["0"]),
        (True, [True, False, None], ["0"]),
        (True, ["TRUE", "false", "true", ""], ["0", "2"]),
        (False, [1, 0, None], ["1"]),
        ("it's", ["it's", "its"], ["0"]),
    ],
)
def test_filters(said: Any, column: list[Any], expected: list[str]) -> None:
    """Values missing meet `missing` and nothing else; texts are compared as they are, numbers and truths by what they say."""
    assert passed(where(x=said), dimension__x=column) == expected


def test_a_filter_may_name_several_columns_and_the_event() -> None:
    series = replace(where(x="a", y={"min": 1}), event="paid")
    columns = {
        "dimension__x": ["a", "a", "b", "a"],
        "dimension__y": [1, 0, 1, 1],
        "event": ["paid"] * 3 + ["open"],
    }
    assert passed(series, **columns) == ["0"]
    _, measured = read(spec(series), **columns)
    assert measured.left_out == {
        "orders": {"of events that no metric reads": 1, "that no metric's filter lets through": 2}
    }


def test_times_decide_and_those_without_a_zone_are_of_the_tables_own() -> None:
    # The window begins on 27 March; nothing reaches before its pre-period, or past its last day, 1 April
    times = [INSIDE, "1999-01-01", "2025-04-02 03:59", "2025-04-02 04:00", "never", None, "2025-03-28T12:00Z"]
    found, measured = read(
        spec(REVENUE, zone="America/New_York"), occurred_at=times, value__revenue=[1.0] * 7
    )
    assert [row["occurred_at"] for row in found][:1] == [datetime(2025, 3, 28, 16, tzinfo=UTC)]
    assert [row["occurred_at"] for row in found][-1:] == [datetime(2025, 3, 28, 12, tzinfo=UTC)]
    told = measured.left_out["orders"]
    assert told["older than any analysis reaches"] == 1
    assert told["with a required value that cannot be read"] == 1
    assert told["without a required value"] == 1
    assert len(found) + sum(told.values()) == 7 == measured.in_series["orders"] + sum(told.values())
    assert measured.malformed == {"orders.occurred_at": 1}
    assert measured.nulls == {"orders.occurred_at": 1}
    assert measured.examples == {"orders.occurred_at": ["never"]}


def test_rows_after_the_last_useful_day_are_left_out() -> None:
    experiment = spec(REVENUE)
    end = experiment.window.cutoff(experiment.last_as_of)
    found, measured = read(experiment, occurred_at=[end, end.replace(year=2024)], value__revenue=[1.0, 1.0])
    assert found == []
    assert measured.left_out["orders"] == {
        "older than any analysis reaches": 1,
        "later than any analysis reaches": 1,
    }


def test_values_count_as_missing_or_malformed_only_where_a_series_needs_them() -> None:
    paid = Series(
        "paid", "orders", event="paid", value="revenue", where=conditions({"revenue": {"max": 100}})
    )
    columns = {
        "event": ["paid", "paid", "paid", "open", "open"],
        "value__revenue": ["1", "ten", None, "eleven", None],
        "dimension__revenue": ["1", "ten", None, "eleven", None],
    }
    found, measured = read(spec(replace(paid, where=())), **columns)
    assert [row["value"] for row in found] == [1.0, None, None]
    assert (measured.malformed, measured.nulls) == ({"orders.revenue": 1}, {"orders.revenue": 1})
    assert measured.examples == {"orders.revenue": ["ten"]}
    found, measured = read(spec(paid), **columns)  # what is not compared is not in the series
    assert [row["value"] for row in found] == [1.0]
    assert (measured.malformed, measured.nulls) == ({"orders.revenue": 1}, {})


def test_whole_rows_are_told_apart_by_all_that_was_read() -> None:
    experiment = spec(replace(REVENUE, name="r"), dedupe="whole_row")
    rows, _ = outcomes_of(
        pa.table(
            {
                "user_id": ["u"] * 3,
                "occurred_at": [INSIDE] * 3,
                "value.revenue": [1.0, 1.0, 1.0],
                "dimension.category": ["a", "b", "a"],
            }
        ),
        ORDERS,
        experiment,
    )
    marks = rows["row"].to_pylist()
    assert marks[0] == marks[2] != marks[1]


def test_no_rows_at_all() -> None:
    found, measured = read(
        spec(REVENUE), value__revenue=pa.array([], pa.float64()), occurred_at=pa.array([], pa.string())
    )
    assert (found, measured.in_series) == ([], {"orders": 0})
