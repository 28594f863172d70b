"""Whether the numbers can be believed, item by item: what was found, what that means, and what mends it. Data only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from exp_platform import numbers
from exp_platform.analyses.rows import ASSIGNED, CROSSOVERS, USERS, LateRow, ResultRow, Status
from exp_platform.checks import CheckResult
from exp_platform.config.analyses import SPLIT
from exp_platform.report import advice, wording
from exp_platform.report.content import Report


class State(StrEnum):
    """How an item stands."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"  # not looked at, or not to be told yet
    ABSENT = "absent"  # does not apply


@dataclass(frozen=True)
class Item:
    """One thing that trust rests on."""

    name: str
    state: State
    found: str
    means: str
    remedy: str = ""


# What each check asks; one that is not here is called by its name.
_ASKS = {
    "schema": ("Columns", "Whether every table has the columns that the spec names."),
    "empty": ("Any data", "Whether there are users at all."),
    "nulls": ("Empty values", "Rows without a required value count for nobody."),
    "malformed": ("Unreadable values", "Rows that cannot be read count for nobody."),
    "duplicates": ("Repeated rows", "Rows that came twice would count twice."),
    "unknown_variants": ("Unknown variants", "Users of arms that the spec does not have are left out."),
    "missing_arm": ("Every arm", "Whether each arm has users."),
    CROSSOVERS: ("Users in several arms", "Users who saw several arms blur the difference between them."),
    "dominant_user": ("One heavy user", "A single user who has much of all rows decides a mean alone."),
    SPLIT: (
        "Split between the arms",
        "Whether the arms hold the planned shares of users. Otherwise they hold different people.",
    ),
    "row_drop": (
        "Rows that went",
        "Fewer rows than at the last run, in all or of a day, mean that something was lost.",
    ),
    "missing_days": ("Missing days", "What was done on a day whose rows are not there counts for nobody."),
    "freshness": ("Freshness", "Whether the data reach up to the day that they are read for."),
    "future_dates": ("Dates to come", "Rows from the future tell of a clock or zone that is wrong."),
    "outside_window": ("Outside of the window", "Users exposed outside of the planned window do not count."),
    "missing_values": ("Missing values", "Users without a value that they must have."),
    "unexposed_outcomes": (
        "Outcomes of strangers",
        "Outcomes of users without exposure: the ids may not be the same.",
    ),
    "outcomes_found": (
        "Outcomes are found",
        "Whether exposed users find their outcomes, and all arms alike.",
    ),
    "time_grain": ("Times of day", "Whether exposures and outcomes can be put in order."),
    "time_order": ("Outcomes before exposure", "Outcomes from before exposure cannot be its effect."),
    "just_before_exposure": ("Outcomes just before exposure", "Many of them tell of clocks that differ."),
}
_SPLIT_MEANS = "A split that chance does not explain means that the arms hold different people, whatever the effects say."
_SPLIT_REMEDY = "Find out which users are missing: a redirect, a crash or a filter that only one arm has. Do not read the effects."


def items(report: Report) -> list[Item]:
    """All items: the split, late rows, the checks in their order, what was skipped or damaged."""
    return [
        *_split(report),
        *(_late(report, row) for row in report.of(LateRow)),
        *_checks(report),
        *_of_reasons(report),
        *_skipped(report),
        *(
            Item(
                "Damaged files",
                State.UNKNOWN,
                fault,
                "Their rows are not in this report.",
                "Run `exp doctor`.",
            )
            for fault in report.unreadable
        ),
    ]


def headline(report: Report) -> str:
    """In one sentence whether the numbers can be believed."""
    found = items(report)
    failed = [item.name for item in found if item.state is State.FAILED]
    if report.decision.trust == "ok" and not failed:
        return "Nothing was found that speaks against the numbers."
    if failed:
        return f"The numbers cannot be trusted: {', '.join(dict.fromkeys(failed)).lower()}."
    return "It is not known whether the numbers can be trusted: not everything was looked at."


