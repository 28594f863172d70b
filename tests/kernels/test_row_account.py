"""Every row that is read is told of once: the accounts are those of a naive reading, row by row, over random data."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from exp_platform.aggregates import Counted, LeftOut, RowAccount
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import DayWindow, Measure, Metric
from exp_platform.config.plans import AnalysisPlan
from exp_platform.config.sources import UnitsSource
from exp_platform.kernels.aggregate import aggregate
from exp_platform.kernels.clean import clean_bucket
from exp_platform.kernels.measured import Measured
from exp_platform.kernels.merge import merge_aggregates
from exp_platform.kernels.row_account import Exposures, complete
from exp_platform.kernels.unit_days import unit_days
from exp_platform.kernels.users import first_exposures
from kernels.cases import (
    EVENTS,
    REVENUE,
    TABLE,
    Data,
    Exposure,
    Outcome,
    events_experiment,
    metric,
    units_experiment,
)
from kernels.naive import Naive

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SPEC = replace(
    events_experiment(),  # 27 March to 1 April 2025 in Berlin, whose clocks change on the 30th
    source=replace(EVENTS, dedupe="event_id"),
    metrics=(
        *[m for m in events_experiment().metrics if m.winsorise is None],
        metric("spend_late", "mean", REVENUE, window=DayWindow(2, 4)),
    ),
    segments=(),
)
Row = tuple[Any, ...]


def random_rows(rng: Random, users: int, exposures: int, outcomes: int) -> tuple[list[Row], list[Row]]:
    """Everything that a delivery may have: nulls, times that are none, rows twice, ghosts, strangers, old and late rows."""

    def at() -> str | None:
        if rng.random() < 0.05:
            return rng.choice([None, "soon"])
        moment = datetime(2025, 3, 27, tzinfo=UTC) + timedelta(minutes=rng.randint(-13 * 1440, 12 * 1440))
        return moment.isoformat()

    def some(value: str) -> str | None:
        return value if rng.random() > 0.03 else None

    def twice(rows: list[Row]) -> list[Row]:
        return rows + [rng.choice(rows) for _ in range(len(rows) // 10)]

    variants = ["control", "control", "control", "blue", "amber", "ghost"]
    events = ["view", "order", "purchase", "unrelated"]
    exposed = [
        (some(f"u{rng.randrange(users)}"), some(rng.choice(variants)), at(), f"x{i}")
        for i in range(exposures)
    ]
    happened = [
        (some(f"u{rng.randrange(users + users // 4)}"), some(rng.choice(events)), at(), float(i), f"o{i}")
        for i in range(outcomes)
    ]
    return twice(exposed), twice(happened)


def accounted(
    exposed: list[Row], happened: list[Row], spec: Experiment, as_of: list[date], buckets: int
) -> list[dict[str, RowAccount]]:
    """The accounts by the kernels, users dealt to buckets."""
    measured, parts = [], []
    for bucket in range(buckets):
        raw = {
            name: [table(names, [r for r in rows if zlib.crc32(str(r[0]).encode()) % buckets == bucket])]
            for name, names, rows in (
                ("exposures", "user_id variant_id exposed_at event_id", exposed),
                ("outcomes", "user_id event occurred_at value event_id", happened),
            )
        }
        clean = clean_bucket(raw, spec, NOW)
        measured.append(clean.measured)
        users = first_exposures(clean.exposures, spec, as_of[-1])
        days = unit_days(users, clean.outcomes, spec, as_of[-1])
        seen = Exposures.of(clean.exposures, users, spec)
        parts.append([aggregate(users, days, spec, day, seen) for day in as_of])
    whole = Measured.merge_all(measured)
    merged = [merge_aggregates(of_day, spec) for of_day in zip(*parts, strict=True)]
    return [complete(day.rows, whole.rows_in, whole.left_out) for day in merged]


def table(names: str, rows: list[Row]) -> pa.Table:
    kinds = {"value": pa.float64()}
    return pa.table(
        {n: pa.array([r[i] for r in rows], kinds.get(n, pa.string())) for i, n in enumerate(names.split())}
    )


class NaiveAccount:
    """What becomes of each row, one after the other, in plain Python."""

    def __init__(self, exposed: list[Row], happened: list[Row], spec: Experiment, as_of: date) -> None:
        self.spec, self.as_of = spec, as_of
        self.told: dict[str, Counter[str]] = {
            "exposures": Counter(),
            "outcomes": Counter(),
            "users": Counter(),
        }
        good = [Exposure(r[0], r[1], r[2]) for r in self._whole("exposures", exposed)]
        rows = [Outcome(r[0], r[1], r[2], r[3]) for r in self._whole("outcomes", happened)]
        self.seen = {e.user for e in good}
        self.naive = Naive(Data(good, rows), spec, as_of)
        self.users = {u.id: u for u in self.naive.everybody}
        self.analysed = {u.id for u in self.naive.users}
        self.counted: set[str] = set()
        for e in sorted(good, key=lambda e: e.at):
            self.told["exposures"][self._exposure(e)] += 1
        for o in rows:
            self.told["outcomes"][self._outcome(o)] += 1
        for user in self.seen:
            self.told["users"][self._user([e for e in good if e.user == user])] += 1

    def _whole(self, name: str, rows: list[Row]) -> list[Row]:
        kept, keys = [], set()
        for row in sorted(rows, key=str):
            if None in row[:3] or row[2] == "soon":
                self.told[name][LeftOut.MALFORMED if row[2] == "soon" else LeftOut.NULL] += 1
            elif (row[0], row[-1]) in keys:
                self.told[name][LeftOut.DUPLICATE] += 1
            else:
                keys.add((row[0], row[-1]))
                kept.append((*row[:2], datetime.fromisoformat(row[2]), *row[3:]))
        return kept

    def _exposure(self, e: Exposure) -> str:
        window, day = self.spec.window, self.naive.date(e.at)
        if day < window.start:
            return LeftOut.BEFORE_WINDOW
        if day > window.end:
            return LeftOut.AFTER_WINDOW
        if day > self.as_of:
            return LeftOut.LATER
        if e.variant == "ghost":
            return LeftOut.UNKNOWN_VARIANT
        if e.user not in self.users:
            return LeftOut.UNKNOWN_FIRST
        if e.user not in self.analysed:
            return LeftOut.CROSSOVER
        if e.user in self.counted:
            return LeftOut.REPEATED
        self.counted.add(e.user)
        return Counted.FIRST

    def _user(self, exposures: list[Exposure]) -> str:
        user = exposures[0].user
        inside = [
            d
            for e in exposures
            if self.spec.window.start <= (d := self.naive.date(e.at)) <= self.spec.window.end
        ]
        if user in self.users:
            return Counted.ANALYSED if user in self.analysed else LeftOut.CROSSOVER
        if not inside:
            return LeftOut.OUTSIDE_WINDOW
        return LeftOut.LATER if min(inside) > self.as_of else LeftOut.UNKNOWN_FIRST

    def _outcome(self, o: Outcome) -> str:
        plan = self.spec.analyses
        reach = max(plan.pre_period_days, plan.did_pre_days or plan.did_days) + 1
        if o.event == "unrelated":
            return LeftOut.NOT_READ
        if o.user not in self.seen:
            return LeftOut.NO_EXPOSURE
        if o.at < self.spec.window.starts_at().astimezone(UTC) - reach * DAY:
            return LeftOut.TOO_OLD
        if self.naive.date(o.at) > self.as_of:
            return LeftOut.LATER
        if o.user not in self.users:
            return LeftOut.NOT_ASSIGNED
        if o.user not in self.analysed:
            return LeftOut.CROSSOVER
        read, waits = self._read(o)
        for counts in (Counted.METRIC, Counted.BEFORE, Counted.DAILY):
            if counts in read:
                return counts
        if waits:
            return LeftOut.NOT_MATURE
        return LeftOut.BEFORE_EXPOSURE if o.at < self.users[o.user].exposed_at else LeftOut.OTHER_DAYS

    def _read(self, o: Outcome) -> tuple[set[Counted], bool]:
        """What reads the row, and whether something would if the user's days were over."""
        user, plan, naive = self.users[o.user], self.spec.analyses, self.naive
        read: set[Counted] = set()
        wanted = False

        def reads(metric: Metric, as_what: Counted, rows: list[Outcome], over: bool) -> None:
            nonlocal wanted
            if o in rows:
                wanted = True
                if over:
                    read.add(as_what)

        for m in self.spec.metrics:
            events = {x.event for x in (m.numerator, m.denominator) if x is not None}
            over = naive.row(user, m) is not None
            if o.event in events:
                reads(m, Counted.METRIC, naive._in_window(user, m), over)
                end = m.window.start + plan.did_days if m.window.end is None else m.window.end
                cut = replace(m, window=DayWindow(m.window.start, end), covariates=())
                reads(m, Counted.DAILY, naive._in_window(user, cut), naive.row(user, cut) is not None)
            if o.event in {c.measure.event for c in m.covariates}:
                reads(m, Counted.BEFORE, naive._before(user), over)
            if o.event == m.numerator.event and m.kind in ("proportion", "count", "mean"):
                first = user.exposed_at - (plan.did_pre_days or plan.did_days) * DAY
                last = user.exposed_at + plan.did_days * DAY
                days = [x for x in user.outcomes if first <= x.at < last]
                as_what = Counted.BEFORE if o.at < user.exposed_at else Counted.DAILY
                reads(m, as_what, days, naive._over(user, plan.did_days))
        return read, wanted


