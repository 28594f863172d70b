"""What Spark's JDBC reader reads of a table: its columns checked, its rows counted and cut into parts, then dealt out as shards."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from itertools import pairwise
from typing import Any, NoReturn, TypeVar

import pyarrow as pa

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.errors import ConfigError
from exp_platform.stages.column_faults import column_faults
from exp_platform.stages.jdbc_pieces import JdbcPiece, StreamedPiece
from exp_platform.stages.pieces import PIECE_ROWS, Piece
from exp_platform.stages.reading import Problem, layout
from exp_platform.stages.sources import Plan
from exp_platform.stages.sql_connections import Connection
from exp_platform.stages.sql_database import DatabaseError, QueryError, down, failed, refused

_MOST_PARTS = 64  # connections that a database is asked for
_FETCH_ROWS = "10000"  # rows that a driver holds
_ABOUT = re.compile(r"\b(?:\w+\.)*\w*(?:SQL\w*|Driver|Class\w*)(?:Exception|Error):\s*(?P<what>[^\n]+)")
_NO_DRIVER = re.compile(r"No suitable driver|ClassNotFoundException")
_NO_ENTRY = re.compile(
    r"password authentication failed|no password was provided|Access denied|Login failed|ORA-01017",
    re.IGNORECASE,
)
_AWAY = re.compile(
    r"Connection .*refused|connection attempt failed|Communications link failure|UnknownHost|timed out|ORA-12",
    re.IGNORECASE,
)

Numbered = tuple[int, Piece]
S = TypeVar("S")


def completed(experiment: Experiment, environment: Environment, plan: Plan) -> Plan:
    """The plan with the pieces of JDBC's tables as Spark finds them, or what is wrong with those.

    Raises ConfigError where the driver is missing, DatabaseError where the database is at fault.
    """
    from exp_platform.spark.session import build_spark_session

    session = build_spark_session(f"ingest {experiment.id}", environment)
    pieces: list[Piece] = []
    problems = list(plan.problems)
    for piece in plan.pieces:
        if not isinstance(piece, JdbcPiece):
            pieces.append(piece)
            continue
        try:
            with _explained(piece):
                for found in _found(session, piece):
                    problems.append(found) if isinstance(found, Problem) else pieces.append(found)
        except QueryError as error:
            problems.append(Problem("source", f"{piece.table}: {error}"))
    return Plan(tuple(pieces), tuple(problems))


def shards(
    context: Any, number: int, piece: JdbcPiece, work: Callable[[Iterable[Numbered]], Iterator[S]]
) -> Any:
    """An RDD of what `work` makes of a piece, in the task to which Spark's reader gives its rows."""
    from pyspark.sql import SparkSession

    columns = sorted({path.column for path in piece.layout.paths.values()})
    frame = _wanted(_frame(SparkSession(context), piece), piece).select(*(f"`{name}`" for name in columns))
    bare = StreamedPiece(piece.reading, piece.layout, piece.place, piece.rows, piece.first_row, ())

    def pickled(batches: Iterable[Any]) -> Iterator[pa.RecordBatch]:
        for shard in work([(number, replace(bare, batches=batches))]):
            yield pa.record_batch({"shard": pa.array([pickle.dumps(shard)], pa.binary())})

    return frame.mapInArrow(pickled, "shard binary").rdd.map(lambda row: pickle.loads(row.shard))


def _found(session: Any, piece: JdbcPiece) -> Iterator[JdbcPiece | Problem]:
    from pyspark.sql.pandas.types import to_arrow_schema

    reading = piece.reading
    frame = _frame(session, piece)
    schema = to_arrow_schema(frame.schema)
    where = layout(reading, schema, {})
    faults = list(column_faults(reading, piece.place, schema, where))
    yield from faults
    if faults:
        return
    piece = replace(piece, layout=where)
    split = reading.source.query.split_by if reading.source.query else None
    asked = ["count(*)", *([f"min(`{split}`)", f"max(`{split}`)"] if split else [])]
    total, *ends = _wanted(frame, piece).selectExpr(*asked).first()
    parts = min(math.ceil(total / PIECE_ROWS), _MOST_PARTS) if split else 1
    first_row = 0
    for part in _parts(split or "", ends, parts):
        made = replace(piece, condition=part, first_row=first_row)
        rows = total if parts <= 1 else _wanted(frame, made).count()
        yield replace(made, rows=rows)
        first_row += rows


def _parts(split: str, ends: list[Any], parts: int) -> list[str]:
    """Conditions in Spark's SQL that each row meets one of; missing values are in the first."""
    if parts <= 1 or ends[0] is None or ends[0] == ends[1]:
        return [""]
    low, high = ends
    column = f"`{split}`"
    if isinstance(low, (str, bytes, bool)):
        raise QueryError(f"split_by: {split} is text, allowed is a column of numbers, dates or times")
    cuts = [low + (high - low) * number / parts for number in range(1, parts)]
    said = [_literal(cut) for cut in cuts]
    between = [f"{column} >= {a} AND {column} < {b}" for a, b in pairwise(said)]
    return [f"{column} < {said[0]} OR {column} IS NULL", *between, f"{column} >= {said[-1]}"]


def _literal(value: Any) -> str:
    if isinstance(value, datetime):
        return f"TIMESTAMP '{value:%Y-%m-%d %H:%M:%S.%f}'"
    return f"DATE '{value}'" if isinstance(value, date) else f"{float(value)!r}D"


def _frame(session: Any, piece: JdbcPiece) -> Any:
    known = piece.connection
    options = {
        "url": known.host,
        "dbtable": piece.relation,
        "user": known.login,
        "password": known.password,
        "driver": known.extra.get("driver_class"),
        "fetchsize": _FETCH_ROWS,
        "preferTimestampNTZ": "true",
    }
    return (
        session.read.format("jdbc").options(**{key: value for key, value in options.items() if value}).load()
    )


def _wanted(frame: Any, piece: JdbcPiece) -> Any:
    """The rows that are wanted, as far as key and times of a zone tell, and of one part; Spark has the database test it."""
    wanted, paths = piece.reading.wanted, piece.layout.paths
    key, time = paths.get("experiment"), paths.get(wanted.time or "")
    if wanted.key is not None and key is not None and key.plain and pa.types.is_string(key.type):
        frame = frame.where(frame[f"`{key.column}`"] == wanted.key)
    if wanted.start and wanted.end and time is not None and time.plain and getattr(time.type, "tz", None):
        at = frame[f"`{time.column}`"]
        frame = frame.where(((at >= wanted.start) & (at < wanted.end)) | at.isNull())
    return frame.where(piece.condition) if piece.condition else frame


@contextmanager
def _explained(piece: JdbcPiece) -> Iterator[None]:
    """Within the block, errors of the database begin with the key that is at fault."""
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    try:
        try:
            yield
        except (Py4JJavaError, PySparkException) as error:
            _explain(piece.connection, str(error))
    except (QueryError, DatabaseError, ConfigError) as error:
        raise type(error)(f"{piece.place}: {error}") from None


def _explain(connection: Connection, said: str) -> NoReturn:
    found = _ABOUT.search(said)
    what = found["what"] if found else said
    if _NO_DRIVER.search(said):
        raise ConfigError(
            f"the driver of the connection {connection.name!r} is not there: name its jar under `spark.properties` in the environment "
            "file (spark.jars: /opt/jdbc/driver.jar), and its class as driver_class in the connection's extra"
        )
    if _NO_ENTRY.search(said):
        refused(connection, what)
    if _AWAY.search(said):
        down(connection, what)
    failed(connection, what)
