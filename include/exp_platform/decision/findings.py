"""What the metrics say of each treatment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from exp_platform.aggregates import ALL
from exp_platform.analyses.rows import LateRow, ResultRow, Row, SizeRow, Status
from exp_platform.config.analyses import DECISIVE
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Effect, Metric, Role
from exp_platform.config.readings import DECIDING, Claim, Reading, RunState
from exp_platform.decision.model import Outcome
from exp_platform.stats.relative import Kind


@dataclass(frozen=True)
class Case:
    """One experiment, in the state that its run found, at one as_of date with its result rows, in any order."""

    experiment: Experiment
    state: RunState
    rows: tuple[Row, ...]

    @cached_property
    def as_of_date(self) -> date:
        """The date that is decided on."""
        return self.sizes[0].as_of_date

    @cached_property
    def final(self) -> bool:
        """Whether fixed-horizon tests count."""
        return self.state.is_final(self.experiment, self.as_of_date)

    @cached_property
    def look(self) -> int | None:
        """Which look of a group-sequential test this is; None where it is none or there is no such test."""
        return self.state.look_number(self.experiment, self.as_of_date)

    @cached_property
    def primaries(self) -> tuple[Metric, ...]:
        """The metrics that decide, in the spec's order; every spec has one."""
        return tuple(m for m in self.experiment.metrics if m.role is Role.PRIMARY)

    @cached_property
    def results(self) -> tuple[ResultRow, ...]:
        """The rows of `analysis_results` of this date."""
        return tuple(r for r in self.rows if isinstance(r, ResultRow) and r.as_of_date == self.as_of_date)

    @cached_property
    def sizes(self) -> tuple[SizeRow, ...]:
        """How far the primary metrics are along their planned sizes, in the spec's order."""
        of = {row.metric_id: row for row in self.rows if isinstance(row, SizeRow)}
        return tuple(of[metric.id] for metric in self.primaries if metric.id in of)

    @cached_property
    def late(self) -> tuple[LateRow, ...]:
        """The arms whose newest days are missing, by metric and arm in the spec's order."""
        of = {(row.metric_id, row.variant_id): row for row in self.rows if isinstance(row, LateRow)}
        keys = ((m.id, v.id) for m in self.experiment.metrics for v in self.experiment.variants)
        return tuple(of[key] for key in keys if key in of)

    @cached_property
    def secondaries(self) -> tuple[Metric, ...]:
        """The metrics that share alpha with the primary ones and do not decide, in the spec's order."""
        return tuple(m for m in self.experiment.metrics if m.role is Role.SECONDARY)

    def decides(self, metric: Metric) -> bool:
        """Whether anything that a primary metric shows counts, given the plan of the first look."""
        earlier = self.state
        return not earlier.incomparable and metric.id not in earlier.unplanned

    def claim(self, metric: Metric, treatment_id: str, row: ResultRow) -> Claim:
        """What the row says if it is significant, as readings keep it."""
        sign = 1 if (row.estimate or 0.0) > 0 else -1
        return DECIDING, self.state.name(metric.id), treatment_id, sign

    @cached_property
    def earlier_reading(self) -> Reading | None:
        """The reading of this day's test that was taken before on other data; None where this is the first, or none."""
        return self.state.earlier_reading(self.experiment, self.as_of_date)

    def row(self, method: str, metric_id: str, treatment_id: str, against: str = "") -> ResultRow | None:
        """The row of one comparison over all users, against control or another treatment; None where there is none."""
        return self._index.get((method, metric_id, treatment_id, against or self.experiment.control.id, ALL))

    @cached_property
    def _index(self) -> dict[tuple[str, ...], ResultRow]:
        return {(r.method, r.metric_id, r.treatment_id, r.control_id, r.segment): r for r in self.results}

    def estimate(self, metric: Metric, treatment_id: str, against: str = "") -> ResultRow | None:
        """The row that decides of a treatment, or of the treatment against another one."""
        return self.row(DECISIVE, metric.id, treatment_id, against)


