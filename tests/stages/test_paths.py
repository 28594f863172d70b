"""A column's name may be a path into a struct, a map or JSON text."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from exp_platform.stages.paths import Blocked, Path, found, taken

MAP = pa.map_(pa.string(), pa.float64())


def read(rows: pa.Table, name: str, shown: tuple[str, ...] = ()) -> list[Any]:
    path = found(rows.schema, name)
    assert isinstance(path, Path), path
    return list(taken(rows, {"ours": path}, shown)["ours"].to_pylist())


def blocked(rows: pa.Table, name: str) -> str:
    step = found(rows.schema, name)
    assert isinstance(step, Blocked)
    return step.reason


def test_into_structs_however_deep_and_null_where_any_of_them_is() -> None:
    kind = pa.struct([("a", pa.struct([("b", pa.int64())]))])
    rows = pa.table({"props": pa.array([{"a": {"b": 1}}, {"a": None}, None, {"a": {"b": None}}], kind)})
    assert read(rows, "props.a.b") == [1, None, None, None]


def test_into_a_map_whose_keys_may_have_points() -> None:
    rows = pa.table({"props": pa.array([[("x.y", 1.5)], [], None, [("z", 2.0)]], MAP)})
    assert read(rows, "props.x.y") == [1.5, None, None, None]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_into_json_text(kind: pa.DataType) -> None:
    texts = ['{"a": {"b": 1.25}}', '{"a": {"b": "x"}}', '{"a": 3}', "null", "", None, '{"a": {"b": true}}']
    rows = pa.table({"props": pa.array(texts).cast(kind)})
    assert read(rows, "props.a.b") == ["1.25", "x", None, None, None, None, "true"]


def test_in_json_the_key_with_the_whole_name_wins_and_marks_are_part_of_a_key() -> None:
    rows = pa.table({"p": ['{"a": {"b": 1}, "a.b": 2, "it\'s/~x": 3, "list": [{"c": 4}]}']})
    assert read(rows, "p.a.b") == ["2"]
    assert read(rows, "p.it's/~x") == ["3"]
    assert read(rows, "p.list.0.c") == ["4"]


def test_long_whole_numbers_in_json_keep_their_digits() -> None:
    rows = pa.table({"p": ['{"id": 12345678901234567890123}']})
    assert read(rows, "p.id") == ["12345678901234567890123"]


def test_broken_json_is_nothing_but_shown_where_a_number_or_time_is_wanted() -> None:
    rows = pa.table({"p": ['{"a": 1', '{"a": 2}']})
    assert read(rows, "p.a") == [None, "2"]
    assert read(rows, "p.a", shown=("ours",)) == ['{"a": 1', "2"]


def test_json_within_a_struct_and_within_a_map() -> None:
    struct = pa.array([{"raw": '{"a": 1}'}], pa.struct([("raw", pa.string())]))
    texts = pa.array([[("k", "v")]], pa.map_(pa.string(), pa.string()))
    rows = pa.table({"s": struct, "m": texts})
    assert read(rows, "s.raw.a") == ["1"]
    assert read(rows, "m.k") == ["v"]


def test_what_has_the_whole_name_wins() -> None:
    rows = pa.table({"a.b": [1], "a": pa.array([{"b": 2, "c": 3}])})
    assert read(rows, "a.b") == [1]
    assert read(rows, "a.c") == [3]


def test_a_path_that_leads_nowhere_says_why() -> None:
    rows = pa.table({"n": [1], "s": pa.array([{"a": 1, "b": {"c": 2}}])})
    assert blocked(rows, "n.x") == (
        "n is int64, and a path leads into a struct, a map with keys of text, or JSON text"
    )
    assert blocked(rows, "s.x") == "s has no field x but a, b"
    assert blocked(rows, "s.b.x") == "s.b has no field x but c"
    assert found(rows.schema, "other.x") is None


def test_several_paths_into_one_text_come_in_the_order_that_was_asked_for() -> None:
    rows = pa.table({"p": ['{"a": 1, "b": 2}'], "q": ["z"]})
    paths = {name: found(rows.schema, at) for name, at in (("one", "p.b"), ("two", "q"), ("three", "p.a"))}
    made = taken(rows, {name: path for name, path in paths.items() if isinstance(path, Path)})
    assert pa.table(made).to_pydict() == {"one": ["2"], "two": ["z"], "three": ["1"]}