PLANS: dict[str, Any] = {
    "as by default": SPEC,
    "anchor": replace(SPEC, analyses=AnalysisPlan(pre_period_days=4, did_days=2, anchor="first_exposure")),
    "first arm": replace(
        SPEC, analyses=AnalysisPlan(pre_period_days=6, did_days=3, did_pre_days=6, crossovers="first")
    ),
}


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("buckets", [1, 3])
def test_every_row_read_is_told_of_once_and_under_the_reason_that_a_naive_reading_finds(
    plan: str, buckets: int
) -> None:
    spec, rng = PLANS[plan], Random(zlib.crc32(plan.encode()))
    exposed, happened = random_rows(rng, users=60, exposures=130, outcomes=500)
    as_of = [spec.window.start + timedelta(days=d) for d in (0, 3, 5, 8)]
    found = accounted(exposed, happened, spec, as_of, buckets)
    seen: set[str] = set()
    for day, rows in zip(as_of, found, strict=True):
        naive = NaiveAccount(exposed, happened, spec, day).told
        for name, read in (("exposures", len(exposed)), ("outcomes", len(happened))):
            assert rows[name].read == read == sum(naive[name].values())
            assert rows[name].adds_up()
        for name, told in naive.items():
            assert {**rows[name].counted, **rows[name].left_out} == dict(told), (day, name)
            seen |= set(told)
    of_others = {LeftOut.OTHER_EXPERIMENT, LeftOut.UNMAPPED, LeftOut.SEVERAL_USERS}
    of_facts = {LeftOut.TOO_LATE, LeftOut.FILTERED}
    of_triggers = {LeftOut.NOT_TRIGGERED, LeftOut.BEFORE_TRIGGER}  # test_trigger.py
    assert seen >= {*LeftOut} - of_others - of_facts - of_triggers - {
        LeftOut.LINE,
        LeftOut.NO_VALUE,
        LeftOut.FORGOTTEN,
    } - ({LeftOut.CROSSOVER} if spec.analyses.crossovers == "first" else set())


