"""Whether an arm's newest days are missing: rows of one app, country or export may come later than the other arm's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

from exp_platform.aggregates import Aggregates
from exp_platform.analyses.daily_series import Series, last_open_day
from exp_platform.analyses.rows import LateRow, Status
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Role
from exp_platform.config.readings import RunState
from exp_platform.config.sources import UnitsSource
from exp_platform.stats import special

ONE_DAY = timedelta(days=1)
LATEST_DAYS = 7  # that may be missing
BEFORE_DAYS = 14  # at most, that they are compared with ...
JUST_BEFORE = 2  # ... and those among them that come just before
LEAST_RATIO = 0.5  # of the odds that an active user is the arm's to what they were: effects that wear off do so by and by
CHANCE = 1e-6  # below it, what was counted is no accident; it is asked for again every day
LOWEST = 1e-3  # the arm's part before is known only so well: it is taken at this quantile


def late_days(experiment: Experiment, aggregates: Aggregates, state: RunState) -> list[LateRow]:
    """The arms that hardly have any active users on the last days, though they did before: a row per metric and arm.

    Of primary metrics and guardrails; none of a source that has no days.
    """
    if isinstance(experiment.source, UnitsSource):
        return []
    rows = []
    for metric in experiment.metrics:
        if metric.role is not Role.PRIMARY and state.guardrail_of(metric) is None:
            continue
        last = last_open_day(experiment, aggregates.as_of_date, metric)
        series = {v.id: Series(aggregates.daily, metric, v.id) for v in experiment.variants}
        for variant in experiment.variants:
            others = [series[v.id] for v in experiment.variants if v is not variant]
            missing = _missing(experiment.window.start, last, series[variant.id], others)
            if missing is not None:
                rows.append(
                    LateRow(
                        as_of_date=aggregates.as_of_date,
                        metric_id=metric.id,
                        variant_id=variant.id,
                        status=Status.OK,
                        **missing._asdict(),
                    )
                )
    return rows


class _Missing(NamedTuple):
    """An average day's active users of an arm and of the others: of the last `days`, and of those before."""

    since: date
    days: int
    arm: float
    others: float
    arm_before: float
    others_before: float
    ratio: float  # of the arm's share to what it should be by the days before


def _missing(start: date, last: date, arm: Series, others: Sequence[Series]) -> _Missing | None:
    """The span of last days that lacks most, the longest of several; None where none does."""
    spans = (
        _span(start, last - timedelta(days=days - 1), last, arm, others) for days in range(LATEST_DAYS, 0, -1)
    )
    return min((span for span in spans if span), key=lambda span: span.ratio, default=None)


def _span(start: date, since: date, last: date, arm: Series, others: Sequence[Series]) -> _Missing | None:
    """What a span of days lacks against those before it; None where it does not.

    Rows that are not there yet end at once, so the days just before the span tell the same as all before it: an effect that
    wears off does so by and by. Days are averaged, so that a user who comes every day counts once. The arm's part of an
    average day's active users is binomial; expected is its part before, at the lower end of what that may be (Clopper and
    Pearson 1934).
    """
    first = max(start, since - timedelta(days=BEFORE_DAYS))
    now = _odds(arm, others, (since, last))
    near = _odds(arm, others, (max(first, since - timedelta(days=JUST_BEFORE)), since - ONE_DAY))
    all_before = _odds(arm, others, (first, since - ONE_DAY))
    if not (now and near and all_before and near.value > 0 and all_before.value > 0):
        return None
    ratio = now.value / max(near.value, all_before.value)
    share = float(special.betaincinv(all_before.arm, all_before.others + 1, LOWEST))
    odds = share / (1 - share) * now.opened / all_before.opened
    chance = special.bdtr(math.floor(now.arm), round(now.arm + now.others), odds / (1 + odds))
    if now.value >= LEAST_RATIO * min(near.value, all_before.value) or chance >= CHANCE:
        return None
    return _Missing(
        since, (last - since).days + 1, now.arm, now.others, all_before.arm, all_before.others, ratio
    )


class _Odds(NamedTuple):
    """An average day's active users of an arm and of the others, and the odds of those whose window is open."""

    arm: float
    others: float
    opened: float

    @property
    def value(self) -> float:
        """The odds of being the arm's, were as many windows open in it as in the others: a ramp changes how many are."""
        return self.arm / self.others / self.opened


def _odds(arm: Series, others: Sequence[Series], days: tuple[date, date]) -> _Odds | None:
    """None where nobody's window is open in the arm, or the others have no active users."""
    if days[0] > days[1]:
        return None
    own, rest = arm.mean(*days), [series.mean(*days) for series in others]
    active, opened = sum(d.active for d in rest), sum(d.open for d in rest)
    return _Odds(own.active, active, own.open / opened) if active and opened and own.open else None
