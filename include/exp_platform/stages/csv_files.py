"""How a CSV file is written, and reading it as Arrow: every value is text, an empty one is null.

A CSV file does not say how it is written. Compression is told by content; encoding, delimiter, decimal mark and the escaping
of quotes are what the spec declares, else UTF-8 and what fits the beginning of the file (`stages/csv_dialect.py`). Whatever
does not fit raises: a quote that is read in the wrong way may swallow rows without a trace.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.fs as pafs

from exp_platform.config.sources import CsvDialect
from exp_platform.stages.csv_dialect import Escape, decimal_of, delimiter_of, escape_of, not_utf8, rows_of
from exp_platform.stages.csv_quotes import Quotes, Unescaper
from exp_platform.stages.source_files import compression_of, no_text, without_compression
from exp_platform.stages.unreadable import UnreadableError

SAMPLE_BYTES = 1 << 20  # of a file's beginning, by which the escaping of quotes is told
BLOCK_BYTES = 8 << 20  # a line may not be longer

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
    decimal: Literal[",", "."] = "."


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
            raise UnreadableError(not_utf8(f"line {self.not_utf8}"))

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


def csv_head(
    files: pafs.FileSystem, path: str, declared: CsvDialect | None, numbers: Collection[str] = ()
) -> CsvHead:
    """Names of the columns, and how the file is written; `numbers` are the columns by which a decimal comma is told.

    Raises UnreadableError, or what PyArrow raises.
    """
    declared = declared or CsvDialect()
    with files.open_input_stream(path, compression=None) as raw:
        start = raw.read(16)
    if remedy := no_text(start):
        raise UnreadableError(f"it {remedy}")
    form = CsvFormat(
        delimiter=declared.delimiter or ("\t" if without_compression(path).endswith(".tsv") else ","),
        encoding=declared.encoding or "utf-8",
        escape=declared.escape or "quote",
        compression=compression_of(start),
    )
    with _Stream(files, path, form) as stream:
        sample = stream.read(SAMPLE_BYTES)
        cut = stream.read(1) != b""
    if declared.delimiter is None:
        form = replace(form, delimiter=delimiter_of(sample, form.delimiter, cut=cut))
    if declared.escape is None:
        form = replace(form, escape=escape_of(sample, form.delimiter, cut=cut))
    rows = rows_of(sample, form.delimiter, form.escape, cut=cut)
    try:
        names = next(rows, None)
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
    decimal = declared.decimal or decimal_of(names, rows, numbers)
    return CsvHead(tuple(names), replace(form, decimal=decimal))


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


def with_points(column: Any) -> Any:
    """Numbers with a decimal comma as those with a decimal point; with a point in them, as of thousands, they are none."""
    points = pc.replace_substring(column, ",", ".")
    grouped = pc.match_substring(column, ".")
    if not pc.any(grouped).as_py():
        return points
    return pc.if_else(grouped, pc.binary_join_element_wise(column, "(no decimal comma)", " "), points)


def count_csv_rows(files: pafs.FileSystem, path: str, form: CsvFormat, columns: Sequence[str]) -> int:
    """Rows that `read_csv` gives of a file, by reading it. Raises as it does."""
    bad_rows, rows = BadRows(), 0
    with read_csv(files, path, form, columns, bad_rows) as reader:
        for batch in reader:
            bad_rows.require_utf8(batch)
            rows += len(batch)
    return rows


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
