"""One text for one value: what users are told apart by does not depend on the type or file their id came in."""

from __future__ import annotations

import io
import random
import uuid
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exp_platform.errors import DataError
from exp_platform.kernels import canonical_text
from exp_platform.kernels.canonical_text import require_utf8, text
from exp_platform.kernels.string_bytes import spans

U = uuid.UUID("6F9619FF-8B86-D011-B42D-00C04FC964FF")


def column(values: list[Any], kind: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, kind)])


def uuids(*values: uuid.UUID | None) -> pa.ChunkedArray:
    stored = pa.array([v and v.bytes for v in values], pa.binary(16))
    return pa.chunked_array([pa.ExtensionArray.from_storage(pa.uuid(), stored)])


EXACT = [
    *(pa.int64(), pa.uint64(), pa.float64()),
    *(pa.decimal64(15, 0), pa.decimal128(38, 0), pa.decimal128(38, 9), pa.decimal256(70, 12)),
    *(pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary(13)),
    pa.dictionary(pa.int32(), pa.int64()),
    pa.dictionary(pa.int8(), pa.string()),
]


@pytest.mark.parametrize("kind", EXACT, ids=str)
def test_an_id_has_one_text_whatever_its_type(kind: pa.DataType) -> None:
    """A company's millisecond-like ids: as float64 they were written 1.700000000001e+12, as decimal with nine zeros."""
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    value: Any = 1700000000001
    if pa.types.is_decimal(inner):
        value = Decimal(value)
    elif pa.types.is_floating(inner):
        value = float(value)
    elif not pa.types.is_integer(inner):
        value = str(value) if "string" in str(inner) else str(value).encode()
    array = pa.array([value, None, value], inner)
    found = pa.chunked_array([array.dictionary_encode() if inner != kind else array])
    assert text(found, ids=True).to_pylist() == ["1700000000001", None, "1700000000001"]


@pytest.mark.parametrize(
    ("kind", "limit"),
    [
        *((getattr(pa, f"int{bits}")(), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)),
        *((getattr(pa, f"uint{bits}")(), 2**bits - 1) for bits in (8, 16, 32, 64)),
        *((pa.float16(), 2**11 - 1), (pa.float32(), 2**24 - 1), (pa.float64(), 2**53 - 1)),
    ],
    ids=str,
)
def test_every_whole_number_that_a_type_tells_apart_is_its_digits(kind: pa.DataType, limit: int) -> None:
    values = [0, 1, 100, limit]
    found = column([np.float16(v) for v in values] if kind == pa.float16() else values, kind)
    assert text(found, ids=True).to_pylist() == [str(v) for v in values]


@pytest.mark.parametrize(
    ("kind", "first"), [(pa.float64(), 2**53), (pa.float32(), 2**24)], ids=["float64", "float32"]
)
def test_floats_in_which_two_ids_are_one_are_refused(kind: pa.DataType, first: int) -> None:
    """2^53 is the first of them: 2^53 + 1 is stored as the same number. Attributes join nothing: they stay."""
    assert column([float(first)], kind).to_pylist() == column([first + 1.0], kind).to_pylist()
    for value in (first, -first, 2.0**70):
        with pytest.raises(DataError, match="deliver ids as integers or text"):
            text(column([1.0, None, float(value)], kind), ids=True)
    assert text(column([1.0, 2.0**70], kind))[0].as_py() == "1"


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_floats_and_integers_agree(value: int) -> None:
    assert text(column([float(value)]), ids=True)[0].as_py() == str(value)


@given(st.floats(allow_nan=False, allow_infinity=False, width=64))
def test_a_float_is_its_shortest_decimal_without_exponent(value: float) -> None:
    """NumPy's positional writer is the independent source."""
    expected = np.format_float_positional(value, unique=True, trim="-").removesuffix(".")
    assert text(column([value]))[0].as_py() == ("0" if expected == "-0" else expected)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**20), max_value=10**20))
def test_a_decimal_is_its_digits_without_zeros_at_the_end(value: Decimal) -> None:
    written = f"{value:f}"
    expected = written.rstrip("0").rstrip(".") if "." in written else written
    assert text(column([value], pa.decimal128(38, 9)))[0].as_py() == ("0" if expected == "-0" else expected)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (column([-0.0, 1.5, 1e-7, float("nan"), float("inf"), None]), ["0", "1.5", "0.0000001", None, None, None]),
        (column([0.1, -2.5], pa.float32()), ["0.1", "-2.5"]),
        (column([Decimal("0E-9"), Decimal("12.50"), None], pa.decimal128(38, 9)), ["0", "12.5", None]),
        (column([Decimal("1.2E+3")], pa.decimal128(5, -2)), ["1200"]),
        (column([True, False, None]), ["true", "false", None]),
        (column([date(2026, 3, 2)], pa.date32()), ["2026-03-02"]),
        (column([date(2026, 3, 2)], pa.date64()), ["2026-03-02"]),
        (column([None, None]), [None, None]),
        (column(["", "  ", "\t"]), [None, None, None]),
        (column([], pa.string()), []),
    ],
)  # fmt: skip
def test_other_values(found: pa.ChunkedArray, expected: list[str | None]) -> None:
    assert text(found).to_pylist() == expected
    assert text(found).type == pa.string()


