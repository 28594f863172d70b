"""The checks that decide whether data may be published, and what each of them says. Pure: counts in, results out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from exp_platform.aggregates import Aggregates, Arrivals
from exp_platform.analyses import srm
from exp_platform.analyses.rows import ResultRow
from exp_platform.checks import CheckResult
from exp_platform.config.experiment import Experiment, QualityThresholds, UnitsSource
from exp_platform.kernels.measured import Counts, Measured, most_frequent

# A user who has such a share of a table's rows, and is so many standard deviations of other users' rows above their mean:
# no long tail of people has both (of lognormal rows with sd 1.5 in at most 3 % of experiments).
DOMINANT_SHARE = 0.02
DOMINANT_DEVIATIONS = 100
FEWEST_OTHERS = 20  # users, of whom that can be said
CHANCE_OF_AN_EMPTY_ARM = 0.001  # below it, an arm without users is no accident


@dataclass(frozen=True)
class Evidence:
    """What the checks of one as_of date look at."""

    experiment: Experiment
    as_of: date
    measured: Measured
    published_rows: int | None  # exposures of the last publication of the same source

    @property
    def limits(self) -> QualityThresholds:
        """The spec's thresholds."""
        return self.experiment.quality

    @property
    def is_units(self) -> bool:
        """Whether the source has one row a user."""
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


def judge(evidence: Evidence) -> list[CheckResult]:
    """All checks of one as_of date, in the order in which they are told."""
    return [check for checks in _CHECKS for check in checks(evidence)]


def _schema(e: Evidence) -> Iterator[CheckResult]:
    yield e.result("schema", "all columns are there and of a usable type")


def _empty(e: Evidence) -> Iterator[CheckResult]:
    tables = ("units",) if e.is_units else ("exposures", "outcomes")
    missing = [table for table in tables if not e.measured.rows_in.get(table)]
    users = sum(e.measured.users_at(e.as_of).values())
    window = e.experiment.window
    if missing:
        found, remedy = (
            f"no rows in {' and '.join(missing)}",
            "deliver the data, or correct the source in the spec",
        )
    else:
        last = min(e.as_of, window.end)
        found = f"{users:,} users first exposed from {window.start} to {last} ({window.timezone})"
        remedy = "deliver exposures of these days, or correct window, time zone or variants in the spec"
    yield e.result(
        "empty", found, remedy, failed=bool(missing) or users == 0, observed=float(users), threshold=1.0
    )


def _nulls(e: Evidence) -> Iterator[CheckResult]:
    own = {column: n for column, n in e.measured.nulls.items() if not _is_unit_outcome(e, column)}
    remedy = "fill them in, leave these rows out, or raise quality.max_null_share"
    words = {
        column: f" (of them {', '.join(f'{word!r} {n:,}' for word, n in most_frequent(counts, 3).items())})"
        for column, counts in e.measured.null_words.items()
    }
    yield _worst_share(e, "nulls", own, e.limits.max_null_share, "are null", remedy, words)


def _malformed(e: Evidence) -> Iterator[CheckResult]:
    shown = [value for values in e.measured.examples.values() for value in values]
    such_as = f" (such as {', '.join(map(repr, shown[:3]))})" if shown else ""
    remedy = "write numbers plainly and times in ISO 8601, or raise quality.max_null_share"
    if any(column.endswith("(whole row)") for column in e.measured.malformed):
        remedy = "mend those lines, or say how the file is written (delimiter, escape), or raise quality.max_null_share"
    yield _worst_share(
        e, "malformed", e.measured.malformed, e.limits.max_null_share, f"cannot be read{such_as}", remedy
    )


def _duplicates(e: Evidence) -> Iterator[CheckResult]:
    if e.is_units:
        remedy = "deliver one row a user"
        yield _worst_share(e, "duplicates", e.measured.duplicates, 0.0, "repeat a user_id", remedy)
    else:
        remedy = "repair the delivery, or raise quality.max_duplicate_share; they are dropped and count once"
        limit = e.limits.max_duplicate_share
        yield _worst_share(e, "duplicates", e.measured.duplicates, limit, "are duplicates", remedy)


def _unknown_variants(e: Evidence) -> Iterator[CheckResult]:
    unknown = e.measured.unknown_variants
    rows = sum(unknown.values())
    named = ", ".join(f"{value!r} ({n:,})" for value, n in list(unknown.items())[:5])
    found = (
        f"{rows:,} exposures to variants that the spec does not have: {named}"
        if rows
        else "all variants are known"
    )
    remedy = f"the spec has {', '.join(v.id for v in e.experiment.variants)}; correct the data or the spec"
    yield e.result("unknown_variants", found, remedy, failed=rows > 0, observed=float(rows), threshold=0.0)


