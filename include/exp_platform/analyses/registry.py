"""The analyses by name: what the stages of these names call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from exp_platform.aggregates import Aggregates, Kind
from exp_platform.analyses import ab, bayes, cuped, did, guardrails, pretrends, segments, srm, stability
from exp_platform.analyses.rows import EventStudyRow, PretrendDeltaRow, Row, Status
from exp_platform.config.experiment import Experiment

Analyse = Callable[[Experiment, Aggregates], list[Row]]


def _reading(analyse: Analyse, *kinds: Kind) -> Analyse:
    """The analysis of blocks of these kinds, whose rows say so where a metric has none because a value is too large."""

    def read(experiment: Experiment, aggregates: Aggregates) -> list[Row]:
        largest: dict[str, str] = {}
        for kind in kinds:
            largest |= aggregates.too_large.get(kind, {})
        rows = analyse(experiment, aggregates)
        return [_told(row, largest[row.metric_id]) if row.metric_id in largest else row for row in rows]

    return read


def _told(row: Row, largest: str) -> Row:
    if row.status is Status.OK:  # of blocks of another kind
        return row
    if isinstance(row, EventStudyRow | PretrendDeltaRow):
        return replace(row, status=Status.DEGENERATE)
    message = (
        f"a user's value (or covariate) is {largest}, too large for means and variances: "
        "correct it at its source (a mean or a count may be winsorised instead)"
    )
    return replace(row, status=Status.DEGENERATE, message=message)


ANALYSES: dict[str, Analyse] = {
    "srm": _reading(srm.analyse, "total"),
    "ab": _reading(ab.analyse, "total"),
    "cuped": _reading(cuped.analyse, "total"),
    "did": _reading(did.analyse, "daily"),
    "pretrends": _reading(pretrends.analyse, "daily"),
    "segments": _reading(segments.analyse, "total"),
    "stability": _reading(stability.analyse, "daily", "cohort"),
    "guardrails": _reading(guardrails.analyse, "total"),
    "bayes": _reading(bayes.analyse, "total"),
}
