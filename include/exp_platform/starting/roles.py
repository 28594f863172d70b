"""Which column is the user, the variant, the time, the event: by names that people use, and by what the values are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import pyarrow.compute as pc

from exp_platform.starting.columns import Column, columns_of
from exp_platform.starting.looked import Looked

MOST_VARIANTS = 20

# Names by rank: the first that is there counts.
_USERS = (
    *(
        "user_id",
        "userid",
        "uid",
        "user",
        "visitor_id",
        "visitorid",
        "customer_id",
        "customerid",
        "account_id",
    ),
    *("player_id", "member_id", "client_id", "subscriber_id", "person_id", "patient_id", "subject_id"),
    *(
        "unit_id",
        "anonymous_id",
        "cookie_id",
        "device_id",
        "session_user_id",
        "visitor",
        "customer",
        "account",
    ),
    *("player", "member", "subject", "unit", "cookie", "device", "id"),
)
_VARIANTS = (
    *(
        "variant_id",
        "variant",
        "variation",
        "variation_id",
        "variation_name",
        "variant_name",
        "arm",
        "test_group",
    ),
    *("experiment_group", "ab_group", "group", "treatment_group", "treatment", "treated", "bucket", "branch"),
    *(
        "cell",
        "condition",
        "assignment",
        "assigned_group",
        "version",
        "split",
        "test_arm",
        "group_name",
        "test",
    ),
)
_EXPERIMENTS = (
    *(
        "experiment_id",
        "experiment_key",
        "experiment_name",
        "experiment",
        "exp_key",
        "exp_id",
        "exp_name",
        "exp",
    ),
    *("test_id", "test_key", "test_name", "flag_key", "flag", "feature_flag", "campaign"),
)
_EXPOSED = (
    *("exposed_at", "exposure_at", "exposure_time", "exposure_timestamp", "first_exposure_at", "assigned_at"),
    *("assignment_time", "first_exposure", "exposed", "enrolled_at", "first_seen_at", "first_seen"),
)
_TIMES = (
    *("occurred_at", "event_time", "event_timestamp", "event_at", "timestamp", "ts", "time", "datetime"),
    *("created_at", "date", "event_date", "day", "dt"),
)
_EVENTS = ("event", "event_name", "event_type", "eventname", "action", "activity")
_EVENTS_OF_LOG = (*_EVENTS, "name", "type", "kind")  # in a table that is called one of events
_EVENT_IDS = ("event_id", "eventid", "message_id", "insert_id", "uuid", "id", "eid", "order_id", "row_id")
_CONTROL_LIKE = {"control", "ctrl", "treatment", "test", "baseline", "placebo", "variant_a", "variant_b"}


@dataclass(frozen=True, eq=False)
class Table:
    """A table whose columns have their roles; what is left over are values, dimensions, metrics, segments."""

    looked: Looked
    columns: list[Column]
    user: Column | None = None
    variant: Column | None = None
    time: Column | None = None
    experiment: Column | None = None
    event: Column | None = None
    event_id: Column | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """Its name."""
        return self.looked.name

    @property
    def rest(self) -> list[Column]:
        """The columns without a role."""
        taken = (self.user, self.variant, self.time, self.experiment, self.event, self.event_id)
        return [column for column in self.columns if all(column is not one for one in taken)]

    @property
    def rows_per_user(self) -> float:
        """Rows of the sample by different user; 1 where there is no user."""
        if self.user is None or not self.user.distinct:
            return 1.0
        return float(len(self.user.texts) - self.user.texts.null_count) / self.user.distinct


def roles_of(looked: Looked) -> Table:
    """The table with a role for each column that has one."""
    columns = columns_of(looked.sample.rows)
    top = [column for column in columns if not column.nested]
    experiment = _named(top, _EXPERIMENTS, lambda c: c.kind in ("text", "number") and c.distinct >= 1)
    variant, too_many = _variant([c for c in top if c is not experiment])
    user = _user([c for c in top if c not in (experiment, variant)])
    time = _time(columns)
    others = [c for c in columns if c not in (experiment, variant, user, time)]
    event = None
    if time is not None:
        names = _EVENTS_OF_LOG if "event" in looked.name or "outcome" in looked.name else _EVENTS
        event = _named(others, names, lambda c: c.kind == "text" and c.distinct <= 500)
    event_id = _named(others, _EVENT_IDS, lambda c: c.unique and c is not event)
    notes = [_many(column) for column in too_many if variant is None]
    notes += _other_users(looked.name, columns, user, event_id)
    notes += [
        f"{looked.name}.{c.path} holds numbers such as {c.counts[0][0]}, no times: write times in ISO 8601"
        for c in columns
        if time is None and c.name in (*_EXPOSED, *_TIMES) and c.kind == "number"
    ]
    return Table(looked, columns, user, variant, time, experiment, event, event_id, tuple(notes))


def _named(columns: Iterable[Column], names: Sequence[str], good: Callable[[Column], bool]) -> Column | None:
    """The column of the best name among those that are good."""
    ranked = sorted((names.index(c.name), c.path, c) for c in columns if c.name in names)
    return next((column for _, _, column in ranked if good(column)), None)


def _variant(columns: list[Column]) -> tuple[Column | None, list[Column]]:
    """The column of the arms, and those that are called so and have too many values."""
    called = [c for c in columns if c.name in _VARIANTS and c.kind != "time"]
    arms = [c for c in called if 2 <= c.distinct <= MOST_VARIANTS]
    if arms:
        return min(arms, key=lambda c: _VARIANTS.index(c.name)), []
    like = [
        c
        for c in columns
        if c.kind == "text" and c.few and {value.lower() for value, _ in c.counts} & _CONTROL_LIKE
    ]
    return (like[0] if like else None), [c for c in called if c.distinct > MOST_VARIANTS]


def _many(column: Column) -> str:
    return f"{column.path} has {column.distinct:,} values: a variant has at most {MOST_VARIANTS}"


def _may_be_id(column: Column) -> bool:
    """Text, or whole numbers; neither times nor yes and no, and not a handful of groups."""
    return (column.kind == "text" or column.whole) and column.distinct > MOST_VARIANTS


def _user(columns: list[Column]) -> Column | None:
    found = _named(columns, _USERS, lambda c: c.kind in ("text", "number") and c.distinct > 1)
    if found is not None:
        return found
    ids = [c for c in columns if c.words[-1:] in (["id"], ["uid"], ["uuid"]) and _may_be_id(c)]
    texts = [c for c in columns if c.kind == "text" and c.unique]
    return next(iter([*ids, *texts]), None)


def _other_users(name: str, columns: list[Column], user: Column | None, event_id: Column | None) -> list[str]:
    others = [
        c.path
        for c in columns
        if c.name in _USERS[:-1] and c is not user and c is not event_id and _may_be_id(c)
    ]
    if user is None or not others:
        return []
    return [f"{name}: the user is {user.path}; {' and '.join(others)} could be too"]


def _time(columns: list[Column]) -> Column | None:
    """A column of times: of exposure if one is called so, then by other names, then the only one there is."""
    times = [c for c in columns if c.kind == "time"]
    named = _named(times, (*_EXPOSED, *_TIMES), lambda c: True)
    if named is not None or not times:
        return named
    at = [c for c in times if c.words[-1:] in (["at"], ["time"], ["ts"], ["timestamp"], ["date"])]
    return (at or times)[0]


def exposure_time(table: Table) -> Column | None:
    """The time of a table of users, if it is called one of exposure or just a time: others happened to the user."""
    return table.time if table.time is not None and table.time.name in (*_EXPOSED, *_TIMES) else None


def linked(assignments: Table, events: Table) -> tuple[Table, Table]:
    """Both with the pair of user columns that have most values in common, where their best names have none."""
    if assignments.user and events.user and _common(assignments.user, events.user):
        return assignments, events
    pairs = [
        (_common(one, other), one, other)
        for one in assignments.columns
        for other in events.columns
        if _may_be_id(one) and _may_be_id(other) and not one.nested
    ]
    best = max(pairs, key=lambda pair: pair[0], default=(0, None, None))
    if not best[0] or best[1] is None or best[2] is None:
        note = f"{assignments.name} and {events.name} have no user in common, as far as they were looked at"
        return assignments, replace(events, notes=(*events.notes, note))
    return replace(assignments, user=best[1]), replace(events, user=best[2])


def _common(one: Column, other: Column) -> int:
    """How many of the values of one the other has too."""
    return int(pc.sum(pc.is_in(pc.unique(one.texts), value_set=pc.unique(other.texts)).cast("int64")).as_py())