@dataclass(frozen=True)
class Finding:
    """One metric of one treatment: the row of the estimate that decides and what it says."""

    metric: Metric
    treatment_id: str
    row: ResultRow | None
    outcome: Outcome
    confidence: float
    tested: bool = (
        False  # significant by the fixed-horizon test or a look, so that a later reading may confirm it
    )

    @property
    def effect(self) -> float | None:
        """Treatment minus control in the metric's unit."""
        return None if self.row is None else self.row.estimate

    @property
    def improvement(self) -> float:
        """The effect in the metric's unit, more than 0 being better; 0 where there is none."""
        return self.metric.direction * (self.effect or 0.0)

    @property
    def lift(self) -> float | None:
        """The effect as a share of the size of control's mean: its sign is that of the change, as everywhere."""
        return None if self.row is None else self.row.relative


def findings(case: Case, metrics: Sequence[Metric]) -> list[Finding]:
    """One finding per treatment and metric, in the spec's order."""
    return [
        _finding(case, metric, treatment.id) for treatment in case.experiment.treatments for metric in metrics
    ]


def _finding(case: Case, metric: Metric, treatment_id: str) -> Finding:
    row = case.estimate(metric, treatment_id)
    if row is None or row.status is not Status.OK or row.estimate is None:
        return Finding(metric, treatment_id, row, "no_estimate", 0.0)
    tested = _is_found(case, metric, treatment_id, row)
    confidence = _confidence(case, metric, row, tested)
    if confidence == 0:
        outcome: Outcome = "not_significant"
    elif metric.direction * row.estimate < 0:
        outcome = "worse"
    else:
        outcome = "better" if _is_worth_having(case, metric, row) else "below_practical"
    return Finding(metric, treatment_id, row, outcome, confidence, tested)


def _is_found(case: Case, metric: Metric, treatment_id: str, row: ResultRow) -> bool:
    """Whether the row is significant by today's test, and not for the first time at a second reading of it."""
    if not (case.final or case.look) or not row.significant or not case.decides(metric):
        return False
    before = case.earlier_reading
    known = before is None or case.claim(metric, treatment_id, row) in before.found
    return known and case.state.may_find(case.experiment, case.as_of_date, metric.id, treatment_id)


def _is_worth_having(case: Case, metric: Metric, row: ResultRow) -> bool:
    """Whether the estimate is practical, by the present plan and by that of the first look."""
    first = case.state.practical.get(metric.id)
    return is_practical(metric.min_practical_effect, row) and is_practical(
        Effect(**first) if first else None, row
    )


def _confidence(case: Case, metric: Metric, row: ResultRow, tested: bool) -> float:
    """1 - adjusted p where significant, else 0.

    A confidence sequence that excludes 0 has an adjusted always-valid p below the alpha spent on it: that bound is used.
    """
    if tested and row.p_adjusted is not None:
        return 1 - row.p_adjusted
    if row.always_valid_significant and case.decides(metric):
        return 1 - case.state.sequential_alpha_of(case.experiment.decision)
    return 0.0


def is_practical(smallest: Effect | None, row: ResultRow) -> bool:
    """Whether the estimate is at least the smallest effect that matters."""
    if smallest is None or row.estimate is None:
        return True
    if smallest.scale == "absolute":
        return abs(row.estimate) >= smallest.value
    # Nothing is small beside a control of zero
    return row.relative is None or abs(row.relative) >= smallest.value


def excludes_mde(metric: Metric, row: ResultRow) -> bool:
    """Whether the whole interval lies below an improvement of the metric's mde.

    A relative mde is held against the interval that agrees with the test, Fieller's of Welch's, never against one that is
    approximate. It excludes nothing where it is not bounded.
    """
    if metric.mde is None or row.status is not Status.OK:
        return False
    low, high = row.ci_low, row.ci_high
    if metric.mde.scale == "relative":
        exact = row.relative_kind == Kind.BOUNDED
        low, high = (row.relative_low, row.relative_high) if exact else (row.fieller_low, row.fieller_high)
    if low is None or high is None:
        return False
    return (high if metric.direction > 0 else -low) < metric.mde.value


def leading(candidates: Iterable[Finding]) -> Finding | None:
    """The finding of the largest improvement on the first metric of the spec that has any estimate."""
    known = [f for f in candidates if f.effect is not None]
    if not known:
        return None
    first = known[0].metric
    return max((f for f in known if f.metric == first), key=lambda f: f.improvement)
