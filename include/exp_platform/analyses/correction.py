"""Rows of comparisons, corrected for the other comparisons of their family."""

from __future__ import annotations

from collections.abc import Sequence

from exp_platform.analyses.comparison import Compared
from exp_platform.analyses.rows import ResultRow


def corrected(outcomes: Sequence[Compared | ResultRow]) -> list[ResultRow]:
    """One row per outcome, in the order given; a row that has no test stays as it is."""
    return [o.row() if isinstance(o, Compared) else o for o in outcomes]
