"""Every table of the platform, each defined once: its columns, how it is partitioned, its properties.

Adding a column later is adding a line here: `catalog.open_catalog` adds what a table lacks. Columns are never
renamed or retyped in place, and all are nullable, so older files stay readable. One that is taken out goes into `RETIRED`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date, datetime
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

import pyarrow as pa

from exp_platform.aggregates import DailyRow
from exp_platform.analyses.rows import ROW_TYPES
from exp_platform.checks import CheckResult
from exp_platform.config.environment import Environment

if TYPE_CHECKING:
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema

NAMESPACE = "exp"
EVERY_EXPERIMENT = "ALL"  # in `forgotten_users`; no experiment can be called that

STRING = pa.string()
DATE = pa.date32()
INSTANT = pa.timestamp("us", tz="UTC")
INT = pa.int32()
LONG = pa.int64()
DOUBLE = pa.float64()
BOOLEAN = pa.bool_()
STRINGS = pa.map_(pa.string(), pa.string())


@dataclass(frozen=True)
class TableDefinition:
    """One table: columns in order as Arrow types, and the columns whose identity partitions it.

    `once` are the columns of which hardly two rows have the same value, so that a dictionary in its files would be as long as they are.
    """

    name: str
    columns: tuple[tuple[str, pa.DataType], ...]
    partition_by: tuple[str, ...] = ("experiment_id",)
    once: tuple[str, ...] = ()

    @property
    def arrow_schema(self) -> pa.Schema:
        """The Arrow schema of its rows."""
        return pa.schema(list(self.columns))


_USER = (("experiment_id", STRING), ("bucket", INT), ("user_id", STRING))
_BY_BUCKET = ("experiment_id", "bucket")
_OF_A_ROW = ("event_id", "properties", "row_key")
_RUN = (("experiment_id", STRING), ("run_id", STRING), ("computed_at", INSTANT))

_EXPOSURES = TableDefinition(
    "exposures",
    (
        *_USER,
        ("variant_id", STRING),
        ("exposed_at", INSTANT),
        ("event_id", STRING),
        ("attributes", STRINGS),
        (
            "row_key",
            LONG,
        ),  # a hash of what makes a row a duplicate of another of its user; null: nothing does
    ),
    _BY_BUCKET,
    _OF_A_ROW,
)
_OUTCOMES = TableDefinition(
    "outcomes",
    (
        *_USER,
        ("event", STRING),
        ("occurred_at", INSTANT),
        ("value", DOUBLE),
        ("event_id", STRING),
        ("properties", STRINGS),
        ("item", STRING),  # of a fact: what a metric counts the different ones of
        ("row_key", LONG),
    ),
    _BY_BUCKET,
    _OF_A_ROW,
)
# Complete outcomes that do not count now and may yet: of users without any exposure so far, or from before what is read.
_ASIDE = TableDefinition("outcomes_aside", _OUTCOMES.columns, _BY_BUCKET, _OF_A_ROW)
# What quality found of published outcomes, by user: see `kernels.sightings`. Its files' footers have what it counted of all.
_SEEN = TableDefinition(
    "outcomes_seen",
    (
        *_USER,
        ("outcomes", LONG),  # rows
        ("marks", LONG),  # bits
    ),
    _BY_BUCKET,
    ("user_id",),
)
# What the published rows were read from: one row per file of the source, or data file of an Iceberg table.
_INGESTED = TableDefinition(
    "ingested_files",
    (
        ("experiment_id", STRING),
        ("run_id", STRING),  # that read it
        ("input_table", STRING),
        ("path", STRING),
        ("size", LONG),
        ("state", STRING),  # what else tells it from another file of this name
        ("rows", LONG),  # that were planned to be read of it
    ),
)
# One row per user, local date, day since first exposure and event; and one event `exposure` per user, on its day 0.
_UNIT_DAYS = TableDefinition(
    "unit_days",
    (
        *_USER,
        ("variant_id", STRING),
        ("local_date", DATE),
        ("day", INT),
        ("event", STRING),
        ("n", LONG),  # rows
        ("value", DOUBLE),  # their sum
        ("user_number", INT),  # the user's place in the bucket's roster, see `kernels.stored_days`
    ),
    _BY_BUCKET,
)
# What is published: readers of the tables of `NAMED` use only the snapshots named here.
_REGISTRY = TableDefinition(
    "experiment_registry",
    (
        ("experiment_id", STRING),
        ("owner", STRING),
        ("window_start", DATE),
        ("window_end", DATE),
        ("timezone", STRING),
        ("spec", STRING),  # the resolved experiment as JSON
        ("config_hash", STRING),
        ("input_fingerprint", STRING),
        ("exposures_snapshot", LONG),
        ("outcomes_snapshot", LONG),
        ("exposures_rows", LONG),
        ("outcomes_rows", LONG),
        ("buckets", INT),
        ("thresholds", STRING),  # JSON: those of behavioural segments, of every definition ever published
        ("edits", STRING),  # JSON: those of the spec since its first publication, by day
        ("run_id", STRING),
        ("published_at", INSTANT),
        # The fingerprint of the key that user ids were replaced by; null: they were not
        ("pseudonym_key", STRING),
        ("user_level_deleted_on", DATE),  # by the rule of retention; null: rows of single users are there
        # JSON: of tables in databases, as they were before they were read; null: none is declared
        ("watermarks", STRING),
        # What a later run may add new files to; null: it reads everything again
        ("outcomes_aside_snapshot", LONG),
        ("outcomes_aside_rows", LONG),
        ("outcomes_seen_snapshot", LONG),
        ("outcomes_seen_rows", LONG),
        ("ingested_files_snapshot", LONG),
        ("ingest_key", STRING),  # of all besides the files that the published rows depend on
        (
            "measured",
            STRING,
        ),  # JSON: what adds up over files of what was measured, without examples of values
        # JSON: users and outcomes by local date, conversions by event and arm; see `stages.last_publication.known`
        ("days", STRING),
    ),
)
# Who is to be left out of every later ingest: keyed hashes of ids, for one experiment or (EVERY_EXPERIMENT) all of them.
_FORGOTTEN = TableDefinition(
    "forgotten_users",
    (
        ("experiment_id", STRING),
        ("user_hash", STRING),
        ("key_fingerprint", STRING),
        ("requested_at", INSTANT),
        ("finished_at", INSTANT),  # null: something was still to be done
        ("remaining", STRING),  # JSON: what that was, in words
        ("note", STRING),  # what copies outside the platform still hold
    ),
)
# One row per as_of date. A result row counts only when it carries the run_id that stands here.
_DECISIONS = TableDefinition(
    "decisions",
    (
        *_RUN,
        ("as_of_date", DATE),
        ("winner", STRING),
        ("action", STRING),
        ("winning_variant", STRING),
        ("confidence", DOUBLE),
        ("lift", DOUBLE),
        ("effect", DOUBLE),
        ("final", BOOLEAN),
        ("reasons", STRING),  # JSON
        ("decision", STRING),  # JSON: all that the decision says
        ("checks", STRING),  # JSON
        ("skipped", STRING),  # JSON: stages whose stored results were used
        ("assigned", STRING),  # JSON: variant -> users, crossovers included
        ("crossovers", STRING),  # JSON: variant of first exposure -> users
        ("caps", STRING),  # JSON: metric -> [lower, upper]
        ("periods", STRING),  # JSON: first day of a ramp's period -> {assigned, crossovers: variant -> users}
        ("thresholds", STRING),  # JSON: behavioural segment -> where its top begins
        ("too_large", STRING),  # JSON: kind of block -> metric without such blocks -> its largest value
        ("definitions", STRING),  # JSON: metric -> what it measured, in words
        ("result_rows", STRING),  # JSON: result table -> rows of the day that the run committed
        ("pooled", STRING),  # JSON: segment or crossed strata -> attribute -> which rarer values are one
        ("rows", STRING),  # JSON: table -> {read, counted, left_out}, the latter two by reason
        (
            "refresh",
            STRING,
        ),  # JSON: whether new files were added to what was published or all was read, and why
        ("triggered", STRING),  # JSON: first day of an allocation -> {assigned, crossovers: variant -> users}
        ("config_hash", STRING),
        ("input_fingerprint", STRING),
        ("code_version", STRING),
        ("exposures_snapshot", LONG),
        ("outcomes_snapshot", LONG),
    ),
)
_OVERALL = TableDefinition(
    "metric_aggregates_overall",
    (
        *_RUN,
        ("as_of_date", DATE),
        ("kind", STRING),
        ("metric_id", STRING),
        ("variant_id", STRING),
        ("segment", STRING),
        ("segment_value", STRING),
        ("columns", pa.list_(STRING)),
        ("n", LONG),
        ("mean", pa.list_(DOUBLE)),  # one per column
        ("m2", pa.list_(DOUBLE)),  # centred co-moments, row by row
        ("successes", LONG),
        ("median", DOUBLE),
        ("p95", DOUBLE),
        ("capped_share", DOUBLE),
        ("capped_lower", DOUBLE),
        ("capped_upper", DOUBLE),
        ("quantile", DOUBLE),
        ("quantile_low", DOUBLE),
        ("quantile_high", DOUBLE),
        ("quantile_error", DOUBLE),
    ),
)


def _arrow_type(annotation: Any) -> pa.DataType:
    """The column type of a row dataclass's annotation; `X | None` is X, as all columns are nullable."""
    if get_origin(annotation) in (Union, UnionType):
        return _arrow_type(next(a for a in get_args(annotation) if a is not type(None)))
    if get_origin(annotation) is Literal:
        return STRING
    known = ((bool, BOOLEAN), (int, LONG), (float, DOUBLE), (str, STRING), (datetime, INSTANT), (date, DATE))
    for python_type, arrow_type in known:
        if issubclass(annotation, python_type):
            return arrow_type
    raise TypeError(f"no column type for {annotation!r}")


