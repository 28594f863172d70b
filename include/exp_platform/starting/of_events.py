"""A starter spec of exposures and tables of events, each of which is a fact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from exp_platform.errors import ConfigError, DataError
from exp_platform.starting.columns import Column
from exp_platform.starting.dates import PRE_PERIOD, Span, are_dates, follow_up, pre_period, span_of
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
from exp_platform.starting.looked import slug
from exp_platform.starting.measures import (
    dimensions_of,
    of_fact,
    of_users,
    values_of,
)
from exp_platform.starting.roles import Table

_TAKEN = {"exposure", "exposures", "outcomes", "units", "identities", "users", "source"}


@dataclass(frozen=True)
class _Chosen:
    """The experiment of a log of several: its key, and which rows of the sample are its own."""

    key: str | None = None
    rows: Any = None
    told: tuple[str, ...] = ()


def draft_of_events(
    exposures: Table, events: Sequence[Table], said: Said, ask: Ask, experiment_id: str | None
) -> tuple[Draft, str | None]:
    """The spec of an `events` source with facts, and the experiment's key in the log.

    Raises DataError where a column that is needed is not there, ConfigError for an answer that fits nothing.
    """
    _require(exposures, "exposures", user=exposures.user, time=exposures.time)
    for table in events:
        _require(table, "events", user=table.user, time=table.time)
    assert exposures.variant is not None
    assert exposures.time is not None
    chosen = _experiment(exposures, said, ask)
    arms = choose_arms(counted(exposures, chosen.rows), said, ask, "users")
    times = exposures.time.times
    span = span_of(times if chosen.rows is None else times.filter(chosen.rows))
    if span is None:
        raise DataError(f"{exposures.name}: {exposures.time.path} has no times in these rows")
    window, strays = span
    facts = {_fact_name(table.name): table for table in events}
    settings = _observed(events, window)
    users = sum(arm.users for arm in arms.arms)
    proposed = [metric for name, table in facts.items() for metric in of_fact(table, users, name)]
    metrics, primary, deciding = choose_metrics(proposed, said, ask)
    days = _days(events, window)
    nulls, of_nulls = missing_variants(exposures.variant, chosen.rows)
    segments = of_users(exposures).segments if exposures not in events else []
    draft = Draft(
        id=experiment_id or _id_of(chosen.key, exposures.name),
        hypothesis=hypothesis_of(arms.arms, primary),
        arms=arms.lines,
        of_arms=f"the values of {exposures.variant.path} in {exposures.name}",
        window=window_line(window, f"from the first exposure to the last{', ' + strays if strays else ''}"),
        source=_source(exposures, facts, segments, chosen.key),
        metrics=tuple(_within(line, days) for line in metrics),
        segments=tuple(column.name for column in segments),
        of_segments="recorded with the exposure, few values",
        settings=(*nulls, *settings),
        told=(*chosen.told, *arms.told, deciding, *of_nulls, *_of_log(exposures, events)),
    )
    return draft, chosen.key


def _require(table: Table, what: str, **columns: Column | None) -> None:
    for role, column in columns.items():
        if column is None:
            names = ", ".join(one.path for one in table.columns[:20])
            words = {"user": "whose row it is", "time": "when it happened, as times in ISO 8601"}[role]
            raise DataError(
                f"{table.name}: no column of {what} says {words}; it has {names}. Name it user_id or timestamp, or write the "
                f"spec by hand{'. ' + '; '.join(table.notes) if table.notes else ''}"
            )


def _experiment(exposures: Table, said: Said, ask: Ask) -> _Chosen:
    """Which experiment of the log: as told, asked, or the largest."""
    column = exposures.experiment
    if column is None:
        if said.experiment is not None:
            raise ConfigError(f"--experiment: {exposures.name} has no column that names experiments")
        return _Chosen()
    keys = [key for key, _ in column.counts]
    listed = ", ".join(f"{key} ({rows:,} rows)" for key, rows in column.counts[:10])
    key = said.experiment or (
        keys[0] if len(keys) == 1 else ask(f"Which experiment? {listed}", keys, keys[0])
    )
    if key not in keys:
        raise ConfigError(f"--experiment: no row of {column.path} has {key}; there are {listed}")
    told = (f"of {len(keys)} experiments in {column.path}, {key}: {listed}",) if len(keys) > 1 else ()
    return _Chosen(key, pc.equal(column.texts, key).fill_null(False), told)


def _observed(events: Sequence[Table], window: Span) -> tuple[tuple[str, Line], ...]:
    """The pre-period that the events allow, where it is shorter than the usual one."""
    days = max((pre_period(window, span) for span in _spans(events)), default=0)
    if days >= PRE_PERIOD:
        return ()
    why = "so many days before the window have events" if days else "no event is from before the window"
    return (("analyses", Line({"pre_period_days": days}, why)),)


def _spans(events: Sequence[Table]) -> list[Span]:
    found = (span_of(table.time.times) for table in events if table.time is not None)
    return [span[0] for span in found if span is not None]


def _days(events: Sequence[Table], window: Span) -> int | None:
    """Days after exposure that all tables of events allow; None: metrics are open to the window's end."""
    found = [follow_up(window, span) for span in _spans(events)]
    return None if None in found else min((days for days in found if days is not None), default=None)


def _within(line: Line, days: int | None) -> Line:
    """The metric within so many days after exposure."""
    if days is None:
        return line
    return Line(line.content | {"window": {"to_day": days}}, line.why)


def _id_of(key: str | None, name: str) -> str:
    return slug(key or name) or "experiment"


def _fact_name(name: str) -> str:
    return "events" if name in _TAKEN else name


def _source(
    exposures: Table, facts: dict[str, Table], segments: Sequence[Column], key: str | None
) -> dict[str, Any]:
    assert exposures.user is not None
    assert exposures.variant is not None
    assert exposures.time is not None
    columns = {
        "user_id": exposures.user.path,
        "variant_id": exposures.variant.path,
        "exposed_at": exposures.time.path,
    }
    if exposures.experiment is not None and key is not None:
        columns["experiment"] = exposures.experiment.path
    if exposures.event_id is not None and exposures not in facts.values():
        columns["event_id"] = exposures.event_id.path
    source: dict[str, Any] = {"kind": "events"}
    if key is not None:
        source["key"] = key
    source["exposures"] = {**exposures.looked.said, "columns": columns}
    source["facts"] = {name: _fact(table) for name, table in facts.items()}
    attributes = {column.name: column.path for column in segments if column.name != column.path}
    if attributes:
        source["attributes"] = attributes
    if any(
        are_dates(table.time) != are_dates(exposures.time)
        for table in facts.values()
        if table.time is not None
    ):
        source["same_day"] = "after"
    return source


def _fact(table: Table) -> dict[str, Any]:
    assert table.user is not None
    assert table.time is not None
    columns = {"user_id": table.user.path, "occurred_at": table.time.path}
    if table.event is not None:
        columns["event"] = table.event.path
    if table.event_id is not None:
        columns["event_id"] = table.event_id.path
    fact: dict[str, Any] = {**table.looked.said, "columns": columns}
    for key, found in (("values", values_of(table)), ("dimensions", dimensions_of(table))):
        if found:
            fact[key] = {column.name: column.path for column in found}
    return fact


def _of_log(exposures: Table, events: Sequence[Table]) -> list[str]:
    if exposures not in events:
        return []
    return [
        f"{exposures.name} is a log of events with the variant on every row: each row counts as an exposure, a user's first one "
        "is the first exposure"
    ]
