"""Which comparisons are corrected together, and the levels that follow for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from exp_platform.analyses.rows import ResultRow
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Metric, Role
from exp_platform.config.readings import NOTHING_READ, RunState
from exp_platform.stats.multiplicity import Correction


class Coverage(StrEnum):
    """What is said of a family's intervals together."""

    SIMULTANEOUS = "SIMULTANEOUS"  # all cover, with probability 1 - alpha of the family (Bonferroni)
    NO_EFFECT = (
        "NO_EFFECT"  # none excludes an effect of zero that is true, likewise (Holm); each alone covers
    )
    FALSE_COVERAGE_RATE = "FALSE_COVERAGE_RATE"  # of the significant ones a share alpha at most misses (BH)
    INDIVIDUAL = "INDIVIDUAL"  # there is no family: each alone covers with probability `ci_level`


_COVERAGE: dict[Correction, Coverage] = {
    "bonferroni": Coverage.SIMULTANEOUS,
    "holm": Coverage.NO_EFFECT,
    "bh": Coverage.FALSE_COVERAGE_RATE,
}


@dataclass(frozen=True)
class Look:
    """One look of a group-sequential test on one comparison (`analyses.looks`)."""

    number: int  # from 1
    information_fraction: float  # of the planned information
    alpha_spent: float  # up to and with this look
    boundary: float | None  # |z| that is significant; None where none is
    alpha: float | None  # the same as the level of this look's p-value


@dataclass(frozen=True)
class Level:
    """The levels of one comparison: `size` comparisons share `family_alpha`.

    `family_alpha` is spent on the fixed-horizon test at the planned end, `sequential_alpha` on always-valid
    evidence at any time; 0 of the latter means that none is asked for. Comparisons of one `family` are corrected
    together, "" for one that stands alone. Where a family is in `parts`, one per treatment, each has its share of alpha.
    """

    size: int
    family_alpha: float
    sequential_family_alpha: float
    family: str = ""
    correction: Correction = "bonferroni"
    parts: int = 1
    look: Look | None = None

    @property
    def alpha(self) -> float:
        """The look's level, or Bonferroni's of the fixed-horizon test: planning's. Holm and BH allow at least as much."""
        if self.look is not None and self.look.alpha is not None:
            return self.look.alpha
        return self.family_alpha / self.size

    @property
    def multiplier(self) -> float:
        """What makes of p one that is below `family_alpha` where p is below `alpha`: the size, unless at a look."""
        return self.family_alpha / self.alpha

    @property
    def sequential_alpha(self) -> float:
        """Level of this comparison's confidence sequence: Bonferroni's, as Holm and BH rank p-values of one look."""
        return self.sequential_family_alpha / self.size

    @property
    def coverage(self) -> Coverage:
        """What the family's intervals cover."""
        return _COVERAGE[self.correction] if self.family else Coverage.INDIVIDUAL


def level_of(experiment: Experiment, metric: Metric, state: RunState = NOTHING_READ) -> Level:
    """The level of comparing one treatment with control on `metric`.

    `all`: primary and secondary metrics times treatments are one family. `primary_first`: primaries are a family, and
    secondaries another one, tested only where every primary of that treatment is significant (serial gatekeeping:
    Dmitrienko and Tamhane 2007, section 3). Guardrail and informational metrics are in no family.
    """
    if metric.role not in (Role.PRIMARY, Role.SECONDARY):
        return uncorrected(experiment, state)
    decision, treatments = experiment.decision, len(experiment.treatments)
    whole = decision.family == "all"
    together = [m for m in experiment.family if whole or m.role == metric.role]
    level = Level(
        len(together) * treatments,
        state.fixed_alpha_of(decision),
        state.sequential_alpha_of(decision),
        "all" if whole else str(metric.role),
        decision.correction,
        # Each treatment has a gate of its own: ranked over treatments, the alpha that one treatment's primaries hand on to
        # another's would be spent a second time on its secondaries.
        parts=1 if whole or decision.correction == "bonferroni" else treatments,
    )
    if state.fixed_alpha is None:
        return level
    # Levels were others at the first look: Bonferroni's of the larger family, below those of either plan.
    size = max(level.size, *(state.sizes.get(m.id, 0) for m in together))
    return replace(level, size=size, correction="bonferroni", parts=1)


def uncorrected(experiment: Experiment, state: RunState = NOTHING_READ) -> Level:
    """The level of a comparison that stands alone."""
    plan = experiment.decision
    return Level(1, state.fixed_alpha_of(plan), state.sequential_alpha_of(plan))


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