def _of_rows(name: str, row_type: type, first: tuple[tuple[str, pa.DataType], ...] = _RUN) -> TableDefinition:
    hints = get_type_hints(row_type)
    return TableDefinition(name, (*first, *((f.name, _arrow_type(hints[f.name])) for f in fields(row_type))))


# Their rows carry run_id and as_of_date, and count when `decisions` names that run for that date
RESULT_TABLES: tuple[str, ...] = (
    *ROW_TYPES,
    CheckResult.TABLE,
    _OVERALL.name,
    "metric_aggregates_daily",
)

# Tables of which the registry names a snapshot, in the column <table>_snapshot
NAMED: tuple[str, ...] = ("exposures", "outcomes", "outcomes_aside", "outcomes_seen", "ingested_files")

TABLES: dict[str, TableDefinition] = {
    definition.name: definition
    for definition in (
        _EXPOSURES,
        _OUTCOMES,
        _ASIDE,
        _SEEN,
        _INGESTED,
        _UNIT_DAYS,
        _REGISTRY,
        _FORGOTTEN,
        _DECISIONS,
        _OVERALL,
        _of_rows("metric_aggregates_daily", DailyRow, (*_RUN, ("as_of_date", DATE))),
        *(_of_rows(row_type.TABLE, row_type) for row_type in (*ROW_TYPES.values(), CheckResult)),
    )
}

