"""One treatment against control on one metric: the row that `ab`, `cuped`, `segments` and `guardrails` share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from exp_platform.aggregates import ALL, Aggregates, Block, Kind
from exp_platform.analyses.effects import effect_of
from exp_platform.analyses.estimators import Test, estimator_of
from exp_platform.analyses.family import Level
from exp_platform.analyses.periods import Periods, periods_of
from exp_platform.analyses.planned import tuned_size
from exp_platform.analyses.relative import relative_columns
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.analyses.sizes import (
    MIN_USERS,
    MIN_USERS_ARM,
    START_USERS_ARM,
)
from exp_platform.config.allocation import PERIOD
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Metric
from exp_platform.config.plans import RelativeMethod
from exp_platform.config.readings import NOTHING_READ, RunState
from exp_platform.stats.arms import Arm, Arms
from exp_platform.stats.moments import Moments
from exp_platform.stats.multiplicity import Corrected
from exp_platform.stats.sequential import half_width, rho
from exp_platform.stats.welch import Difference


@dataclass(frozen=True)
class Comparison:
    """What is compared and how it is tested: the key of a row and its levels."""

    experiment: Experiment
    as_of_date: date
    method: str
    metric: Metric
    treatment_id: str
    level: Level
    final: bool  # the test may be read: the planned decision date has come, or it is a look
    state: RunState = NOTHING_READ
    segment: str = ALL
    segment_value: str = ALL
    exploratory: bool = False

    def row(self, status: Status, **numbers: Any) -> ResultRow:
        """The row of this comparison with the numbers given."""
        look = self.level.look
        if look is not None:
            numbers |= {
                "look": look.number,
                "information_fraction": look.information_fraction,
                "alpha_spent": look.alpha_spent,
                "boundary": look.boundary,
            }
        return ResultRow(
            as_of_date=self.as_of_date,
            method=self.method,
            metric_id=self.metric.id,
            metric_kind=self.metric.kind,
            role=str(self.metric.role),
            treatment_id=self.treatment_id,
            control_id=self.experiment.control.id,
            segment=self.segment,
            segment_value=self.segment_value,
            status=status,
            exploratory=self.exploratory,
            **numbers,
        )


@dataclass(frozen=True)
class Pair:
    """The blocks of control and one treatment; one that no user falls into is empty. Under a ramp with its periods."""

    control: Block
    treatment: Block
    periods: Periods | None = None

    def __iter__(self) -> Iterator[Block]:
        return iter((self.control, self.treatment))

    @property
    def note(self) -> str | None:
        """What a row must say of its users."""
        return None if self.periods is None else self.periods.note

    @property
    def users(self) -> int:
        """Users that the means are made of: of both arms, under a ramp of all, whose periods they are weighed by."""
        if self.periods is not None:
            return self.periods.users
        return self.control.moments.n + self.treatment.moments.n

    @property
    def counts(self) -> dict[str, Any]:
        """Users by the names of a row's columns."""
        return {"n_control": self.control.moments.n, "n_treatment": self.treatment.moments.n}


def pair_of(
    aggregates: Aggregates,
    metric: Metric,
    control_id: str,
    treatment_id: str,
    segment: str = ALL,
    segment_value: str = ALL,
    kind: Kind = "total",
) -> Pair:
    """The two blocks that a comparison is made of; under a ramp of the periods in which every arm has enough users."""

    def side(variant_id: str) -> Block:
        key = (metric.id, variant_id, segment, segment_value)
        return aggregates.block(*key, kind=kind) or Block(kind, *key, (), Moments.empty(0))

    pair = Pair(side(control_id), side(treatment_id))
    periods = periods_of(aggregates, metric.id, segment, segment_value, kind)
    if periods is None or not {control_id, treatment_id} <= set(periods.blocks):  # too small to be compared
        return pair
    return Pair(periods.whole(pair.control), periods.whole(pair.treatment), periods)


def too_small(n_control: int, n_treatment: int) -> str | None:
    """Why two arms are too small to compare, or None where they are not."""
    if n_control + n_treatment >= MIN_USERS and min(n_control, n_treatment) >= MIN_USERS_ARM:
        return None
    return (
        f"{n_control} users in control and {n_treatment} in treatment: "
        f"a comparison needs {MIN_USERS} in all and {MIN_USERS_ARM} an arm"
    )


