"""A spec's SQL is one select that stays within its parentheses, whatever database reads it."""

from __future__ import annotations

import pytest

from exp_platform.config.sql_text import fault_of, with_parameters

GOOD = [
    "select 1",
    "select 1;",
    "  -- what it is for\nSELECT * FROM t -- the end",
    "with a as (select 1) select * from a",
    "select 'it''s; (fine' as \"a;b\", `c)` from t",
    "select x::text, a[1:2], b[lo:hi], j #>> '{a}', k ->> 'a:b' from t",
    "select /* why (not */ 1",
]
BAD = {
    "select 1; drop table users": "a `;` ends it and more follows",
    "select 1) union (select 2": "a `)` closes what was never opened",
    "select 1) as s; delete from t; select * from (select 1": "a `)` closes what was never opened",
    "select (1": "a `(` is never closed",
    "delete from users": "does not begin with `select`",
    "select 'open": "a ' is never closed",
    r"select 'a\' ) ; drop table x -- '": "a backslash stands before a quote",
    "select $$ ) $$": "texts in dollar signs are not taken",
    "select 1 # '\n) ; drop table x -- '": "begins a comment in some databases",
    "select /* a /* b */ ) -- */ 1": "databases end this comment at different places",
    "select 1 -- a\r) ; drop table x": "databases end this comment at different places",
    "select 1 /*! ) */": "databases end this comment at different places",
    "select 1 /* open": "begins a comment in some databases",
    "select * from t where u = :user": ":user is no parameter: allowed are :start, :end, :key",
}


@pytest.mark.parametrize("sql", GOOD)
def test_one_select_is_taken(sql: str) -> None:
    assert fault_of(sql) is None


@pytest.mark.parametrize("sql", BAD)
def test_what_is_more_than_one_select_or_none_is_refused(sql: str) -> None:
    assert BAD[sql] in str(fault_of(sql))


def test_parameters_are_filled_in_where_they_are_ones() -> None:
    literals = {"start": "<s>", "end": "<e>", "key": "<k>"}
    sql = "select ':start' as \":end\" -- :key\nfrom t where a >= :start and a < :end and k = :key and b::end is null;"
    assert with_parameters(sql, literals) == (
        "select ':start' as \":end\" -- :key\nfrom t where a >= <s> and a < <e> and k = <k> and b::end is null"
    )
