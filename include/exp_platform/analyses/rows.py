"""Result rows: what an analysis returns and what the result tables hold. One type a table; TABLE names it.

A type is composed of parts that say one thing each: the same effect is in rows of `analysis_results`, of DiD and of the
event study; what only one method says is a part of its own. In a table the parts' fields are columns side by side, null
where a row has no such part. Failure is a status with null numbers, never p = 1. `experiment_id`, `run_id` and
`computed_at` are added when the rows are committed. `row_codec` writes and reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import ClassVar, Literal

from exp_platform.config.analyses import RESULTS


class Status(StrEnum):
    """Whether a row's numbers can be read."""

    OK = "OK"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"  # too few users or days
    DEGENERATE = "DEGENERATE"  # a constant metric, or a cap that makes it so
    NOT_APPLICABLE = "NOT_APPLICABLE"  # the experiment has no such input
    NOT_YET = "NOT_YET"  # sequential evidence that has not started


# Rows of the split have this segment, and as its value whose users were counted
USERS = "users"
ASSIGNED, ANALYSED, CROSSOVERS = "assigned", "analysed", "crossovers"
TRIGGERED = "triggered"  # of the analysed those who reached the trigger
WITH_VALUE = "with_value"  # of one metric, the only rows that have one


# No part is frozen, which would make a row of so many columns four times as dear; `replace` changes one all the same.
# Of several bases the last comes first among the columns.


@dataclass
class Effect:
    """Treatment minus control in the metric's unit, with its interval of coverage `ci_level`."""

    estimate: float | None = None
    standard_error: float | None = None
    degrees_of_freedom: float | None = None
    p_value: float | None = None
    log10_p: float | None = None  # stays finite where p underflows
    ci_level: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None


@dataclass
class Compared:
    """Which metric's arms are compared, as of which day, and whether the numbers can be read."""

    as_of_date: date
    metric_id: str
    treatment_id: str
    control_id: str
    status: Status


@dataclass
class Explained(Compared):
    """The same, with why the status is not OK, or a warning."""

    message: str | None = None


@dataclass
class Counts:
    """Users that are compared."""

    n_control: int | None = None
    n_treatment: int | None = None


@dataclass
class Means(Counts):
    """The arms' means beside their counts."""

    mean_control: float | None = None
    mean_treatment: float | None = None


@dataclass
class Arms(Means):
    """Each arm as it is, never adjusted: intervals of the means, spread and order statistics."""

    mean_control_low: float | None = None
    mean_control_high: float | None = None
    mean_treatment_low: float | None = None
    mean_treatment_high: float | None = None
    sd_control: float | None = None
    sd_treatment: float | None = None
    median_control: float | None = None
    median_treatment: float | None = None
    p95_control: float | None = None
    p95_treatment: float | None = None


@dataclass
class Tested:
    """By which test, and how it is corrected for others: `alpha` is this comparison's corrected level."""

    test: str | None = None  # welch, score, exact; srm: chi_square, exact; segments' joint rows: interaction
    denominator_df: float | None = None  # of a joint test's F
    statistic: float | None = None
    p_adjusted: float | None = None
    # Of an interaction: that relative effects are the same, by the log of their ratio
    p_relative: float | None = None
    correction: str | None = None  # bonferroni, holm, bh; none: stands alone
    family_size: int | None = None  # comparisons that share alpha
    coverage: str | None = None  # what is said of the family's intervals together (`family.Coverage`)
    alpha: float | None = None
    significant: bool | None = None  # after correction, at the planned end only
    significant_uncorrected: bool | None = None


@dataclass
class Relative:
    """The effect as a fraction of control's mean."""

    relative: float | None = None
    relative_low: float | None = None
    relative_high: float | None = None
    relative_kind: str | None = None  # the shape of the set, or APPROXIMATE (`stats.relative.Kind`)
    # Where `relative_*` is delta's or the log's: Fieller's, which alone decides; null unless bounded
    fieller_low: float | None = None
    fieller_high: float | None = None


