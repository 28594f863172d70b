"""Tables of input data, as people write them: files, Iceberg tables, queries; and facts, which metrics measure."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from exp_platform.config.faults import NOTHING, Fault, Words, refuse
from exp_platform.config.sources import (
    DAY,
    DIMENSION,
    VALUE,
    As,
    CsvDialect,
    Fact,
    Series,
    SqlQuery,
    TableSource,
)
from exp_platform.config.spec_base import Owner, Prose, Spec, Text, TimeZone
from exp_platform.config.sql_text import fault_of

OTHER_ID = "other_id"  # instead of a user_id, where a table has ids of another space
_FACT_COLUMNS = ("user_id", "occurred_at")
_CSV = re.compile(r"\.(csv|tsv)(\.(gz|bz2|zst|lz4))?/*$", re.IGNORECASE)
_JSON = re.compile(r"\.(jsonl|ndjson|json)(\.(gz|bz2|zst|lz4))?/*$", re.IGNORECASE)
_OF_CSV = ("delimiter", "encoding", "escape", "decimal")
_OF_SQL = ("connection", "watermark", "split_by")
# Python's codecs of other things than files
_NO_ENCODING = ("idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape")


def _known_encoding(name: str) -> str:
    try:
        found = codecs.lookup(name)
        plain = "a".encode(name).decode(name) == "a" and found.name not in _NO_ENCODING
    except (LookupError, UnicodeError, ValueError, TypeError):
        plain = False
    if not plain:
        refuse([Fault((), name, "allowed: a text encoding, such as utf-8, utf-16, cp1252 or latin-1")])
    return name


def _known_delimiter(mark: str) -> str:
    if len(mark) != 1 or not mark.isascii() or mark.isalnum() or mark in '"\\\r\n\0':
        refuse([Fault((), mark, 'allowed: one mark, such as ";", "|" or "\\t"')])
    return mark


def _one_select(sql: str) -> str:
    if fault := fault_of(sql):
        refuse([Fault((), sql, fault)])
    return sql


Sql = Annotated[Prose, AfterValidator(_one_select)]
Encoding = Annotated[str, AfterValidator(_known_encoding)]
Delimiter = Annotated[str, AfterValidator(_known_delimiter)]


class ColumnSpec(Spec):
    """A column or a path into one, `props.revenue`, and what it is read as where that is not obvious."""

    path: Text
    read_as: As | None = Field(default=None, alias="as")

    @model_validator(mode="before")
    @classmethod
    def _of_name(cls, found: Any) -> Any:
        return {"path": found} if isinstance(found, str) else found


Columns = dict[str, ColumnSpec]


class TableSpec(Spec):
    """One table: files (`path`: a file, folder or glob), an Iceberg `table`, or `sql` (or a `table`) on a `connection`.

    `columns` maps our names to theirs.
    """

    path: Text | None = None
    table: Text | None = None
    sql: Sql | None = None
    connection: Text | None = None
    watermark: Sql | None = None
    split_by: Text | None = None
    # absent: by what the path ends in, csv for *.csv and *.tsv, json for *.jsonl, *.ndjson and *.json, else parquet
    format: Literal["parquet", "csv", "json"] | None = None
    columns: Columns = Field(default_factory=dict)
    timezone: TimeZone | None = None  # of times without a zone
    # How CSV files are written, where it is not as usual.
    delimiter: Delimiter | None = None
    encoding: Encoding | None = None
    escape: Literal["quote", "backslash"] | None = None
    decimal: Literal[",", "."] | None = None
    # Of files in folders such as `day=2026-03-01`: the column that is the date of the rows' times, in whatever time zone
    partitioned_by: Text | None = None

    @model_validator(mode="after")
    def _check_place(self) -> TableSpec:
        places = [key for key in ("path", "table", "sql") if getattr(self, key) is not None]
        if len(places) != 1:
            found = " and ".join(places) or "nothing"
            remedy = "one of path (files), table (Iceberg, or of a connection) and sql (with a connection) is required"
            refuse([Fault((), Words(found), remedy)])
        if self.sql is not None and self.connection is None:
            refuse([Fault(("connection",), NOTHING, "sql requires it: the name of a connection")])
        if self.connection is None or self.path is not None:
            said = [key for key in _OF_SQL if getattr(self, key) is not None]
            refuse(
                Fault((key,), getattr(self, key), "only a table or sql on a connection has it")
                for key in said
            )
        if self.path is None and self.format is not None:
            refuse([Fault(("format",), self.format, "only files have a format: leave it out")])
        if self.path is None and self.partitioned_by is not None:
            remedy = "only files have folders; what an Iceberg table or a database holds is asked for by time anyway: leave it out"
            refuse([Fault(("partitioned_by",), self.partitioned_by, remedy)])
        if self._files_format != "csv":
            said = [key for key in _OF_CSV if getattr(self, key) is not None]
            remedy = "it is of CSV files: say `format: csv`, or leave it out"
            refuse(Fault((key,), getattr(self, key), remedy) for key in said)
        return self

    @property
    def _files_format(self) -> Literal["parquet", "csv", "json"] | None:
        if self.path is None or self.format is not None:
            return self.format
        return "csv" if _CSV.search(self.path) else "json" if _JSON.search(self.path) else "parquet"

    @property
    def _dialect(self) -> CsvDialect | None:
        dialect = CsvDialect(self.delimiter, self.encoding, self.escape, self.decimal)
        return None if dialect == CsvDialect() else dialect

    def column_faults(self, required: tuple[str, ...], optional: tuple[str, ...]) -> Iterator[Fault]:
        """Columns that the table's use does not know, and two names for one column."""
        known = (*required, *optional)
        for name in self.columns:
            if name not in known:
                yield Fault(("columns", name), Words("an unknown column"), f"allowed: {', '.join(known)}")
        paths = sorted(column.path for column in self.columns.values())
        if len(set(paths)) < len(paths):
            yield Fault(("columns",), paths, "each of our names needs a column of its own")

    def resolve(
        self, required: tuple[str, ...], optional: tuple[str, ...] = (), further: Columns | None = None
    ) -> TableSource:
        """Required columns have our names unless mapped; optional ones are there only if mapped; `further` are by our names."""
        if OTHER_ID in self.columns and OTHER_ID not in required:
            required = tuple(OTHER_ID if name == "user_id" else name for name in required)
        read = {name: self.columns.get(name, ColumnSpec(path=name)) for name in required}
        read |= {name: self.columns[name] for name in optional if name in self.columns}
        read |= further or {}
        return TableSource(
            format="sql" if self.connection else "iceberg" if self.table else self._files_format or "parquet",
            location=self.connection or self.table or self.path or "",
            columns={name: column.path for name, column in read.items()},
            csv=self._dialect,
            types={name: column.read_as for name, column in read.items() if column.read_as},
            timezone=self.timezone,
            query=SqlQuery(self.sql, self.table, self.watermark, self.split_by) if self.connection else None,
            partitioned_by=self.partitioned_by,
        )


