"""What earlier users say of a metric: of this experiment, of another one, or of a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.analyses import ADJUSTED, UNADJUSTED
from exp_platform.config.metrics import Metric
from exp_platform.planning.arrivals import Arrivals


@dataclass(frozen=True)
class Known:
    """Control's mean and a user's standard deviation, in the metric's unit, and what adjusting takes off the variance.

    `gains` maps a method (cuped, ...) to that share. `source` says in words where all this is from, `told` what it does
    not say, why, and what helps.
    """

    mean: float | None
    sd: float | None
    gains: Mapping[str, float] = field(default_factory=dict)
    source: str = ""
    told: tuple[str, ...] = ()

    @staticmethod
    def nothing(source: str, why: object) -> Known:
        """Earlier users who say nothing of a metric, and why."""
        return Known(None, None, {}, source, (f"{source}: {why}",))


@dataclass(frozen=True)
class Earlier:
    """What earlier users say of an experiment's metrics, by their ids, and how they came in."""

    metrics: Mapping[str, Known] = field(default_factory=dict)
    arrivals: Arrivals | None = None


def known_of(metric: Metric, rows: Sequence[ResultRow], source: str) -> Known | None:
    """From the result rows of one as_of date; None where they hold no such metric.

    Of several treatments the smallest gain counts. A metric of the same id and another kind is another metric. Of results
    that cannot be read it is told why.
    """
    of_metric = [r for r in rows if (r.metric_id, r.metric_kind) == (metric.id, metric.kind)]
    compared = [r for r in of_metric if r.method == UNADJUSTED]
    plain = next((r for r in compared if r.mean_control is not None), None)
    if plain is None:
        return Known.nothing(source, _why_unreadable(compared[0])) if compared else None
    gains: dict[str, float] = {}
    for row in of_metric:
        if row.method in ADJUSTED and row.variance_reduction is not None:
            gains[row.method] = min(row.variance_reduction, gains.get(row.method, 1.0))
    return Known(plain.mean_control, plain.sd_control, gains, source)


def _why_unreadable(row: ResultRow) -> str:
    why = row.message or f"the result is {row.status}"
    if row.status is Status.DEGENERATE:
        return why
    return f"{why}; run it again once more users are there, or plan by --history, or by --baseline and --sd"
