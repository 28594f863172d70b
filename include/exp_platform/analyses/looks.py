"""The looks of a group-sequential test: which days count, and the level each of them has."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

from exp_platform.aggregates import Aggregates
from exp_platform.analyses.comparison import Comparison
from exp_platform.analyses.family import Look
from exp_platform.analyses.sizes import MIN_USERS_ARM
from exp_platform.config.analyses import GUARDING
from exp_platform.config.experiment import Experiment
from exp_platform.config.readings import DECIDING
from exp_platform.stats.group_sequential import bounds, spent
from exp_platform.stats.intervals import normal_critical, normal_two_sided

MIN_GROWTH = (
    0.001  # of the users at the look before; the recursion would need too many nodes for a smaller step
)
MIN_ALPHA = 1e-10  # a look with a smaller level cannot be passed by a p-value that is worth its digits


def at_look(c: Comparison, aggregates: Aggregates) -> Comparison:
    """The comparison with the level of today's look; one that cannot be significant today where today is none.

    A declared look spends its alpha whether or not anybody looked, so that none can be added after the fact. One that was
    taken before, on other data, only confirms.
    """
    if c.experiment.decision.sequential != "group_sequential":
        return c
    number = c.state.look_number(c.experiment, c.as_of_date)
    if number is None:
        return replace(c, final=False)
    look = _look(c, aggregates, number)
    method = GUARDING if c.method == GUARDING else DECIDING
    open_ = c.state.may_find(c.experiment, c.as_of_date, c.metric.id, c.treatment_id, method)
    return replace(c, level=replace(c.level, look=look), final=look.alpha is not None and open_)


def _look(c: Comparison, aggregates: Aggregates, number: int) -> Look:
    """Today's look of one comparison: its share of alpha is the family's by Bonferroni, spent over the looks so far.

    The share follows the users of both arms whose window is over, against the planned ones. A metric whose window never
    closes changes for users of earlier looks too: its share follows the days.
    """
    plan, alpha = c.experiment.decision, c.level.family_alpha / c.level.size
    dates = (*c.state.look_dates(c.experiment)[: number - 1], c.as_of_date)
    accrues = c.metric.window.end is None
    users = [0.0 if accrues else _users(c, aggregates, day) for day in dates]
    information = [0.0 if accrues else _information(c, aggregates, day) for day in dates]
    planned = _planned_users(c.experiment, c.treatment_id)
    fractions = [
        c.experiment.elapsed(day) if accrues else n / planned for day, n in zip(dates, users, strict=True)
    ]
    chances = [spent(plan.spending, t, alpha, plan.spending_exponent) if t > 0 else 0.0 for t in fractions]
    if c.as_of_date >= c.experiment.decision_date:
        chances[-1] = alpha  # whatever is left, however many users came
    boundary = _boundary(information, chances)
    level = normal_two_sided(boundary).p if boundary < math.inf else 0.0
    reachable = level >= MIN_ALPHA
    return Look(
        number,
        min(1.0, fractions[-1]),
        chances[-1],
        boundary if reachable else None,
        level if reachable else None,
    )


def _boundary(information: Sequence[float], chances: Sequence[float]) -> float:
    """The last look's critical |z|.

    Looks that added users are correlated as sqrt(earlier / later), which the recursion uses. What a look without new users
    adds to alpha is spent on it alone (Bonferroni): that holds however it is correlated with the others.
    """
    kept: list[float] = []
    kept_chances: list[float] = []
    alone = before = critical = 0.0
    for found, chance in zip(information, chances, strict=True):
        grown = found > 0 and (not kept or found >= (1 + MIN_GROWTH) * kept[-1])
        if grown:
            kept.append(found)
            kept_chances.append(chance - alone)
            critical = math.nan
        else:
            added = chance - before
            alone += added
            critical = normal_critical(1 - added) if added >= MIN_ALPHA else math.inf
        before = chance
    return bounds(tuple(kept), tuple(kept_chances))[-1] if math.isnan(critical) else critical


def _users(c: Comparison, aggregates: Aggregates, day: date) -> float:
    """Users of both arms whose whole window is over by that day."""
    arms = (c.experiment.control.id, c.treatment_id)
    return float(sum(n[arm] for n in _by_allocation(c, aggregates, day) for arm in arms))


def _information(c: Comparison, aggregates: Aggregates, day: date) -> float:
    """What grows as the variance of the sum that the looks are parts of: the users, but under a ramp not in proportion.

    N times the standardised effect is the sum over periods of N_s (m_1s - m_0s), N_s the users of all arms, with variance
    sum_s N_s^2 (v_1 / n_1s + v_0 / n_0s): a user of a period with a small arm adds more. Arms that vary alike stand for the
    others, as everywhere in planning. Periods that do not count are left out, as in the effect.
    """
    if not c.experiment.ramp:
        return _users(c, aggregates, day)
    counted = [n for n in _by_allocation(c, aggregates, day) if min(n.values()) >= MIN_USERS_ARM]
    arms = (c.experiment.control.id, c.treatment_id)
    return float(sum(sum(n.values()) ** 2 * sum(1 / n[arm] for arm in arms) for n in counted))


def _by_allocation(c: Comparison, aggregates: Aggregates, day: date) -> list[dict[str, int]]:
    """Users by variant, of those who came under each allocation and whose whole window is over by that day."""
    until = day - timedelta(days=c.metric.window.end or 0)
    starts = [allocation.start for allocation in c.experiment.allocations]
    found = [dict.fromkeys((v.id for v in c.experiment.variants), 0) for _ in starts]
    for row in aggregates.daily:
        if row.metric_id == c.metric.id and starts[0] <= row.local_date <= until:
            found[bisect_right(starts, row.local_date) - 1][row.variant_id] += row.new_users
    return found


def _planned_users(experiment: Experiment, treatment_id: str) -> float:
    """Users of control and one treatment at the planned end; a spec without a planned size has no such test."""
    shares = {v.id: v.share for v in experiment.variants}
    return (experiment.decision.required_sample_size or 0) * (
        shares[experiment.control.id] + shares[treatment_id]
    )