def _split(report: Report) -> Iterator[Item]:
    """The split of all users with how it was on the days before; of parts of them only what is wrong."""
    rows = [r for r in report.rows if r.method == SPLIT]
    # Of all users together one fault is told once, and not again of parts of them.
    of_all = any(r.verdict == "mismatch" and _is_of_all(r) for r in rows)
    for row in rows:
        if _is_of_all(row):
            yield Item(
                "Split between the arms",
                _state_of(row),
                f"{wording.srm_line(row)}. {_over_days(report.split)}".strip(),
                _SPLIT_MEANS,
                _SPLIT_REMEDY if row.verdict == "mismatch" else "",
            )
        elif row.verdict == "mismatch" and (not of_all or row.metric_id or row.segment_value == CROSSOVERS):
            yield Item(_called(row), State.FAILED, wording.srm_line(row), _SPLIT_MEANS, _SPLIT_REMEDY)
    if not rows:
        found = "The split was not tested."
        yield Item(
            "Split between the arms",
            State.UNKNOWN,
            found,
            _SPLIT_MEANS,
            "Run the experiment without skipping it.",
        )


def _is_of_all(row: ResultRow) -> bool:
    return row.segment == USERS and row.segment_value == ASSIGNED and not row.metric_id


def _called(row: ResultRow) -> str:
    if row.segment_value == CROSSOVERS:
        return "Users in several arms, by arm"
    if row.metric_id:
        return f"Users with a value of {row.metric_id}"
    return "Split between the arms" if row.segment == USERS else f"Split within {row.segment}"


def _over_days(rows: Sequence[ResultRow]) -> str:
    """On how many as_of dates the assigned users were not split as planned."""
    of_all = [r for r in rows if r.segment == USERS and r.segment_value == ASSIGNED and r.status == Status.OK]
    if len(of_all) < 2:
        return ""
    wrong = sorted(r.as_of_date for r in of_all if r.verdict == "mismatch")
    if not wrong:
        return f"No mismatch on any of the {len(of_all)} days that were analysed."
    return f"A mismatch on {len(wrong)} of the {len(of_all)} days that were analysed, first on {wrong[0]}."


def _state_of(row: ResultRow) -> State:
    if row.status != Status.OK:
        return State.UNKNOWN
    return State.FAILED if row.verdict == "mismatch" else State.OK


def _late(report: Report, row: LateRow) -> Item:
    return Item(
        f"Late rows of {row.variant_id}",
        State.FAILED,
        f"{row.metric_id} since {row.since}: {wording.reading_of_days(report, row)}",
        "Rows of an arm that are still to come look like an effect.",
        "Wait for the missing rows and run again.",
    )


def _checks(report: Report) -> Iterator[Item]:
    told = any(r.method == SPLIT for r in report.rows)
    for check in report.checks:
        if check.check == SPLIT and told:
            continue  # its rows tell it better
        name, means = _ASKS.get(check.check, (check.check.replace("_", " ").capitalize(), ""))
        # The message of a failed check ends with its remedy.
        yield Item(name, _of_check(check), check.message, means)


def _of_check(check: CheckResult) -> State:
    return {"passed": State.OK, "failed": State.FAILED}.get(check.status, State.ABSENT)


# Reasons that cost trust and are no row of the split and no check
_MEANS = {
    "COVARIATES_UNBALANCED": (
        "Covariates",
        State.FAILED,
        "An estimate that is adjusted by what differs between the arms is off.",
    ),
    "ESTIMATE_MISSING": ("The estimate that decides", State.UNKNOWN, "Without it nothing can be decided."),
    "GUARDRAIL_NOT_TESTED": ("Guardrails", State.UNKNOWN, "What was not tested may be breached."),
}


def _of_reasons(report: Report) -> Iterator[Item]:
    for reason in report.decision.reasons:
        if reason.code in _MEANS:
            name, state, means = _MEANS[reason.code]
            yield Item(name, state, reason.text, means, advice.LOOK_AT[reason.code])


def _skipped(report: Report) -> Iterator[Item]:
    for told in wording.skips(report):
        stage, _, instead = told.partition(": ")
        yield Item(
            f"Skipped: {stage}",
            State.UNKNOWN,
            instead,
            "What is not made anew may be of other data.",
            "Run without skipping.",
        )
    if not report.checks:
        yield Item(
            "Quality of the data", State.UNKNOWN, "It was not checked in this run.", "Nobody knows whether the data are whole.",
            "Run without skipping quality.",
        )  # fmt: skip


def users(report: Report) -> list[tuple[str, str, str]]:
    """Each arm with its users and their share beside the planned one."""
    total = sum(report.stored.users.values())
    return [
        (
            v.id,
            numbers.count(report.stored.users.get(v.id, 0)),
            f"{numbers.share(report.stored.users.get(v.id, 0) / total if total else None)} of users, planned {numbers.share(v.share)}",
        )
        for v in report.experiment.variants
    ]
