"""Columns as positions in their different values: the same for plain columns and dictionaries, in chunks or not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from exp_platform.kernels.coded import Coded, sorting

TEXTS = ["b", None, "a", "b", "c", "a"]


def parts(split: int, dictionary: bool) -> pa.ChunkedArray:
    chunks = [pa.array(TEXTS[:split], pa.string()), pa.array(TEXTS[split:], pa.string())]
    return pa.chunked_array([c.dictionary_encode() if dictionary else c for c in chunks])


@pytest.mark.parametrize("dictionary", [False, True])
@pytest.mark.parametrize("split", [0, 2, 3])
def test_every_form_of_a_column_gives_the_same_values(split: int, dictionary: bool) -> None:
    for coded in (Coded.of(parts(split, dictionary)), Coded.distinct(parts(split, dictionary))):
        assert [None if c < 0 else coded.values[c].as_py() for c in coded.codes] == TEXTS
        assert coded.positions(pa.array(["a", "b"])).tolist() == [1, -1, 0, 1, -1, 0]


@pytest.mark.parametrize("dictionary", [False, True])
def test_distinct_has_each_value_once_in_the_order_of_its_first_row(dictionary: bool) -> None:
    assert Coded.distinct(parts(3, dictionary)).values.to_pylist() == ["b", "a", "c"]


def test_a_slice_of_a_dictionary_has_its_own_rows() -> None:
    whole = pa.array(["a", "b", None, "c"]).dictionary_encode()
    assert Coded.of(whole.slice(1, 2)).codes.tolist() == [1, -1]


def test_a_column_without_chunks_has_no_rows() -> None:
    coded = Coded.of(pa.chunked_array([], pa.string()))
    assert len(coded.codes) == 0
    assert coded.positions(pa.array(["a"])).tolist() == []


@pytest.mark.parametrize("most", [3, 1 << 62])  # the larger keys leave no bits for the rows
def test_sorting_orders_equal_keys_by_row(most: int) -> None:
    key = np.array([most, 0, 2, most, 0])
    assert sorting(key).tolist() == [1, 4, 2, 0, 3]
