"""Interaction: whether a treatment's effect is the same in all values of a segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from exp_platform.analyses.comparison import Compared, Comparison
from exp_platform.analyses.equality import equality
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.stats.arms import Arms
from exp_platform.stats.multiplicity import correct
from exp_platform.stats.relative import logged
from exp_platform.stats.wald import equal

TEST = "interaction"  # the `test` of its rows: a segment may have a value named `all` of its own
MOST_NAMED = 5  # values that a caution names

Outcome = Compared | ResultRow


def interactions(groups: Sequence[tuple[Comparison, Sequence[Outcome]]]) -> list[ResultRow]:
    """A row for each segment, metric and treatment: of the comparison given with the outcomes in all its values.

    Corrected among themselves, those that can be tested, by the spec's correction; read at the planned end only.
    """
    rows = [_tested(c, outcomes) for c, outcomes in groups]
    tested = [(i, row.p_value) for i, row in enumerate(rows) if row.p_value is not None]
    if not tested:
        return rows
    level = groups[0][0].level
    found = correct(level.correction, [p for _, p in tested], level.family_alpha)
    for (i, p), each in zip(tested, found, strict=True):
        final = groups[i][0].final
        different = p < each.alpha
        rows[i] = replace(
            rows[i],
            p_adjusted=each.p,
            alpha=each.alpha,
            correction=level.correction,
            family_size=len(tested),
            significant=final and different,
            significant_uncorrected=final and p < level.family_alpha,
            verdict=("different" if different else "equal") if final else None,
        )
    return rows


def _tested(c: Comparison, outcomes: Sequence[Outcome]) -> ResultRow:
    """The joint test, not yet corrected, over the values that can be compared and where the effect has a variance."""
    usable = [o for o in outcomes if isinstance(o, Compared) and not o.plain.constant]
    left_out = len(outcomes) - len(usable)
    missing = (
        f"{left_out} of {len(outcomes)} values left out, as too few users or nothing that varies is in them"
    )
    if len(usable) < 2:
        constant = any(isinstance(o, Compared) or o.status is Status.DEGENERATE for o in outcomes)
        status = Status.DEGENERATE if constant and not usable else Status.INSUFFICIENT_DATA
        message = f"{len(usable)} of {len(outcomes)} values can be tested: a comparison needs two"
        return c.row(status, test=TEST, message=message)
    arms = [o.plain for o in usable]
    try:
        numbers = equality(arms)
    except ValueError as error:  # known too little for so many values
        return c.row(Status.INSUFFICIENT_DATA, test=TEST, message=str(error))
    return c.row(
        Status.OK,
        test=TEST,
        message=missing if left_out else None,
        caution=_caution(usable),
        n_control=sum(pair.control.n for pair in arms),
        n_treatment=sum(pair.treatment.n for pair in arms),
        p_relative=_relative(arms),
        **numbers,
    )


def _relative(arms: Sequence[Arms]) -> float | None:
    """The same of the ratios of means: a relative effect that is the same everywhere differs where baselines do."""
    try:
        return equal([logged(pair) for pair in arms]).p
    except ValueError:  # a mean that is not positive, or is exact
        return None


def _caution(usable: Sequence[Compared]) -> str | None:
    found = [o.comparison.segment_value for o in usable if o.caution is not None]
    if not found:
        return None
    more = len(found) - MOST_NAMED
    named = ", ".join(found[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"the arms of {named} have few or skewed outcomes: it may be found different too often"
