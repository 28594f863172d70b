"""Whatever small files hold, taking them in ends in rows and checks or in the project's own errors, each in one line."""

from __future__ import annotations

import bz2
import gzip
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exp_platform.checks import CheckResult
from exp_platform.config.environment import Environment, load_environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import CsvDialect
from exp_platform.errors import LONGEST, ConfigError, DataError
from exp_platform.kernels.measured import Measured
from exp_platform.kernels.privacy import Privacy
from exp_platform.stages import ingest
from exp_platform.stages.quality import failures_of
from exp_platform.stages.quality_checks import judge
from exp_platform.stages.quality_evidence import Evidence
from exp_platform.stages.rounds import ingested
from exp_platform.stages.shards import clean_and_write
from exp_platform.stages.sources import plan_reading
from exp_platform.tables.files import task_writer
from stages.broken_data import TEXT
from stages.raw_data import (
    deliver,
    events_experiment,
    exposures,
    frozen,
    outcomes,
    units_experiment,
    write_csv,
)

SMALL = TEXT[:400].rpartition("\n")[0] + "\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXP_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield load_environment("embedded")


def take_in(experiment: Experiment, environment: Environment) -> list[str]:
    """What ingest and quality do without their tables: everything that is told of the data."""
    run = frozen(environment, experiment, "any")
    try:
        plan = plan_reading(experiment, environment)
        if plan.problems:
            return said(failures_of(run, [(problem.check, problem.message) for problem in plan.problems]))
        clean = partial(
            clean_and_write,
            experiment=experiment,
            now=datetime(2026, 1, 1, tzinfo=UTC),
            writers={
                name: task_writer(environment, name, experiment.id, run.run_id) for name in ingest.TABLES
            },
            as_of=run.as_of_date,
        )
        _, _, done = ingested(experiment, environment, plan, clean, Privacy(), here=True)
    except (ConfigError, DataError) as error:
        return said(failures_of(run, [("source", str(error))]))
    problems = [problem for part in done for problem in part.problems]
    if problems:
        return said(failures_of(run, [("source", problem) for problem in problems]))
    measured = Measured.from_json(Measured.merge_all(part.measured for part in done).to_json())
    return said(judge(Evidence(experiment, run.as_of_date, measured, None)))


def said(checks: list[CheckResult]) -> list[str]:
    messages = [check.message for check in checks]
    for message in messages:
        assert message
        assert message.isprintable(), message
        assert len(message) <= 2 * LONGEST, message
        assert "Traceback" not in message
    return messages


# ---- CSV

signs = st.sampled_from(
    [
        *(
            ",",
            ";",
            "\t",
            "|",
            "\n",
            "\r",
            "\r\n",
            '"',
            '""',
            '\\"',
            "\\",
            "'",
            " ",
            "\0",
            "\ufeff",
            "\u2028",
            "\x1a",
        ),
        *(
            "arm",
            "visited",
            "spent",
            "history",
            "channel",
            "A",
            "B",
            "C",
            "TRUE",
            "1",
            "-0.0",
            "1e308",
            "1e-320",
            "nan",
        ),
        *(
            "null",
            "inf",
            "1,5",
            "2025-03-24",
            "é",
            "\U0001f9ea",
            "\u202e",
            "x" * 70,
            "\n" * 5,
            ",,,,",
            "\x85",
            "%s",
            "{}",
        ),
    ]
)
dialects = st.one_of(
    st.none(),
    st.builds(
        CsvDialect,
        delimiter=st.sampled_from([None, ",", ";", "\t", "|", " ", ":"]),
        encoding=st.sampled_from(
            [None, "utf-16", "utf-16-le", "utf-32", "cp1252", "latin-1", "utf-8-sig", "ascii"]
        ),
        escape=st.sampled_from([None, "quote", "backslash"]),
    ),
)
encodings = st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])


@st.composite
def edited(draw: st.DrawFn) -> str:
    """A good table with signs put into it, in place of some of it."""
    text = SMALL
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(signs) + text[at + draw(st.sampled_from([0, 0, 1, 4, 40])) :]
    return text


@st.composite
def csv_files(draw: st.DrawFn) -> bytes:
    any_signs = st.lists(signs, max_size=30).map("".join)
    text = draw(
        edited() | any_signs | any_signs.map(lambda rows: "arm,visited,spent,history,channel\n" + rows)
    )
    content = text.encode(draw(encodings), "replace")
    if draw(st.integers(0, 5)) == 0:
        content = draw(st.sampled_from([gzip.compress, bz2.compress]))(content)
        content = content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content
    if draw(st.integers(0, 5)) == 0:
        content = damaged(draw, content)
    return content


def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Some bytes are others."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        if changed:
            changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    return bytes(changed)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(csv_files(), dialects)
