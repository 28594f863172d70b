"""A starter spec of one table with a row per user."""

from __future__ import annotations

from datetime import date
from typing import Any

from exp_platform.errors import DataError
from exp_platform.starting.dates import span_of, undated
from exp_platform.starting.draft import (
    Ask,
    Draft,
    Line,
    Said,
    choose_arms,
    choose_metrics,
    counted,
    hypothesis_of,
    missing_variants,
    window_line,
)
from exp_platform.starting.measures import Offered, of_users
from exp_platform.starting.roles import Table, exposure_time

_REPEATED = 1.01  # rows per user beyond which a table has no row per user


def draft_of_users(table: Table, said: Said, ask: Ask, experiment_id: str, today: date) -> Draft:
    """The spec of a `units` source. Raises DataError where users have several rows, or nothing can be measured."""
    assert table.variant is not None
    if table.rows_per_user > _REPEATED:
        assert table.user is not None
        raise DataError(
            f"{table.name}: {table.rows_per_user:.3g} rows per {table.user.path} and no column of times: a table of users has one "
            "row per user. Add the rows of a user up first, or give the exposures and the events, with their times"
        )
    offered = of_users(table)
    if not offered.metrics:
        raise DataError(
            f"{table.name}: no column to measure beside {_told(table)}: give a table of users with their outcomes, or the "
            "table of events too"
        )
    arms = choose_arms(counted(table), said, ask, "users" if table.user else "rows")
    metrics, primary, deciding = choose_metrics(offered.metrics, said, ask)
    exposed = exposure_time(table)
    span = span_of(exposed.times) if exposed is not None else None
    settings, nulls = missing_variants(table.variant)
    if span is None:
        settings = (
            *settings,
            (
                "decision",
                Line({"sequential_share": 0}, "the data came at once: there is one look"),
            ),
        )
    window, dated = (
        (window_line(span[0], _joined(f"the dates in {exposed.path}", span[1])), "")
        if span is not None and exposed is not None
        else (
            window_line(undated(today), "the data say no dates: correct it"),
            "the data say no dates: the window is the fortnight that ended yesterday",
        )
    )
    return Draft(
        id=experiment_id,
        hypothesis=hypothesis_of(arms.arms, primary),
        arms=arms.lines,
        of_arms=f"the values of {table.variant.path}",
        window=window,
        source=_source(table, offered, exposed is not None),
        metrics=tuple(_with_covariates(line, offered) for line in metrics),
        segments=tuple(column.name for column in offered.segments),
        of_segments="by their names known before exposure: what was recorded after it must not be here",
        settings=settings,
        unclear=tuple(column.path for column in offered.unclear),
        told=(*arms.told, deciding, *([dated] if dated else []), *nulls, *_of_ids(table), *_of_rest(offered)),
    )


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _told(table: Table) -> str:
    roles = (table.user, table.variant, table.time, table.experiment)
    return ", ".join(column.path for column in roles if column is not None)


def _source(table: Table, offered: Offered, dated: bool) -> dict[str, Any]:
    assert table.variant is not None
    columns = {"variant_id": table.variant.path}
    if table.user is not None:
        columns = {"user_id": table.user.path} | columns
    if dated and table.time is not None:
        columns["exposed_at"] = table.time.path
    source = {"kind": "units", **table.looked.said, "columns": columns}
    attributes = {column.name: column.path for column in offered.segments if column.name != column.path}
    return source | ({"attributes": attributes} if attributes else {})


def _with_covariates(line: Line, offered: Offered) -> Line:
    if not offered.covariates:
        return line
    names = [column.path for column in offered.covariates]
    return Line(line.content | {"covariates": names}, line.why)


def _of_ids(table: Table) -> list[str]:
    if table.user is None:
        return ["no column is a user's id: users are numbered by their rows"]
    told = []
    if table.rows_per_user > 1:
        repeated = len(table.user.texts) - table.user.texts.null_count - table.user.distinct
        told.append(
            f"{repeated:,} rows repeat a {table.user.path}: the run refuses them (check `duplicates`); deliver one row per user"
        )
    if table.user.texts.null_count:
        told.append(
            f"{table.user.texts.null_count:,} rows have no {table.user.path}: the run refuses them (check `nulls`)"
        )
    return told


def _of_rest(offered: Offered) -> list[str]:
    if not offered.unclear:
        return []
    names = ", ".join(column.path for column in offered.unclear)
    return [f"not taken, as their names do not say whether they are outcomes or were known before: {names}"]
