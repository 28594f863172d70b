"""Whatever is skipped unread holds no row that is wanted: random tables, beside a filter that looks at every row."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from exp_platform.config.environment import Environment
from exp_platform.config.sources import As, Series, TableSource
from exp_platform.config.where import Condition
from exp_platform.kernels.canonical_text import text
from exp_platform.kernels.conform import instants, number
from exp_platform.stages.pieces import ParquetPiece
from exp_platform.stages.plan_files import plan_files
from exp_platform.stages.plan_iceberg import plan_iceberg
from exp_platform.stages.reading import Problem, Reading
from exp_platform.stages.wanted import Wanted

START, END = datetime(2026, 3, 1, 23, tzinfo=UTC), datetime(2026, 3, 15, 22, tzinfo=UTC)
ZONE = "Europe/Berlin"
COLUMNS = {
    "user_id": "uid",
    "occurred_at": "ts",
    "event": "name",
    "dimension.category": "props.category",
    "dimension.price": "props.price",
    "dimension.paid": "paid",
}
TYPES: dict[str, As] = {"dimension.price": "number"}  # also where it is text
WORDS = ("shoes", " shoes", "shoes ", "\u3000shoes", "bags", "zoo", "über", "", "NaN", None)
CONDITIONS = (
    Condition("category", "in", ("bags", "shoes")),
    Condition("category", "starts_with", ("sh",)),
    Condition("category", "not_in", ("zoo",)),
    Condition("category", "missing"),
    Condition("category", "present"),
    Condition("price", "min", (10.0,)),
    Condition("price", "max", (3.0,)),
    Condition("price", "in", (0.0, 7.0)),
    Condition("paid", "in", (True,)),
)


def times(dice: random.Random, rows: int) -> Any:
    """Times as the formats of the world have them, in order as logs are, some missing."""
    first = datetime(2026, 2, 25, tzinfo=UTC) + timedelta(hours=dice.randrange(400))
    found: list[Any] = [first + timedelta(minutes=dice.randrange(30) * i) for i in range(rows)]
    if dice.random() < 0.5:
        found = [None if dice.random() < 0.1 else at for at in found]
    kind = dice.choice(
        [pa.timestamp("us"), pa.timestamp("ms", "UTC"), pa.timestamp("ns", "UTC"), pa.date32(), pa.string()]
    )
    if pa.types.is_string(kind):
        return pa.array([at and f"{at:%Y-%m-%d %H:%M}" for at in found], kind)
    return pa.array([at and at.replace(tzinfo=None) for at in found], pa.timestamp("us")).cast(
        kind, safe=False
    )


def prices(dice: random.Random, rows: int) -> Any:
    kind = dice.choice([pa.float64(), pa.float32(), pa.int32(), pa.string(), pa.decimal128(9, 2)])
    low = dice.choice([0, 5, 20])
    found: list[Any] = [None if dice.random() < 0.1 else low + dice.randrange(10) for _ in range(rows)]
    if pa.types.is_floating(kind):
        found = [float("nan") if dice.random() < 0.2 else value for value in found]
    if pa.types.is_string(kind):
        found = [value if value is None else f" {value}.0" for value in found]
    return pa.array(found, kind)


def lake(dice: random.Random) -> pa.Table:
    rows = 60
    words = dice.sample(WORDS, 3)
    props = pa.StructArray.from_arrays(
        [pa.array([dice.choice(words) for _ in range(rows)], pa.string()), prices(dice, rows)],
        ["category", "price"],
    )
    names = dice.sample(["buy", "view", " buy", None], 2)
    return pa.table(
        {
            "uid": [str(i) for i in range(rows)],
            "ts": times(dice, rows),
            "name": pa.array([names[i * 2 // rows] for i in range(rows)], pa.string()),
            "props": props,
            "paid": pa.array([dice.random() < 0.5 for _ in range(rows)]),
        }
    )


def wanted(dice: random.Random) -> Wanted:
    series = tuple(
        Series(
            f"s{i}",
            "orders",
            dice.choice([None, "buy"]),
            None,
            tuple(dice.sample(CONDITIONS, dice.randrange(3))),
        )
        for i in range(dice.randrange(3))
    )
    return Wanted(None, "occurred_at", START, END, ZONE, series)


def meets(condition: Condition, found: Any) -> bool:
    if condition.operator in ("missing", "present"):
        return (found is None) == (condition.operator == "missing")
    if found is None:
        return False
    values = [str(v).lower() if isinstance(v, bool) else v for v in condition.values]
    compare = {
        "in": found in values,
        "not_in": found not in values,
        "min": not isinstance(found, str) and found >= condition.values[0],
        "max": not isinstance(found, str) and found <= condition.values[0],
        "starts_with": isinstance(found, str) and found.startswith(str(condition.values[0])),
    }
    return compare[condition.operator]


def needed(rows: pa.Table, want: Wanted) -> set[str]:
    """The users of rows that are wanted, by a look at each."""
    props = rows["props"].combine_chunks().flatten()
    columns = {
        "at": instants(rows["ts"], ZONE).values,
        "name": text(rows["name"]),
        "category": text(pa.chunked_array([props[0]])),
        "price": number(pa.chunked_array([props[1]])).values,
        "paid": text(rows["paid"]),
    }
    listed = pa.table(columns).to_pylist()
    assert want.start
    assert want.end
    return {
        uid
        for uid, row in zip(rows["uid"].to_pylist(), listed, strict=True)
        if (row["at"] is None or want.start <= row["at"] < want.end)
        and (
            not want.series
            or any(
                (one.event is None or row["name"] == one.event)
                and all(meets(c, row[c.column]) for c in one.where)
                for one in want.series
            )
        )
    }


@pytest.mark.parametrize("block", range(8))
def test_no_row_that_is_wanted_is_skipped(block: int, tmp_path: Path, environment: Environment) -> None:
    skipped = 0
    for seed in range(40):
        dice = random.Random(f"{block} {seed}")
        rows, want = lake(dice), wanted(dice)
        path = tmp_path / f"{seed}.parquet"
        old = pa.types.is_timestamp(rows["ts"].type) and dice.random() < 0.3
        statistics = dice.choice([True, True, False, ["ts", "props.category"]])
        pq.write_table(
            rows,
            path,
            row_group_size=dice.choice([3, 7, 20]),
            write_statistics=statistics,
            use_deprecated_int96_timestamps=old,
        )
        reading = Reading(
            "orders", TableSource("parquet", str(path), COLUMNS, types=TYPES), tuple(COLUMNS.items()), want
        )
        pieces = list(plan_files(reading, environment, {}))
        assert [piece for piece in pieces if isinstance(piece, Problem)] == []
        got = {
            uid
            for piece in pieces
            if isinstance(piece, ParquetPiece)
            for part in piece.parts()
            for uid in part.rows["user_id"].to_pylist()
        }
        if old:  # INT96 means UTC
            rows = rows.set_column(
                1, "ts", rows["ts"].cast(pa.timestamp("us"), safe=False).cast(pa.timestamp("us", "UTC"))
            )
        assert needed(rows, want) <= got, (seed, want)
        skipped += len(rows) - len(got)
    assert skipped > 100


def folder_table(
    tmp_path: Path, folders: list[str], want: Wanted, columns: dict[str, str], **rest: Any
) -> Reading:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
        pq.write_table(pa.table({"uid": [folder], "ts": ["text"]}), tmp_path / folder / "part.parquet")
    return Reading(
        "log", TableSource("parquet", str(tmp_path), columns, **rest), tuple(columns.items()), want
    )


def read(reading: Reading, environment: Environment) -> list[str]:
    return [
        piece.place.split("/")[-2]
        for piece in plan_files(reading, environment, {})
        if not isinstance(piece, Problem)
    ]


def test_folders_of_other_experiments_and_events_are_not_looked_into(
    tmp_path: Path, environment: Environment
) -> None:
    columns = {"user_id": "uid", "occurred_at": "ts", "experiment": "exp", "event": "exp"}
    folders = ["exp=a", "exp=b", "exp=a%20", "exp=__HIVE_DEFAULT_PARTITION__"]
    reading = folder_table(tmp_path, folders, Wanted("a"), columns)
    (tmp_path / "exp=b" / "broken.parquet").write_bytes(b"not even Parquet")
    assert read(reading, environment) == ["exp=a%20", "exp=a"]
    by_event = Reading("log", reading.source, reading.columns, Wanted(series=(Series("s", "log", "a"),)))
    assert read(by_event, environment) == ["exp=a%20", "exp=a"]


def test_days_that_folders_name_are_skipped_only_where_they_are_said_to_be_the_rows_date(
    tmp_path: Path, environment: Environment
) -> None:
    columns = {"user_id": "uid", "occurred_at": "ts"}
    days = ["2026-02-27", "2026-02-28", "2026-03-16", "2026-03-18", "20260301", "2026-03", "2026-01", "soon"]
    want = Wanted(None, "occurred_at", START, END, ZONE)
    reading = folder_table(tmp_path, [f"day={day}" for day in days], want, columns)
    assert len(read(reading, environment)) == len(days)
    said = Reading(
        "log", TableSource("parquet", str(tmp_path), columns, partitioned_by="day"), reading.columns, want
    )
    kept = {place.removeprefix("day=") for place in read(said, environment)}
    assert kept == {"2026-02-28", "2026-03-16", "20260301", "2026-03", "soon"}


def test_times_without_a_zone_are_given_a_day_as_bounds_are_of_no_zone(
    tmp_path: Path, environment: Environment
) -> None:
    # 23:00 in UTC is midnight in Berlin, and the last minute there is 22:59 in UTC in winter
    clock = [datetime(2026, 3, day, hour, minute) for day, hour, minute in ((2, 0, 0), (15, 22, 59))]  # noqa: DTZ001
    pq.write_table(pa.table({"uid": ["a", "b"], "ts": clock}), tmp_path / "t.parquet", row_group_size=1)
    columns = {"user_id": "uid", "occurred_at": "ts"}
    source = TableSource("parquet", str(tmp_path), columns)
    for zone in ("Europe/Berlin", "Pacific/Kiritimati", "Pacific/Niue"):
        first, last = (at.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) for at in clock)
        want = Wanted(None, "occurred_at", first, last + timedelta(minutes=1), zone)
        pieces = plan_files(Reading("log", source, tuple(columns.items()), want), environment, {})
        assert sum(piece.rows for piece in pieces if not isinstance(piece, Problem)) == 2


def test_of_an_iceberg_table_no_row_that_is_wanted_is_skipped(environment: Environment) -> None:
    """Files by partition and bounds, and rows within them by the same filter."""
    from exp_platform.tables.catalog import open_catalog

    catalog = open_catalog(environment)
    catalog.create_namespace("lake")
    columns = {ours: theirs.removeprefix("props.") for ours, theirs in COLUMNS.items()}
    skipped = files = 0
    for seed in range(25):
        dice = random.Random(seed)
        rows, want = lake(dice), wanted(dice)
        at = dice.choice([pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.date32()])
        rows = rows.set_column(
            1, "ts", instants(rows["ts"], "UTC").values.cast(pa.timestamp("us")).cast(at, safe=False)
        )
        props = rows["props"].combine_chunks().flatten()
        flat = rows.drop_columns(["props"])
        flat = flat.append_column("category", props[0]).append_column("price", props[1])
        table = catalog.create_table(f"lake.orders{seed}", schema=flat.schema)
        if dice.random() < 0.5:
            with table.update_spec() as spec:
                spec.add_identity("category")
        for start in range(0, len(flat), 15):
            table.append(flat.slice(start, 15))
        source = TableSource("iceberg", f"iceberg.lake.orders{seed}", columns, types=TYPES)
        pieces = list(plan_iceberg(Reading("orders", source, tuple(columns.items()), want), environment))
        got: set[str] = set()
        for piece in pieces:
            assert not isinstance(piece, Problem), piece
            got |= {uid for part in piece.parts() for uid in part.rows["user_id"].to_pylist()}
        assert needed(rows, want) <= got, (seed, want)
        skipped += len(rows) - len(got)
        files += len(list(table.scan().plan_files())) - len(pieces)
    assert skipped > 100
    assert files > 10