def test_any_csv(place: Environment, content: bytes, dialect: CsvDialect | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "units.csv"
        path.write_bytes(content)
        made = units_experiment(path)
        source = replace(made.source, table=replace(made.source.table, csv=dialect))
        assert take_in(replace(made, source=source), place)


# ---- values

odd_texts = st.sampled_from(
    [
        *(
            "",
            " ",
            "0",
            "-0",
            "1",
            "TRUE",
            "no",
            "1e308",
            "-1e308",
            "1e999",
            "nan",
            "inf",
            "1_000",
            "0x1F",
            "½",
            "٣",
        ),
        *("2025-03-24", "2025-03-24T10:00:00Z", "2025-03-30 02:30:00", "2025-02-30", "9999-12-31T23:59:59Z"),
        *("0001-01-01", "2025-03-24T10:00:00.123456789+02:00", "24:00", "10:00", "1742810400", "-2025-03-24"),
        *(
            "null",
            "NaN",
            "undefined",
            "00000000-0000-0000-0000-000000000000",
            "user 1",
            "USER 1",
            "control",
            "a\nb",
            "a\0",
        ),
        *("\ufeffx", "\u202ex", "e" * 5000, "\U0001f9ea", "'; DROP TABLE x; --", "{{ x }}", "<b>", "[/a]"),
    ]
)
odd_numbers = st.sampled_from(
    [0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 0.0, -0.0, 0.5, 1e308, -1e308, 5e-324, float("nan"), float("inf")]
)  # fmt: skip
odd_times = st.sampled_from(
    [
        *(
            datetime(2025, 3, 30, 1, 30, tzinfo=UTC),
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(9999, 12, 31, tzinfo=UTC),
        ),
        *(
            datetime(1970, 1, 1, tzinfo=UTC),
            datetime(2025, 3, 24, tzinfo=UTC),
            datetime(2095, 1, 1, tzinfo=UTC),
        ),
    ]
)


def column(values: st.SearchStrategy[Any], *kinds: pa.DataType) -> st.SearchStrategy[pa.Array]:
    """Ten values of a type, some of them null."""

    def made(drawn: tuple[list[Any], pa.DataType]) -> pa.Array:
        try:
            return pa.array(drawn[0], drawn[1])
        except (pa.ArrowException, OverflowError, TypeError):
            return pa.nulls(10, drawn[1])

    return st.tuples(st.lists(st.none() | values, min_size=10, max_size=10), st.sampled_from(kinds)).map(made)


columns = st.one_of(
    column(odd_texts, pa.string(), pa.large_string(), pa.binary(), pa.string_view()),
    column(odd_texts, pa.dictionary(pa.int32(), pa.string())),
    column(odd_numbers, pa.float64(), pa.float32(), pa.int64(), pa.uint64(), pa.int8()),
    column(st.booleans(), pa.bool_()),
    column(odd_times, pa.timestamp("us", "UTC"), pa.timestamp("s"), pa.timestamp("ms", "Asia/Tokyo")),
    column(odd_times.map(datetime.date), pa.date32(), pa.date64()),
    column(st.binary(max_size=20), pa.binary()),
    column(st.binary(min_size=16, max_size=16), pa.binary(16)),
    column(
        st.sampled_from([Decimal("0.1"), Decimal("1e30"), Decimal(-5)]),
        pa.decimal128(38, 5),
        pa.decimal256(76, 3),
    ),
    column(st.just(timedelta(days=1)), pa.duration("us")),
    column(st.just(time(1)), pa.time64("us")),
    column(st.just([1.0]), pa.list_(pa.float64())),
    column(st.just({"a": 1}), pa.struct({"a": pa.int64()})),
    st.just(pa.nulls(10)),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_any_columns_of_parquet(place: Environment, data: st.DataObject) -> None:
    """Good exposures and outcomes of ten users, of which any columns are others, or gone."""
    exposed, happened = ({k: pa.array(v[:10]) for k, v in rows.items()} for rows in (exposures(), outcomes()))
    for _ in range(data.draw(st.integers(1, 3))):
        rows = data.draw(st.sampled_from([exposed, happened]))
        rows[data.draw(st.sampled_from(sorted(rows)))] = data.draw(columns)
    with tempfile.TemporaryDirectory() as folder:
        made = events_experiment(deliver(Path(folder), exposed, happened))  # type: ignore[arg-type]
        assert take_in(made, place)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_any_texts_of_csv(place: Environment, data: st.DataObject) -> None:
    """Good exposures and outcomes of ten users as CSV, of which any values are others."""
    tables = [{k: list(v[:10]) for k, v in rows.items()} for rows in (exposures(), outcomes())]
    for _ in range(data.draw(st.integers(1, 6))):
        rows = data.draw(st.sampled_from(tables))
        rows[data.draw(st.sampled_from(sorted(rows)))][data.draw(st.integers(0, 9))] = data.draw(odd_texts)
    with tempfile.TemporaryDirectory() as folder:
        write_csv(Path(folder) / "exposures" / "e.csv", tables[0])
        write_csv(Path(folder) / "outcomes" / "o.csv", tables[1])
        assert take_in(events_experiment(Path(folder), "csv"), place)


@st.composite
def parquet_files(draw: st.DrawFn) -> bytes:
    """A Parquet file of which some bytes are others, or that is cut."""
    rows = pa.table({name: values[:10] for name, values in exposures().items()})
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression=draw(st.sampled_from(["none", "snappy", "zstd"])))
    content = damaged(draw, sink.getvalue().to_pybytes())
    return content[: draw(st.integers(0, len(content)))] if draw(st.integers(0, 5)) == 0 else content


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(parquet_files())
def test_any_damage_of_parquet(place: Environment, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        experiment = events_experiment(deliver(Path(folder)))
        (Path(folder) / "exposures" / "part.parquet").write_bytes(content)
        assert take_in(experiment, place)
