"""Situations in which the data are wrong: what is noticed, and what is not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from exp_platform import numbers
from exp_scenarios.reading import naive, row, tested
from exp_scenarios.scenario import Said, Scenario, Step
from exp_scenarios.shop import START, Shop, deliver, read

CONVERSION = """\
metrics:
  - {id: conversion, type: proportion, event: order, role: primary, mde: 15%, baseline: 0.1}
"""


def _unlogged(folder: Path) -> None:
    """On slow connections the new page loads after half of the visitors have left, so nothing logs them."""
    shop = Shop(seed=21, n=20_000)
    slow = shop.rng.random(shop.n) < 0.3
    shop.once("order", np.where(slow, 0.02, 0.12))
    lost = (shop.arm == 1) & slow & (shop.rng.random(shop.n) < 0.5)
    deliver(folder, shop.exposures().filter(pa.array(~lost)), shop.outcomes())


SRM = Scenario(
    id="srm",
    title="A split that is not the planned one",
    situation="The new page is heavier. On slow connections half of its visitors leave before the exposure is logged.",
    truth="The page changes nobody's mind. Visitors who buy little are missing from the treatment.",
    steps=(Step(CONVERSION, _unlogged),),
    rows=(("srm", ""), ("ab", "conversion")),
    why="""
        Users were planned 1 : 1, and such a difference in numbers has a chance far below one in a thousand. Who is missing is not
        known, so no effect can be read at all: *investigate*, however significant the rest looks.
    """,
    naive=lambda said, _: (
        f"*Ship it*: conversion {tested(row(said[-1].report, 'ab', 'conversion'))}. All of it is who was counted."
    ),
)


def _logged_in_again(folder: Path) -> None:
    """Determined buyers who dislike the new page log in again until they get the old one."""
    shop = Shop(seed=22, n=20_000)
    eager = shop.rng.random(shop.n) < 0.1
    shop.once("order", np.where(eager, 0.5, 0.06))
    switch = np.where(shop.arm == 1, 0.6 * eager, 0.005)
    who = np.flatnonzero(shop.rng.random(shop.n) < switch)
    second = shop.exposed(who, 1 - shop.arm[who], shop.exposed_at[who] + 60_000_000, "y")
    deliver(folder, pa.concat_tables([shop.exposures(), second]), shop.outcomes())


def _in_both(said: Sequence[Said], folder: Path) -> str:
    seen = read(folder, "exposures")[["user_id", "variant_id"]]
    bought = set(read(folder, "outcomes").user_id)
    values = seen.user_id.isin(bought).astype(float)
    both = naive(values[seen.variant_id == "control"], values[seen.variant_id == "treatment"])
    return (
        f"Counted in every variant that they saw, the switchers are in both arms: {both}, with some users on both sides of one "
        f"test. With crossovers left out, as is usual, {tested(row(said[0].report, 'ab', 'conversion'))}: the treatment has lost "
        "its best customers."
    )


CROSSOVERS = Scenario(
    id="crossovers",
    title="Users who see both variants",
    situation="Visitors can leave the treatment by logging in again. Determined buyers do.",
    truth="The page changes nobody's mind: everybody buys as they would have.",
    steps=(
        Step(CONVERSION, _logged_in_again, name="crossovers excluded (the default)"),
        Step(
            CONVERSION + "analyses: {crossovers: first}\nquality: {max_crossover_share: 0.1}\n",
            name="kept in the arm they saw first",
            apart=True,
        ),
    ),
    rows=(("srm", ""), ("ab", "conversion")),
    why="""
        Too many users cross over, and the arms lose different shares to it, which chance does not do. Excluding them then compares
        different people. Kept in their first arm (intention to treat) the effect is right, but the assignment is
        broken all the same, and the platform still says *investigate*.
    """,
    naive=_in_both,
)


def _delivered(folder: Path, part: int) -> None:
    """Orders of the new app reach the warehouse two days late; those of the old one at once."""
    shop = Shop(seed=23, n=24_000)
    shop.once("order", 0.10 + 0.015 * shop.arm)
    outcomes = shop.outcomes()
    treated = pa.array([shop.arm[int(user[5:])] == 1 for user in outcomes["user_id"].to_pylist()])
    last_days = pc.greater_equal(outcomes["occurred_at"], pa.scalar(START + timedelta(days=12)))
    late = pc.and_(treated, last_days)
    if part == 0:
        deliver(folder, shop.exposures(), outcomes.filter(pc.invert(late)))
    else:
        deliver(folder, None, outcomes.filter(late), "part-1")


def _last_days(said: Sequence[Said]) -> list[str]:
    control, treatment = (
        [
            sum(row.value_sum for row in one.daily if (row.variant_id, row.local_date) == (arm, day))
            for one in said[:2]
            for day in LATE_DAYS
        ]
        for arm in ("control", "treatment")
    )
    lines = [
        "First orders a day, by `metric_aggregates_daily`:",
        "",
        "| | " + " | ".join(f"{d:%d %B}" for d in LATE_DAYS) + " |",
    ]
    lines.append("|---|" + "---|" * len(LATE_DAYS))
    n = len(LATE_DAYS)
    for name, counts in (
        ("control", control[:n]),
        ("treatment, on time", treatment[:n]),
        ("treatment, three days later", treatment[n:]),
    ):
        lines.append(f"| {name} | " + " | ".join(numbers.count(c) for c in counts) + " |")
    return lines


LATE_DAYS = tuple(START.date() + timedelta(days=d) for d in (9, 10, 11, 12, 13))

LATE = Scenario(
    id="late_data",
    title="Late data",
    situation="The new app sends its orders to the warehouse two days late. The experiment is decided the morning after it ends.",
    truth="Conversion rises from 10 % to 11.5 %.",
    steps=(
        Step(CONVERSION, lambda folder: _delivered(folder, 0), name="the morning after"),
        Step(CONVERSION, lambda folder: _delivered(folder, 1), name="three days later, the same as_of date"),
        Step(CONVERSION, name="once more, with nothing new"),
    ),
    rows=(("ab", "conversion"),),
    further=_last_days,
    why="""
        Rows count by when they happened, whenever they arrive. New files change the input's fingerprint, so the same day is computed
        anew and replaces its result; without new files the run ends as *up to date*. The DAG goes on for `schedule.grace_days` (2 by
        default) after the last day for this. That the first delivery lacks one arm's last days is noticed: the arm's share of the
        users who are active falls from one day to the next, as no effect does. What was read of such data is no reading of the
        test, so the complete data are decided as if they had come at once. Give `grace_days` what the slowest delivery needs, or let
        runs wait for its marker (`schedule.wait_for`).
    """,
    naive=lambda said, _: (
        f"From a query of that morning: {tested(row(said[0].report, 'ab', 'conversion'))}. Nobody runs it again, because the question "
        f"is answered. With all orders it is {tested(row(said[1].report, 'ab', 'conversion'))}."
    ),
)


def _day_by_day(folder: Path, last: int, twice: bool) -> None:
    """What happened up to a day since the start; an export that was retried appends its last file again under other ids."""
    shop = Shop(seed=24, n=8_000)
    shop.once("order", np.full(shop.n, 0.10))
    until = pa.scalar(START + timedelta(days=last + 1))
    exposures, outcomes = shop.exposures(), shop.outcomes()
    exposures = exposures.filter(pc.less(exposures["exposed_at"], until))
    outcomes = outcomes.filter(pc.less(outcomes["occurred_at"], until))
    deliver(folder, exposures, outcomes)
    if twice:
        newest = pc.greater_equal(outcomes["occurred_at"], pa.scalar(START + timedelta(days=last - 4)))
        deliver(folder, None, outcomes.filter(newest), "retry-0")


DOUBLED = Scenario(
    id="doubled_delivery",
    title="A delivery that stands twice",
    situation="An export is retried, and its files of five days stand twice in the folder.",
    truth="Nothing changes.",
    steps=(
        Step(
            CONVERSION,
            lambda folder: _day_by_day(folder, 9, False),
            (date(2026, 1, 14),),
            "day 10, a good delivery",
        ),
        Step(
            CONVERSION,
            lambda folder: _day_by_day(folder, 10, True),
            (date(2026, 1, 15),),
            "day 11, the retried one",
        ),
    ),
    rows=(("ab", "conversion"),),
    why="""
        Rows with a known id are dropped, so the numbers would be right; but a delivery with so many of them is broken in some way,
        and what else is wrong with it nobody knows. It is refused as a whole, before anything is replaced. What is stored is still
        that of the day before, and its date says so.
    """,
    naive=lambda said, folder: (
        f"Rows counted as they lie there: {_orders_counted(folder)}. Anybody who sums them is too high by as much and does not see it, "
        "because both arms are."
    ),
)


def _orders_counted(folder: Path) -> str:
    rows = read(folder, "outcomes")
    return f"{numbers.count(len(rows))} orders, of which {numbers.count(rows.event_id.nunique())} happened"


TRUST = (SRM, CROSSOVERS, LATE, DOUBLED)