@dataclass
class Sequential:
    """Evidence that may be looked at every day, or the look of a group-sequential test."""

    always_valid_low: float | None = None  # asymptotic confidence sequence for the absolute effect
    always_valid_high: float | None = None
    always_valid_status: Status | None = None
    always_valid_significant: bool | None = None
    look: int | None = None  # group-sequential test: which look this is, from 1
    information_fraction: float | None = None
    alpha_spent: float | None = None  # of this comparison's alpha, up to and with this look
    boundary: float | None = None  # |z| that is significant at this look


@dataclass
class Adjusted:
    """Rows of adjusted effects: what was taken out of the variance, and whether that is sound."""

    theta: float | None = None  # the first covariate's slope in control ...
    theta_treatment: float | None = None  # ... and in treatment, the same where slopes are pooled
    slopes: str | None = None  # pooled, per_arm
    rho: float | None = None
    variance_reduction: float | None = None  # of the effect: 1 - adjusted / unadjusted variance
    days_saved: float | None = None
    covariates: str | None = None
    stratified_by: str | None = None  # the segment, or crossed segments, of post-stratification
    strata: int | None = None  # how many there are after small ones were merged
    balance_p: float | None = None  # of the test that covariates and strata are alike in both arms
    health: str | None = None  # ok, or what is wrong: unbalanced, unrelated, harmful, undated
    adjusted_mean_control: float | None = None
    adjusted_mean_treatment: float | None = None


@dataclass
class Judged:
    """Rows that judge: a guardrail against its margin, the split of users, whether effects are the same."""

    # guardrails: proven_breach, observed_breach, non_inferior, unproven; srm: ok, mismatch; joint: equal, different
    verdict: str | None = None
    severity: str | None = None
    margin: float | None = None  # absolute, signed on the metric's scale: beyond it the effect breaches
    # The same as a signed fraction of control's mean, where the spec says so
    margin_relative: float | None = None
    e_value: float | None = None  # srm: evidence against the planned split, valid at every look


@dataclass
class Capped:
    """What winsorising took away, as shares of users."""

    capped_share: float | None = None  # of both arms' users, at either cap
    capped_lower_control: float | None = None  # of the arm's users, those below the lower cap
    capped_upper_control: float | None = None
    capped_lower_treatment: float | None = None
    capped_upper_treatment: float | None = None


@dataclass
class Belief:
    """Rows of the Bayesian reading; losses and prior in the metric's unit."""

    chance_better: float | None = None  # that the treatment is better, under the prior
    expected_loss: float | None = None  # what choosing the treatment may cost
    expected_loss_control: float | None = None  # the same of staying with control
    prior_sd: float | None = None


@dataclass
class Decisive:
    """Rows of `evidence`: by which method the estimate is that decides."""

    estimated_by: str | None = None


@dataclass
class OfMethod:
    """Which method tells of whom, and whether the numbers can be read."""

    as_of_date: date
    method: str  # of those that `config.analyses` declares
    metric_id: str  # "" for srm
    metric_kind: str
    role: str
    treatment_id: str
    control_id: str
    segment: str
    segment_value: str
    status: Status
    exploratory: bool = False
    message: str | None = None  # why the status is not OK, or a warning
    caution: str | None = None  # why p-value and interval may not keep their level


@dataclass
class ResultRow(
    Decisive, Belief, Capped, Judged, Adjusted, Sequential, Relative, Tested, Effect, Arms, OfMethod
):
    """One method, metric, treatment against control and segment at one as_of date (table `analysis_results`).

    The interval of the effect is at `alpha`, the comparison's corrected level. In rows of `evidence` that compare two
    treatments `control_id` is the other one.
    """

    TABLE: ClassVar[str] = RESULTS


@dataclass(kw_only=True)
class DidRow(Effect, Counts, Explained):
    """Difference in differences of one metric (table `did_results`): per user and day, post minus pre."""

    TABLE: ClassVar[str] = "did_results"

    pre_days: int | None = None
    post_days: int | None = None
    pre_mean_control: float | None = None
    pre_mean_treatment: float | None = None
    post_mean_control: float | None = None
    post_mean_treatment: float | None = None
    statistic: float | None = None


