"""The same semantics once more, user by user and row by row with datetimes: what the kernels are compared with.

Written from the rules, shares no code with the kernels: no unit days, no day numbers, no vectors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cache

from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Measure, Metric
from kernels.cases import Data, Exposure, Outcome, zone

DAY = timedelta(days=1)


@dataclass
class User:
    id: str
    variant: str
    exposed_at: datetime
    crossover: bool
    attributes: dict[str, str]
    outcomes: list[Outcome]
    began: (
        datetime | None
    )  # when the user's days begin: with exposure or the trigger; None: the trigger was not reached

    @property
    def start(self) -> datetime:
        assert self.began is not None
        return self.began


class Naive:
    """An experiment's users and their values at the end of one as_of date."""

    def __init__(self, data: Data, experiment: Experiment, as_of: date) -> None:
        self.experiment, self.as_of = experiment, as_of
        local = zone(experiment)
        self.date = cache(lambda moment: moment.astimezone(local).date())
        self.everybody = [
            user
            for name in sorted({e.user for e in data.exposures})
            if (user := self._user(name, [e for e in data.exposures if e.user == name], data.outcomes))
            is not None
        ]
        keep = experiment.analyses.crossovers == "first"
        self.users = [u for u in self.everybody if (keep or not u.crossover) and u.began is not None]

    def _user(self, name: str, exposures: list[Exposure], outcomes: list[Outcome]) -> User | None:
        window = self.experiment.window
        known = [v.id for v in self.experiment.variants]
        seen = [e for e in exposures if window.start <= self.date(e.at) <= min(self.as_of, window.end)]
        if not seen:
            return None
        first_at = min(e.at for e in seen)
        firsts = [e for e in seen if e.at == first_at]
        variants = [v for v in known if v in {e.variant for e in firsts}]
        if not variants:
            return None
        mine = [o for o in outcomes if o.user == name and self.date(o.at) <= self.as_of]
        trigger, began = self.experiment.trigger, [first_at]
        if trigger is not None:
            until = first_at + trigger.within * DAY
            began = [o.at for o in mine if o.event == trigger.event and first_at <= o.at < until]
        return User(
            name,
            variants[0],
            first_at,
            len({e.variant for e in seen} & set(known)) > 1,
            self._attributes([e for e in firsts if e.variant == variants[0]]),
            mine,
            min(began, default=None),
        )

    def _attributes(self, firsts: list[Exposure]) -> dict[str, str]:
        """Every segment's value, and the crossed one where strata are crossed."""
        values = {s: self._attribute(s, firsts) for s in self.experiment.segments}
        strata = self.experiment.analyses.strata
        if len(strata) > 1:
            values[" × ".join(strata)] = " × ".join(values[s] for s in strata)
        return values

    @staticmethod
    def _attribute(name: str, firsts: list[Exposure]) -> str:
        values = [v for e in firsts if (v := (e.attributes or {}).get(name)) is not None]
        return min(values, default="unknown")

    def _over(self, user: User, days: int) -> bool:
        """Whether so many days of the user's are over when as_of ends: its last microsecond is past them."""
        return self.date(user.start + days * DAY - timedelta(microseconds=1)) <= self.as_of

    def _opened(self, user: User, days: int) -> bool:
        """Whether the first microsecond of the user's day `days` can be seen before as_of and the experiment are over."""
        return self.date(user.start + days * DAY) <= min(self.as_of, self.experiment.window.end)

    def _reduce(self, outcomes: list[Outcome], measure: Measure) -> float:
        if measure.at_least is not None:
            number = self._reduce(outcomes, replace(measure, at_least=None))
            return float(round(number, 9) >= measure.at_least)
        rows = [o for o in outcomes if o.event == measure.event]
        if measure.agg == "distinct":
            return float(len({o.item for o in rows if o.item is not None}))
        if measure.agg == "days":
            return float(len({self.date(o.at) for o in rows}))
        picked = sorted((o.at, o.value) for o in rows if o.value is not None)
        if measure.agg in ("first", "last"):
            return picked[0 if measure.agg == "first" else -1][1] if picked else 0.0
        if measure.agg in ("max", "min"):
            return (max if measure.agg == "max" else min)((value for _, value in picked), default=0.0)
        values = [o.value or 0.0 for o in rows]
        if measure.agg == "sum":
            return sum(values)
        if measure.agg == "count":
            return float(len(values))
        if self.experiment.source.kind == "units":
            return float(any(value != 0 for value in values))
        return float(len(values) > 0)

    def _in_window(self, user: User, metric: Metric) -> list[Outcome]:
        start = user.start + metric.window.start * DAY
        after = [o for o in user.outcomes if o.at >= start]
        if metric.window.end is None:
            return [o for o in after if self.date(o.at) <= self.experiment.window.end]
        return [o for o in after if o.at < user.start + metric.window.end * DAY]

    def _before(self, user: User) -> list[Outcome]:
        plan, start = self.experiment.analyses, self.experiment.window.start
        if self.experiment.source.kind == "units":
            return [o for o in user.outcomes if o.at == user.exposed_at - DAY]
        if plan.anchor == "first_exposure":
            return [
                o
                for o in user.outcomes
                if user.exposed_at - plan.pre_period_days * DAY <= o.at < user.exposed_at
            ]
        return [o for o in user.outcomes if start - plan.pre_period_days * DAY <= self.date(o.at) < start]

    def row(self, user: User, metric: Metric) -> tuple[float, ...] | None:
        """The columns of a `total` block for one user; None outside the metric's population."""
        if metric.window.end is not None and not self._over(user, metric.window.end):
            return None
        if metric.window.end is None and not self._opened(user, metric.window.start):
            return None
        inside = self._in_window(user, metric)
        measures = [m for m in (metric.numerator, metric.denominator) if m is not None]
        units = self.experiment.source.kind == "units"
        with_value = {o.event for o in inside if o.value is not None}
        if metric.missing != "zero" and not {m.event for m in measures} <= with_value:
            return None
        row = [self._reduce(inside, m) for m in measures]
        for covariate in metric.covariates:
            before = [o for o in self._before(user) if o.event == covariate.measure.event]
            row.append(self._reduce(before, covariate.measure))
            if units:
                row.append(float(not before))
        return tuple(row)

    def daily(self, user: User, metric: Metric) -> tuple[float, ...] | None:
        """The columns of a `daily` block for one user; None where their days are not over."""
        after = self.experiment.analyses.did_days
        before = self.experiment.analyses.did_pre_days or after
        if not self._over(user, after):
            return None
        starts = [(user.exposed_at if day < 0 else user.start) + day * DAY for day in range(-before, after)]
        return tuple(
            self._reduce([o for o in user.outcomes if s <= o.at < s + DAY], metric.numerator) for s in starts
        )

    def series(self, metric: Metric, variant: str, day: date) -> tuple[int, int, float, float | None]:
        """One daily row: new users, active users, sums of numerator and denominator on that local date."""
        users = [u for u in self.users if u.variant == variant]
        measures = [m for m in (metric.numerator, metric.denominator) if m is not None]
        active, sums = 0, [0.0] * len(measures)
        for user in users:
            counted = {m: [o for o in self._in_window(user, metric) if self._counts(o, m)] for m in measures}
            active += any(self.date(o.at) == day for rows in counted.values() for o in rows)
            for i, measure in enumerate(measures):
                until = [o for o in counted[measure] if self.date(o.at) <= day]
                before = [o for o in until if self.date(o.at) < day]
                sums[i] += self._reduce(until, measure) - self._reduce(before, measure)
        new = sum(self.date(u.start) == day for u in users)
        return new, active, sums[0], sums[1] if len(sums) > 1 else None

    def _counts(self, outcome: Outcome, measure: Measure) -> bool:
        zero = self.experiment.source.kind == "units" and measure.agg == "any" and outcome.value == 0
        missing = (measure.agg == "distinct" and outcome.item is None) or (
            measure.agg in ("first", "last", "max", "min") and outcome.value is None
        )
        return outcome.event == measure.event and not zero and not missing