def test_text_ids_stay_as_they_are() -> None:
    """Zeros in front, letter case, exponents without a point (as in 12e5, a piece of a hash): all tell users apart."""
    kept = [
        "007",
        "7",
        "ABC",
        "abc",
        "1e3",
        "12e5",
        "0x10",
        "1.5",
        "1.0.0",
        "007.0",
        "1,000",
        U.hex.upper(),
        "Zoë",
        f"{{{U}",
        "ABCDEFGH-0000-0000-0000-000000000000",
    ]
    assert text(column(kept), ids=True).to_pylist() == kept


def test_a_uuid_in_capitals_or_braces_is_the_same_id() -> None:
    """iOS and SQL Server write capitals, .NET braces: an event table of all devices has half of its users twice."""
    written = [str(U), str(U).upper(), f"{{{str(U).upper()}}}", f" {U} ", None]
    assert text(column(written), ids=True).to_pylist() == [*[str(U)] * 4, None]
    assert text(column([str(U).upper()])).to_pylist() == [str(U).upper()]  # an attribute stays as it is


def test_text_that_is_filled_up_with_nuls_ends_before_them() -> None:
    """FixedString and char arrays; within a text, and in bytes of any length, a NUL may tell ids apart."""
    assert text(column(["u1\0\0", "u1 \0", "u\x001", "\0"])).to_pylist() == ["u1", "u1", "u\x001", None]
    assert text(column([b"u1\0\0", b"u123", None], pa.binary(4)), ids=True).to_pylist() == [
        "u1",
        "u123",
        None,
    ]
    assert text(column([b"u1\0\0"], pa.binary()), ids=True).to_pylist() == ["75310000"]