@dataclass(kw_only=True)
class EventStudyRow(Effect, Means, Compared):
    """The gap between the arms in one period around first exposure, less that of the reference period.

    Table `did_event_study`. Periods are single days, and whole weeks where the sensitivity is computed from them. Means
    are per user and day; the standard error is clustered by user, and 0 in the reference period itself.
    """

    TABLE: ClassVar[str] = "did_event_study"

    first_day: int  # days since first exposure, negative before it
    last_day: int
    reference_first_day: int
    reference_last_day: int


@dataclass(kw_only=True)
class DidSensitivityRow(Counts, Explained):
    """What is left of an effect if trends differ after exposure by up to `m_bar` times the largest step before it.

    Table `did_sensitivity`: Rambachan and Roth's relative magnitudes on weeks around first exposure. The effect is that
    of the mean week after exposure against the last week before it, per user and day; its interval is no test's.
    """

    TABLE: ClassVar[str] = "did_sensitivity"

    block_days: int | None = None
    blocks_before: int | None = None
    blocks_after: int | None = None
    estimate: float | None = None
    standard_error: float | None = None
    largest_step: float | None = None  # of the gap between neighbouring weeks before exposure
    m_bar: float | None = None
    identified_low: float | None = None  # without sampling error
    identified_high: float | None = None
    ci_level: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    breakdown: float | None = None  # the m_bar at which the interval first includes 0; null: at none


@dataclass(kw_only=True)
class PretrendDeltaRow(Means, Compared):
    """Treatment minus control on one day before exposure (table `did_pretrend_delta`)."""

    TABLE: ClassVar[str] = "did_pretrend_delta"

    day: int  # days since first exposure, negative
    reference_day: int
    delta: float | None = None  # difference of means on that day
    delta_from_reference: float | None = None
    standard_error: float | None = None  # of delta_from_reference; 0 on the reference day itself
    ci_low: float | None = None
    ci_high: float | None = None


@dataclass(kw_only=True)
class PretrendTestRow(Explained):
    """Joint Wald test that all daily deltas before exposure are equal (table `did_pretrend_tests`)."""

    TABLE: ClassVar[str] = "did_pretrend_tests"

    reference_day: int | None = None
    days: int | None = None
    wald: float | None = None
    degrees_of_freedom: int | None = None
    denominator_df: float | None = None  # of the F that p is taken from
    p_value: float | None = None
    log10_p: float | None = None
    parallel: bool | None = None  # not rejected at alpha


@dataclass(kw_only=True)
class SizeRow:
    """How far a primary metric is along its planned size (table `sample_sizes`).

    Users are of all arms together and only those whose outcome is observed in full.
    """

    TABLE: ClassVar[str] = "sample_sizes"

    as_of_date: date
    metric_id: str
    status: Status
    basis: Literal["mde", "required_sample_size", "none"]  # what the planned size follows from
    required_users: int | None  # null: no size was planned
    current_users: int
    daily_users: float | None  # new users per day, lately
    # Until the planned size, without one until the planned decision date; null: not known
    days_remaining: int | None
    mde: float | None  # on the metric's own scale
    baseline: float | None  # planned, else control's mean
    power: float | None  # with which so many users as now find the mde, at the fixed-horizon level


@dataclass(kw_only=True)
class LateRow:
    """An arm that hardly has any active users on the last days, though it did before (table `late_days`).

    Users are those of an average day with an event of the metric; `others` are all other arms together.
    """

    TABLE: ClassVar[str] = "late_days"

    as_of_date: date
    metric_id: str
    variant_id: str
    status: Status
    since: date  # the first of the last `days` days
    days: int
    arm: float
    others: float
    arm_before: float  # on the days before
    others_before: float
    ratio: float  # of the odds that an active user is the arm's to those on the days before


Row = (
    ResultRow
    | DidRow
    | EventStudyRow
    | DidSensitivityRow
    | PretrendDeltaRow
    | PretrendTestRow
    | SizeRow
    | LateRow
)
ROW_TYPES: dict[str, type[Row]] = {
    row_type.TABLE: row_type
    for row_type in (
        ResultRow,
        DidRow,
        EventStudyRow,
        DidSensitivityRow,
        PretrendDeltaRow,
        PretrendTestRow,
        SizeRow,
        LateRow,
    )
}