# Table -> columns that older versions made and this one does not write. Any other that is not in TABLES is of a newer
# version, and `catalog` refuses to write beside it.
RETIRED: dict[str, frozenset[str]] = {}

PROPERTIES: dict[str, str] = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    "write.distribution-mode": "none",
    # A commit that meets another is planned anew by `tables.write`. PyIceberg's own retry would repeat what was planned on
    # the older state: where that had nothing to delete, an addition beside what the other one has added.
    "commit.retry.num-retries": "0",
    # Hundreds of commits a night on shared tables: keep manifests and metadata few.
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": "20",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    # Manifests hold the bounds of keys only: those of other columns would be some user's id, or the beginning of one.
    "write.metadata.metrics.default": "counts",
    # Bounds are cut to 16 characters by default, and then nobody can tell that a file holds one experiment only:
    # a delete by key would rewrite files that it may simply drop.
    "write.metadata.metrics.column.experiment_id": "full",
    "write.metadata.metrics.column.run_id": "full",
    "write.metadata.metrics.column.as_of_date": "full",
    # To find the least and the greatest of a bucket's users would cost as much as to write them, and skip no file.
    "write.metadata.metrics.column.user_id": "none",
    "write.metadata.metrics.column.bucket": "full",  # from whose bounds a file's partition is read
}


def table_location(environment: Environment, name: str) -> str:
    """The folder of a table."""
    return f"{environment.warehouse}/{NAMESPACE}/{name}"


def arrow_schema(name: str) -> pa.Schema:
    """The Arrow schema of a table's rows. Raises KeyError for an unknown table."""
    return TABLES[name].arrow_schema


@cache
def iceberg_schema(name: str) -> Schema:
    """The Iceberg schema with which a table is created: field ids count from 1, top level first."""
    from pyiceberg.schema import Schema
    from pyiceberg.types import NestedField

    definition = TABLES[name]
    nested_ids = iter(range(len(definition.columns) + 1, 10_000))
    return Schema(
        *(
            NestedField(position, column, iceberg_type(arrow_type, nested_ids), required=False)
            for position, (column, arrow_type) in enumerate(definition.columns, start=1)
        )
    )


def iceberg_type(arrow_type: pa.DataType, ids: Any) -> Any:
    """The Iceberg type of a column's Arrow type; `ids` yields the field ids of nested fields."""
    from pyiceberg import types

    if pa.types.is_map(arrow_type):
        return types.MapType(
            key_id=next(ids),
            key_type=types.StringType(),
            value_id=next(ids),
            value_type=types.StringType(),
            value_required=False,
        )
    if pa.types.is_list(arrow_type):
        return types.ListType(next(ids), iceberg_type(arrow_type.value_type, ids), element_required=False)
    return {
        STRING: types.StringType(),
        INT: types.IntegerType(),
        LONG: types.LongType(),
        DOUBLE: types.DoubleType(),
        BOOLEAN: types.BooleanType(),
        DATE: types.DateType(),
        INSTANT: types.TimestamptzType(),
    }[arrow_type]


def partition_spec(name: str) -> PartitionSpec:
    """The partition spec of a table: identity of its `partition_by` columns."""
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.transforms import IdentityTransform

    schema = iceberg_schema(name)
    return PartitionSpec(
        *(
            PartitionField(schema.find_field(column).field_id, 1000 + position, IdentityTransform(), column)
            for position, column in enumerate(TABLES[name].partition_by)
        )
    )
