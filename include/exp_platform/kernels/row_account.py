"""What became of one bucket's staged rows at one as_of date: each counts, or is told of under its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa

from exp_platform.aggregates import Counted, LeftOut, RowAccount
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Metric
from exp_platform.kernels.coded import Coded, Codes
from exp_platform.kernels.local_days import Ints, instant, instants
from exp_platform.kernels.unit_days import BETWEEN, EventDays, UnitDays
from exp_platform.kernels.user_values import Mask, Snapshot, has_daily_block
from exp_platform.kernels.users import NEVER, Users, variant_ranks

USERS = "users"
_BEFORE = "before"
STAGED = "staged"  # exposures, whatever table they come from


@dataclass(frozen=True, eq=False)
class Exposures:
    """Staged exposures of one bucket, matched with its users. Arrays of shape (rows,), `first_inside` of shape (ids,)."""

    at: Ints
    user: Codes  # position in Users, -1: not among them
    known: Mask  # whether the spec has the variant
    first_inside: (
        Ints  # of every id that a row has its first exposure inside the window, to whatever variant, or NEVER
    )

    @staticmethod
    def of(exposures: pa.Table, users: Users, experiment: Experiment) -> Exposures:
        """`users` are those of the same rows at the newest as_of date; every row has a user and an instant."""
        window = experiment.window
        start, end = instant(window.starts_at()), instant(window.cutoff(window.end))
        at = instants(exposures["exposed_at"])
        named = Coded.distinct(exposures["user_id"])
        first = np.full(len(named.values), NEVER)
        inside = (at >= start) & (at < end)
        np.minimum.at(first, named.codes[inside], at[inside])
        position = np.full(len(first), -1)
        position[users.codes] = np.arange(len(users))
        known = variant_ranks(exposures["variant_id"], experiment) < len(experiment.variants)
        return Exposures(at, position[named.codes], known, first[named.rows > 0])


def accounts(now: Snapshot, exposures: Exposures, days: UnitDays) -> dict[str, RowAccount]:
    """The accounts of one bucket: of its staged exposures and outcomes, of its users, and of each metric's users."""
    told = {STAGED: _of_exposures(now, exposures), USERS: _of_users(now, exposures)}
    if not now.is_units:
        told["outcomes"] = _of_outcomes(now, days)
    return told | {f"{USERS} of {m.id}": _of_metric(now, m) for m in now.experiment.metrics}


def account(told: Mapping[Counted | LeftOut, int]) -> RowAccount:
    """An account of rows that are all told of, in the order of the reasons; reasons without rows are left out."""
    counted = {key.value: told[key] for key in Counted if told.get(key)}
    left_out = {key.value: told[key] for key in LeftOut if told.get(key)}
    return RowAccount(sum(counted.values()) + sum(left_out.values()), counted, left_out)


def together(parts: Iterable[RowAccount]) -> RowAccount:
    """The account of rows in disjoint buckets."""
    told: Counter[Counted | LeftOut] = Counter()
    for part in parts:
        told += Counter({Counted(key): n for key, n in part.counted.items()})
        told += Counter({LeftOut(key): n for key, n in part.left_out.items()})
    return account(told)


def complete(
    staged: Mapping[str, RowAccount],
    read: Mapping[str, int],
    left_out: Mapping[str, Mapping[str, int]],
    in_series: Mapping[str, int] | None = None,
) -> dict[str, RowAccount]:
    """The accounts of the tables as they were read: by table the rows, and why some were not staged, are ingest's.

    Staged exposures come from the table exposures, or units. A fact's rows count where they are `in_series`, and what they
    became is told of as outcomes. Whether an account adds up its caller must judge.
    """
    told: dict[str, RowAccount] = {}
    facts = sorted(read.keys() - {"exposures", "units", "outcomes"})
    for table in (t for t in ("exposures", "units", *facts, "outcomes") if t in read):
        if table in facts:
            part = account({Counted.SERIES: (in_series or {}).get(table, 0)})
        else:
            part = staged[table if table in staged else STAGED]
        dropped = RowAccount(0, {}, dict(left_out.get(table, {})))
        told[table] = replace(together([part, dropped]), read=read[table])
    return told | {name: rows for name, rows in staged.items() if name.startswith(USERS)}


