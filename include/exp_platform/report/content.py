"""What a report is about: one experiment's stored results at one as_of date, read once for memo, charts and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, TypeVar

from exp_platform.aggregates import DailyRow
from exp_platform.analyses.rows import ResultRow, Row, Status
from exp_platform.checks import CheckResult
from exp_platform.config.analyses import METHODS, RESULTS, SPLIT, UNADJUSTED
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import MetricScale
from exp_platform.config.readings import NOTHING_READ, RunState
from exp_platform.decision import Decision
from exp_platform.errors import ExpPlatformError
from exp_platform.results.reader import Results, StoredDecision
from exp_platform.results.stored import DecidedDay

RowT = TypeVar("RowT", bound=Row)


@dataclass(frozen=True)
class Report:
    """Everything a report shows. `series` holds the rows that decide, of all as_of dates up to this one."""

    experiment: Experiment
    stored: StoredDecision
    decision: Decision
    rows: tuple[ResultRow, ...]
    others: tuple[Row, ...]  # of the tables that single analyses have for themselves
    checks: tuple[CheckResult, ...]
    series: tuple[ResultRow, ...]
    split: tuple[ResultRow, ...] = ()  # how users were split, of all as_of dates up to this one
    daily: tuple[DailyRow, ...] = ()  # each metric on each local date, as this as_of date knows them
    history: tuple[
        DecidedDay, ...
    ] = ()  # what was decided on each as_of date up to this one, the newest last
    deleted_on: date | None = None  # when the rows of single users went by the rule of retention
    state: RunState = (
        NOTHING_READ  # of the run whose memo this is; a report that somebody asks for knows the spec alone
    )
    unreadable: tuple[str, ...] = ()  # files that are damaged, whose rows are not in this report

    @property
    def deletion(self) -> str | None:
        """That rows of single users are no longer there, in words."""
        if self.deleted_on is None:
            return None
        return f"rows of single users were deleted on {self.deleted_on} by the rule of retention; the results stay"

    @property
    def as_of_date(self) -> date:
        """The day the results are about."""
        return self.stored.as_of_date

    def scale(self, row: Row) -> MetricScale:
        """On what a row's numbers are written; those of other tables than `analysis_results` name no kind."""
        return self.experiment.scale(row.metric_id, getattr(row, "metric_kind", ""))

    def of(self, row_type: type[RowT]) -> tuple[RowT, ...]:
        """The rows of one type."""
        return tuple(row for row in (*self.rows, *self.others) if isinstance(row, row_type))

    def of_method(self, method: str) -> list[Any]:
        """The rows of one method: of a table of its own as they are, else by the experiment's metrics and treatments."""
        if METHODS[method].table != RESULTS:
            return [row for row in self.others if METHODS[method].table == row.TABLE]
        metrics = {m.id: i for i, m in enumerate(self.experiment.metrics)}
        treatments = {v.id: i for i, v in enumerate(self.experiment.variants)}
        rows = [r for r in self.rows if r.method == method]
        return sorted(
            rows,
            key=lambda r: (
                r.segment,
                r.segment_value,
                metrics.get(r.metric_id, -1),
                treatments.get(r.treatment_id, -1),
            ),
        )


def load_report(
    results: Results, experiment: Experiment, as_of: date | None = None, *, state: RunState = NOTHING_READ
) -> Report:
    """Read one report, all of it of one run; `as_of` None: the newest. Raises ExpPlatformError where no result is stored.

    Damaged files of other days, or of what the decision does not rest on, are left out and told in `unreadable`.
    """
    lenient = results.lenient()
    read = lenient.of_one_state(experiment.id, None, lambda: _read(results, lenient, experiment, as_of))
    return replace(read, state=state)


def _read(results: Results, lenient: Results, experiment: Experiment, as_of: date | None) -> Report:
    stored = lenient.latest_decision(experiment.id, as_of)
    if stored is None:
        results.latest_decision(experiment.id, as_of)  # raises where the decision is there and damaged
        when = "" if as_of is None else f" as of {as_of}"
        raise ExpPlatformError(
            f"{experiment.id} has no stored result{when}: run its DAG exp__{experiment.id} or `exp run {experiment.id}`"
        )
    day = stored.as_of_date
    over_days = lenient.rows(ResultRow, experiment.id, method=(*_decisive(experiment), SPLIT))
    until = [r for r in over_days if r.as_of_date <= day]
    return Report(
        experiment=experiment,
        stored=stored,
        decision=stored.decision,
        rows=tuple(results.rows(ResultRow, experiment.id, day)),
        others=tuple(
            row
            for method in METHODS.values()
            if method.table != RESULTS and stored.result_rows.get(method.table) != 0
            for row in lenient.of_method(method.name, experiment.id, day)
        ),
        checks=tuple(results.rows(CheckResult, experiment.id, day)),
        series=tuple(deciding(experiment, until)),
        split=tuple(r for r in until if r.method == SPLIT),
        daily=tuple(lenient.daily(experiment.id, day)),
        history=tuple(d for d in lenient.history(experiment.id) if d.as_of_date <= day),
        deleted_on=(lenient.registered(experiment.id) or {}).get("user_level_deleted_on"),
        unreadable=tuple(lenient.unreadable),
    )


def deciding(experiment: Experiment, rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Of each comparison and day the row of the estimate that decides: the unadjusted one where nothing can be adjusted."""
    found: dict[tuple[date, str, str], ResultRow] = {}
    for method in _decisive(experiment):
        of_method = [
            r for r in rows if r.method == method and (method == UNADJUSTED or r.status is Status.OK)
        ]
        found |= {(r.as_of_date, r.metric_id, r.treatment_id): r for r in of_method}
    return [found[key] for key in sorted(found)]


def _decisive(experiment: Experiment) -> tuple[str, ...]:
    """Methods whose rows may decide, the one that takes precedence last."""
    return tuple(dict.fromkeys((UNADJUSTED, experiment.decision.estimate)))
