"""The checks that decide whether data may be published, and what each of them says. Pure: counts in, results out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import product
from typing import NamedTuple

from exp_platform import numbers
from exp_platform.aggregates import Aggregates, Arrivals, LeftOut
from exp_platform.analyses import srm
from exp_platform.analyses.rows import ResultRow
from exp_platform.checks import CheckResult
from exp_platform.config.experiment import Variant
from exp_platform.config.sources import EventsSource, UnitsSource
from exp_platform.kernels.matching import conversions
from exp_platform.kernels.measured import Measured, event_of_arm, most_frequent
from exp_platform.stages.last_publication import EVENTS
from exp_platform.stages.matching_checks import CHANCE, MATCHING
from exp_platform.stages.quality_evidence import WHOLE_ROW, Evidence, share, worst_share

# A user who has such a share of a table's rows, and is so many standard deviations of other users' rows above their mean:
# no long tail of people has both (of lognormal rows with sd 1.5 in at most 3 % of experiments).
DOMINANT_SHARE = 0.02
DOMINANT_DEVIATIONS = 100
FEWEST_OTHERS = 20  # users, of whom that can be said
MOST_DAYS = 3  # that a message names
FEWEST_LOST = 20  # users or outcomes of a day: fewer may be single people who were taken out
CHANCE_OF_AN_EMPTY_ARM = 0.001  # below it, an arm without users is no accident


def judge(evidence: Evidence) -> list[CheckResult]:
    """All checks of one as_of date, in the order in which they are told."""
    return [check for checks in _CHECKS for check in checks(evidence)]


def _schema(e: Evidence) -> Iterator[CheckResult]:
    yield e.result("schema", "all columns are there and of a usable type")


def _empty(e: Evidence) -> Iterator[CheckResult]:
    tables = ("units",) if e.is_units else ("exposures", *(e.facts or ("outcomes",)))
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
    yield worst_share(e, "nulls", own, e.limits.max_null_share, "are null", remedy, words)


def _malformed(e: Evidence) -> Iterator[CheckResult]:
    such_as = {
        column: f" (such as {', '.join(map(repr, shown[:3]))})"
        for column in e.measured.malformed
        if (shown := e.measured.examples.get(column, []))
    }
    remedy = "write numbers plainly and times in ISO 8601, or raise quality.max_null_share"
    if any(column.endswith(WHOLE_ROW) for column in e.measured.malformed):
        remedy = "mend those lines, or say how the file is written (delimiter, escape), or raise quality.max_null_share"
    limit = e.limits.max_null_share
    yield worst_share(e, "malformed", e.measured.malformed, limit, "cannot be read", remedy, such_as)


def _duplicates(e: Evidence) -> Iterator[CheckResult]:
    if e.is_units:
        remedy = "deliver one row per user"
        yield worst_share(e, "duplicates", e.measured.duplicates, 0.0, "repeat a user_id", remedy)
    else:
        remedy = "repair the delivery, or raise quality.max_duplicate_share; they are dropped and count once"
        limit = e.limits.max_duplicate_share
        yield worst_share(e, "duplicates", e.measured.duplicates, limit, "are duplicates", remedy)


def _unknown_variants(e: Evidence) -> Iterator[CheckResult]:
    unknown = e.measured.unknown_variants
    rows = sum(unknown.values())
    named = ", ".join(f"{value!r} ({n:,})" for value, n in list(unknown.items())[:5])
    found = (
        f"{rows:,} exposures to variants that the spec does not have: {named}"
        if rows
        else "all variants are known"
    )
    remedy = (
        f"the spec has {', '.join(_named(e, v) for v in e.experiment.variants)}; correct the data or the spec"
    )
    yield e.result("unknown_variants", found, remedy, failed=rows > 0, observed=float(rows), threshold=0.0)


def _values(e: Evidence) -> dict[str, str]:
    """Of a log of assignments the values that stand for variants."""
    source = e.experiment.source
    return source.variants if isinstance(source, EventsSource) else {}


def _named(e: Evidence, variant: Variant) -> str:
    """A variant as the spec names it, with the values that stand for it."""
    values = [value for value, named in _values(e).items() if named == variant.id]
    return f"{variant.id} ({' or '.join(map(repr, values))})" if values else variant.id


def _missing_arm(e: Evidence) -> Iterator[CheckResult]:
    users = e.measured.users_at(e.as_of)
    total = sum(users.values())
    empty = [v for v in e.experiment.variants if not users.get(v.id)]
    shares = zip(*(a.shares for a in e.experiment.allocations if a.start <= e.as_of), strict=True)
    least = dict(zip((v.id for v in e.experiment.variants), map(min, shares), strict=True))
    chance = max((1 - least[v.id] for v in empty), default=1.0) ** total
    failed = bool(empty) and total > 0 and chance < CHANCE_OF_AN_EMPTY_ARM
    strange = ", ".join(f"{value!r} ({n:,})" for value, n in list(e.measured.unknown_variants.items())[:5])
    also = f"; the column of variants also has {strange}" if strange and _values(e) else ""
    found = (
        f"no users in {', '.join(_named(e, v) for v in empty)}, {total:,} in the others{also}"
        if empty
        else "every arm has users"
    )
    remedy = "deliver the exposures of every arm, or correct the variants' names in the spec"
    yield e.result("missing_arm", found, remedy, failed=failed, observed=float(len(empty)), threshold=0.0)


def _crossovers(e: Evidence) -> Iterator[CheckResult]:
    crossed, users = e.measured.crossovers_at(e.as_of), e.measured.users_at(e.as_of)
    arms = ", ".join(f"{v.id} {crossed.get(v.id, 0):,}" for v in e.experiment.variants)
    found = f"users have seen several variants (first in: {arms})"
    remedy = "check that the assignment is kept for each user"
    limit = e.limits.max_crossover_share
    yield share(
        e, "crossovers", sum(crossed.values()), sum(users.values()), limit, found, remedy, warning=True
    )


def _dominant_user(e: Evidence) -> Iterator[CheckResult]:
    if e.is_units:
        yield e.skipped("dominant_user", "a units source has one row per user", "warning")
        return
    told, largest = [], 0.0
    for table, users in e.measured.heaviest.items():
        rows, border = e.measured.rows_out[table], _most_of_a_tail(e.measured, table)
        for user, n in users.items():
            largest = max(largest, n / rows)
            if n > border and n >= DOMINANT_SHARE * rows:
                told.append(f"{user!r} has {n:,} of {rows:,} {table} ({numbers.share(n / rows, 2)})")
    found = (
        f"{', '.join(told[:3])}, far beyond any other user"
        if told
        else f"no user has an absurd share of the rows (at most {numbers.share(largest, 2)})"
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
    drop, limit = max(0.0, 1 - rows / before) if before else 0.0, e.limits.max_row_drop
    days, events = _lost_days(e), _lost_events(e)
    found = [f"{rows:,} exposures, {before:,} in the last publication ({numbers.share(drop)} fewer)"] * (
        drop > 0
    )
    found += [loss.words for loss in days[:MOST_DAYS]]
    found += [f"and {len(days) - MOST_DAYS:,} more such days"] * (len(days) > MOST_DAYS)
    found += [loss.words for loss in events]
    # A rerun says what the first run said, which had no publication before it
    told = "; ".join(found) or "no fewer exposures than in a publication of this source before"
    remedy = "deliver the data in full, or raise quality.max_row_drop for this run"
    worst = max([drop, *(loss.share for loss in (*days, *events))])
    yield e.result("row_drop", told, remedy, failed=worst > limit, observed=worst, threshold=limit)


class _Loss(NamedTuple):
    """What went since the last publication, in words, and which share of it."""

    words: str
    share: float


def _lost_days(e: Evidence) -> list[_Loss]:
    """What went of a day, where it is too much, whatever came for other days.

    By how many are known up to a day's end, which rows that come late never make fewer: they may only move users to earlier days.
    What may be those who are to be forgotten is not missed: of them nothing but the number of their rows is known.
    """
    found = []
    for what, now in e.measured.by_day().items():
        before = e.published_days.get(what, {})
        lacking = balance = 0
        for day in sorted({*before, *now}):
            had = before.get(day, 0)
            balance += had - now.get(day, 0)
            gone, lacking = max(balance, 0) - lacking, max(balance, 0)
            if _is_loss(e, gone, had):
                found.append(_Loss(f"{day} lost {gone:,} of {had:,} {what}", gone / had))
    return found


def _lost_events(e: Evidence) -> list[_Loss]:
    """The same of a conversion in an arm, which may be few among all outcomes: of those that are measured still."""
    before, now = e.published_days.get(EVENTS, {}), e.measured.by_event()
    found = []
    for event, arm in product(conversions(e.experiment), e.experiment.variants):
        name = event_of_arm(event, arm.id)
        had = before.get(name, 0)
        if _is_loss(e, gone := had - now.get(name, 0), had):
            found.append(_Loss(f"{name} lost {gone:,} of {had:,} from exposure on", gone / had))
    return found


def _is_loss(e: Evidence, gone: int, had: int) -> bool:
    forgotten = sum(of.get(LeftOut.FORGOTTEN.value, 0) for of in e.measured.left_out.values())
    return gone >= FEWEST_LOST + forgotten and gone > e.limits.max_row_drop * had


def _freshness(e: Evidence) -> Iterator[CheckResult]:
    newest = max(e.measured.newest.values(), default="")
    if e.is_units or not newest:
        why = "a units source has no times of outcomes" if e.is_units else "no rows"
        yield e.skipped("freshness", why, "warning")
        return
    # A day that only a change of clocks adds has the last users' last hour: no row need be of it.
    expected = min(e.as_of, e.experiment.window.end + timedelta(days=e.experiment.longest_window))
    limit = float(e.limits.max_stale_days)
    days = max((expected - date.fromisoformat(newest)).days, 0)
    found = f"the newest row is of {newest}, {days} days before {expected}"
    if days <= limit and (behind := _facts_behind(e, expected)):
        days = max(silent for silent, _ in behind)
        found = "; ".join(told for _, told in behind)
    remedy = "deliver the missing days and run again"
    yield e.result(
        "freshness", found, remedy, failed=days > limit, warning=True, observed=float(days), threshold=limit
    )


def _facts_behind(e: Evidence, expected: date) -> list[tuple[int, str]]:
    """Facts that say nothing for so many days that, by the rows that came per day before, it is no accident."""
    found = []
    first = e.experiment.window.start - timedelta(days=e.experiment.analyses.pre_period_days)
    for fact in e.facts:
        newest = date.fromisoformat(e.measured.newest.get(fact) or str(expected))
        silent = (expected - newest).days
        per_day = e.measured.in_series.get(fact, 0) / max((newest - first).days + 1, 1)
        if silent > e.limits.max_stale_days and math.exp(-per_day * silent) < CHANCE:
            came = f"{per_day:,.0f} rows that count came per day until then"
            found.append(
                (silent, f"the newest row of {fact} is of {newest}, {silent} days before {expected}; {came}")
            )
    return found


def _future_dates(e: Evidence) -> Iterator[CheckResult]:
    remedy = "check the clocks and time zones, or raise quality.max_null_share"
    limit = e.limits.max_null_share
    found = "are more than a day after the run began"
    rows = {table: n for table, n in e.measured.future.items() if table == "exposures" or not e.is_units}
    yield worst_share(e, "future_dates", rows, limit, found, remedy)


def _outside_window(e: Evidence) -> Iterator[CheckResult]:
    counts = e.measured.outside
    outside = sum(counts.values())
    if not e.is_units:
        why = f"{outside:,} exposures lie outside the window, as those of an event table may"
        yield e.skipped("outside_window", why, "warning")
        return
    window = e.experiment.window
    found = (
        f"users were exposed outside the window from {window.start} to {window.end} "
        f"({counts.get('before', 0):,} before, {counts.get('after', 0):,} after) and do not count"
    )
    remedy = "correct window or time zone in the spec, or the times in the table; or raise quality.max_outside_share"
    total, limit = e.measured.rows_out.get("exposures", 0), e.limits.max_outside_share
    yield share(e, "outside_window", outside, total, limit, found, remedy, warning=True)


def _missing_values(e: Evidence) -> Iterator[CheckResult]:
    if not e.is_units:
        yield e.skipped("missing_values", "a user without events counts as zero")
        return
    strict = {
        f"units.{measure.event}"
        for metric in e.experiment.metrics
        if metric.missing == "error"
        for measure in metric.measures
    }
    nulls = {column: n for column, n in e.measured.nulls.items() if column in strict}
    remedy = "fill them in, or say `missing: zero` or `missing: exclude` for the metric"
    yield worst_share(e, "missing_values", nulls, 0.0, "are null", remedy)


_CHECKS = (
    _schema,
    _empty,
    _nulls,
    _malformed,
    _duplicates,
    _unknown_variants,
    _missing_arm,
    _outside_window,
    *MATCHING,
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