@dataclass(frozen=True, eq=False)
class _Standing:
    """Who of all users is what at the as_of date, shape (users,) each; without a trigger nobody waits."""

    exposed: Mask
    crossed: Mask  # of them those who are left out for it
    waiting: Mask  # of the others those who have not reached the trigger

    @staticmethod
    def of(now: Snapshot) -> _Standing:
        users = now.users
        exposed = users.exposed_at < now.cutoff
        keep = now.experiment.analyses.crossovers == "first"
        crossed = np.zeros_like(exposed) if keep else exposed & (users.crossed_at < now.cutoff)
        return _Standing(exposed, crossed, exposed & ~crossed & (users.began_at >= now.cutoff))

    @property
    def analysed(self) -> Mask:
        return self.exposed & ~self.crossed & ~self.waiting


def _of_exposures(now: Snapshot, rows: Exposures) -> RowAccount:
    window = now.experiment.window
    start, end = instant(window.starts_at()), instant(window.cutoff(window.end))
    before, after = rows.at < start, rows.at >= end
    later = ~before & ~after & (rows.at >= now.cutoff)
    here = ~before & ~after & ~later
    unknown = here & ~rows.known
    orphan = here & rows.known & (rows.user < 0)
    mine = rows.user[here & rows.known & (rows.user >= 0)]
    users = _Standing.of(now)
    first, waiting = (
        int(users.analysed.sum()),
        int(users.waiting.sum()),
    )  # one exposure of each makes it a user
    return account(
        {
            Counted.FIRST: first,
            LeftOut.BEFORE_WINDOW: int(before.sum()),
            LeftOut.AFTER_WINDOW: int(after.sum()),
            LeftOut.LATER: int(later.sum()),
            LeftOut.UNKNOWN_VARIANT: int(unknown.sum()),
            LeftOut.UNKNOWN_FIRST: int(orphan.sum()),
            LeftOut.CROSSOVER: int(users.crossed[mine].sum()),
            LeftOut.NOT_TRIGGERED: waiting,
            LeftOut.REPEATED: int((~users.crossed[mine]).sum()) - first - waiting,
        },
    )


def _of_users(now: Snapshot, rows: Exposures) -> RowAccount:
    never, by_now = rows.first_inside == NEVER, rows.first_inside < now.cutoff
    users = _Standing.of(now)
    # Whoever was exposed outside the window only: the account of rows tells on which side.
    return account(
        {
            Counted.ANALYSED: int(users.analysed.sum()),
            LeftOut.OUTSIDE_WINDOW: int(never.sum()),
            LeftOut.LATER: int((~never & ~by_now).sum()),
            LeftOut.UNKNOWN_FIRST: int(by_now.sum()) - int(users.exposed.sum()),
            LeftOut.CROSSOVER: int(users.crossed.sum()),
            LeftOut.NOT_TRIGGERED: int(users.waiting.sum()),
        },
    )


def _of_metric(now: Snapshot, metric: Metric) -> RowAccount:
    observed, inside = now.analysed & now.observed(metric.window), now.analysed & now.population(metric)
    found, counts = int(observed.sum()), int(inside.sum())
    return account(
        {
            Counted.POPULATION: counts,
            LeftOut.NOT_MATURE: int(now.analysed.sum()) - found,
            LeftOut.NO_VALUE: found - counts,
        }
    )


def _of_outcomes(now: Snapshot, days: UnitDays) -> RowAccount:
    unread, late = days.unread, int((days.unread.others > now.as_of).sum())
    told: Counter[Counted | LeftOut] = Counter(
        {
            LeftOut.NOT_READ: unread.not_read,
            LeftOut.TOO_OLD: unread.too_old,
            LeftOut.LATER: unread.later + late,
            LeftOut.NOT_ASSIGNED: len(unread.others) - late,
        }
    )
    readers, users = _readers(now), _Standing.of(now)
    for event, rows in days.events.items():
        by_now = rows.date <= now.as_of
        of_user = np.bincount(rows.user, rows.n * by_now, len(users.exposed))  # whole numbers far below 2**53
        told[LeftOut.LATER] += int(rows.n.sum() - of_user.sum())
        for why, of_them in (
            (LeftOut.NOT_ASSIGNED, ~users.exposed),
            (LeftOut.CROSSOVER, users.crossed),
            (LeftOut.NOT_TRIGGERED, users.waiting),
        ):
            told[why] += int(of_user[of_them].sum())
        mine = by_now & users.analysed[rows.user]
        last = int(np.searchsorted(rows.user, now.n))  # who begins later is not analysed
        told += _of_event(rows.between(0, last), mine[:last], [r for r in readers if r.event == event])
    return account(told)