def too_small_for(metric: Metric, n_control: int, n_treatment: int) -> str | None:
    """Why two arms are too small to compare on this metric, or None where they are not."""
    return too_small(n_control, n_treatment) or estimator_of(metric).too_few(n_control, n_treatment)


def arms_of(metric: Metric, pair: Pair) -> Arms:
    """Both arms, control first, under a ramp standardised over its periods; ValueError where one cannot be estimated."""
    if pair.periods is not None:
        return pair.periods.arms(metric, pair.control.variant_id, pair.treatment.variant_id)
    estimator = estimator_of(metric)
    return Arms(estimator.arm(pair.control), estimator.arm(pair.treatment))


@dataclass(frozen=True)
class Compared:
    """A comparison whose test is taken; its row follows once the level of its intervals is known."""

    comparison: Comparison
    pair: Pair
    plain: Arms
    arms: Arms  # those compared: the plain ones, or adjusted
    test: Test
    also: dict[str, Any]

    @cached_property
    def caution(self) -> str | None:
        """Why Welch's test of the plain arms may not keep its level, or None.

        Under a ramp skewed means are so within the periods: there arms are unequal.
        """
        estimator = estimator_of(self.comparison.metric)
        periods, control, treatment = self.pair.periods, self.pair.control, self.pair.treatment
        if periods is None:
            return estimator.caution(control, treatment)
        sides = (periods.blocks[block.variant_id] for block in self.pair)
        strata = list(zip(periods.weights.tolist(), *sides, strict=True))
        return estimator.caution(control, treatment, strata)

    def row(
        self,
        corrected: Corrected | None = None,
        size: int | None = None,
        relative_interval: RelativeMethod | None = None,
    ) -> ResultRow:
        """The row with intervals, relative effect and always-valid evidence, corrected as its family says or else alone.

        `size` is the family's where it is not the planned one, `relative_interval` the method where it is not the
        spec's.
        """
        c = self.comparison
        p, alpha = corrected or Corrected(min(1.0, self.test.p_value * c.level.multiplier), c.level.alpha)
        return c.row(
            Status.OK,
            **self.pair.counts,
            **self._description(0, "control", 1 - alpha),
            **self._description(1, "treatment", 1 - alpha),
            capped_share=_capped_share(self.pair.control, self.pair.treatment),
            caution=self.caution if isinstance(self.test, Difference) else None,
            **self._effect(p, alpha),
            **relative_columns(
                self.test, self.arms, 1 - alpha, relative_interval or c.experiment.analyses.relative_interval
            ),
            correction=c.level.correction if c.level.family else "none",
            family_size=size or c.level.size,
            coverage=str(c.level.coverage),
            **_always_valid(c, self.pair, self.arms, self.test.estimate),
            **(_by_period(self.pair.periods) | self.also),
        )

    def _description(self, side: int, name: str, level: float) -> dict[str, Any]:
        """One arm's own numbers: of the metric as it is, never adjusted. A quantile has its rank interval."""
        block, arm = tuple(self.pair)[side], self.plain[:2][side]
        low, high = estimator_of(self.comparison.metric).own_interval(block, arm, self.test, level)
        return {
            f"mean_{name}": arm.mean,
            f"mean_{name}_low": low,
            f"mean_{name}_high": high,
            f"sd_{name}": arm.sd,
            f"median_{name}": block.median,
            f"p95_{name}": block.p95,
            f"capped_lower_{name}": block.capped_lower,
            f"capped_upper_{name}": block.capped_upper,
        }

    def _effect(self, p_adjusted: float, alpha: float) -> dict[str, Any]:
        c, test, level = self.comparison, self.test, 1 - alpha
        return effect_of(test, level) | {
            "test": test.test,
            "statistic": test.statistic,
            "p_adjusted": p_adjusted,
            "alpha": alpha,
            "significant": bool(c.final and test.p_value < alpha),
            "significant_uncorrected": bool(c.final and test.p_value < c.level.family_alpha),
        }