def test_users_of_a_metric_are_those_of_its_numbers_and_the_others_are_told_of() -> None:
    exposed, happened = random_rows(Random(3), users=60, exposures=130, outcomes=300)
    day = SPEC.window.end
    naive = Naive(Data([Exposure(r[0], r[1], r[2]) for r in clean(exposed)], []), SPEC, day)
    (rows,) = accounted(exposed, happened, SPEC, [day], 2)
    for m in SPEC.metrics:
        inside = sum(naive.row(user, m) is not None for user in naive.users)
        account = rows[f"users of {m.id}"]
        assert account.counted == {Counted.POPULATION: inside}
        assert account.left_out == ({LeftOut.NOT_MATURE: n} if (n := len(naive.users) - inside) else {})


def clean(rows: list[Row]) -> list[Row]:
    return [
        (*r[:2], datetime.fromisoformat(r[2]))
        for r in dict.fromkeys(rows)
        if None not in r[:3] and r[2] != "soon"
    ]


def test_rows_of_a_units_table_outside_the_window_are_told_of() -> None:
    """Counted by hand: 7 rows, of which 2 count; the spend of one of those is missing."""
    spec = replace(
        units_experiment("exclude"),
        source=UnitsSource(TABLE, {"A": "control", "B": "blue"}, ("visit", "spend"), (), {}),
        metrics=(
            metric("visit", "proportion", Measure("visit", "any"), missing="exclude"),
            metric("spend", "mean", Measure("spend", "sum"), missing="exclude"),
        ),
    )
    rows = [
        ("1", "A", "2025-03-27 10:00", "1", "5"),
        ("2", "B", "2025-03-29 10:00", "0", None),
        ("3", "B", "2025-03-26 23:59", "1", "1"),  # a minute too early in Berlin
        ("4", "A", "2025-04-02 00:00", "1", "1"),
        ("5", "A", "2025-04-01 10:00", "1", "1"),  # later than the as_of date
        ("6", "A", "some day", "1", "1"),
        (None, "A", "2025-03-28 10:00", "1", "1"),
    ]
    names = "user_id variant_id exposed_at outcome.visit outcome.spend"
    done = clean_bucket({"units": [table(names, rows)]}, spec, NOW)
    day = date(2025, 3, 31)
    users = first_exposures(done.exposures, spec, day)
    days = unit_days(users, done.outcomes, spec, day)
    made = merge_aggregates(
        [aggregate(users, days, spec, day, Exposures.of(done.exposures, users, spec))], spec
    )
    told = complete(made.rows, done.measured.rows_in, done.measured.left_out)
    assert told["units"] == RowAccount(
        7,
        {"a user's first exposure": 2},
        {
            "with a required value that cannot be read": 1,
            "without a required value": 1,
            "from before the window": 1,
            "from after the window": 1,
            "from after the as_of date": 1,
        },
    )
    assert told["users"].left_out == {"exposed outside the window only": 2, "from after the as_of date": 1}
    assert told["users of spend"] == RowAccount(2, {"in the metric": 1}, {"without a value": 1})
    assert done.measured.outside == {"before": 1, "after": 1}
    assert "outcomes" not in told