@dataclass(frozen=True)
class _Reader:
    """What reads an event's rows: on which of them, and of which users; `same` is one for those that look at the same rows."""

    event: str
    counts: Counted
    rows: Callable[[EventDays], Mask]
    users: Mask
    same: Hashable


def _readers(now: Snapshot) -> list[_Reader]:
    """All that reads outcomes: metrics, then what looks before exposure, then daily analyses."""
    experiment, found = now.experiment, []
    everybody = np.ones(now.n, dtype=np.bool_)
    for metric in experiment.metrics:
        users = now.population(metric)
        for measure in metric.measures:
            inside = partial(now.is_inside, window=metric.window)
            found.append(_Reader(measure.event, Counted.METRIC, inside, users, metric.window))
        found += [
            _Reader(c.measure.event, Counted.BEFORE, now.is_before, users, _BEFORE) for c in metric.covariates
        ]
        found += _daily_readers(now, metric)
    found += [
        _Reader(b.measure.event, Counted.BEFORE, now.is_before, everybody, _BEFORE)
        for b in experiment.behaviours
    ]
    if experiment.trigger is not None:
        reached = _Reader(experiment.trigger.event, Counted.TRIGGER, lambda r: r.day == 0, everybody, None)
        found.append(reached)
    return found


def _daily_readers(now: Snapshot, metric: Metric) -> Iterator[_Reader]:
    plan, event = now.experiment.analyses, metric.numerator.event
    if has_daily_block(metric, now.experiment):
        users = now.mature(plan.did_days)
        for counts, first, end in (
            (Counted.BEFORE, -plan.days_before, 0),
            (Counted.DAILY, 0, plan.did_days),
        ):
            yield _Reader(event, counts, partial(_days_from, first=first, end=end), users, (first, end))
    if plan.read("cohort") and metric.traits.by_cohort:
        cohort = now.as_cohort(metric)
        for measure in cohort.measures:
            inside = partial(now.is_inside, window=cohort.window)
            yield _Reader(measure.event, Counted.DAILY, inside, now.population(cohort), cohort.window)


def _days_from(rows: EventDays, first: int, end: int) -> Mask:
    return np.asarray((rows.day >= first) & (rows.day < end))


def _of_event(rows: EventDays, mine: Mask, readers: list[_Reader]) -> Counter[Counted | LeftOut]:
    """One event's rows of analysed users up to the as_of date, `mine`, by the first that reads them or why nothing does."""
    told: Counter[Counted | LeftOut] = Counter()
    open_, waits = mine, np.zeros(len(mine), dtype=np.bool_)
    many = np.flatnonzero(rows.n != 1)

    def outcomes(of_them: Mask) -> int:
        return int(np.count_nonzero(of_them)) + int((rows.n[many] - 1)[of_them[many]].sum())

    for counts in (Counted.METRIC, Counted.TRIGGER, Counted.BEFORE, Counted.DAILY):
        read = np.zeros(len(mine), dtype=np.bool_)
        for wanted, users in _looked_at(rows, [r for r in readers if r.counts is counts]):
            read |= wanted & users[rows.user]
            waits |= wanted
        told[counts] = outcomes(open_ & read)
        open_ = open_ & ~read
    told[LeftOut.NOT_MATURE] = outcomes(open_ & waits)
    rest = open_ & ~waits
    between = rest & (rows.day == BETWEEN)
    told[LeftOut.BEFORE_TRIGGER] = outcomes(between)
    told[LeftOut.BEFORE_EXPOSURE] = outcomes(rest & ~between & (rows.day < 0))
    told[LeftOut.OTHER_DAYS] = outcomes(rest & (rows.day >= 0))
    return told


def _looked_at(rows: EventDays, readers: list[_Reader]) -> Iterator[tuple[Mask, Mask]]:
    """The different rows that readers look at, each with the users of whom any does."""
    users: dict[Hashable, Mask] = {}
    for reader in readers:
        users[reader.same] = reader.users | users.get(reader.same, np.False_)
    for reader in {reader.same: reader for reader in readers}.values():
        yield reader.rows(rows), users[reader.same]
