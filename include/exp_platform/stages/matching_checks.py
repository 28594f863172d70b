"""The checks that tell whether exposures and outcomes belong together: ids, times of day, clocks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from exp_platform import numbers
from exp_platform.aggregates import LeftOut
from exp_platform.checks import CheckResult
from exp_platform.config.sources import EventsSource
from exp_platform.kernels.matching import EARLIER_DAYS, SPANS
from exp_platform.kernels.measured import SPELLED, Counts
from exp_platform.stages.quality_evidence import Evidence, share
from exp_platform.stats import special
from exp_platform.stats.exact import proportions
from exp_platform.stats.proportions import Count

CHANCE = 1e-6  # below it, what was counted is no accident; it is asked for again every day
SOME_CHANCE = 1e-3  # of what is told only together with the other
FEW = 10  # rows or users that are no pattern yet

# Ids.
ENOUGH_USERS = 500  # of whom somebody should have any outcome
HARDLY_ANYBODY = 0.0002  # share of exposed users with any outcome
SPELLED_SHARE = 0.02  # of exposed users, known under another spelling
LEAST_RATIO_BEFORE = 0.8  # of two arms' shares with an outcome before exposure, which no treatment changes
LEAST_RATIO = 0.1  # of the shares with any outcome, which a treatment may

# Times.
DATES = 0.05  # share of a table's rows that stand at midnight ...
ALL_DATES = 0.95
MIDNIGHT_RATIO = 5  # ... and so many times as many as at another whole hour
USUAL_RATIO = 5  # outcomes just before exposure, against the days before
AFTER_RATIO = 2  # ... and against just after it
EVERYBODY = 0.8  # share of users with the event just before: it is what exposes them


def _unexposed_outcomes(e: Evidence) -> Iterator[CheckResult]:
    limit = e.limits.max_unexposed_share
    counts = e.measured.outcomes_at(e.as_of)
    if e.is_units or e.facts or limit is None:
        why = "a units source has its outcomes in the users' rows"
        if e.facts:
            why = f"rows of users without exposure: {_of_others(e)}, as facts hold everybody's"
        elif not e.is_units:
            why = f"{counts.get('unexposed', 0):,} outcomes inside the window are of users without exposure, as they may be"
        yield e.skipped("unexposed_outcomes", why, "warning")
        return
    remedy = "check that all exposures are delivered and that both tables have the same user ids"
    found = "outcomes inside the window are of users without exposure"
    n, total = counts.get("unexposed", 0), sum(counts.values())
    yield share(e, "unexposed_outcomes", n, total, limit, found, remedy, warning=True)


def _of_others(e: Evidence) -> str:
    told = (
        (
            fact,
            e.measured.left_out.get(fact, {}).get(LeftOut.NO_EXPOSURE.value, 0),
            e.measured.rows_in.get(fact, 0),
        )
        for fact in e.facts
    )
    return ", ".join(f"{n:,} of {rows:,} of {fact}" for fact, n, rows in told)


def _outcomes_found(e: Evidence) -> Iterator[CheckResult]:
    if e.is_units:
        yield e.skipped("outcomes_found", "a units source has its outcomes in the users' rows", "warning")
        return
    users, found = e.measured.users_at(e.as_of), e.measured.found_at(e.as_of)
    n, with_any = sum(users.values()), sum(found.values())
    fault = _spelled(e, n) or _hardly_anybody(e, n, with_any) or _uneven(e)
    told = ", ".join(f"{v.id} {_of(found, users, v.id)}" for v in e.experiment.variants)
    remedy = "deliver both tables with the same user ids, of every arm"
    yield e.result(
        "outcomes_found",
        fault or f"users with any outcome: {told}",
        remedy,
        failed=fault is not None,
        warning=True,
        observed=with_any / n if n else 0.0,
        threshold=HARDLY_ANYBODY,
    )


def _of(counts: Counts, users: Counts, variant: str) -> str:
    n, total = counts.get(variant, 0), users.get(variant, 0)
    return f"{n:,} of {total:,} ({numbers.share(n / total if total else 0, 2)})"


def _spelled(e: Evidence, users: int) -> str | None:
    found = sum(e.measured.found_at(e.as_of).values())
    spelled = min(e.measured.strangers.get("spelled", 0), users - found)
    if spelled < max(FEW, SPELLED_SHARE * users):
        return None
    such_as = ", ".join(e.measured.examples.get(SPELLED, [])[:2])
    return (
        f"{spelled:,} exposed users have no outcome, but their id spelled otherwise has (such as {such_as})"
    )


def _hardly_anybody(e: Evidence, users: int, with_any: int) -> str | None:
    if users < ENOUGH_USERS or with_any > HARDLY_ANYBODY * users:
        return None
    if e.facts:
        return (
            f"{with_any:,} of {users:,} exposed users have any row in a fact, while users without exposure have {_of_others(e)}: "
            "the tables seem to have different ids"
        )
    strangers = e.measured.strangers.get("users", 0)
    if strangers < FEW:
        return None
    return (
        f"{with_any:,} of {users:,} exposed users have any outcome, while {strangers:,} users without exposure have some: "
        "the tables seem to have different ids"
    )


def _uneven(e: Evidence) -> str | None:
    """Arms whose users find far fewer outcomes; under a ramp within a period, as time before exposure matters."""
    measured, allocations = e.measured, e.experiment.allocations
    lasts = [*(a.start - timedelta(days=1) for a in allocations[1:]), e.as_of]
    control = e.experiment.control.id
    for allocation, last in zip(allocations, lasts, strict=True):
        period = allocation.start, min(last, e.as_of)
        users = measured.users_between(*period)
        for what, counts, least in (
            ("an outcome before their exposure", measured.found_before_between(*period), LEAST_RATIO_BEFORE),
            ("any outcome", measured.found_between(*period), LEAST_RATIO),
        ):
            for treatment in e.experiment.treatments:
                arms = [Count(counts.get(v, 0), users.get(v, 0)) for v in (control, treatment.id)]
                if _far_apart(arms[0], arms[1], least):
                    told = " and ".join(f"{v} {_of(counts, users, v)}" for v in (control, treatment.id))
                    return f"the arms' users do not find their outcomes alike: {what} have of {told}"
    return None


def _far_apart(one: Count, other: Count, least: float) -> bool:
    if not one.n or not other.n:
        return False
    low, high = sorted((one.rate, other.rate))
    return low < least * high and proportions(one, other).p_value < CHANCE


def _time_grain(e: Evidence) -> Iterator[CheckResult]:
    source = e.experiment.source
    if not isinstance(source, EventsSource):
        yield e.skipped("time_grain", "there are no times of two tables to compare")
        return
    fault = None if source.same_day else _grain_fault(e)
    dated = [name for name in e.measured.grain if _dates(e, name)]
    rule = "counts" if source.same_day != "before" else "does not count"
    fine = (
        f"{' and '.join(dated)} have dates; an outcome on the day of exposure {rule}"
        if dated
        else "times of day in all tables"
    )
    remedy = (
        "deliver times of day, or say under source `same_day: after` (an outcome on the day of exposure counts) or "
        "`same_day: before` (it does not)"
    )
    yield e.result("time_grain", fault or fine, remedy, failed=fault is not None)


def _grain_fault(e: Evidence) -> str | None:
    """What keeps dates and times of day apart, where the spec has no rule for it."""
    grain = e.measured.grain
    exposures = "exposures" in grain and _dates(e, "exposures")
    for name, counts in grain.items():
        dates = max(counts["local"], counts["utc"])
        told = f"{dates:,} of {counts['rows']:,} rows of {name} stand at midnight: they are dates"
        if name == "exposures":
            if exposures and dates < ALL_DATES * counts["rows"]:
                return f"{told}, the others have times of day"
            if exposures and counts["local"] < dates:
                return f"{told} of UTC, and days are those of {e.experiment.window.timezone}"
        elif _dates(e, name) and not exposures:
            return f"{told}, while exposures have times of day, so what happened on the day of exposure lies before it"
        elif exposures and counts["rows"] and dates < ALL_DATES * counts["rows"]:
            return (
                f"exposures are dates (all of them stand at midnight), while {name} has times of day: what happened on the "
                "day of exposure, but before it, counts"
            )
    return None


def _dates(e: Evidence, name: str) -> bool:
    """Whether rows of a table (or event) are dates: more midnights than chance, or times cut to hours, would give."""
    counts = e.measured.grain[name]
    midnights = max(counts["local"], counts["utc"])
    if midnights < FEW or midnights < DATES * counts["rows"]:
        return False
    if name == "exposures" and len(e.measured.users) < 2:
        return False  # everybody at once, when the experiment was switched on
    return midnights > MIDNIGHT_RATIO * (counts["hours"] - midnights) / 23


def _just_before(e: Evidence) -> Iterator[CheckResult]:
    if e.is_units:
        yield e.skipped("just_before_exposure", "a units source has no times of outcomes", "warning")
        return
    limit = e.limits.max_just_before_share
    users = e.measured.users_between(e.experiment.window.start, e.experiment.window.end)
    crowds = [
        (counts[f"before, {span}"] / (counts[f"before, {span}"] + counts["first day"]), variant, event, span)
        for variant, events in sorted(e.measured.around.items())
        for event, counts in sorted(events.items())
        if not _dates_of(e, event)  # those are placed by a rule, not by a clock
        for span in SPANS
        if _clustered(counts, span, users.get(variant, 0))
    ]
    # The shortest span beyond the limit tells most.
    worst, told = 0.0, "outcomes do not crowd just before exposures"
    beyond = next((crowd for crowd in crowds if crowd[0] > limit), max(crowds, default=None))
    if beyond:
        worst, variant, event, span = beyond
        counts = e.measured.around[variant][event]
        told = (
            f"{counts[f'before, {span}']:,} outcomes {event} of {variant} lie in the last {span} before their user's "
            f"exposure, {counts[f'after, {span}']:,} in the first {span} after it"
        )
    remedy = (
        "compare the clocks and time zones of both tables, and which row is written first; such outcomes count for nothing. "
        "If it is this event that exposes users, raise quality.max_just_before_share"
    )
    yield e.result(
        "just_before_exposure",
        told,
        remedy,
        failed=worst > limit,
        warning=True,
        observed=worst,
        threshold=limit,
    )


def _dates_of(e: Evidence, event: str) -> bool:
    name = f"outcomes.{event}"
    return name in e.measured.grain and _dates(e, name)


def _clustered(counts: Counts, span: str, users: int) -> bool:
    """Whether far more outcomes lie in a span before exposure than are usual, and than lie in that span after it.

    An event that nearly everybody has there is what exposes them. Exact: of two Poisson counts the first, given their sum,
    is binomial (Przyborowski and Wilenski 1940).
    """
    before, after, earlier = counts[f"before, {span}"], counts[f"after, {span}"], counts["earlier"]
    if before < FEW or counts[f"users before, {span}"] >= EVERYBODY * users:
        return False
    usual = SPANS[span] / (EARLIER_DAYS * 86_400_000_000)
    lopsided = before >= AFTER_RATIO * after and _exceeds(before, after, 1.0, SOME_CHANCE)
    return lopsided and _exceeds(before, earlier, USUAL_RATIO * usual, CHANCE)


def _exceeds(n: int, other: int, ratio: float, chance: float) -> bool:
    """Whether the rate behind `n` is more than `ratio` times that behind `other`."""
    return bool(special.bdtrc(n - 1, n + other, ratio / (1 + ratio)) < chance)


def _time_order(e: Evidence) -> Iterator[CheckResult]:
    if e.is_units:
        yield e.skipped("time_order", "a units source has no times of outcomes")
        return
    counts = e.measured.outcomes_at(e.as_of)
    before, total = counts.get("before", 0), counts.get("before", 0) + counts.get("after", 0)
    remedy = "check the clocks and time zones of both tables; such outcomes count for nothing"
    limit = e.limits.max_before_exposure_share
    found = "exposed users' outcomes inside the window are from before the exposure"
    yield share(e, "time_order", before, total, limit, found, remedy, failed=0 < before == total or None)


def _identities(e: Evidence) -> Iterator[CheckResult]:
    """Whether the ids of the other space have users; of other people's rows nothing is expected."""
    source = e.experiment.source
    if not isinstance(source, EventsSource) or source.identities is None:
        return
    of_map = e.measured.identities
    tables = ["exposures", *(e.facts or ("outcomes",))]
    nobody = {
        table: sum(
            e.measured.left_out.get(table, {}).get(r.value, 0)
            for r in (LeftOut.UNMAPPED, LeftOut.SEVERAL_USERS)
        )
        for table in tables
    }
    rows = e.rows_of_ours("exposures")
    told = ", ".join(
        f"{n:,} of {e.measured.rows_in.get(table, 0):,} rows of {table}" for table, n in nobody.items()
    )
    found = (
        f"without a user are {told}; the identity map has {of_map.get('ids', 0):,} ids, {of_map.get('several', 0):,} of several "
        f"users, and {of_map.get('incomplete', 0):,} rows without one of both ids"
    )
    worst = nobody["exposures"] / rows if rows else 0.0
    limit = e.limits.max_null_share
    remedy = "deliver the map in full, one user per id, or raise quality.max_null_share; such rows count for nothing"
    yield e.result(
        "identities", found, remedy, failed=worst > limit, warning=True, observed=worst, threshold=limit
    )


MATCHING = (_identities, _unexposed_outcomes, _outcomes_found, _time_grain, _time_order, _just_before)
