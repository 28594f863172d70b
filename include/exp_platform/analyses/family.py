"""Which comparisons are corrected together, and the levels that follow for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from exp_platform.analyses.rows import ResultRow
from exp_platform.config.experiment import Experiment, Metric, Role


@dataclass(frozen=True)
class Level:
    """The levels of one comparison: `size` comparisons share `family_alpha` (Bonferroni).

    `family_alpha` is spent on the fixed-horizon test at the planned end, `sequential_alpha` on always-valid
    evidence at any time; 0 of the latter means that none is asked for.
    """

    size: int
    family_alpha: float
    sequential_family_alpha: float

    @property
    def alpha(self) -> float:
        """Level of this comparison's fixed-horizon test."""
        return self.family_alpha / self.size

    @property
    def sequential_alpha(self) -> float:
        """Level of this comparison's confidence sequence."""
        return self.sequential_family_alpha / self.size


def level_of(experiment: Experiment, metric: Metric) -> Level:
    """The level of comparing one treatment with control on `metric`.

    `all`: primary and secondary metrics times treatments are one family. `primary_first`: primaries are a family, and
    secondaries another one, tested only where every primary of that treatment is significant (serial gatekeeping:
    Dmitrienko and Tamhane 2007, section 3). Guardrail and informational metrics are in no family.
    """
    if metric.role not in (Role.PRIMARY, Role.SECONDARY):
        return uncorrected(experiment)
    together = [m for m in experiment.family if m.role == metric.role or experiment.decision.family == "all"]
    return corrected_for(experiment, len(together) * len(experiment.treatments))


def uncorrected(experiment: Experiment) -> Level:
    """The level of a comparison that stands alone."""
    return corrected_for(experiment, 1)


def corrected_for(experiment: Experiment, size: int) -> Level:
    """The level of each of `size` comparisons."""
    return Level(size, experiment.decision.fixed_alpha, experiment.decision.sequential_alpha)


def is_final(experiment: Experiment, as_of_date: date) -> bool:
    """Whether the fixed-horizon test may be read: the planned decision date has come, and it was not read before."""
    return experiment.fixed_horizon_read is None and as_of_date >= experiment.decision_date


def close_gate(experiment: Experiment, rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Under `primary_first`, hold back secondaries of treatments whose primaries are not all significant.

    Their adjusted p becomes at least the largest adjusted p of the treatment's primaries, so that significance
    and `p_adjusted` keep saying the same.
    """
    if experiment.decision.family != "primary_first":
        return list(rows)
    return [_gated(row, rows) if row.role == Role.SECONDARY else row for row in rows]


def _gated(row: ResultRow, rows: Sequence[ResultRow]) -> ResultRow:
    primaries = [r for r in rows if r.role == Role.PRIMARY and r.treatment_id == row.treatment_id]
    fixed = all(r.significant for r in primaries)
    always = all(r.always_valid_significant for r in primaries)
    hurdle = max((1.0 if r.p_adjusted is None else r.p_adjusted for r in primaries), default=0.0)
    return replace(
        row,
        p_adjusted=None if row.p_adjusted is None else max(row.p_adjusted, hurdle),
        significant=None if row.significant is None else row.significant and fixed,
        always_valid_significant=(
            None if row.always_valid_significant is None else row.always_valid_significant and always
        ),
    )
