"""Deliveries that are broken, each in one way, as small files; `broken_data.yaml` holds what is told of each."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import sqlite3
import zipfile
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from exp_platform.config.experiment import Experiment
from stages.raw_data import (
    Rows,
    changed,
    deliver,
    events_experiment,
    exposures,
    outcomes,
    units,
    units_experiment,
    write_csv,
    write_parquet,
)

Break = Callable[[Path], Experiment]

KINDS: dict[str, Break] = {}
HEADER = "arm,visited,spent,history,channel"
LINES = [",".join(row) for row in zip(*units().values(), strict=True)]
TEXT = "\n".join([HEADER, *LINES]) + "\n"


def named(breaking: Break) -> Break:
    """A kind of its own, called as its function is."""
    KINDS[breaking.__name__] = breaking
    return breaking


def csv(name: str, content: str | bytes, file: str = "units.csv") -> None:
    """A table of users, one row each, as these bytes."""

    def broken(folder: Path) -> Experiment:
        path = folder / file
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return units_experiment(path)

    KINDS[name] = broken


def line(name: str, change: Callable[[str], str], at: int = 7) -> None:
    """One line of the table of users is another."""
    csv(name, "\n".join([HEADER, *LINES[:at], change(LINES[at]), *LINES[at + 1 :]]) + "\n")


def value(name: str, column: str, written: str) -> None:
    """One value of the table of users is another."""
    position = HEADER.split(",").index(column)

    def change(found: str) -> str:
        return ",".join(written if n == position else part for n, part in enumerate(found.split(",")))

    line(name, change)


def users(name: str, rows: Rows | pa.Table, **columns: str) -> None:
    """A table of users as Parquet."""

    def broken(folder: Path) -> Experiment:
        pq.write_table(rows if isinstance(rows, pa.Table) else pa.table(rows), folder / "units.parquet")
        return units_experiment(folder / "units.parquet", "parquet", columns)

    KINDS[name] = broken


def events(name: str, exposed: Rows | None = None, happened: Rows | None = None) -> None:
    """Exposures or outcomes as Parquet."""
    KINDS[name] = lambda folder: events_experiment(deliver(folder, exposed, happened))


def typed(rows: Rows, **columns: pa.Array) -> Any:
    return {**rows, **columns}


# ---- files that are no CSV, or another one than the spec says

csv("empty_file", "")
csv("line_breaks_only", "\n\r\n\n")
csv("header_alone", HEADER + "\n")
csv("no_header", "\n".join(LINES))
csv("header_of_quotes", '"arm,visited\n' + "\n".join(LINES))
csv("excels_first_line", "sep=,\n" + TEXT)
csv("a_title_above_the_header", "Mailing of March\n" + TEXT)
csv("utf_16_with_its_mark", TEXT.encode("utf-16"))
csv("utf_16_without_its_mark", TEXT.encode("utf-16-le"))
csv("latin_1", TEXT.replace("phone", "phöne").encode("latin-1"))
csv("latin_1_in_the_header", TEXT.replace("channel", "chännel").encode("latin-1"))
csv("nul_bytes", TEXT.replace("web", "w\0b"))
csv("parquet_called_csv", b"PAR1" + bytes(100) + b"PAR1")
csv("xz_called_csv", b"\xfd7zXZ\0" + bytes(100))
csv("avro_called_csv", b"Obj\x01" + bytes(100))
csv("html_page", "<!DOCTYPE html>\n<html><body>Please sign in</body></html>\n")
csv("json_lines", "\n".join(json.dumps({"arm": row.split(",")[0]}) for row in LINES))
csv("cut_gzip", gzip.compress(TEXT.encode(), mtime=0)[:-60], "units.csv.gz")
csv("cut_bz2", bz2.compress(TEXT.encode())[:-60], "units.csv.bz2")
_damaged = bytearray(gzip.compress(TEXT.encode(), mtime=0))
_damaged[-8] ^= 0xFF  # of the checksum
csv("damaged_gzip", bytes(_damaged), "units.csv.gz")


@named
def zip_archive(folder: Path) -> Experiment:
    with zipfile.ZipFile(folder / "units.csv", "w") as archive:
        archive.writestr("units.csv", TEXT)
    return units_experiment(folder / "units.csv")


@named
def sqlite_called_csv(folder: Path) -> Experiment:
    database = sqlite3.connect(folder / "units.csv")
    database.execute("create table units (arm text)")
    database.close()
    return units_experiment(folder / "units.csv")


# ---- lines and headers

csv("column_twice", TEXT.replace("history", "spent", 1))
csv("column_with_a_blank", TEXT.replace("arm,", "arm ,", 1))
csv("column_in_capitals", TEXT.replace("arm,", "ARM,", 1))
csv("two_files_in_one", TEXT + TEXT)
line("too_many_fields", lambda found: found + ",more")
line("too_few_fields", lambda found: found.rpartition(",")[0])
csv("delimiter_at_every_end", HEADER + "\n" + "\n".join(found + "," for found in LINES))
line("quote_never_closed", lambda found: f'"{found}')
line("text_after_a_closing_quote", lambda found: f'"A"x{found[1:]}')
csv(
    "longer_than_a_block",
    gzip.compress(f"{TEXT}A,{'x' * (17 << 20)},1,1,web\n".encode(), mtime=0),
    "units.csv.gz",
)
line("value_of_a_megabyte", lambda found: found.replace("TRUE", "y" * (1 << 20)))

# ---- values

value("decimal_comma", "spent", '"1,5"')
value("thousands", "spent", '"1,000.5"')
value("currency", "spent", "$5")
value("percent_sign", "spent", "5%")
value("infinite_value", "spent", "inf")
value("largest_value", "spent", "1e999")
value("underscored_value", "spent", "1_000")
value("perhaps", "visited", "perhaps")
value("covariate_in_words", "history", "many")
value("arm_in_other_words", "arm", "Control group")
value("arm_in_lower_case", "arm", "a")
value("no_arm", "arm", "")
value("outcome_not_known", "visited", "")

# ---- Parquet

users("struct_for_a_number", typed(units(), spent=pa.array([{"amount": 1.0}] * 120)))
users("list_for_a_number", typed(units(), spent=pa.array([[1.0]] * 120)))
users(
    "map_for_an_arm", typed(units(), arm=pa.array([[("arm", "A")]] * 120, pa.map_(pa.string(), pa.string())))
)
users("duration_for_a_number", typed(units(), spent=pa.array([timedelta(hours=1)] * 120)))
users("time_of_day_for_a_number", typed(units(), spent=pa.array([datetime(2025, 3, 1).time()] * 120)))  # noqa: DTZ001
users("nan_for_an_outcome", typed(units(), visited=pa.array([1.0, float("nan")] * 60)))
users("binary_that_is_no_text", typed(units(), arm=pa.array([b"\xff\xfe"] * 120)))
users("column_missing_in_parquet", {"arm": units()["arm"]})
users("no_row_at_all", pa.table({name: pa.array([], pa.string()) for name in units()}))
users("ids_as_large_floats", typed(units(), id=pa.array([2.0**53 + 2 * i for i in range(120)])), user_id="id")
users("one_user_many_times", typed(units(), id=pa.array(["same"] * 120)), user_id="id")
users(
    "nobodys_ids", typed(units(), id=pa.array(["undefined"] * 3 + [str(i) for i in range(117)])), user_id="id"
)


@named
def cut_parquet(folder: Path) -> Experiment:
    path = write_parquet(folder / "units.parquet", units())
    path.write_bytes(path.read_bytes()[:-300])
    return units_experiment(path, "parquet")


@named
def empty_parquet(folder: Path) -> Experiment:
    (folder / "units.parquet").write_bytes(b"")
    return units_experiment(folder / "units.parquet", "parquet")


@named
def csv_called_parquet(folder: Path) -> Experiment:
    (folder / "units.csv").write_text(TEXT)
    return units_experiment(folder / "units.csv", "parquet")


@named
def second_file_of_other_types(folder: Path) -> Experiment:
    write_parquet(folder / "units" / "1.parquet", units())
    write_parquet(folder / "units" / "2.parquet", {**units(), "spent": [[1.0]] * 120})
    return units_experiment(folder / "units", "parquet")


@named
def second_file_of_other_columns(folder: Path) -> Experiment:
    write_csv(folder / "units" / "1.csv", units())
    write_csv(
        folder / "units" / "2.csv", {("group" if name == "arm" else name): v for name, v in units().items()}
    )
    return units_experiment(folder / "units")


# ---- places


@named
def folder_without_files(folder: Path) -> Experiment:
    (folder / "units").mkdir()
    return units_experiment(folder / "units")


@named
def folder_of_hidden_files(folder: Path) -> Experiment:
    write_csv(folder / "units" / "_temporary" / "units.csv", units())
    return units_experiment(folder / "units")


@named
def glob_of_nothing(folder: Path) -> Experiment:
    write_csv(folder / "units.csv", units())
    return units_experiment(folder / "unit-*.csv")


@named
def one_file_twice(folder: Path) -> Experiment:
    write_csv(folder / "units" / "units.csv", units())
    os.link(folder / "units" / "units.csv", folder / "units" / "again.csv")
    return units_experiment(folder / "units")


@named
def link_to_nowhere(folder: Path) -> Experiment:
    write_csv(folder / "units" / "units.csv", units())
    (folder / "units" / "more.csv").symlink_to("gone.csv")
    return units_experiment(folder / "units")


@named
def delta_table(folder: Path) -> Experiment:
    write_parquet(folder / "units" / "part.parquet", units())
    (folder / "units" / "_delta_log").mkdir()
    (folder / "units" / "_delta_log" / "0.json").write_text("{}")
    return units_experiment(folder / "units", "parquet")


# ---- times, users and arms of events


def at(written: str, table: Rows, column: str) -> Rows:
    """The table with its times as text, one of them so."""
    return changed(table, column, lambda i, t: written if i == 7 else t.strftime("%Y-%m-%dT%H:%M:%SZ"))


for _name, _written in {
    "german_time": "24.03.2025 10:00",
    "twelve_hour_time": "2025-03-24 10:00 PM",
    "month_of_thirteen": "2025-13-01T00:00:00Z",
    "day_that_no_calendar_has": "2025-02-30T00:00:00Z",
    "hour_of_twenty_four": "2025-03-24T24:00:00Z",
    "seconds_since_1970": "1742810400",
    "offset_of_fifteen_hours": "2025-03-24T10:00:00+15:00",
    "year_one": "0001-01-01T00:00:00Z",
    "year_of_two_digits": "25-03-24 10:00:00",
    "time_without_a_day": "10:00:00",
}.items():
    events(_name, at(_written, exposures(), "seen"))
events("unknown_time_of_an_outcome", None, at("", outcomes(), "at"))
events(
    "epoch_as_time",
    changed(exposures(), "seen", lambda i, t: datetime(1970, 1, 1, tzinfo=UTC) if i == 7 else t),
)
events("whole_numbers_as_times", None, changed(outcomes(), "at", lambda i, t: int(t.timestamp())))
events(
    "days_beside_times", changed(exposures(), "seen", lambda i, t: date(2025, 3, 24) + timedelta(days=i % 13))
)
events("users_of_no_name", changed(exposures(), "uid", lambda i, user: "NaN" if i < 5 else user))
events("after_the_window", changed(exposures(), "seen", lambda i, t: t + timedelta(days=60)))
events("one_event_id_for_all", None, changed(outcomes(), "id", lambda i, _: "same"))
events("rows_delivered_twice", {name: [*v, *v] for name, v in exposures().items()})
events("no_name_of_an_event", None, changed(outcomes(), "what", lambda i, what: None if i == 7 else what))
events(
    "amount_beyond_numbers", None, changed(outcomes(), "amount", lambda i, a: float("inf") if i == 0 else a)
)
events("arms_of_numbers", changed(exposures(), "arm", lambda i, _: i % 2))
events("every_arm_unknown", changed(exposures(), "arm", lambda i, arm: arm.upper()))