def compare(c: Comparison, pair: Pair, arms: Arms | None = None, **also: Any) -> Compared | ResultRow:
    """The metric's test of `treatment - control`, or the row that says why there is none.

    `arms` replaces the arms' plain means (CUPED); `also` are further columns of its row. Too few users give
    INSUFFICIENT_DATA and a metric that does not vary DEGENERATE, both with null numbers.
    """
    counts = pair.counts
    message = too_small_for(c.metric, **counts)
    if message is not None:
        message = "; ".join(note for note in (message, pair.note) if note)
        return c.row(Status.INSUFFICIENT_DATA, message=message, **counts)
    try:
        plain = arms_of(c.metric, pair)
    except ValueError as error:
        return c.row(Status.DEGENERATE, message=str(error), **counts)
    try:
        test = estimator_of(c.metric).test(tuple(pair), arms or plain, adjusted=arms is not None)
    except ValueError:
        return c.row(Status.DEGENERATE, message=_why_constant(c.metric, *(arms or plain)[:2]), **counts)
    return Compared(c, pair, plain, arms or plain, test, also)


def _by_period(periods: Periods | None) -> dict[str, Any]:
    """The columns that tell of a ramp."""
    if periods is None:
        return {}
    return {"stratified_by": PERIOD, "strata": len(periods.starts), "message": periods.note}


def _why_constant(metric: Metric, control: Arm, treatment: Arm) -> str:
    cap, remedy = "", ""
    if metric.winsorise is not None:
        caps = [q for q in (metric.winsorise.lower, metric.winsorise.upper) if q is not None]
        cap = f" once it is winsorised at {' and '.join(f'{q:g}' for q in caps)}"
        remedy = "; choose caps closer to 0 and 1, or none"
    means = f"{control.mean:.6g} in control, {treatment.mean:.6g} in treatment"
    return f"the metric does not vary within an arm{cap}: {means}{remedy}"


def _capped_share(control: Block, treatment: Block) -> float | None:
    """Share of both arms' users whose value was capped."""
    if control.capped_share is None or treatment.capped_share is None:
        return None
    n_control, n_treatment = control.moments.n, treatment.moments.n
    return (control.capped_share * n_control + treatment.capped_share * n_treatment) / (
        n_control + n_treatment
    )


def _always_valid(c: Comparison, pair: Pair, arms: Arms, estimate: float) -> dict[str, Any]:
    status = sequence_status(c, pair)
    if status is not Status.OK:
        return {"always_valid_status": status}
    half = sequence_half_width(c, pair, arms)
    low, high = estimate - half, estimate + half
    return {
        "always_valid_status": status,
        "always_valid_low": low,
        "always_valid_high": high,
        "always_valid_significant": bool(low > 0 or high < 0),
    }


def sequence_status(c: Comparison, pair: Pair) -> Status:
    """Whether always-valid evidence is asked for and has started: every arm has enough users and outcomes."""
    if c.level.sequential_alpha <= 0:
        return Status.NOT_APPLICABLE
    estimator = estimator_of(c.metric)
    started = all(block.moments.n >= START_USERS_ARM and estimator.has_started(block) for block in pair)
    return Status.OK if started else Status.NOT_YET


def sequence_half_width(c: Comparison, pair: Pair, arms: Arms, *, one_sided: bool = False) -> float:
    """Half width of the asymptotic confidence sequence of `treatment - control` (Waudby-Smith et al. 2021).

    Both arms together are the sequence: n users, variance n (v_1 / n_1 + v_0 / n_0), or where that is more the one of users
    who vary alike in both arms: by their own variances alone skewed values in unequal arms miss far too often. Means standardised over the periods of
    a ramp are sums over the users of all arms, which are then the sequence: with a third arm whose share changes, both
    arms' users would be a clock that runs unevenly. One-sided: the distance to a bound that alone is missed with the
    level's whole alpha.
    """
    n = pair.users
    alpha = c.level.sequential_alpha
    variance = n * arms.careful_variance
    tuned = rho(alpha, tuned_size(c.experiment, c.metric, c.treatment_id, c.state), one_sided=one_sided)
    return half_width(n, variance, tuned, alpha, one_sided=one_sided)
