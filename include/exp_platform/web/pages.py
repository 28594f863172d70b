"""The pages for people: the list of experiments, and one experiment."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from exp_platform.config.asset import dag_id_of
from exp_platform.results.newest import Newest
from exp_platform.web import drawing
from exp_platform.web.access import Readable
from exp_platform.web.answers import tagged, unchanged
from exp_platform.web.downloads import attachment, text_cell
from exp_platform.web.listing import ORDERS, AskedFor, Line, State, Wanted
from exp_platform.web.reading import lines, tag
from exp_platform.web.rendering import render

router = APIRouter(default_response_class=HTMLResponse)

_COLUMNS = (
    ("id", "Experiment"),
    ("owner", "Owner"),
    ("state", "State"),
    ("users", "Users"),
    ("", "Decision"),
    ("lift", "Effect on the deciding metric"),
    ("", "Trust"),
    ("", "Last run"),
)


@router.get("/")
def list_page(request: Request, readable: Readable, wanted: AskedFor) -> Response:
    """All experiments that one may read, or those that are searched for."""
    every = lines(request, readable)
    found = wanted.of(every)
    told = tag(
        wanted,
        [
            (line.id, line.hypothesis, line.owner, line.tags, line.told, line.newest, line.last_run)
            for line in every
        ],
    )
    if held := unchanged(request, told):
        return held
    context: dict[str, Any] = {
        "lines": found,
        "every": every,
        "wanted": wanted,
        "owners": sorted({line.owner for line in every if line.owner}),
        "tags": sorted({tag for line in every for tag in line.tags}),
        "states": [state for state in State if any(line.state == state for line in every)],
        "decisions": DECISIONS,
        "orders": ORDERS,
        "columns": _COLUMNS,
        "scale": drawing.scale_of(line.newest.effect for line in found if line.newest),
        "interval": drawing.interval,
        "tone": tone,
        "verdict": verdict,
        "mood": mood,
        "dag_id_of": dag_id_of,
        "query": lambda **more: query(wanted, **more),
    }
    return HTMLResponse(render(request, "list.html.j2", **context), headers=tagged(told))


@router.get("/experiments.csv")
def list_file(request: Request, readable: Readable, wanted: AskedFor) -> Response:
    """The same list as a file."""
    written = io.StringIO()
    out = csv.writer(written)
    out.writerow(_FILE_COLUMNS)
    out.writerows(_file_rows(wanted.of(lines(request, readable))))
    return attachment(written.getvalue().encode(), "experiments.csv", "text/csv")


DECISIONS = {
    "ship": "Ship",
    "stop": "Stop",
    "extend": "Keep running",
    "investigate": "Investigate",
}


def verdict(line: Line) -> str:
    """What is to be done, in a few words."""
    newest = line.newest
    if newest is None:
        return ""
    said = DECISIONS.get(newest.action, newest.action)
    return f"{said} {newest.winning_variant}" if newest.action == "ship" and newest.winning_variant else said


def tone(line: Line) -> str:
    """How an effect is coloured: only where its evidence counts and the data can be trusted."""
    newest = line.newest
    if newest is None or newest.trust != "ok":
        return "muted"
    return {"better": "good", "worse": "bad"}.get(newest.outcome or "", "open")


def mood(newest: Newest) -> str:
    """The colour of a decision: bad is only what harms."""
    if newest.action == "stop" and newest.winner in ("control", "guardrail-violated"):
        return "harm"
    return newest.action


def query(wanted: Wanted, **more: str) -> str:
    """The address of another view of the same list."""
    kept = {key: value for key, value in {**vars(wanted), **more}.items() if value and value != _PLAIN[key]}
    return "?" + urlencode(kept)


_PLAIN = vars(Wanted())
_OF_LINE = ("id", "hypothesis", "owner", "tags", "state")
_OF_DECISION = {  # column -> field
    **{name: name for name in ("as_of_date", "users", "action", "winner", "final", "trust", "metric_id")},
    "treatment_id": "reported_variant",
}
_OF_EFFECT = ("relative", "relative_low", "relative_high", "ci_level")
_FILE_COLUMNS = (*_OF_LINE, *_OF_DECISION, *_OF_EFFECT)


def _file_rows(found: Iterable[Line]) -> Iterable[list[Any]]:
    for line in found:
        newest = line.newest
        effect = newest.effect if newest else None
        yield [
            *map(text_cell, (line.id, line.hypothesis, line.owner, " ".join(line.tags), line.state.value)),
            *(getattr(newest, name, None) for name in _OF_DECISION.values()),
            *(getattr(effect, name, None) for name in _OF_EFFECT),
        ]
