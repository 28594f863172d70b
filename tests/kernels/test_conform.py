"""Any reasonable spelling of a number or a time is read, in the experiment's zone; the rest is null and counted."""

from __future__ import annotations

import os
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from exp_platform.kernels.conform import instants, number, string_map, text


def column(values: list[Any], kind: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, kind)])


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "expected", "malformed"),
    [
        (column(["1", " 2.5 ", "-3e2", "TRUE", "false", "True"]), [1, 2.5, -300, 1, 0, 1], ()),
        (column(["", "NA", "NaN", "null", None, "None"]), [None] * 6, ()),
        (column(["12,5", "abc", "inf", "1e400", "7"]), [None, None, None, None, 7], ("12,5", "abc", "inf")),
        (column([True, False, None]), [1, 0, None], ()),
        (column([1, None, -4]), [1, None, -4], ()),
        (column([1.5, float("nan"), float("inf"), None]), [1.5, None, None, None], ("inf",)),
        (column([Decimal("1.25"), None]), [1.25, None], ()),
        (column(["1", "2", "1"]).dictionary_encode(), [1, 2, 1], ()),
        (column([None, None]), [None, None], ()),
    ],
)
def test_numbers(found: pa.ChunkedArray, expected: list[float | None], malformed: tuple[str, ...]) -> None:
    conformed = number(found)
    assert conformed.values.to_pylist() == expected
    assert conformed.values.type == pa.float64()
    assert conformed.examples == malformed
    given = sum(value is None for value in expected) - found.null_count
    assert conformed.malformed == (4 if malformed == ("12,5", "abc", "inf") else len(malformed))
    assert conformed.malformed <= given


BERLIN_TIMES = [
    ("2025-03-27", utc(2025, 3, 26, 23)),
    ("2025-03-27 10:30", utc(2025, 3, 27, 9, 30)),
    ("2025-03-27T10:30:15", utc(2025, 3, 27, 9, 30, 15)),
    (" 2025-03-27 10:30:15.25 ", utc(2025, 3, 27, 9, 30, 15, 250000)),
    ("2025-07-01 10:30:15", utc(2025, 7, 1, 8, 30, 15)),  # summer
    ("2025-03-27T10:30:15Z", utc(2025, 3, 27, 10, 30, 15)),
    ("2025-03-27 10:30:15 UTC", utc(2025, 3, 27, 10, 30, 15)),
    ("2025-03-27 10:30:15+05:30", utc(2025, 3, 27, 5, 0, 15)),
    ("2025-03-27 10:30:15-0800", utc(2025, 3, 27, 18, 30, 15)),
    ("2025-03-27 10:30:15 -03", utc(2025, 3, 27, 13, 30, 15)),
    ("2025-10-26 02:30", utc(2025, 10, 26, 0, 30)),  # happens twice: the first
    ("2025-03-30 02:30", utc(2025, 3, 30, 1)),  # is skipped: the change itself
]


def test_times_as_text() -> None:
    conformed = instants(column([written for written, _ in BERLIN_TIMES]), "Europe/Berlin")
    assert dict(zip([w for w, _ in BERLIN_TIMES], conformed.values.to_pylist(), strict=True)) == dict(
        BERLIN_TIMES
    )
    assert conformed.values.type == pa.timestamp("us", "UTC")
    assert conformed.malformed == 0


def test_times_that_cannot_be_read() -> None:
    bad = ["27/03/2025", "2025-02-30", "2025-03-27 25:00", "yesterday", "1743031800", "2025-03-27 10:30+1"]
    conformed = instants(column([*bad, "", "NaT", None]), "UTC")
    assert conformed.values.to_pylist() == [None] * 9
    assert conformed.malformed == len(bad)
    assert conformed.examples == tuple(bad[:3])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (column([utc(2025, 3, 27, 9)], pa.timestamp("ns", "America/New_York")), utc(2025, 3, 27, 9)),
        (column([datetime(2025, 3, 27, 10)], pa.timestamp("ms")), utc(2025, 3, 27, 9)),  # noqa: DTZ001
        (column([date(2025, 3, 27)]), utc(2025, 3, 26, 23)),
        (column([date(2025, 3, 27)], pa.date64()), utc(2025, 3, 26, 23)),
    ],
)
def test_times_of_other_types(found: pa.ChunkedArray, expected: datetime) -> None:
    assert instants(found, "Europe/Berlin").values.to_pylist() == [expected]


def test_times_do_not_depend_on_the_zone_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert instants(column(["2025-03-27 10:30"]), "Europe/Berlin").values.to_pylist() == [
            utc(2025, 3, 27, 9, 30)
        ]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert os.environ.get("TZ") != "Asia/Tokyo"


def test_ids_of_any_type_are_text() -> None:
    assert text(column([7, None])).to_pylist() == ["7", None]
    assert text(column(["a", "", None])).to_pylist() == ["a", None, None]
    assert (
        text(column([7.0])).to_pylist() == text(column([7])).to_pylist()
    )  # as pandas writes integers with nulls


def test_string_maps_keep_every_name() -> None:
    made = string_map({"a": column(["x", None], pa.string()), "b": column(["1", "2"])}, 2)
    assert made.to_pylist() == [[("a", "x"), ("b", "1")], [("a", None), ("b", "2")]]
    assert string_map({}, 2).to_pylist() == [None, None]
