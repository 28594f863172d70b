"""Result rows: what an analysis returns and what the result tables hold. One type a table; TABLE names it.

Failure is a status with null numbers, never p = 1. `experiment_id`, `run_id` and `computed_at` are added when
the rows are committed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from exp_platform.json_file import write_whole


class Status(StrEnum):
    """Whether a row's numbers can be read."""

    OK = "OK"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"  # too few users or days
    DEGENERATE = "DEGENERATE"  # a constant metric, or a cap that makes it so
    NOT_APPLICABLE = "NOT_APPLICABLE"  # the experiment has no such input
    NOT_YET = "NOT_YET"  # sequential evidence that has not started


@dataclass  # not frozen, which would make a row of so many columns four times as dear; `replace` changes one all the same
class ResultRow:
    """One method, metric, treatment against control and segment at one as_of date (table `analysis_results`).

    Means and the absolute effect are in the metric's unit, treatment minus control; relative effects are fractions
    of control's mean. Intervals have coverage `ci_level`; `alpha` is this comparison's corrected level.
    """

    TABLE: ClassVar[str] = "analysis_results"

    as_of_date: date
    method: (
        str  # ab, cuped, post_stratified, cuped_post_stratified, segments, stability, guardrails, srm, bayes
    )
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
    n_control: int | None = None
    n_treatment: int | None = None
    mean_control: float | None = None
    mean_treatment: float | None = None
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
    test: str | None = None  # welch, score, exact; srm: chi_square, exact; segments' joint rows: interaction
    estimate: float | None = None
    standard_error: float | None = None
    degrees_of_freedom: float | None = None
    denominator_df: float | None = None  # of a joint test's F
    statistic: float | None = None
    p_value: float | None = None
    log10_p: float | None = None  # stays finite where p underflows
    p_adjusted: float | None = None
    p_relative: float | None = (
        None  # interaction: that relative effects are the same, by the log of their ratio
    )
    correction: str | None = None  # bonferroni, holm, bh; none: stands alone
    family_size: int | None = None  # comparisons that share alpha
    coverage: str | None = None  # what is said of the family's intervals together (`family.Coverage`)
    alpha: float | None = None
    ci_level: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    relative: float | None = None
    relative_low: float | None = None
    relative_high: float | None = None
    relative_kind: str | None = None  # the shape of the set, or APPROXIMATE (`stats.relative.Kind`)
    fieller_low: float | None = (
        None  # where `relative_*` is delta's or the log's: Fieller's, which alone decides;
    )
    fieller_high: float | None = None  # null unless bounded
    significant: bool | None = None  # after correction, at the planned end only
    significant_uncorrected: bool | None = None
    always_valid_low: float | None = None  # asymptotic confidence sequence for the absolute effect
    always_valid_high: float | None = None
    always_valid_status: Status | None = None
    always_valid_significant: bool | None = None
    look: int | None = None  # group-sequential test: which look this is, from 1
    information_fraction: float | None = None
    alpha_spent: float | None = None  # of this comparison's alpha, up to and with this look
    boundary: float | None = None  # |z| that is significant at this look
    theta: float | None = None  # adjusted rows: the first covariate's slope in control ...
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
    verdict: str | None = (
        None  # guardrails: proven_breach, observed_breach, non_inferior, unproven; srm: ok, mismatch; joint: equal, different
    )
    severity: str | None = None
    margin: float | None = None  # absolute, signed on the metric's scale: beyond it the effect breaches
    margin_relative: float | None = (
        None  # the same as a signed fraction of control's mean, where the spec says so
    )
    e_value: float | None = None  # srm: evidence against the planned split, valid at every look
    capped_share: float | None = None  # of both arms' users, at either cap
    capped_lower_control: float | None = None  # of the arm's users, those below the lower cap
    capped_upper_control: float | None = None
    capped_lower_treatment: float | None = None
    capped_upper_treatment: float | None = None
    chance_better: float | None = None  # bayes: that the treatment is better, under the prior
    expected_loss: float | None = None  # bayes, in the metric's unit: what choosing the treatment may cost
    expected_loss_control: float | None = None  # the same of staying with control
    prior_sd: float | None = None  # bayes, in the metric's unit


@dataclass(frozen=True)
class DidRow:
    """Difference in differences of one metric (table `did_results`): per user and day, post minus pre."""

    TABLE: ClassVar[str] = "did_results"

    as_of_date: date
    metric_id: str
    treatment_id: str
    control_id: str
    status: Status
    message: str | None = None
    pre_days: int | None = None
    post_days: int | None = None
    n_control: int | None = None
    n_treatment: int | None = None
    pre_mean_control: float | None = None
    pre_mean_treatment: float | None = None
    post_mean_control: float | None = None
    post_mean_treatment: float | None = None
    estimate: float | None = None
    standard_error: float | None = None
    degrees_of_freedom: float | None = None
    statistic: float | None = None
    p_value: float | None = None
    log10_p: float | None = None
    ci_level: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None


