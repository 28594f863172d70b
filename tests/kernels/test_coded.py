"""Columns as positions in their different values: the same for plain columns and dictionaries, in chunks or not."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

from exp_platform.kernels.coded import (
    Coded,
    among,
    by_value,
    coded_together,
    plain,
    positions,
    positions_in_order,
    sorting,
    with_used_values,
)

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


def column(*parts: list[str | None]) -> pa.ChunkedArray:
    """A dictionary column, each part with a dictionary of its own."""
    return pa.chunked_array([pa.array(part, pa.string()).dictionary_encode() for part in parts])


def test_columns_together_have_one_dictionary() -> None:
    found = coded_together({"one": column(["b", None], ["a", "b"]), "other": column([], ["c", "a"])})
    one, other = (Coded.of(found[name]) for name in ("one", "other"))
    assert one.values.equals(other.values)
    assert one.codes.tolist() == [0, -1, 1, 0]
    assert other.codes.tolist() == [2, 1]
    assert plain(found["one"]).to_pylist() == ["b", None, "a", "b"]


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (column(["a", "b", None, "c"]), column(["c", "a", None])),
        # `a` stands in both dictionaries of a column, and where rows have it is the first one alone
        (
            column(["b"], ["a", "b", None, "c"]).slice(1),
            pa.chunked_array([*column(["c", "a"], ["a"]).chunks]),
        ),
        (pa.chunked_array([["a", "b", None, "c"]]), pa.chunked_array([["a", "c"]])),
    ],
)
def test_who_is_among_others(mine: pa.ChunkedArray, theirs: pa.ChunkedArray) -> None:
    assert among(mine, theirs).tolist() == [True, False, False, True]


def test_of_two_columns_of_the_same_dictionaries_rows_alone_are_among_others() -> None:
    """As published and new rows have them: the second `b` is a row's, the first one is nobody's."""
    one, other = column(["a", "b"], ["b", "c"]).chunks
    mine = pa.chunked_array([one.slice(2), other])
    theirs = pa.chunked_array([one.slice(1), other.slice(2)])
    assert among(mine, theirs).tolist() == [True, False]


def test_values_are_changed_once_each_and_may_vanish_or_become_the_same() -> None:
    asked = []

    def changed(values: pa.Array) -> pa.Array:
        asked.append(len(values))
        return pa.array(
            [{" a": "a", "": None}.get(value, value) for value in values.to_pylist()], pa.string()
        )

    found = by_value(column([" a", "a", "", " a", "b", None]), changed)
    assert plain(found).to_pylist() == ["a", "a", None, "a", "b", None]
    assert Coded.of(found).values.to_pylist() == ["a", "b"]
    assert asked == [4]


def test_no_value_is_left_that_no_row_has() -> None:
    whole = column(["a", "b"], ["c", "b", None])
    found = with_used_values(whole.filter(pa.array([False, True, False, True, True])))
    (chunk,) = found.chunks
    assert chunk.dictionary.to_pylist() == ["b"]
    assert plain(found).to_pylist() == ["b", "b", None]


@pytest.mark.parametrize("seed", range(20))
def test_where_strings_are_among_others_however_few_and_in_whatever_order(seed: int) -> None:
    dice = random.Random(seed)
    among = [f"user {number}" for number in range(dice.choice([1, 30, 6000]))]
    dice.shuffle(among)
    here = sorted(dice.sample(range(len(among)), len(among) * dice.choice([0, 1, 3, 10]) // 10))
    values = [among[position] for position in here]
    for _ in range(dice.choice([0, 3, 1000])):  # some who are nobody, and some who changed their places
        values.insert(dice.randint(0, len(values)), f"nobody {dice.random()}")
        values.append(values.pop(dice.randrange(len(values))))
    place = {value: position for position, value in enumerate(among)}
    wanted = [place.get(value, -1) for value in values]
    strings = pa.array(values, pa.string())
    assert positions_in_order(strings, pa.array(among)).tolist() == wanted
    assert positions(strings, pa.array(among)).tolist() == wanted


def test_of_equal_strings_the_first_is_where_another_one_is() -> None:
    among = pa.array(["a", "b", "a", "b", "c", "d", "e"])
    assert positions(pa.array(["b", "x"]), among).tolist() == [1, -1]
    assert positions(pa.array(["b", "b"]), among).tolist() == [1, 1]


def test_different_values_begin_with_those_of_the_first_dictionary() -> None:
    first = [*"dcbafghijklmnopqrstuvw"]  # many against few, which are hashed alone
    some = column(first, ["x", "a", "y"], ["y", "d"])
    found = Coded.distinct(some)
    assert found.values.to_pylist() == [*first, "x", "y"]
    assert found.column.to_pylist() == some.to_pylist()