def _missing_arm(e: Evidence) -> Iterator[CheckResult]:
    users = e.measured.users_at(e.as_of)
    total = sum(users.values())
    empty = [v for v in e.experiment.variants if not users.get(v.id)]
    shares = zip(*(a.shares for a in e.experiment.allocations if a.start <= e.as_of), strict=True)
    least = dict(zip((v.id for v in e.experiment.variants), map(min, shares), strict=True))
    chance = max((1 - least[v.id] for v in empty), default=1.0) ** total
    failed = bool(empty) and total > 0 and chance < CHANCE_OF_AN_EMPTY_ARM
    found = (
        f"no users in {', '.join(v.id for v in empty)}, {total:,} in the others"
        if empty
        else "every arm has users"
    )
    remedy = "deliver the exposures of every arm, or correct the variants' names in the spec"
    yield e.result("missing_arm", found, remedy, failed=failed, observed=float(len(empty)), threshold=0.0)


def _unexposed_outcomes(e: Evidence) -> Iterator[CheckResult]:
    if e.is_units:
        yield e.skipped("unexposed_outcomes", "a units source has its outcomes in the users' rows", "warning")
        return
    counts = e.measured.outcomes_at(e.as_of)
    remedy = "check that all exposures are delivered and that both tables have the same user ids"
    found = "outcomes inside the window are of users without exposure"
    limit = e.limits.max_unexposed_share
    yield _share(
        e,
        "unexposed_outcomes",
        counts.get("unexposed", 0),
        sum(counts.values()),
        limit,
        found,
        remedy,
        warning=True,
    )


def _time_order(e: Evidence) -> Iterator[CheckResult]:
    if e.is_units:
        yield e.skipped("time_order", "a units source has no times of outcomes")
        return
    counts = e.measured.outcomes_at(e.as_of)
    before, total = counts.get("before", 0), counts.get("before", 0) + counts.get("after", 0)
    remedy = "check the clocks and time zones of both tables; such outcomes count for nothing"
    limit = e.limits.max_before_exposure_share
    found = "exposed users' outcomes inside the window are from before the exposure"
    yield _share(e, "time_order", before, total, limit, found, remedy, failed=0 < before == total or None)


def _crossovers(e: Evidence) -> Iterator[CheckResult]:
    crossed, users = e.measured.crossovers_at(e.as_of), e.measured.users_at(e.as_of)
    arms = ", ".join(f"{v.id} {crossed.get(v.id, 0):,}" for v in e.experiment.variants)
    found = f"users have seen several variants (first in: {arms})"
    remedy = "check that the assignment is kept for each user"
    limit = e.limits.max_crossover_share
    yield _share(
        e, "crossovers", sum(crossed.values()), sum(users.values()), limit, found, remedy, warning=True
    )


def _dominant_user(e: Evidence) -> Iterator[CheckResult]:
    if e.is_units:
        yield e.skipped("dominant_user", "a units source has one row a user", "warning")
        return
    told, largest = [], 0.0
    for table, users in e.measured.heaviest.items():
        rows, border = e.measured.rows_out[table], _most_of_a_tail(e.measured, table)
        for user, n in users.items():
            largest = max(largest, n / rows)
            if n > border and n >= DOMINANT_SHARE * rows:
                told.append(f"{user!r} has {n:,} of {rows:,} {table} ({n / rows:.2%})")
    found = (
        f"{', '.join(told[:3])}, far beyond any other user"
        if told
        else f"no user has an absurd share of the rows (at most {largest:.2%})"
    )
    remedy = "find out whether many people or a machine share the id, and leave its rows out of the delivery"
    yield e.result(
        "dominant_user",
        found,
        remedy,
        failed=bool(told),
        warning=True,
        observed=largest,
        threshold=DOMINANT_SHARE,
    )


def _most_of_a_tail(measured: Measured, table: str) -> float:
    """The rows from which a user is no part of the others' distribution; the heaviest ones are not among the others."""
    heaviest = measured.heaviest[table].values()
    users = measured.users_out[table] - len(heaviest)
    if users < FEWEST_OTHERS:
        return math.inf
    mean = (measured.rows_out[table] - sum(heaviest)) / users
    variance = (measured.squared_rows[table] - sum(n * n for n in heaviest)) / users - mean**2
    return mean + DOMINANT_DEVIATIONS * math.sqrt(max(variance, 0.0))


