"""The events that hold as of a report's day, as sentences with their numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from exp_platform import numbers
from exp_platform.analyses.rows import ResultRow
from exp_platform.config.analyses import GUARDING
from exp_platform.config.notify import SRM, EventKind
from exp_platform.decision import Reason
from exp_platform.report import wording
from exp_platform.report.advice import LOOK_AT, next_steps, standing
from exp_platform.report.content import Report
from exp_platform.report.event import Event, ended
from exp_platform.report.scorecard import level_of

# Reasons of the test of the split, whose data name the users that it is about
_SPLIT = ("SRM_MISMATCH", "SRM_WITHIN_SEGMENT", "CROSSOVERS_UNEVEN", "VALUES_LOST_UNEVENLY")
_BEGINNING = "extend"  # the action that every experiment begins with


def events_of(report: Report) -> list[Event]:
    """The events that hold as of the report's day, what was decided first."""
    return [
        _decided(report),
        *_planned(report),
        *_breaches(report),
        *_of_codes(report, SRM, _SPLIT, "users"),
        *_of_codes(report, "quality_failed", ("CHECK_FAILED",), "check"),
        *_of_codes(report, "data_late", ("DATA_LATE",), "variant_id"),
    ]


def _decided(report: Report) -> Event:
    decision, name = report.decision, report.experiment.id
    before = next((d for d in reversed(report.history) if d.as_of_date < report.as_of_date), None)
    was = ""
    if before is not None and _state_of(before) != _state_of(decision):
        was = f" (as of {before.as_of_date}: {wording.headline(before)})"
    sentence = f"{name} as of {report.as_of_date}: {wording.headline(decision)}{was}. {wording.why(report)}"
    users = sum(report.stored.users.values())
    return Event(
        "decision_changed",
        _state_of(decision),
        sentence,
        (*_effect(report), ("users", numbers.count(users))),
        " ".join(next_steps(report)),
        wording.headline(decision),
        beginning=decision.action == _BEGINNING,
    )


def _state_of(decided: Any) -> str:
    return " ".join((decided.winner, decided.action, decided.winning_variant or "")).strip()


def _effect(report: Report) -> Iterator[tuple[str, str]]:
    row = wording.decisive_row(report)
    if row is not None and not _stands(report):
        yield "metric", row.metric_id
        yield row.control_id, numbers.level(row.mean_control, *report.scale(row))
        yield row.treatment_id, numbers.level(row.mean_treatment, *report.scale(row))
        yield f"relative effect{_level(row)}", wording.relative(row)
        yield f"absolute effect{_level(row)}", wording.effect(report, row)


def _level(row: ResultRow) -> str:
    """The level of a row's intervals, behind what they are of."""
    return "" if row.ci_level is None else f" ({level_of([row])} interval)"


def _stands(report: Report) -> bool:
    """Whether an earlier final decision counts, so that today's rows are of another spec."""
    return any(reason.code == "FINAL_STANDS" for reason in report.decision.reasons)


def _planned(report: Report) -> Iterator[Event]:
    if report.decision.final:
        where = standing(report)
        sentence = f"{report.experiment.id}: the planned end, {where.planned}, has come: {wording.headline(report.decision)}."
        yield Event(
            "planned_date",
            where.planned.isoformat(),
            sentence,
            (("users", where.users_told),),
            " ".join(next_steps(report)),
            wording.headline(report.decision),
        )


def _breaches(report: Report) -> Iterator[Event]:
    """Of critical guardrails that are proven to be beyond their margin."""
    for row in report.of_method(GUARDING):
        if (row.severity, row.verdict) == ("critical", "proven_breach"):
            text = (
                f"the critical guardrail {row.metric_id} is proven to be beyond its margin with {row.treatment_id}: it went from "
                f"{wording.went(report, row)} ({wording.relative(row)})."
            )
            measured = (
                (f"absolute effect{_level(row)}", wording.effect(report, row)),
                ("margin", _margin(report, row)),
            )
            about = f"{row.metric_id} of {row.treatment_id}"
            yield Event(
                "guardrail_breached", about, _as_of(report, text), measured, f"Roll {row.treatment_id} back."
            )


def _margin(report: Report, row: ResultRow) -> str:
    """As it was given: relative, or in the metric's unit."""
    relative = row.margin_relative
    return (
        numbers.percent(relative) if relative is not None else numbers.change(row.margin, *report.scale(row))
    )


def _of_codes(report: Report, kind: EventKind, codes: Collection[str], about: str) -> Iterator[Event]:
    """An event for each thing that reasons of these codes are about; where several are about one, the first of them tells."""
    seen: set[str] = set()
    for reason in report.decision.reasons:
        subject = f"{reason.data.get('metric_id', '')} {reason.data.get(about, '')}".strip()
        if reason.code in codes and subject not in seen:
            seen.add(subject)
            yield Event(
                kind,
                subject,
                _as_of(report, reason.text),
                tuple(_numbers(reason)),
                LOOK_AT.get(reason.code, ""),
            )


def _numbers(reason: Reason) -> Iterator[tuple[str, str]]:
    data = reason.data
    if data.get("p_value") is not None:
        yield "p", numbers.p_value(data["p_value"])
    if data.get("e_value") is not None:
        yield "e-value", numbers.level(data["e_value"])
    for name in ("observed", "threshold"):
        if data.get(name) is not None:
            yield name, numbers.level(data[name])


def _as_of(report: Report, text: str) -> str:
    """A sentence that says whose it is, and of which day."""
    return f"{report.experiment.id} as of {report.as_of_date}: {text[:1].lower()}{ended(text[1:])}"
