"""Some rows of a table of files, all of a small one: of a large one from its beginning, its middle and its end."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from exp_platform.config.sources import CsvDialect
from exp_platform.stages.csv_files import BadRows, CsvHead, csv_head, read_csv, with_points
from exp_platform.stages.pieces import parquet_shape
from exp_platform.stages.source_files import Found, without_compression
from exp_platform.stages.unreadable import UnreadableError

SAMPLE_ROWS = 500_000  # that are looked at of a large table
WHOLE_ROWS = 2_000_000  # up to so many, or ...
WHOLE_BYTES = 200 << 20  # ... so many bytes, all are
MOST_FILES = 12
_CHUNK = 4 << 20  # of a large CSV file
_ENCODINGS = (None, "utf-16", "cp1252")
_COMMAS = r"^\s*[+-]?\d+(,\d+)?\s*$"


@dataclass(frozen=True)
class Sample:
    """Rows of a table with the types as found (of CSV all text), how many there are, and how CSV is written."""

    rows: pa.Table
    total: int  # estimated unless `whole`
    whole: bool
    dialect: dict[str, str] = field(default_factory=dict)  # keys of the spec, where they are not as usual
    twice: tuple[str, ...] = ()  # columns that cannot be told apart, so they are left out


def parquet_sample(files: pafs.FileSystem, found: Found) -> Sample:
    """All rows of up to WHOLE_ROWS, else batches of files spread over the list."""
    infos = found.files
    shapes = [parquet_shape(files, info.path) for info in infos]
    total = sum(shape.rows for shape in shapes)
    whole = total <= WHOLE_ROWS
    chosen = list(infos) if whole else _spread(infos)
    wanted = total if whole else SAMPLE_ROWS // len(chosen)
    parts = [
        _with_partitions(_parquet_rows(files, info.path, wanted), found.partition(info.path))
        for info in chosen
    ]
    return Sample(pa.concat_tables(parts, promote_options="permissive"), total, whole)


def _parquet_rows(files: pafs.FileSystem, path: str, wanted: int) -> pa.Table:
    """About so many rows of one file, from row groups spread over it."""
    with files.open_input_file(path) as stream:
        file = pq.ParquetFile(stream, coerce_int96_timestamp_unit="us")
        return pa.Table.from_batches(list(_batches(file, wanted)), file.schema_arrow)


def _batches(file: pq.ParquetFile, wanted: int) -> Iterator[pa.RecordBatch]:
    groups = list(range(file.num_row_groups))
    groups = groups if file.metadata.num_rows <= wanted else _spread(groups)
    for group in groups:
        read = 0
        for batch in file.iter_batches(65_536, [group], use_threads=False):
            yield batch
            read += len(batch)
            if read * len(groups) >= wanted:
                break


def csv_sample(files: pafs.FileSystem, found: Found) -> Sample:
    """All rows of up to WHOLE_BYTES, else those of chunks over the files; how they are written is told by the first."""
    infos = found.files
    head, dialect = _recognised(files, infos[0].path)
    size = sum((info.size or 0) * (6 if head.format.compression else 1) for info in infos)
    whole = size <= WHOLE_BYTES
    chosen = list(infos) if whole else _spread(infos)
    parts, read = [], 0
    for info in chosen:
        rows, of_bytes = _csv_rows(files, info, head, whole=whole, share=len(chosen))
        parts.append(_with_partitions(rows, found.partition(info.path)))
        read += of_bytes
    table = pa.concat_tables(parts, promote_options="permissive")
    total = len(table) if whole else int(len(table) * size / max(read, 1))
    table, commas = _with_points(table)
    if commas:
        dialect["decimal"] = ","
    twice = tuple(sorted({name for name in head.names if head.names.count(name) > 1}))
    return Sample(table, total, whole, dialect, twice)


def _recognised(files: pafs.FileSystem, path: str) -> tuple[CsvHead, dict[str, str]]:
    """How a CSV file is written, and what a spec says of it: an encoding in which it can be read, and the delimiter."""
    failed: Exception | None = None
    for encoding in _ENCODINGS:
        try:
            head = csv_head(files, path, CsvDialect(encoding=encoding))
            with read_csv(files, path, head.format, _once(head), bad := BadRows()) as reader:
                for batch in itertools.islice(reader, 1):
                    bad.require_utf8(batch)
        except UnreadableError as error:
            failed = failed or error
            continue
        said = {"encoding": encoding} if encoding else {}
        usual = "\t" if without_compression(path).endswith(".tsv") else ","
        if head.format.delimiter != usual:
            said["delimiter"] = head.format.delimiter
        return head, said
    assert failed is not None
    raise failed


def _once(head: CsvHead) -> list[str]:
    """The columns whose name stands once in the header: the others cannot be told apart."""
    return [name for name in head.names if head.names.count(name) == 1]


def _csv_rows(
    files: pafs.FileSystem, info: pafs.FileInfo, head: CsvHead, *, whole: bool, share: int
) -> tuple[pa.Table, int]:
    """Rows of one file, and of about how many bytes they are."""
    batches, rows, read = [], 0, 0
    with read_csv(files, info.path, head.format, _once(head), BadRows()) as reader:
        for batch in reader:
            batches.append(batch)
            rows += len(batch)
            read += batch.nbytes
            if not whole and rows * share >= SAMPLE_ROWS // 2:
                break
    table = pa.Table.from_batches(batches, reader.schema)
    plain = head.format.compression is None and head.format.encoding in ("utf-8", "cp1252")
    if not whole and plain:
        size = info.size or 0
        for start in (size // 4, size // 2, 3 * size // 4, size - _CHUNK):
            with suppress(pa.ArrowInvalid):  # it begins within a quoted value
                part = _chunk(files, info.path, start, head).select(table.column_names)
                table = pa.concat_tables([table, part])
                read += _CHUNK
    return table, read


def _chunk(files: pafs.FileSystem, path: str, start: int, head: CsvHead) -> pa.Table:
    """The whole lines of a piece of a large file."""
    with files.open_input_file(path) as stream:
        stream.seek(max(start, 0))
        found = stream.read(_CHUNK)
    lines = found[found.find(b"\n") + 1 : found.rfind(b"\n") + 1].decode(head.format.encoding, "replace")
    return pacsv.read_csv(
        io.BytesIO(lines.encode()),
        read_options=pacsv.ReadOptions(column_names=list(head.names), use_threads=False),
        parse_options=pacsv.ParseOptions(
            delimiter=head.format.delimiter, invalid_row_handler=lambda row: "skip"
        ),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(head.names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
        ),
    )


def _with_points(table: pa.Table) -> tuple[pa.Table, bool]:
    """Numbers with a decimal comma as the others are written, and whether there were any."""
    commas = False
    for position, name in enumerate(table.column_names):
        column = table[name]
        given = column.drop_null()
        if not len(given) or not pc.any(pc.match_substring(given, ",")).as_py():
            continue
        if pc.all(pc.match_substring_regex(given, _COMMAS)).as_py():
            table, commas = table.set_column(position, name, with_points(column)), True
    return table, commas


def json_sample(files: pafs.FileSystem, found: Found) -> Sample:
    """The first lines of JSON files, a key per column: what is nested is JSON text. Lines that are no object are left out."""
    infos, whole = found.files, True
    rows: list[dict[str, Any]] = []
    chosen = list(infos) if len(infos) <= MOST_FILES else _spread(infos)
    for info in chosen:
        first = len(rows)
        for line in _lines(files, info.path):
            if (len(rows) - first) * len(chosen) >= SAMPLE_ROWS:
                whole = False
                break
            if isinstance(one := _parsed(line), dict):
                rows.append(found.partition(info.path) | one)
        if len(rows) == first:
            raise UnreadableError("not one of its lines is a JSON object: write one object per line")
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: _json_column([row.get(name) for row in rows]) for name in names}
    whole = whole and len(chosen) == len(infos)
    return Sample(pa.table(columns), len(rows) if whole else max(len(rows), SAMPLE_ROWS), whole)


def _lines(files: pafs.FileSystem, path: str) -> Iterator[bytes]:
    with files.open_input_stream(path) as stream:  # which decompresses by the file's ending
        rest = b""
        while found := stream.read(_CHUNK):
            *lines, rest = (rest + found).split(b"\n")
            yield from (line for line in lines if line.strip())
        if rest.strip():
            yield rest


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _json_column(values: list[Any]) -> pa.Array:
    """Numbers and booleans as they are where all are, else text; what is nested as JSON."""
    given = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in given):
        return pa.array(values, pa.bool_())
    if all(isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 for value in given):
        return pa.array(values, pa.int64())
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in given):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    texts = [
        value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for value in values
    ]
    return pa.array(texts, pa.string())


def _with_partitions(table: pa.Table, partition: Mapping[str, str | None]) -> pa.Table:
    """The rows with the columns that the names of their folders are, which win as where they are read."""
    for name, value in partition.items():
        column = pa.repeat(pa.scalar(value, pa.string()), len(table))
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, column)
    return table


def _spread(items: Sequence[Any]) -> list[Any]:
    """At most MOST_FILES of them, the first and the last among these."""
    if len(items) <= MOST_FILES:
        return list(items)
    step = (len(items) - 1) / (MOST_FILES - 1)
    return [items[round(position * step)] for position in range(MOST_FILES)]
