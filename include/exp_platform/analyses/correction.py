"""Rows of comparisons, corrected for the other comparisons of their family."""

from __future__ import annotations

from collections.abc import Sequence

from exp_platform.analyses.comparison import Compared
from exp_platform.analyses.rows import ResultRow
from exp_platform.stats.multiplicity import Corrected, correct


def corrected(outcomes: Sequence[Compared | ResultRow], *, planned: bool = True) -> list[ResultRow]:
    """One row per outcome, in the order given.

    Comparisons of one family are corrected together, as its plan says. A row without a test stays as it is; it keeps
    its place in the family's size, on which the plan has spent alpha, and is never rejected. Where it is not `planned`
    which comparisons there are, a family is as large as those that have a test. A look of a group-sequential test has its
    own share already (Bonferroni).
    """
    families: dict[tuple[str, ...], list[Compared]] = {}
    for outcome in outcomes:
        if (
            isinstance(outcome, Compared)
            and outcome.comparison.level.family
            and not outcome.comparison.level.look
        ):
            c = outcome.comparison
            part = c.treatment_id if c.level.parts > 1 else ""
            families.setdefault((c.method, c.level.family, part), []).append(outcome)
    found: dict[int, tuple[Corrected, int]] = {}
    for members in families.values():
        size = members[0].comparison.level.size if planned else len(members)
        found |= {id(member): (each, size) for member, each in _of_family(members, size)}
    return [o.row(*found.get(id(o), ())) if isinstance(o, Compared) else o for o in outcomes]


def _of_family(members: list[Compared], size: int) -> list[tuple[Compared, Corrected]]:
    level = members[0].comparison.level
    found = correct(
        level.correction,
        [m.test.p_value for m in members],
        level.family_alpha / level.parts,
        size // level.parts,
    )
    whole = (Corrected(min(1.0, each.p * level.parts), each.alpha) for each in found)
    return list(zip(members, whole, strict=True))
