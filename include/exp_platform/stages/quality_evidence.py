"""What the quality checks of one as_of date look at, and how a check on a share is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from exp_platform import numbers
from exp_platform.aggregates import LeftOut
from exp_platform.checks import CheckResult
from exp_platform.config.experiment import Experiment
from exp_platform.config.plans import QualityThresholds
from exp_platform.config.sources import EventsSource, UnitsSource
from exp_platform.kernels.measured import Counts, Measured

WHOLE_ROW = ".(whole row)"  # what lines that are no rows are counted under: nobody knows whose they are

# Of a fact, which everybody's rows lie in. Rows without a user are nobody's
_OF_OTHERS = (LeftOut.NO_EXPOSURE, LeftOut.UNMAPPED, LeftOut.SEVERAL_USERS, LeftOut.NULL)


@dataclass(frozen=True)
class Evidence:
    """What the checks of one as_of date look at."""

    experiment: Experiment
    as_of: date
    measured: Measured
    published_rows: int | None  # exposures of the last publication of the same source
    # What was known of that, where its days are those of this spec: see `last_publication`
    published_days: Mapping[str, Counts] = field(default_factory=dict)

    @property
    def limits(self) -> QualityThresholds:
        """The spec's thresholds."""
        return self.experiment.quality

    @property
    def facts(self) -> tuple[str, ...]:
        """The names of the source's facts, of which many rows are other people's."""
        source = self.experiment.source
        return tuple(fact.name for fact in source.facts) if isinstance(source, EventsSource) else ()

    def rows_of_ours(self, table: str) -> int:
        """Rows read of a table, but for those of other experiments and other people, by which nothing is judged."""
        left_out = self.measured.left_out.get(table, {})
        strange = _OF_OTHERS if table in self.facts else (LeftOut.OTHER_EXPERIMENT,)
        return self.measured.rows_in.get(table, 0) - sum(left_out.get(reason.value, 0) for reason in strange)

    @property
    def is_units(self) -> bool:
        """Whether the source has one row per user."""
        return isinstance(self.experiment.source, UnitsSource)

    def result(
        self,
        check: str,
        found: str,
        remedy: str = "",
        *,
        failed: bool = False,
        warning: bool = False,
        observed: float | None = None,
        threshold: float | None = None,
    ) -> CheckResult:
        """A check that was made; the remedy is told where it failed."""
        return CheckResult(
            as_of_date=self.as_of,
            check=check,
            severity="warning" if warning else "error",
            status="failed" if failed else "passed",
            observed=observed,
            threshold=threshold,
            message=f"{found}: {remedy}" if failed else found,
        )

    def skipped(self, check: str, why: str, severity: Literal["error", "warning"] = "error") -> CheckResult:
        """A check that does not apply."""
        return CheckResult(self.as_of, check, severity, "skipped", None, None, why)


def worst_share(
    e: Evidence,
    check: str,
    counts: Counts,
    limit: float,
    found: str,
    remedy: str,
    more: Mapping[str, str] | None = None,
) -> CheckResult:
    """A check on the largest share of bad rows in any column or table; it names all that have any.

    `more` is what else to say of a column.
    """
    read = {table: e.rows_of_ours(table) for table in e.measured.rows_in}
    if e.is_units:
        read = dict.fromkeys(("units", "exposures"), read.get("units", 0))
    read |= {key: e.measured.rows_in[key.split(".")[0]] for key in counts if key.endswith(WHOLE_ROW)}
    shares = {key: n / read.get(key, read[key.split(".")[0]]) for key, n in counts.items() if n}
    worst = max(shares.values(), default=0.0)
    told = [
        f"{counts[key]:,} rows of {key} ({numbers.share(of_rows, 2)}) {found}{(more or {}).get(key, '')}"
        for key, of_rows in sorted(shares.items())
    ]
    text = f"{', '.join(told)}, allowed {numbers.share(limit, 2)}" if told else "none"
    return e.result(check, text, remedy, failed=worst > limit, observed=worst, threshold=limit)


def share(
    e: Evidence,
    check: str,
    n: int,
    total: int,
    limit: float,
    found: str,
    remedy: str,
    *,
    warning: bool = False,
    failed: bool | None = None,
) -> CheckResult:
    """A check on one share."""
    observed = n / total if total else 0.0
    text = f"{n:,} of {total:,} ({numbers.share(observed, 2)}) {found}, allowed {numbers.share(limit, 2)}"
    return e.result(
        check,
        text,
        remedy,
        failed=observed > limit if failed is None else failed,
        warning=warning,
        observed=observed,
        threshold=limit,
    )
