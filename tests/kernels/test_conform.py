"""Any reasonable spelling of a number or a time is read, in the experiment's zone; the rest is null and counted."""

from __future__ import annotations

import os
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from exp_platform.kernels.conform import instants, number, string_map


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


# Python's float() or DuckDB's cast take the underscores, the digits of other scripts, the words and the double signs.
NO_NUMBERS = [
    *("1_000", "1__0", "0x10", "0b1", "inf", "-Infinity", "1,000", "1.000,5", "1 000", "1'000", "1.2.3", "12abc", "$5", "5%"),
    *("+-5", "--5", "-", "+", ".", "e5", "1e", "1e5.5", "1d", "1e400", "yes", "t", "\u0661\u0662", "\uff11\uff12", "\u221212"),
]  # fmt: skip


@pytest.mark.parametrize("written", NO_NUMBERS)
def test_what_is_no_plain_number_is_malformed(written: str) -> None:
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        conformed = number(column([written, "7"], kind))
        assert (conformed.values.to_pylist(), conformed.malformed, conformed.examples) == (
            [None, 7],
            1,
            (written,),
        )


@pytest.mark.parametrize(
    ("written", "value"),
    [("+5", 5), (".5", 0.5), ("5.", 5), ("1e5", 1e5), ("1E+05", 1e5), ("-2.5e-3", -0.0025), ("\t12\r", 12), ("007", 7), ("-0", 0)],
)  # fmt: skip
def test_the_notations_of_a_number(written: str, value: float) -> None:
    assert number(column([written])).values.to_pylist() == [value]


@pytest.mark.parametrize(
    "word", ["null", "NULL", " None", "nan", "N/A", "<NA>", "undefined", "(null)", "\\N", "nil", " "]
)
def test_words_for_nothing_are_nulls_not_malformed(word: str) -> None:
    assert number(column([word])).malformed == 0
    assert instants(column([word]), "UTC").malformed == 0


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
    ("2025-03-27T10:30:15+14:00", utc(2025, 3, 26, 20, 30, 15)),  # the last zone, and the first
    ("2025-03-27T10:30:15-12:00", utc(2025, 3, 27, 22, 30, 15)),
    ("2025-03-27T10:30:15z", utc(2025, 3, 27, 10, 30, 15)),
    ("2025-03-27T10:30:15.123456789Z", utc(2025, 3, 27, 10, 30, 15, 123456)),  # to the microsecond
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
    bad = [
        *("27/03/2025", "2025-02-30", "2025-02-29", "2025-13-01", "yesterday", "1743031800", "20250327", "2025-W10", "2025-3-7"),
        *("2025-03-27 25:00", "2025-03-27 24:00", "2025-03-27 10:60", "2025-03-27 23:59:60", "2025-03-27 10", "2025-03-27T"),
        *("2025-03-27 10:30+1", "2025-03-27 10:30+25:00", "2025-03-27 10:30+14:01", "2025-03-27 10:30-12:30"),
        *("2025-03-27 10:30+02:60", "2025-03-27 10:30+99", "2025-03-27 10:30 CET", "2025-03-27 10:30:00,5", "2025-03-27 10:30:00."),
        *("12025-03-27", "0000-01-01", "+2025-03-27", "2025-03-27 10:30:00.1234567890", "2025-03-27 1\u0660:30"),
    ]  # fmt: skip
    conformed = instants(column([*bad, "", "NaT", None]), "UTC")
    assert conformed.values.to_pylist() == [None] * (len(bad) + 3)
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


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_times_that_stand_for_never_are_malformed_in_every_unit(unit: str, zone: str | None) -> None:
    """Zero is 1970-01-01; the largest and smallest integers of a unit are what a cast to microseconds would wrap."""
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    march = int(utc(2026, 3, 2, 10).timestamp()) * per_second
    counts = pa.array(
        [march, 0, 2**63 - 1, -(2**63) + 1, None, march * 250 if unit != "ns" else -1], pa.int64()
    )
    conformed = instants(pa.chunked_array([counts.cast(pa.timestamp(unit, zone))]), "UTC")
    assert conformed.values.to_pylist() == [utc(2026, 3, 2, 10), *[None] * 5]
    assert conformed.malformed == 4
    assert len(conformed.examples) == 3


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64(), pa.string(), pa.timestamp("us")], ids=str)
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_sentinel_days_are_malformed_and_the_bounds_themselves_are_not(kind: pa.DataType, zone: str) -> None:
    sentinels = [
        date(1, 1, 1),
        date(1899, 12, 30),
        date(1970, 1, 1),
        date(1989, 12, 31),
        date(2200, 1, 1),
        date(9999, 12, 31),
    ]
    bounds = [date(1990, 1, 1), date(2199, 12, 31)]
    days = [f"{d}" for d in (*sentinels, *bounds)] if pa.types.is_string(kind) else [*sentinels, *bounds]
    if pa.types.is_timestamp(kind):
        days = [datetime.combine(d, datetime.min.time()) for d in days]
    conformed = instants(column([*days, None], kind), zone)
    assert conformed.malformed == len(sentinels)
    read = conformed.values.to_pylist()
    local = [at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for at in read[len(sentinels) : -1]]
    assert local == [datetime(d.year, d.month, d.day) for d in bounds]  # noqa: DTZ001
    assert read[: len(sentinels)] == [None] * len(sentinels)


def test_days_too_far_away_for_microseconds_are_malformed() -> None:
    far = pa.chunked_array([pa.array([2**31 - 1, -(2**31)], pa.int32()).cast(pa.date32())])
    assert (instants(far, "UTC").malformed, instants(far, "UTC").values.to_pylist()) == (2, [None, None])


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


def test_string_maps_keep_every_name() -> None:
    made = string_map({"a": column(["x", None], pa.string()), "b": column(["1", "2"])}, 2)
    assert made.to_pylist() == [[("a", "x"), ("b", "1")], [("a", None), ("b", "2")]]
    assert string_map({}, 2).to_pylist() == [None, None]


@pytest.mark.parametrize("sizes", [[5, 8, 10, 69, 4], [64, 65], [2048 + 40, 2500, 4096 + 7, 300], [64, 2500]])
def test_values_stay_beside_their_rows_in_however_many_chunks_they_come(sizes: list[int]) -> None:
    """As a source of several files gives them."""
    minutes = iter(range(sum(sizes)))
    chunks = [[next(minutes) for _ in range(size)] for size in sizes]
    first = datetime(2025, 3, 1, tzinfo=UTC)
    times = pa.chunked_array([[str(first + timedelta(minutes=m)) for m in chunk] for chunk in chunks])
    numbers = pa.chunked_array([[f"{m}.5" for m in chunk] for chunk in chunks])
    rows = range(sum(sizes))
    assert instants(times, "UTC").values.to_pylist() == [first + timedelta(minutes=m) for m in rows]
    assert number(numbers).values.to_pylist() == [m + 0.5 for m in rows]