def _srm(e: Evidence) -> Iterator[CheckResult]:
    ramp = e.experiment.ramp
    lasts = [a.start - timedelta(days=1) for a in ramp[1:]] + [e.as_of] * bool(ramp)
    came = {
        str(a.start): Arrivals(e.measured.users_between(a.start, min(last, e.as_of)), {})
        for a, last in zip(ramp, lasts, strict=True)
    }
    users, crossovers = e.measured.users_at(e.as_of), e.measured.crossovers_at(e.as_of)
    row = srm.analyse(e.experiment, Aggregates(e.as_of, users, crossovers, periods=came))[0]
    assert isinstance(row, ResultRow)
    if row.verdict is None:
        yield e.skipped("srm", row.message or "no users", "warning")
        return
    yield e.result(
        "srm",
        f"users were not split as planned: {row.message}" if row.verdict == "mismatch" else row.message or "",
        "find out which users are missing before reading any result",
        failed=row.verdict == "mismatch",
        warning=True,
        observed=row.p_value,
        threshold=srm.ALPHA,
    )


def _row_drop(e: Evidence) -> Iterator[CheckResult]:
    rows, before = e.measured.rows_out.get("exposures", 0), e.published_rows or 0
    drop = max(0.0, 1 - rows / before) if before else 0.0
    found = f"{rows:,} exposures, {before:,} in the last publication ({drop:.1%} fewer)"
    if not drop:  # a rerun says what the first run said, which had no publication before it
        found = "no fewer exposures than in a publication of this source before"
    remedy = "deliver the data in full, or raise quality.max_row_drop for this run"
    limit = e.limits.max_row_drop
    yield e.result("row_drop", found, remedy, failed=drop > limit, observed=drop, threshold=limit)


def _freshness(e: Evidence) -> Iterator[CheckResult]:
    newest = max(e.measured.newest.values(), default="")
    if e.is_units or not newest:
        why = "a units source has no times of outcomes" if e.is_units else "no rows"
        yield e.skipped("freshness", why, "warning")
        return
    # A day that only a change of clocks adds has the last users' last hour: no row need be of it.
    expected = min(e.as_of, e.experiment.window.end + timedelta(days=e.experiment.longest_window))
    days = max((expected - date.fromisoformat(newest)).days, 0)
    found = f"the newest row is of {newest}, {days} days before {expected}"
    limit = float(e.limits.max_stale_days)
    remedy = "deliver the missing days and run again"
    yield e.result(
        "freshness", found, remedy, failed=days > limit, warning=True, observed=float(days), threshold=limit
    )


def _future_dates(e: Evidence) -> Iterator[CheckResult]:
    remedy = "check the clocks and time zones, or raise quality.max_null_share"
    limit = e.limits.max_null_share
    found = "are more than a day after the run began"
    rows = {table: n for table, n in e.measured.future.items() if table == "exposures" or not e.is_units}
    yield _worst_share(e, "future_dates", rows, limit, found, remedy)


def _missing_values(e: Evidence) -> Iterator[CheckResult]:
    if not e.is_units:
        yield e.skipped("missing_values", "a user without events counts as zero")
        return
    strict = {
        f"units.{measure.event}"
        for metric in e.experiment.metrics
        if metric.missing == "error"
        for measure in (metric.numerator, metric.denominator)
        if measure
    }
    nulls = {column: n for column, n in e.measured.nulls.items() if column in strict}
    remedy = "fill them in, or say `missing: zero` or `missing: exclude` for the metric"
    yield _worst_share(e, "missing_values", nulls, 0.0, "are null", remedy)


_CHECKS = (
    _schema,
    _empty,
    _nulls,
    _malformed,
    _duplicates,
    _unknown_variants,
    _missing_arm,
    _unexposed_outcomes,
    _time_order,
    _crossovers,
    _dominant_user,
    _srm,
    _row_drop,
    _freshness,
    _future_dates,
    _missing_values,
)


def _is_unit_outcome(e: Evidence, column: str) -> bool:
    """Missing outcomes of units are another check's: some metrics allow them."""
    source = e.experiment.source
    return isinstance(source, UnitsSource) and column.removeprefix("units.") in source.outcomes


def _worst_share(
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
    read = e.measured.rows_in
    if e.is_units:
        read = dict.fromkeys(("units", "exposures"), read.get("units", 0))
    shares = {key: n / read[key.split(".")[0]] for key, n in counts.items() if n}
    worst = max(shares.values(), default=0.0)
    told = [
        f"{counts[key]:,} rows of {key} ({share:.2%}) {found}{(more or {}).get(key, '')}"
        for key, share in sorted(shares.items())
    ]
    text = f"{', '.join(told)}, allowed {limit:.2%}" if told else "none"
    return e.result(check, text, remedy, failed=worst > limit, observed=worst, threshold=limit)


def _share(
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
    share = n / total if total else 0.0
    text = f"{n:,} of {total:,} ({share:.2%}) {found}, allowed {limit:.2%}"
    return e.result(
        check,
        text,
        remedy,
        failed=share > limit if failed is None else failed,
        warning=warning,
        observed=share,
        threshold=limit,
    )
