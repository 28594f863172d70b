"""Which metrics, covariates and segments the columns offer, and why: by their values, and by what they are called.

A column is taken for known before exposure only where its name says so. What may have been recorded after it is never made
a covariate or a segment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exp_platform import numbers
from exp_platform.config.sources import DAY
from exp_platform.kernels.conform import number
from exp_platform.starting.columns import Column
from exp_platform.starting.roles import Table

MOST_METRICS = 8
MOST_GROUPS = 12  # values of a segment
MOST_DIMENSION = 200  # values of a dimension
MOST_EVENTS = 4

_CONVERSIONS = (
    *(
        "conversion",
        "converted",
        "convert",
        "purchased",
        "purchase",
        "purchases",
        "bought",
        "ordered",
        "orders",
    ),
    *(
        "order",
        "checkout",
        "paid",
        "payment",
        "payments",
        "subscribed",
        "subscription",
        "signed",
        "signup",
        "signups",
    ),
    *("registered", "registration", "activated", "activation", "booked", "booking", "bookings", "completed"),
    *(
        "retention",
        "retained",
        "returned",
        "renewed",
        "upgraded",
        "installed",
        "success",
        "clicked",
        "click",
        "clicks",
    ),
    *(
        "visited",
        "visit",
        "visits",
        "opened",
        "churned",
        "churn",
        "refunded",
        "cancelled",
        "canceled",
        "bounced",
    ),
)
_MONEY = (
    *(
        "revenue",
        "spend",
        "spent",
        "sales",
        "gmv",
        "turnover",
        "amount",
        "income",
        "profit",
        "arpu",
        "ltv",
        "value",
    ),
    *("price", "total", "usd", "eur", "gbp", "cost"),
)
_USE = (
    *(
        "sessions",
        "session",
        "minutes",
        "seconds",
        "hours",
        "duration",
        "rounds",
        "gamerounds",
        "pageviews",
        "views",
    ),
    *(
        "items",
        "quantity",
        "count",
        "plays",
        "actions",
        "messages",
        "logins",
        "watch",
        "time",
        "score",
        "steps",
    ),
)
_LESS_IS_GOOD = {
    *(
        "churn",
        "churned",
        "refund",
        "refunds",
        "refunded",
        "cancelled",
        "canceled",
        "bounce",
        "bounced",
        "cost",
    ),
    *("errors", "error", "crashes", "latency", "complaints", "unsubscribed"),
}
_BEFORE = {
    "pre",
    "prior",
    "previous",
    "prev",
    "past",
    "history",
    "historical",
    "earlier",
    "recency",
    "tenure",
}
_AFTER = {"post", "after", "during", "since"}
_ATTRIBUTES = {
    *(
        "device",
        "platform",
        "os",
        "browser",
        "country",
        "region",
        "city",
        "zip",
        "zipcode",
        "language",
        "locale",
    ),
    *(
        "channel",
        "source",
        "medium",
        "gender",
        "sex",
        "age",
        "cohort",
        "newbie",
        "new",
        "geo",
        "market",
        "store",
    ),
}
_CAPS = (0.99, 0.999, 0.9999)


@dataclass(frozen=True)
class Proposed:
    """A metric for the spec: its keys, why it is one, and how good a primary metric it would be (less is better)."""

    keys: dict[str, Any]
    why: str
    rank: tuple[float, ...]


@dataclass(frozen=True)
class Offered:
    """What one table of users offers."""

    metrics: list[Proposed]
    covariates: list[Column] = field(default_factory=list)
    segments: list[Column] = field(default_factory=list)
    unclear: list[Column] = field(default_factory=list)  # whose names do not tell what they are


def of_users(table: Table) -> Offered:
    """What the columns of a table of users offer. Without any that is called an outcome the unclear ones are metrics."""
    offered = Offered([])
    for column in table.rest:
        if column.kind in ("empty", "other", "time") or _is_id(column):
            continue
        groups = 2 <= column.distinct <= MOST_GROUPS
        if _before(column):
            if column.kind == "number" and column.distinct > 5:
                offered.covariates.append(column)
            elif groups:
                offered.segments.append(column)
        elif _attribute(column):
            offered.segments.extend([column] if groups else [])
        elif column.kind in ("flag", "number") and _called_outcome(column):
            offered.metrics.append(_of_column(column))
        elif column.kind in ("flag", "number") or groups:
            offered.unclear.append(column)
    if offered.metrics:
        return offered
    measured = [column for column in offered.unclear if column.kind in ("flag", "number")]
    rest = [column for column in offered.unclear if column not in measured]
    return replace(offered, metrics=[_of_column(column) for column in measured], unclear=rest)


def _is_id(column: Column) -> bool:
    return column.words[-1:] in (["id"], ["uid"], ["uuid"], ["key"]) or (
        column.kind == "text" and column.unique
    )


def _before(column: Column) -> bool:
    """Whether its name says that it was known before: `visits_before`, `pre_orders`, `history`, never `time_before_order`."""
    words = column.words
    if set(words) & _AFTER:
        return False
    return words[-1:] == ["before"] or bool({words[0], words[-1]} & _BEFORE if words else set())


def _attribute(column: Column) -> bool:
    """Whether it is called what a user is or came with, and nothing that happened."""
    words = set(column.words)
    happened = words & {*_CONVERSIONS, *_MONEY, *_USE, *_AFTER}
    return bool(words & _ATTRIBUTES) and not happened


def _called_outcome(column: Column) -> bool:
    return bool(set(column.words) & {*_CONVERSIONS, *_MONEY, *_USE})


def _of_column(column: Column) -> Proposed:
    """A metric of a column of a table of users."""
    keys: dict[str, Any] = {"id": column.name, "column": column.path}
    if column.kind == "flag":
        keys = {"id": column.name, "type": "proportion", "column": column.path}
        why = "0 or 1"
    else:
        keys = {"id": column.name, "type": "mean", "column": column.path}
        cap, why = _cap(column.numbers, len(column.numbers))
        if cap is not None:
            keys["winsorise"] = {"upper": cap}
    if column.nulls > 0:
        keys["missing"] = "exclude"
        why += f"; {numbers.share(column.nulls)} are missing: say zero where that means none"
    return Proposed(_directed(keys, column.words), why, _rank(column.words, flag=column.kind == "flag"))


def of_fact(table: Table, users: int, name: str) -> list[Proposed]:
    """Metrics of a table of events: who has any, how many, and their values."""
    if table.event is None:
        return _of_rows(table, users, name, None, None)
    ranked = sorted(table.event.counts, key=lambda pair: (_conversion_rank(_words(pair[0])), -pair[1]))
    found: list[Proposed] = []
    for event, _ in ranked[:MOST_EVENTS]:
        rows = pc.equal(table.event.texts, event).fill_null(False)
        found += _of_rows(table, users, name, event, rows)
    return found


def _of_rows(table: Table, users: int, name: str, event: str | None, rows: Any) -> list[Proposed]:
    what = "_".join(_words(event if event is not None else name))[:40] or name
    words = _words(what)
    of: dict[str, Any] = {"of": name} | ({"event": event} if event is not None else {})
    told = f"users with any {event if event is not None else name}"
    found = [
        Proposed(
            _directed({"id": f"with_{what}", "type": "proportion", **of}, words),
            told,
            _rank(words, flag=True),
        ),
        Proposed(
            _directed({"id": what, "type": "count", **of}, words),
            "how many per user",
            (3.0, _conversion_rank(words)),
        ),
    ]
    for column in values_of(table):
        sums = _per_user(table, column, rows)
        if not len(sums):
            continue
        cap, why = _cap(sums, users)
        keys = {"id": f"{what}_{column.name}"[:64], "type": "mean", **of, "value": column.name}
        if cap is not None:
            keys["winsorise"] = {"upper": cap}
        found.append(
            Proposed(_directed(keys, column.words), f"sum per user; {why}", _rank(column.words, flag=False))
        )
    return found


def values_of(table: Table) -> list[Column]:
    """The columns of a table of events that are measured: numbers that are no ids, flags or years."""
    return [
        c
        for c in table.rest
        if c.kind == "number" and not _is_id(c) and c.words[-1:] not in (["year"], ["month"], ["hour"])
    ]


def dimensions_of(table: Table) -> list[Column]:
    """The columns of a table of events that rows may be filtered by."""
    taken = {DAY}
    return [
        c
        for c in table.rest
        if c.kind in ("text", "flag") and 1 <= c.distinct <= MOST_DIMENSION and c.name not in taken
    ]


def _per_user(table: Table, column: Column, rows: Any) -> NDArray[np.float64]:
    """The sums of a value by user, as far as the sample has them."""
    assert table.user is not None
    n = min(len(column.found), len(table.user.texts))
    values, ids = number(column.found).values.slice(0, n), table.user.texts.slice(0, n)
    good = pc.and_(values.is_valid(), ids.is_valid())
    if rows is not None:
        good = pc.and_(good, rows.slice(0, n))
    if not pc.any(good).as_py():
        return np.zeros(0)
    codes = ids.filter(good).combine_chunks().dictionary_encode().indices.to_numpy()
    return np.asarray(np.bincount(codes, weights=values.filter(good).to_numpy()))


def _cap(values: NDArray[np.float64], users: int) -> tuple[float | None, str]:
    """The quantile of all users' values that a heavy tail is capped at, and what is said; None: no heavy tail.

    Of values that most users have none of, the tail is judged among those that are not zero, and the quantile is one that
    caps at most one in fifty of them.
    """
    given = values[values != 0]
    if len(given) < 100 or (given < 0).any():
        return None, "a number per user"
    high, largest = float(np.quantile(given, 0.99)), float(given.max())
    scaled = given / largest  # whose squares are finite
    sd = float(scaled.std())
    skew = float((((scaled - scaled.mean()) / sd) ** 3).mean()) if sd > 0 else 0.0
    if largest <= 5 * high and skew <= 5:
        return None, "a number per user"
    share = len(given) / max(users, len(given))
    cap = next((q for q in _CAPS if 1 - q <= 0.02 * share + 1e-12), None)
    return cap, f"a heavy tail: the largest is {largest:,.5g}, 99 % of those above 0 are below {high:,.5g}"


def _rank(words: Sequence[str], *, flag: bool) -> tuple[float, ...]:
    conversion = _conversion_rank(words)
    later = -max((int(word) for word in words if word.isdigit() and len(word) < 4), default=0)
    if flag and conversion < len(_CONVERSIONS):
        return (0.0, conversion, later)
    money = min((_MONEY.index(word) for word in words if word in _MONEY), default=None)
    if money is not None:
        return (1.0, money, later)
    return (2.0 if flag else 4.0, conversion, later)


def _conversion_rank(words: Sequence[str]) -> float:
    return min((_CONVERSIONS.index(w) for w in words if w in _CONVERSIONS), default=len(_CONVERSIONS))


def _directed(keys: dict[str, Any], words: Iterable[str]) -> dict[str, Any]:
    return keys | ({"direction": "decrease"} if set(words) & _LESS_IS_GOOD else {})


def _words(text: str) -> list[str]:
    return Column(re.sub(r"[.]", "_", text), pa.chunked_array([pa.array([], pa.string())])).words
