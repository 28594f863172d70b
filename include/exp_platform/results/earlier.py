"""What stored results say of the users that a plan may expect."""

from __future__ import annotations

from exp_platform.analyses.rows import ResultRow
from exp_platform.config.analyses import UNADJUSTED
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Metric
from exp_platform.errors import DataError
from exp_platform.planning.arrivals import arrivals_of
from exp_platform.planning.known import Earlier, Known, known_of
from exp_platform.results.reader import Results


def earlier_results(results: Results, experiment: Experiment, like: Experiment | None = None) -> Earlier:
    """The newest results of `like`, or of the experiment itself where there are any.

    Raises DataError where `like` has no results, or none of a metric of the same id and kind.
    """
    of = like or experiment
    newest = results.latest_decision(of.id)
    if newest is None:
        if like is not None:
            raise DataError(f"--like {like.id} has no stored results: run it first, with exp run {like.id}")
        return Earlier()
    rows = results.rows(ResultRow, of.id, newest.as_of_date)
    source = "results" if like is None else like.id
    found = {m.id: known_of(m, rows, source) for m in experiment.metrics}
    if like is None:
        metrics = {metric_id: known for metric_id, known in found.items() if known is not None}
    elif any(found.values()):
        metrics = {m.id: found[m.id] or Known.nothing(source, _why_absent(m)) for m in experiment.metrics}
    else:
        stored = sorted({r.metric_id for r in rows if r.method == UNADJUSTED})
        raise DataError(
            f"--like {like.id} has results of {', '.join(stored)}: none is of the id and type of a metric of "
            f"{experiment.id} ({', '.join(m.id for m in experiment.metrics)})"
        )
    return Earlier(metrics, arrivals_of(of, results.stored_aggregates(of.id, newest.as_of_date)))


def _why_absent(metric: Metric) -> str:
    return (
        f"it has no result of a {metric.kind} `{metric.id}`; plan it by --history, or by --baseline and --sd"
    )
