"""Ids that name nobody become null and are counted; ids that only look like it stay."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from exp_platform.kernels.nobody import PLACEHOLDER_ROWS, without_null_words, without_placeholders


def column(values: list[Any]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.string())])


WORDS = [
    "null",
    "NULL",
    "None",
    "nan",
    "NaN",
    "NaT",
    "<NA>",
    "undefined",
    "NA",
    "n/a",
    "\\N",
    "(null)",
    "nil",
]


def test_words_for_null_are_nobodys_ids() -> None:
    """As pandas, JavaScript, SQL, Hive and R write a missing id; thousands of users would be one."""
    nil = "00000000-0000-0000-0000-000000000000"
    ids, words = without_null_words(column([*WORDS, nil, "u1", None, "nano", "nobody"]), ids=True)
    assert ids.to_pylist() == [None] * (len(WORDS) + 1) + ["u1", None, "nano", "nobody"]
    assert sum(words.values()) == len(WORDS) + 1
    assert words["null"] == 2


def test_words_that_may_name_a_group_are_null_among_ids_only() -> None:
    """A plan `none`, the region NA."""
    kept, words = without_null_words(column(["none", "NA", "nan", "undefined"]), ids=False)
    assert kept.to_pylist() == ["none", "NA", None, None]
    assert words == {"nan": 1, "undefined": 1}


def users(n: int, rows: int = 1) -> list[str]:
    return [str(i) for i in range(1, n + 1)] * rows


def without(**tables: list[str]) -> tuple[dict[str, list[str | None]], dict[str, dict[str, int]]]:
    done = without_placeholders({name: column(ids) for name, ids in tables.items()})
    return {n: ids.to_pylist() for n, (ids, _) in done.items()}, {n: words for n, (_, words) in done.items()}


@pytest.mark.parametrize("word", ["0", "-1", "Unknown", "(not set)", "0000000000", "-9223372036854775808"])
def test_a_placeholder_shared_by_many_is_nobody(word: str) -> None:
    ids, words = without(exposures=users(2000) + [word] * 300)
    assert ids["exposures"] == users(2000) + [None] * 300
    assert words["exposures"] == {word.lower(): 300}


def test_a_user_numbered_from_zero_is_a_user() -> None:
    kept = ["0", *users(50), *["0"] * 20, *users(50, 10)]
    ids, words = without(exposures=kept)
    assert ids["exposures"] == kept
    assert words == {"exposures": {}}


def test_a_heavy_user_of_a_heavy_table_is_no_placeholder() -> None:
    """User 0 with 400 page views, where others have 20 each: 20 times the average."""
    kept = ["0"] * 400 + users(100, 20)
    assert without(outcomes=kept)[0]["outcomes"] == kept


def test_the_border_is_so_many_rows_and_so_many_times_an_average_user() -> None:
    for rows, is_user in ((PLACEHOLDER_ROWS - 1, True), (PLACEHOLDER_ROWS, False)):
        words = without(exposures=users(200) + ["0"] * rows)[1]
        assert words == {"exposures": {} if is_user else {"0": rows}}


def test_who_is_nobody_in_one_table_is_nobody_in_all() -> None:
    ids, words = without(exposures=["0", *users(100)], outcomes=["0"] * 500 + users(100))
    assert words == {"exposures": {"0": 1}, "outcomes": {"0": 500}}
    assert ids["exposures"] == [None, *users(100)]


def test_a_table_of_one_user_has_no_average_to_judge_by() -> None:
    assert without(exposures=["0"] * 80)[1] == {"exposures": {}}