def test_a_binary_uuid_that_happens_to_be_utf8_is_no_text() -> None:
    """14 of 3 million random ones are: each would be a user without outcomes where the other table has UUIDs as text."""
    by_chance = uuid.UUID(bytes=b"abcdef@\xc2\xa9bcdefgh")
    assert by_chance.bytes.decode() == "abcdef@©bcdefgh"
    for kind in (pa.binary(), pa.binary(16)):
        for others in ([], [b"\xff" * 16], [U.bytes]):
            ids = text(column([by_chance.bytes, *others], kind), ids=True)
            assert ids[0].as_py() == str(by_chance)
    assert text(column([b"customer-0000001"], pa.binary(16)), ids=True).to_pylist() == ["customer-0000001"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
@pytest.mark.parametrize("coded", [False, True])
def test_text_that_is_not_utf8_is_refused(kind: pa.DataType, coded: bool) -> None:
    """Parquet's writers do not all look: it ended in a traceback."""
    good = column(["a", None, "b"], kind)
    bad = pa.chunked_array([pa.array([b"a", None, b"\xff\xfe"], pa.binary()).view(pa.string()).cast(kind)])
    if coded:
        good, bad = (pa.chunked_array([chunk.dictionary_encode() for chunk in c.chunks]) for c in (good, bad))
    require_utf8(good)
    require_utf8(column([1, 2]))
    with pytest.raises(DataError, match="holds bytes that are not UTF-8: write it as UTF-8, or as binary"):
        require_utf8(bad)


def test_spaces_around_a_text_are_no_part_of_it() -> None:
    """CHAR columns come padded, and CSV files with a space after the comma."""
    assert text(column([" u1", "u1   ", "u1", "u 1\r"])).to_pylist() == ["u1", "u1", "u1", "u 1"]


def test_ids_that_a_float_column_left_in_csv_are_whole_numbers() -> None:
    """pandas writes an integer column with a missing id as 1700000000001.0, Spark a double as 1.700000000001E12."""
    written = ["1700000000001.0", "1.700000000001E12", "-3.00", "0.0", "-0.0", "1.75E1"]
    assert text(column(written), ids=True).to_pylist() == [
        "1700000000001",
        "1700000000001",
        "-3",
        "0",
        "0",
        "1.75E1",
    ]
    assert text(column(["1.0", "2.10"])).to_pylist() == ["1.0", "2.10"]  # an attribute may be a version
    for value in ("9007199254740993.0", "1.7E18"):
        with pytest.raises(DataError, match="2\\^53"):
            text(column([value]), ids=True)


def test_a_uuid_is_lower_case_with_hyphens_however_it_is_stored() -> None:
    expected = ["6f9619ff-8b86-d011-b42d-00c04fc964ff", None]
    assert expected[0] == str(U)
    for found in (
        uuids(U, None),
        column([U.bytes, None], pa.binary(16)),
        column([U.bytes, None], pa.binary()),
    ):
        assert text(found).to_pylist() == expected
    assert text(uuids(None, U, U).slice(1, 1)).to_pylist() == [str(U)]
    assert text(uuids(U).slice(1)).to_pylist() == []


def test_a_uuid_that_parquet_declares_is_read_as_one() -> None:
    for store_schema in (True, False):  # with Arrow's own schema, and as Spark, Trino or DuckDB write it
        sink = io.BytesIO()
        pq.write_table(pa.table({"id": uuids(U, U)}), sink, store_schema=store_schema)
        found = pq.ParquetFile(io.BytesIO(sink.getvalue())).read()["id"]
        assert text(found).to_pylist() == [str(U)] * 2


def test_binary_ids_are_their_text_or_hexadecimal_digits() -> None:
    """Old Parquet has text without its annotation; a digest is no text, and each value is judged by itself."""
    digest = bytes(range(240, 256)) + b"\x00\xff"
    found = column([b"user-1", digest, b"", None, b"a\x00b", "Zoë".encode()], pa.binary())
    assert text(found).to_pylist() == ["user-1", digest.hex(), None, None, "610062", "Zoë"]
    assert text(column([b"user-1", b"user-2"], pa.binary(6))).to_pylist() == ["user-1", "user-2"]


def test_dictionaries_are_read_by_their_entries() -> None:
    for found in (
        column([7.0, None, 7.0]),
        column(["7", None, "7"]),
        column([Decimal("7.00"), None, Decimal(7)]),
    ):
        encoded = pa.chunked_array([found.combine_chunks().dictionary_encode()])
        assert text(encoded, ids=True).to_pylist() == ["7", None, "7"]
    days = pa.chunked_array([pa.array([datetime(2026, 3, 2).date()]).dictionary_encode()])  # noqa: DTZ001
    assert text(days).to_pylist() == ["2026-03-02"]


@given(
    st.lists(
        st.one_of(
            st.none(), st.uuids(version=4), st.binary(min_size=16, max_size=16), st.just(b"customer-0000001")
        )
    ),
    st.integers(0, 3),
)
def test_each_binary_id_is_judged_by_itself(found: list[Any], start: int) -> None:
    """Whatever stands beside it, and whichever way a whole column of UUIDs goes."""
    stored = [value.bytes if isinstance(value, uuid.UUID) else value for value in found][start:]
    for kind in (pa.binary(), pa.binary(16)):
        alone = [text(column([value], kind), ids=True)[0].as_py() for value in stored]
        together = pa.chunked_array([pa.array([None] * start + stored, kind).slice(start)], kind)
        assert text(together, ids=True).to_pylist() == alone
        assert all(t == str(v) for t, v in zip(alone, found[start:], strict=True) if isinstance(v, uuid.UUID))


ODD = (
    "a",
    "user-1",
    " a",
    "a ",
    "\u3000a",
    "a\0",
    "",
    "1.0",
    "1.50",
    "é",
    "éa",
    "aé",
    "A.b",
    "a\x7f",
    "-",
    None,
)
UUIDS = (
    "0a1b2c3d-0000-4000-8000-00000000000f",
    "0A1B2C3D-0000-4000-8000-00000000000F",
    "{0a1b2c3d-0000-4000-8000-00000000000f}",
)


@pytest.mark.parametrize("ids", [True, False])
def test_a_look_at_the_bytes_tells_whether_a_text_is_canonical(
    monkeypatch: pytest.MonkeyPatch, ids: bool
) -> None:
    """The same as without that look, for columns of all kinds, slices and nulls among them."""
    dice = random.Random(1)
    columns = [
        pa.chunked_array([pa.array(dice.choices(dice.sample((*ODD, *UUIDS), 3), k=6), pa.string()).slice(2)])
        for _ in range(300)
    ]
    columns += [pa.chunked_array([[one]], pa.string()) for one in (*ODD, *UUIDS)]
    assert canonical_text._is_canonical(
        spans(pa.array(["user-1", None, UUIDS[0]])), ids
    )  # it is not for nothing
    fast = [text(column, ids=ids) for column in columns]
    monkeypatch.setattr(canonical_text, "_is_canonical", lambda *_: False)
    slow = [text(column, ids=ids) for column in columns]
    assert [column.to_pylist() for column in fast] == [column.to_pylist() for column in slow]