class FactSpec(TableSpec):
    """A table of events that metrics measure: `values` are measures, `dimensions` are what rows are filtered by."""

    values: Columns = Field(default_factory=dict)
    dimensions: Columns = Field(default_factory=dict)
    owner: Owner | None = None
    description: str = ""

    @model_validator(mode="after")
    def _check_columns(self) -> FactSpec:
        faults = list(self.column_faults(_FACT_COLUMNS, (OTHER_ID, "event", "event_id")))
        if {"user_id", OTHER_ID} <= self.columns.keys():
            faults.append(
                Fault(("columns",), ["other_id", "user_id"], "the ids are either users' or of another space")
            )
        faults += [
            Fault(("dimensions", name), name, "a value has this name: give it another one")
            for name in self.values.keys() & self.dimensions.keys()
        ]
        if DAY in self.dimensions:
            faults.append(
                Fault(("dimensions", DAY), DAY, "this name is taken by the local day: give it another one")
            )
        refuse(faults)
        return self

    def resolve_fact(self, name: str, series: Sequence[Series], *, whole: bool) -> Fact:
        """The fact with the columns that its series read or, where duplicates are equal in all of them, with all that it names."""
        values = {one.value for one in series}
        dimensions = {one.item for one in series} | {c.column for one in series for c in one.where}
        columns = {VALUE + n: c for n, c in self.values.items() if n in values or whole}
        columns |= {
            DIMENSION + n: c
            for n, c in (self.dimensions | self.values).items()
            if n in dimensions or (whole and n not in self.values)
        }
        return Fact(name, self.resolve(_FACT_COLUMNS, ("event", "event_id"), columns))
