"""How a CSV file is written, told by its beginning, where the spec does not say it.

Never by a guess that may change a number: a decimal comma counts as one only where thousands cannot be meant.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Literal

from exp_platform.stages.csv_quotes import Quotes, Unescaper
from exp_platform.stages.unreadable import UnreadableError

Escape = Literal["quote", "backslash"]

_OTHER_DELIMITERS = (";", "\t", "|")
_COMMA = re.compile(
    r"\s*[+-]?\d+,(?:\d{1,2}|\d{4,})\s*"
)  # with three digits after it, it may divide thousands
_THOUSANDS = r"\d{1,3}(?:M\d{3})"
_POINT = re.compile(
    rf"\s*[+-]?(?:(?!{_THOUSANDS.replace('M', '[.]')}+\s*$)\d*\.\d*|{_THOUSANDS.replace('M', ',')}{{2,}})\s*"
)
_SAMPLE_ROWS = 10_000


def delimiter_of(sample: bytes, usual: str, *, cut: bool) -> str:
    """The usual delimiter; where by it a header is one name, another one that divides header and lines alike."""
    header = next(_complete(sample, usual, cut=cut), [])
    if len(header) != 1:
        return usual
    for other in _OTHER_DELIMITERS:
        if other in header[0]:
            fields = {len(row) for row in _complete(sample, other, cut=cut)}
            if len(fields) == 1 and fields != {1}:
                return other
    return usual


def decimal_of(
    names: Sequence[str], rows: Iterator[list[str]], numbers: Collection[str]
) -> Literal[",", "."]:
    """The decimal mark of the columns that are read as numbers: a comma only where nothing else can be meant."""
    positions = [position for position, name in enumerate(names) if name in numbers]
    commas = False
    try:
        for row, _ in zip(rows, range(_SAMPLE_ROWS), strict=False):
            for value in (row[position] for position in positions if position < len(row)):
                if _POINT.fullmatch(value):
                    return "."
                commas = commas or _COMMA.fullmatch(value) is not None
    except csv.Error:  # whoever reads the rows tells it
        return "."
    return "," if commas else "."


def rows_of(sample: bytes, delimiter: str, escape: Escape, *, cut: bool) -> Iterator[list[str]]:
    """The lines of a file's beginning that are not empty; the last one may be cut. It may raise csv.Error."""
    lines = io.StringIO(_text(sample, cut=cut), newline="")
    escaped: Any = {"doublequote": False, "escapechar": "\\"} if escape == "backslash" else {}
    return (row for row in csv.reader(lines, delimiter=delimiter, **escaped) if row)


def _complete(sample: bytes, delimiter: str, *, cut: bool) -> Iterator[list[str]]:
    """Its first lines that are not cut."""
    before: list[str] | None = None
    try:
        for row, _ in zip(rows_of(sample, delimiter, "quote", cut=cut), range(_SAMPLE_ROWS), strict=False):
            if before is not None:
                yield before
            before = row
        if before is not None and not cut:
            yield before
    except csv.Error:  # whoever reads the rows tells it
        return


def escape_of(sample: bytes, delimiter: str, *, cut: bool) -> Escape:
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
                not_utf8(f"its first line has the byte 0x{sample[error.start]:02X}")
            ) from error
        return sample.decode("utf-8", "replace")


def not_utf8(where: str) -> str:
    """What is said of a file with other bytes than those of UTF-8."""
    return (
        f"it is not UTF-8 ({where}): say how it is written, such as `encoding: cp1252` (Windows) or "
        "`encoding: latin-1`, or write it as UTF-8"
    )
