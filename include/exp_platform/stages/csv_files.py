"""How a CSV file is written, and reading it as Arrow: every value is text, an empty one is null.

A CSV file does not say how it is written. Compression is told by content; encoding, delimiter and the escaping of
quotes are what the spec declares, else UTF-8, a comma (a tab in .tsv) and what fits the beginning of the file. Whatever
does not fit raises: a quote that is read in the wrong way may swallow rows without a trace.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.fs as pafs

from exp_platform.config.sources import CsvDialect
from exp_platform.stages.csv_quotes import Quotes, Unescaper
from exp_platform.stages.source_files import without_compression
from exp_platform.stages.unreadable import UnreadableError

SAMPLE_BYTES = 1 << 20  # of a file's beginning, by which the escaping of quotes is told
BLOCK_BYTES = 8 << 20  # a line may not be longer

Escape = Literal["quote", "backslash"]

_COMPRESSIONS = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    *((b"BZh%d1AY&SY" % level, "bz2") for level in range(1, 10)),
)
_NO_CSV = (
    (b"PAR1", "is a Parquet file: say `format: parquet`"),
    (b"PK\x03\x04", "is a zip archive or an Excel workbook: unpack it, or save it as CSV"),
    (b"\xfd7zXZ", "is compressed by xz: compress it by gzip, zstd, bz2 or lz4"),
    (b"ORC", "is an ORC file: write it as Parquet or CSV"),
    (b"Obj\x01", "is an Avro file: write it as Parquet or CSV"),
    (b"SQLite format 3", "is an SQLite database: write its table as CSV"),
)
_NO_UTF8 = "\ufdd0"  # no character, and none that any text may hold: it stands for bytes that are none
_MARKED = "exp_platform.no_utf8"
codecs.register_error(_MARKED, lambda error: (_NO_UTF8, error.end))  # type: ignore[attr-defined]
_WIDE_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class CsvFormat:
    """How one file is written."""

    delimiter: str
    encoding: str
    escape: Escape
    compression: str | None


@dataclass(frozen=True)
class CsvHead:
    """What a CSV file says of itself before its rows are read."""

    names: tuple[str, ...]
    format: CsvFormat


class BadRows:
    """Counts lines with too many or too few fields, which are skipped; Arrow calls it with each."""

    def __init__(self) -> None:
        self.count = 0
        self.fields: Counter[tuple[int, int]] = Counter()  # wanted, found -> lines
        self.example: str | None = None
        self.not_utf8: int | None = None  # the first line with bytes that are no UTF-8

    def __call__(self, row: pacsv.InvalidRow) -> str:
        """Count one and go on."""
        self.count += 1
        self.fields[row.expected_columns, row.actual_columns] += 1
        if self.example is None:
            shown = " ".join(row.text.split())[:80] if row.text else ""
            self.example = f"{row.actual_columns} fields instead of {row.expected_columns}: {shown}"
        return "skip"

    def require_utf8(self, batch: pa.RecordBatch) -> None:
        """Raises UnreadableError where a value that is read has bytes that are no UTF-8; others do no harm."""
        if self.not_utf8 is not None and any(
            pc.any(pc.match_substring(column, _NO_UTF8)).as_py() for column in batch.columns
        ):
            raise UnreadableError(_not_utf8(f"line {self.not_utf8}"))

    def all_of_them(self) -> str:
        """What is wrong with a file of which not one line has as many fields as its header."""
        ((wanted, found), lines), *_ = self.fields.most_common(1)
        if found == wanted + 1:
            hint = "its lines end in a delimiter, its header does not: end neither or both in one"
        else:
            hint = "see `delimiter` and `escape` in the spec, or write it again"
        return f"no line has as many fields as its header, {wanted}: {lines} have {found} ({self.example}); {hint}"

    def take(self) -> int:
        """The count so far; it starts again."""
        taken, self.count = self.count, 0
        return taken


def csv_head(files: pafs.FileSystem, path: str, declared: CsvDialect | None) -> CsvHead:
    """Names of the columns, and how the file is written. Raises UnreadableError, or what PyArrow raises."""
    declared = declared or CsvDialect()
    with files.open_input_stream(path, compression=None) as raw:
        start = raw.read(16)
    for magic, remedy in _NO_CSV:
        if start.startswith(magic):
            raise UnreadableError(f"it {remedy}")
    form = CsvFormat(
        delimiter=declared.delimiter or ("\t" if without_compression(path).endswith(".tsv") else ","),
        encoding=declared.encoding or "utf-8",
        escape=declared.escape or "quote",
        compression=next((name for magic, name in _COMPRESSIONS if start.startswith(magic)), None),
    )
    with _Stream(files, path, form) as stream:
        sample = stream.read(SAMPLE_BYTES)
        cut = stream.read(1) != b""
    if declared.escape is None:
        form = replace(form, escape=_escape_of(sample, form.delimiter, cut=cut))
    lines = io.StringIO(_text(sample, cut=cut), newline="")
    escaped: Any = {"doublequote": False, "escapechar": "\\"} if form.escape == "backslash" else {}
    try:
        names = next((row for row in csv.reader(lines, delimiter=form.delimiter, **escaped) if row), None)
    except csv.Error as error:
        raise UnreadableError(
            f"its first line is no header of a CSV file ({error}): it opens a quote that is never closed, or the file is no "
            "CSV; write it again"
        ) from error
    if names is None:
        raise UnreadableError("it is empty: a CSV file has a first line of column names")
    if form.escape == "quote" and any("\n" in name for name in names):
        quotes = Quotes(form.delimiter)
        quotes.feed(sample)
        if not cut:
            quotes.end()  # else the rest of the file would be one column's name
    return CsvHead(tuple(names), form)


def read_csv(
    files: pafs.FileSystem, path: str, form: CsvFormat, columns: Sequence[str], bad_rows: BadRows
) -> pacsv.CSVStreamingReader:
    """A reader of some columns, all as text. It raises UnreadableError, or what PyArrow raises."""
    names = sorted(set(columns))
    return pacsv.open_csv(
        pa.PythonFile(_Stream(files, path, form, bad_rows), mode="r"),
        read_options=pacsv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
        parse_options=pacsv.ParseOptions(
            delimiter=form.delimiter, newlines_in_values=True, invalid_row_handler=bad_rows
        ),
        convert_options=pacsv.ConvertOptions(
            include_columns=names,
            column_types={name: pa.string() for name in names},
            null_values=[""],
            strings_can_be_null=True,
        ),
    )


def count_csv_rows(files: pafs.FileSystem, path: str, form: CsvFormat, columns: Sequence[str]) -> int:
    """Rows that `read_csv` gives of a file, by reading it. Raises as it does."""
    bad_rows, rows = BadRows(), 0
    with read_csv(files, path, form, columns, bad_rows) as reader:
        for batch in reader:
            bad_rows.require_utf8(batch)
            rows += len(batch)
    return rows


def _escape_of(sample: bytes, delimiter: str, *, cut: bool) -> Escape:
    """How quotes within values are written: doubled, as the standard says, or behind a backslash, as Spark does."""
    if b'\\"' not in sample or _is_whole(sample, delimiter, cut=cut):
        return "quote"
    unescaped = Unescaper().feed(sample)
    return "backslash" if _is_whole(unescaped, delimiter, cut=cut) else "quote"


def _is_whole(sample: bytes, delimiter: str, *, cut: bool) -> bool:
    """Whether all quotes close as the standard says, and all lines have as many fields as the first."""
    quotes = Quotes(delimiter)
    try:
        quotes.feed(sample)
        if not cut:
            quotes.end()
        lines = io.StringIO(_text(sample, cut=cut), newline="")
        rows = [len(row) for row in csv.reader(lines, delimiter=delimiter) if row]
    except (UnreadableError, csv.Error):
        return False
    return len(set(rows[:-1] if cut else rows)) <= 1


def _text(sample: bytes, *, cut: bool) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        return decoder.decode(sample, final=not cut)
    except UnicodeDecodeError as error:
        # Bytes that are not UTF-8 matter in a header and in columns that are read, which Arrow sees to.
        first, _, _ = sample.partition(b"\n")
        if error.start < len(first):
            raise UnreadableError(
                _not_utf8(f"its first line has the byte 0x{sample[error.start]:02X}")
            ) from error
        return sample.decode("utf-8", "replace")


def _not_utf8(where: str) -> str:
    return (
        f"it is not UTF-8 ({where}): say how it is written, such as `encoding: cp1252` (Windows) or "
        "`encoding: latin-1`, or write it as UTF-8"
    )


class _Stream(io.RawIOBase):
    """A CSV file as UTF-8 with doubled quotes, however it is written; raises where it is not what it should be.

    Without `bad_rows` UTF-8 and quotes are given as they are. With it bytes that are no UTF-8 become _NO_UTF8, and it is
    told their line: Arrow cannot show a line that holds them, and no column that is not read needs them.
    """

    def __init__(
        self, files: pafs.FileSystem, path: str, form: CsvFormat, bad_rows: BadRows | None = None
    ) -> None:
        super().__init__()
        self._raw = files.open_input_stream(path, compression=form.compression)
        self._form = form
        self._line = 1
        self._first = True
        self._ended = False
        self._ready = b""
        self._last = b""  # byte
        self._bad_rows = bad_rows
        self._is_utf8 = codecs.lookup(form.encoding) == codecs.lookup("utf-8")
        self._decoder = codecs.getincrementaldecoder(form.encoding)(_MARKED if self._is_utf8 else "strict")
        self._unescaper = Unescaper() if form.escape == "backslash" and bad_rows is not None else None
        self._quotes = None if bad_rows is None else Quotes(form.delimiter)

    def readable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Close the file."""
        self._raw.close()
        super().close()

    def read(self, size: int = -1, /) -> bytes:
        """The next `size` bytes, fewer only at the end: Arrow takes no line that lies across three blocks."""
        size = size if size > 0 else BLOCK_BYTES
        while len(self._ready) < size and not self._ended:
            found: bytes = self._raw.read(size)
            self._ended = not found
            self._ready += self._rewritten(found)
        given, self._ready = self._ready[:size], self._ready[size:]
        return given

    def _rewritten(self, found: bytes) -> bytes:
        first, self._first = self._first, False
        if first:
            self._refuse_other_marks(found)
        if self._bad_rows is not None or not self._is_utf8:
            found = self._decoded(found)
        if first:
            found = found.removeprefix(codecs.BOM_UTF8)
        if b"\0" in found:
            line = self._line + found[: found.index(b"\0")].count(b"\n")
            raise UnreadableError(
                f"line {line} has a NUL byte: the file is damaged and must be written again, or it is UTF-16: then say "
                "`encoding: utf-16`"
            )
        if self._ended and self._last not in b"\r\n":
            found += b"\n"  # without it Arrow takes a header alone for no CSV file
        self._last = found[-1:] or self._last
        if self._unescaper is not None:
            found = self._unescaper.feed(found) if found or not self._ended else b""
            if self._ended:
                self._unescaper.end()
        if self._quotes is not None:
            self._quotes.feed(found)
            if self._ended:
                self._quotes.end()
        self._line += found.count(b"\n")
        return found

    def _refuse_other_marks(self, start: bytes) -> None:
        """The mark at its start may tell another encoding."""
        if not self._is_utf8:
            if start.startswith(codecs.BOM_UTF8):
                raise UnreadableError(
                    f"it begins with the mark of UTF-8: leave out `encoding: {self._form.encoding}`"
                )
            return
        for mark, encoding in _WIDE_MARKS:
            if start.startswith(mark):
                raise UnreadableError(f"it is written in {encoding.upper()}: say `encoding: {encoding}`")

    def _decoded(self, found: bytes) -> bytes:
        try:
            text = self._decoder.decode(found, final=self._ended)
        except (UnicodeError, ValueError) as error:
            raise UnreadableError(
                f"it is not {self._form.encoding} ({error}, after line {self._line}): correct `encoding`"
            ) from error
        bad = self._bad_rows
        if self._is_utf8 and bad is not None and bad.not_utf8 is None and _NO_UTF8 in text:
            bad.not_utf8 = self._line + text[: text.index(_NO_UTF8)].count("\n")
        return text.encode()