@dataclass(frozen=True)
class EventStudyRow:
    """Treatment minus control in one period around first exposure, less the same in the reference period.

    Table `did_event_study`. Periods are single days, and whole weeks where the sensitivity is computed from them.
    """

    TABLE: ClassVar[str] = "did_event_study"

    as_of_date: date
    metric_id: str
    treatment_id: str
    control_id: str
    first_day: int  # days since first exposure, negative before it
    last_day: int
    reference_first_day: int
    reference_last_day: int
    status: Status
    n_control: int | None = None
    n_treatment: int | None = None
    mean_control: float | None = None  # a user and day
    mean_treatment: float | None = None
    estimate: float | None = None
    standard_error: float | None = None  # clustered by user; 0 in the reference period itself
    degrees_of_freedom: float | None = None
    p_value: float | None = None
    log10_p: float | None = None
    ci_level: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None


@dataclass(frozen=True)
class DidSensitivityRow:
    """What is left of an effect if trends differ after exposure by up to `m_bar` times the largest step before it.

    Table `did_sensitivity`: Rambachan and Roth's relative magnitudes on weeks around first exposure. The effect is that
    of the mean week after exposure against the last week before it, a user and day.
    """

    TABLE: ClassVar[str] = "did_sensitivity"

    as_of_date: date
    metric_id: str
    treatment_id: str
    control_id: str
    status: Status
    message: str | None = None
    block_days: int | None = None
    blocks_before: int | None = None
    blocks_after: int | None = None
    n_control: int | None = None
    n_treatment: int | None = None
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


@dataclass(frozen=True)
class PretrendDeltaRow:
    """Treatment minus control on one day before exposure (table `did_pretrend_delta`)."""

    TABLE: ClassVar[str] = "did_pretrend_delta"

    as_of_date: date
    metric_id: str
    treatment_id: str
    control_id: str
    day: int  # days since first exposure, negative
    reference_day: int
    status: Status
    n_control: int | None = None
    n_treatment: int | None = None
    mean_control: float | None = None
    mean_treatment: float | None = None
    delta: float | None = None  # difference of means on that day
    delta_from_reference: float | None = None
    standard_error: float | None = None  # of delta_from_reference; 0 on the reference day itself
    ci_low: float | None = None
    ci_high: float | None = None


@dataclass(frozen=True)
class PretrendTestRow:
    """Joint Wald test that all daily deltas before exposure are equal (table `did_pretrend_tests`)."""

    TABLE: ClassVar[str] = "did_pretrend_tests"

    as_of_date: date
    metric_id: str
    treatment_id: str
    control_id: str
    status: Status
    message: str | None = None
    reference_day: int | None = None
    days: int | None = None
    wald: float | None = None
    degrees_of_freedom: int | None = None
    denominator_df: float | None = None  # of the F that p is taken from
    p_value: float | None = None
    log10_p: float | None = None
    parallel: bool | None = None  # not rejected at alpha


Row = ResultRow | DidRow | EventStudyRow | DidSensitivityRow | PretrendDeltaRow | PretrendTestRow
ROW_TYPES: tuple[type[Row], ...] = (
    ResultRow,
    DidRow,
    EventStudyRow,
    DidSensitivityRow,
    PretrendDeltaRow,
    PretrendTestRow,
)

_STATUSES = ("status", "always_valid_status")


def row_dict(row: Row) -> dict[str, Any]:
    """A row as column -> plain value: dates stay dates, statuses become strings."""
    plain = dict(vars(row))
    for name in _STATUSES:
        if plain.get(name) is not None:
            plain[name] = str(plain[name])
    return plain


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as JSON whose floats round-trip exactly. Raises ValueError where a number is not finite."""

    def entry(row: Row) -> dict[str, Any]:
        columns = {k: v for k, v in row_dict(row).items() if v is not None}
        return {"table": row.TABLE, **columns, "as_of_date": row.as_of_date.isoformat()}

    write_whole(path, json.dumps([entry(row) for row in rows], allow_nan=False))


def read_rows(path: Path) -> list[Row]:
    """Read what `write_rows` wrote."""
    types = {row_type.TABLE: row_type for row_type in ROW_TYPES}
    rows: list[Row] = []
    for entry in json.loads(path.read_text()):
        row_type = types[entry.pop("table")]
        statuses = {name: Status(entry[name]) for name in _STATUSES if name in entry}
        rows.append(row_type(**{**entry, **statuses, "as_of_date": date.fromisoformat(entry["as_of_date"])}))
    return rows
