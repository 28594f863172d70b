"""Compare days: what changed between two as_of dates of an experiment, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse

from exp_platform import numbers
from exp_platform.analyses.rows import ResultRow
from exp_platform.config.edits import edits_since
from exp_platform.config.readings import Change
from exp_platform.decision.model import Reason
from exp_platform.decision.words import told as told_changes
from exp_platform.report.content import Report
from exp_platform.report.wording import headline, reading, relative
from exp_platform.web.access import ExperimentId
from exp_platform.web.answers import tagged, unchanged
from exp_platform.web.reading import REPORTS, one_line, tag
from exp_platform.web.rendering import render

router = APIRouter(default_response_class=HTMLResponse)


@dataclass(frozen=True)
class Both:
    """One thing on both days, in words; empty where a day has none."""

    name: str
    before: str
    after: str
    reads: tuple[str, str] | None = (
        None  # of what differs every day, as an effect does: what may be concluded
    )

    @property
    def changed(self) -> bool:
        """Whether it reads otherwise."""
        before, after = self.reads or (self.before, self.after)
        return before != after


@router.get("/e/{experiment_id}/compare")
def compare_page(
    request: Request,
    experiment_id: ExperimentId,
    first: Annotated[date | None, Query(alias="from")] = None,
    last: Annotated[date | None, Query(alias="to")] = None,
) -> Response:
    """Two days side by side; by default the newest and the one before it."""
    days = [decided.as_of_date for decided in _newest(experiment_id).history]
    last = last or days[-1]
    first = first or max((day for day in days if day < last), default=last)
    (before, _), (after, _) = found = _read(experiment_id, first), _read(experiment_id, last)
    told = tag("compare", *(key for _, key in found))
    if held := unchanged(request, told):
        return held
    context = {
        "line": one_line(request, experiment_id),
        "days": days[::-1],
        "before": before,
        "after": after,
        "why": causes(before, after),
        "decision": list(_decision(before, after)),
        "effects": list(_effects(before, after)),
        "checks": [both for both in _checks(before, after) if both.changed],
        "users": list(_users(before, after)),
    }
    return HTMLResponse(render(request, "compare.html.j2", **context), headers=tagged(told))


def causes(before: Report, after: Report) -> list[str]:
    """Why two days differ, in sentences: the spec, the code, the data, and the reasons that came or went."""
    said = []
    changes = spec_changes(before, after)
    if changes:
        said.append(f"The spec was edited in between: {told_changes(changes)}.")
    elif before.stored.config_hash != after.stored.config_hash:
        said.append("The spec was edited in between.")
    if before.stored.code_version != after.stored.code_version:
        said.append(
            f"Another version of the platform computed it: {before.stored.code_version}, then {after.stored.code_version}."
        )
    if (
        before.stored.input_fingerprint != after.stored.input_fingerprint
        and before.stored.run_id != after.stored.run_id
    ):
        said.append("The data were read anew, and are not the same files or states of them.")
    came, went = _reasons(before, after)
    said += [f"New: {reason.text}" for reason in came]
    said += [f"No longer: {reason.text}" for reason in went]
    if before.decision.final != after.decision.final:
        said.append(
            "The planned decision date has come in between: now the fixed-horizon test counts."
            if after.decision.final
            else "The later day is not final any more: its plan was changed."
        )
    return said


def spec_changes(before: Report, after: Report) -> tuple[Change, ...]:
    """The keys of the spec that differ between the two runs."""
    spec = json.dumps(asdict(before.experiment), default=str)
    edits = edits_since({"spec": spec, "edits": None}, after.experiment, after.as_of_date)
    return edits[-1].changes if edits else ()


def _reasons(before: Report, after: Report) -> tuple[list[Reason], list[Reason]]:
    """Reasons that came and that went; one whose numbers moved is the same reason."""
    told = [{_what(reason): reason for reason in one.decision.reasons} for one in (before, after)]
    came, went = ([told[i][key] for key in told[i] if key not in told[1 - i]] for i in (1, 0))
    return came, went


def _what(reason: Reason) -> tuple[str, ...]:
    return (reason.code, str(reason.data.get("metric_id")), str(reason.data.get("treatment_id")))


def _decision(before: Report, after: Report) -> Iterator[Both]:
    both = [_told(one) for one in (before, after)]
    for name in both[0]:
        yield Both(name, both[0][name], both[1][name])


def _told(report: Report) -> dict[str, str]:
    decision = report.decision
    return {
        "Decision": headline(decision),
        "Winner": decision.winner,
        "Trust": decision.trust,
        "Effect": f"{numbers.percent(decision.lift)} on {decision.decisive_metric}",
        "Planned size": _size(report),
        "Computed": f"{report.stored.computed_at:%Y-%m-%d %H:%M} UTC",
    }


def _size(report: Report) -> str:
    found = report.decision.adequacy
    if found.required_users is None:
        return f"{numbers.count(found.current_users)} users, none planned"
    return f"{numbers.count(found.current_users)} of {numbers.count(found.required_users)} users"


def _effects(before: Report, after: Report) -> Iterator[Both]:
    """Relative effect, interval and reading of each comparison, by the row that decides."""
    found = [
        {(r.metric_id, r.treatment_id): r for r in one.series if r.as_of_date == one.as_of_date}
        for one in (before, after)
    ]
    metrics = [m.id for m in after.experiment.metrics]
    for key in sorted({*found[0], *found[1]}, key=lambda key: (_place(metrics, key[0]), key)):
        before_row, after_row = (rows.get(key) for rows in found)
        reads = (_reading(before_row), _reading(after_row))
        yield Both(f"{key[0]}, {key[1]}", _effect(before_row), _effect(after_row), reads)


def _place(metrics: list[str], metric: str) -> int:
    """By the spec's order; what it no longer has comes last."""
    return metrics.index(metric) if metric in metrics else len(metrics)


def _effect(row: ResultRow | None) -> str:
    return "" if row is None else f"{relative(row)}: {reading(row)}"


def _reading(row: ResultRow | None) -> str:
    return "" if row is None else reading(row)


def _checks(before: Report, after: Report) -> Iterator[Both]:
    """Of one that passed on both days nothing is said: that more rows came is no change."""
    found = [
        {check.check: f"{check.status}: {check.message}" for check in one.checks} for one in (before, after)
    ]
    passed = [{check.check: check.status == "passed" for check in one.checks} for one in (before, after)]
    for name in dict.fromkeys((*found[0], *found[1])):
        then, now = (texts.get(name, "") for texts in found)
        same = all(one.get(name) for one in passed)
        yield Both(name, then, now, ("passed", "passed") if same else (then, now))


def _users(before: Report, after: Report) -> Iterator[Both]:
    for variant in after.experiment.variants:
        then, now = (one.stored.users.get(variant.id, 0) for one in (before, after))
        yield Both(variant.id, numbers.count(then), f"{numbers.count(now)} ({now - then:+,})")


def _newest(experiment_id: str) -> Report:
    return _read(experiment_id, None)[0]


def _read(experiment_id: str, day: date | None) -> tuple[Report, str]:
    found = REPORTS.read(experiment_id, day)
    if found is None:
        raise HTTPException(404)
    return found
