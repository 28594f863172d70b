"""One text for each value, whatever type and file it came in: by it users, variants, events and attributes are told apart.

A whole number is its digits, whether it comes as an integer, a float or a decimal; a fraction has neither exponent nor
zeros at its end; a UUID is lower case with hyphens. Text stays as it is, without the spaces around it and the NULs that
fill it up: `007` is not 7.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exp_platform.errors import DataError
from exp_platform.kernels.coded import by_value, is_coded
from exp_platform.kernels.string_bytes import Spans, chunks_of, spans

UUID_BYTES = 16

# From here on a float stands for more than one whole number.
_EXACT = {pa.float16(): 2.0**11, pa.float32(): 2.0**24, pa.float64(): 2.0**53}

# What a column of floats becomes in CSV: pandas and DuckDB write 1700000000001.0, Spark 1.700000000001E12.
_WHOLE_FLOAT = r"^(-?(?:0|[1-9]\d*))\.0+$"
_LONG_FLOAT = r"^-?(?:[1-9]\d{15,}\.0+|[1-9]\.\d+[eE]\+?\d+)$"
_UUID_TEXT = r"(?i)^(?:\{UUID\}|UUID)$".replace("UUID", "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CONTROL = r"[\x00-\x1f\x7f]"
_NO_PLAIN_ID = r"[^\x20-\x7e]"
_HEX = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), dtype="S2")
_HYPHENS = (8, 13, 18, 23)
_SPACE, _POINT, _CAPITAL, _BRACE, _DELETE = (np.uint8(ord(mark)) for mark in " .A{\x7f")
_UUID_LENGTH = 36


class InexactIdError(DataError):
    """Ids came as floats too large to tell neighbours apart."""

    def __init__(self, said: str, value: str) -> None:
        super().__init__(said.format(id=f"the id {value}"))
        self.without_id = said.format(id="an id")


def text(column: Any, *, ids: bool = False) -> Any:
    """A column as strings, shape kept; NaN, infinities and empty texts are null.

    Of `ids` a text that a float column left in a CSV file (`12.0`) is that whole number, and a UUID is one as text, too,
    in any case and with or without braces. A dictionary stays one, but of ids, and its values are looked at alone. Raises
    DataError for ids that are floats too large to tell neighbours apart.
    """
    if is_coded(column) and not ids:
        return by_value(column, lambda values: text(pa.chunked_array([values])).combine_chunks())
    column = unwrapped(column)
    kind = column.type
    if is_uuid(kind):
        return _uuids(column)
    if pa.types.is_floating(kind):
        return _floats(column, ids)
    if pa.types.is_decimal(kind):
        return _without_exponent(column.cast(pa.string()))
    if is_binary(kind):
        column = _binaries(column, ids)
    elif pa.types.is_date64(kind):
        column = column.cast(pa.date32())
    strings = column.cast(pa.string())
    return _texts(strings, ids) if is_text(kind) or is_binary(kind) else strings


def require_utf8(column: Any) -> None:
    """Raises DataError where a column of text holds bytes that are not UTF-8: some writers of Parquet do not look."""
    if not is_text(plain_type(column.type)):
        return
    for chunk in column.chunks:
        entries = chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk
        try:
            entries.validate(full=True)
        except pa.ArrowInvalid as error:
            raise DataError(
                "is declared as text and holds bytes that are not UTF-8: write it as UTF-8, or as binary"
            ) from error


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is one of Arrow's three kinds of text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_binary(kind: pa.DataType) -> bool:
    """Whether a type holds bytes of which nothing more is said."""
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def is_uuid(kind: pa.DataType) -> bool:
    """Whether a type says that its 16 bytes are a UUID."""
    return isinstance(kind, pa.UuidType)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of a column's values: that of a dictionary's entries, and what an extension type is stored as."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) and not is_uuid(kind) else kind


def unwrapped(column: Any) -> Any:
    """A column whose type is its `plain_type`."""
    kind = column.type
    if plain_type(kind) == kind:
        return column
    if pa.types.is_dictionary(kind):
        return unwrapped(column.cast(kind.value_type))
    return unwrapped(pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type))


def _texts(strings: Any, ids: bool) -> Any:
    if all(_is_canonical(spans(chunk), ids) for chunk in chunks_of(strings)):
        return strings  # as nearly all are
    trimmed = pc.utf8_trim_whitespace(strings)
    if pc.any(pc.ends_with(trimmed, "\0")).as_py():
        trimmed = pc.utf8_trim_whitespace(pc.utf8_rtrim(trimmed, "\0"))
    empty = pc.equal(trimmed, "")
    if pc.any(empty).as_py():
        trimmed = pc.if_else(empty, pa.scalar(None, pa.string()), trimmed)
    if not ids:
        return trimmed
    if pc.any(pc.match_substring(trimmed, ".")).as_py():
        trimmed = _whole_numbers(trimmed)
    return _lower_uuids(trimmed)


def _is_canonical(found: Spans, ids: bool) -> bool:
    """Whether nothing would be changed about any of some strings; no where it takes a closer look to tell."""
    starts, lengths = found.starts, found.lengths
    if found.valid is not None:
        starts, lengths = starts[found.valid], lengths[found.valid]
    if not len(lengths):
        return True
    if not lengths.all():
        return False
    for edge in (found.data[starts], found.data[starts + lengths - 1]):
        if edge.min() <= _SPACE or edge.max() >= _DELETE:
            return False
    if not ids:
        return True
    data = found.all_data
    if (data == _POINT).any():
        return False
    may_be_uuids = ((lengths == _UUID_LENGTH) | (lengths == _UUID_LENGTH + 2)).any()
    if not may_be_uuids:
        return True
    # Other UUIDs than those of lower case have A to F or braces; below A the difference wraps around
    return not ((data - _CAPITAL < 6).any() or (data >= _BRACE).any())


def _lower_uuids(ids: Any) -> Any:
    """Ids, of which UUIDs are as databases write them: iOS and SQL Server write capitals, .NET braces as well."""
    long = pc.is_in(pc.binary_length(ids), value_set=pa.array([36, 38], pa.int32()))
    if not pc.any(long).as_py():
        return ids
    lower = pc.utf8_trim(pc.ascii_lower(pc.if_else(long, ids, None)), "{}")
    changed = pc.and_(pc.not_equal(lower, ids), pc.match_substring_regex(ids, _UUID_TEXT))
    return pc.if_else(pc.fill_null(changed, False), lower, ids)


def _whole_numbers(ids: Any) -> Any:
    """Ids, of which those that a float column wrote are whole numbers again."""
    ids = _mapped(ids, pc.match_substring_regex(ids, _LONG_FLOAT), _whole)
    digits = pc.replace_substring_regex(ids, _WHOLE_FLOAT, r"\1")
    return pc.if_else(pc.equal(digits, "-0"), "0", digits)


def _whole(found: str) -> str:
    value = Decimal(found)
    if value != value.to_integral_value():
        return found
    if abs(value) >= _EXACT[pa.float64()]:
        raise _too_large(found, "a float's text")
    return f"{value:.0f}"


def _floats(column: Any, ids: bool) -> Any:
    kind = column.type
    if pa.types.is_float16(kind):
        column = column.cast(pa.float32())
    column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))
    large = pc.greater_equal(pc.abs(column), _EXACT[kind])
    if pc.any(large).as_py():
        if ids:
            raise _too_large(f"{column.filter(large)[0].as_py():.17g}", str(kind))
        return _without_exponent(pc.add(column, pa.scalar(0.0, column.type)).cast(pa.string()))
    whole = pc.equal(pc.trunc(column), column)
    digits = pc.if_else(whole, column, None).cast(pa.int64()).cast(pa.string())
    if pc.all(whole, min_count=0).as_py():
        return digits
    return pc.if_else(whole, digits, _without_exponent(column.cast(pa.string())))


def _too_large(value: str, kind: str) -> InexactIdError:
    limit = {"float": "2^24", "halffloat": "2^11"}.get(kind, "2^53")
    return InexactIdError(
        f"holds {{id}} as {kind}, and beyond {limit} one float stands for several whole numbers, so users cannot "
        "be told apart: deliver ids as integers or text",
        value,
    )


def _without_exponent(strings: Any) -> Any:
    """Numbers as Arrow writes them, without an exponent and without zeros after the last digit of a fraction."""
    plain = _mapped(strings, pc.match_substring_regex(strings, "[eE]"), lambda found: f"{Decimal(found):f}")
    plain = pc.replace_substring_regex(plain, r"^(-?\d+)(?:\.0*|(\.\d*[1-9])0*)$", r"\1\2")
    return pc.if_else(pc.equal(plain, "-0"), "0", plain)


def _mapped(strings: Any, chosen: Any, function: Any) -> Any:
    """The chosen texts through a function, which is called once for each different one."""
    if not pc.any(chosen).as_py():
        return strings
    different = pc.unique(strings.filter(chosen))
    new = pa.array([function(found) for found in different.to_pylist()], pa.string())
    position = pc.index_in(strings, value_set=different)
    return pc.if_else(pc.fill_null(chosen, False), pa.chunked_array([new]).take(position), strings)


def _uuids(column: Any) -> Any:
    return pa.chunked_array([_uuid_texts(chunk.storage) for chunk in column.chunks], pa.string())


def _stored_bytes(stored: Any) -> NDArray[np.uint8] | None:
    """An array of 16 bytes each as a row of numbers each; None where it has none."""
    data = stored.buffers()[1]
    if data is None or not len(stored):
        return None
    first = stored.offset * UUID_BYTES
    found = np.frombuffer(data, np.uint8)[first : first + len(stored) * UUID_BYTES]
    return found.reshape(len(stored), UUID_BYTES)


def _uuid_texts(stored: Any) -> Any:
    """Texts of an array of 16 bytes each."""
    found = _stored_bytes(stored)
    if found is None:
        return pa.nulls(len(stored), pa.string())
    digits = _HEX[found].view("S1").reshape(len(stored), 2 * UUID_BYTES)
    written = np.full((len(stored), 2 * UUID_BYTES + len(_HYPHENS)), b"-", dtype="S1")
    written[:, [i for i in range(written.shape[1]) if i not in _HYPHENS]] = digits
    texts = pa.array(written.view(f"S{written.shape[1]}").ravel(), pa.binary(written.shape[1])).cast(
        pa.string()
    )
    return pc.if_else(stored.is_valid(), texts, pa.scalar(None, pa.string()))


def _binaries(column: Any, ids: bool) -> Any:
    """Bytes as the text that they hold; those that hold none as a UUID where they are 16, else as hexadecimal digits."""
    padded = pa.types.is_fixed_size_binary(column.type)
    column = column.cast(pa.binary())
    if ids and pc.all(pc.equal(pc.binary_length(column), UUID_BYTES)).as_py():
        stored = [chunk.cast(pa.binary(UUID_BYTES)) for chunk in column.chunks]
        if all(map(_has_uuid_marks, stored)):
            return pa.chunked_array([_uuid_texts(chunk) for chunk in stored], pa.string())
    try:
        strings = column.cast(pa.string())
        if not pc.any(pc.match_substring_regex(strings, _NO_PLAIN_ID if ids else _CONTROL)).as_py():
            return strings
    except pa.ArrowInvalid:
        pass  # some are no text: each is judged by itself
    different = pc.unique(column)
    found = [None if b is None else _binary_text(b, ids, padded) for b in different.to_pylist()]
    return pa.chunked_array([pa.array(found, pa.string())]).take(pc.index_in(column, value_set=different))


def _has_uuid_marks(stored: Any) -> bool:
    """Whether all of an array of 16 bytes each have the version and variant of a UUID: most columns, at full speed."""
    found = _stored_bytes(stored)
    if found is None:
        return True
    version, variant = found[:, 6] >> 4, found[:, 8] >> 6
    marked = (version >= 1) & (version <= 8) & (variant == 0b10)
    return bool(np.all(marked | np.asarray(stored.is_null())))


def _binary_text(found: bytes, ids: bool, padded: bool) -> str:
    # Of a million random UUIDs some are UTF-8 by chance; their version and variant tell them, which no ASCII text has.
    if not (ids and len(found) == UUID_BYTES and 1 <= found[6] >> 4 <= 8 and found[8] >> 6 == 0b10):
        try:
            written = (found.rstrip(b"\0") if padded else found).decode()
            if not re.search(_CONTROL, written):
                return written
        except UnicodeDecodeError:
            pass
    return str(UUID(bytes=found)) if len(found) == UUID_BYTES else found.hex()
