"""Which rows of a long table a person is shown: those of the clearest differences, and where the others are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

from exp_platform.analyses.rows import Row
from exp_platform.escaping import Markdown

RowT = TypeVar("RowT", bound=Row)

IN_A_MEMO, ON_A_TERMINAL = 50, 200  # rows of one table


def clearest(rows: Sequence[RowT], most: int) -> list[RowT]:
    """All rows in their order or, where they are more, the `most` of them with the smallest p, by p; of equals the first."""
    if len(rows) <= most:
        return list(rows)
    return sorted(rows, key=_evidence)[:most]


def _evidence(row: Row) -> float:
    log10_p: float | None = getattr(row, "log10_p", None)
    return math.inf if log10_p is None else log10_p


def left_out(shown: Sequence[Row], rows: Sequence[Row], experiment_id: str) -> str:
    """What is said of the rows that are not shown; empty where all are."""
    if len(shown) == len(rows):
        return ""
    return Markdown(  # nothing of the data is in it
        f"{len(shown):,} of {len(rows):,} rows, those with the smallest p (adjusted p counts all of them); "
        f"`exp results {experiment_id} --json` and the table {rows[0].TABLE} have the others"
    )
