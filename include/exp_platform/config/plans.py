"""What is done with the numbers and when: thresholds of quality, analyses, the decision, the schedule."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Literal

from exp_platform.config.allocation import CROSS
from exp_platform.config.analyses import ANALYSES, UNADJUSTED, Estimate, read_by
from exp_platform.config.metrics import Effect

if TYPE_CHECKING:
    from exp_platform.aggregates import Kind

Sequential = Literal["always_valid", "group_sequential"]

RelativeMethod = Literal["fieller", "delta", "log"]


@dataclass(frozen=True)
class QualityThresholds:
    """Shares in [0, 1] beyond which a check fails; see the stage `quality`."""

    max_duplicate_share: float = 0.01
    max_null_share: float = 0.0
    max_unexposed_share: float | None = None  # warning; None: a table may hold everybody's outcomes
    max_before_exposure_share: float = 1.0  # of outcomes inside the window; all of them: an error
    max_just_before_share: float = 0.2  # of outcomes around exposure, warning
    max_outside_share: float = 0.5  # of a units table's rows, warning
    max_crossover_share: float = 0.01  # warning
    max_row_drop: float = 0.2  # against the last published run, error
    max_stale_days: int = 1  # newest row against as_of, warning
    max_missing_days: int = 0  # that lack their rows though the days around them have theirs, warning


@dataclass(frozen=True)
class AnalysisPlan:
    """Which analyses run, and their windows in days."""

    enabled: tuple[str, ...] = tuple(a.name for a in ANALYSES if not a.options)
    pre_period_days: int = 14
    anchor: Literal["experiment_start", "first_exposure"] = "experiment_start"
    did_days: int = 7  # whole days after first exposure that the daily analyses read
    did_pre_days: int | None = None  # and before it; None: as many
    crossovers: Literal["exclude", "first"] = "exclude"
    slopes: Literal["pooled", "per_arm"] = (
        "pooled"  # of covariates: one for all arms, or each arm's own (Lin 2013)
    )
    # Segments that post-stratification weighs by, crossed where they are several
    strata: tuple[str, ...] = ()
    relative_interval: RelativeMethod = "fieller"  # delta and log are approximate: shown, never decided by
    bayes_prior_sd: Effect | None = None  # of a normal prior around no effect; None: no Bayesian reading

    def read(self, kind: Kind) -> bool:
        """Whether any analysis that runs reads blocks of that kind."""
        return read_by(self.enabled, kind)

    @property
    def strata_segment(self) -> str:
        """The segment whose values are the strata, as the Moments name it; empty without strata."""
        return CROSS.join(self.strata)

    @property
    def days_before(self) -> int:
        """Whole days before first exposure that the daily analyses read."""
        return self.did_days if self.did_pre_days is None else self.did_pre_days


@dataclass(frozen=True)
class DecisionPlan:
    """How evidence becomes an action (docs: decision)."""

    alpha: float = 0.05
    sequential_share: float = 0.1  # of alpha, spent on always-valid evidence before the planned end
    power: float = 0.8
    estimate: Estimate = UNADJUSTED
    family: Literal["all", "primary_first"] = "all"
    required_sample_size: int | None = None  # users in all arms together
    daily_users: float | None = None
    correction: Literal["bonferroni", "holm", "bh"] = "bonferroni"  # of the fixed-horizon tests of a family
    sequential: Sequential = "always_valid"  # never both: there is one alpha
    looks: tuple[date, ...] = ()  # declared as_of dates of a group-sequential test before the planned end
    spending: Literal["obrien_fleming", "pocock", "power"] = "obrien_fleming"
    spending_exponent: float = 2.0  # of `power`

    @property
    def fixed_alpha(self) -> float:
        """The share of alpha left for the fixed-horizon test at the planned end."""
        return self.alpha * (1 - self.sequential_share)

    @property
    def sequential_alpha(self) -> float:
        """The share of alpha spent on always-valid evidence."""
        return self.alpha * self.sequential_share


@dataclass(frozen=True)
class Schedule:
    """When the DAG runs: by `cron`, or `after` an asset of Airflow; neither: only by hand. Not part of the config hash."""

    cron: str | None = "@daily"
    grace_days: int = 2
    active: bool = False
    retries: int = 2
    wait_for: tuple[str, ...] | None = None  # locations on S3; None: those of the source
    wait_hours: float = 6.0
    after: str | None = None  # name or URI of the asset whose updates start runs, which then do not wait
