"""All experiments together: how many run, what was decided and how fast, how far splits can be trusted, what shipping brought."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from statistics import median
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from exp_platform.analyses.srm import ALPHA
from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import EventsSource, UnitsSource
from exp_platform.results.newest import Effect
from exp_platform.stats.shrinkage import FEWEST
from exp_platform.tables.overlaps import Overlaps, counted_overlaps
from exp_platform.web import drawing
from exp_platform.web.access import Readable
from exp_platform.web.answers import tagged, unchanged
from exp_platform.web.impact import LEVEL, Decided, Estimate, Impact, impacts
from exp_platform.web.listing import Line, State
from exp_platform.web.reading import lines, tag
from exp_platform.web.rendering import render
from exp_platform.web.run_folders import frozen
from exp_platform.web.shared_users import LARGE, SharedUsers, shared_users
from exp_platform.web.specs import environment

router = APIRouter(default_response_class=HTMLResponse)

MONTHS = 6


class Month(BaseModel):
    """What was decided as of the days of one calendar month."""

    first_day: date
    decided: int
    shipped: int


class Portfolio(BaseModel):
    """All experiments whose DAG you may read, together."""

    experiments: int
    running: int = Field(description="by their windows, and not decided")
    decidable: list[str] = Field(
        description="running ones whose newest decision is ship or stop before the planned date: somebody may end them"
    )
    with_results: int
    decided: int = Field(description="their planned decision date has come and the decision is ship or stop")
    shipped: int = Field(description="of the decided ones those that a treatment has won")
    median_days_to_decision: float | None = Field(
        description="of the decided ones: days from the start of the window to the day as of which it was decided, both counted"
    )
    months: list[Month] = Field(description="this month (UTC) and the five before it, the newest first")
    splits_tested: int = Field(description="experiments whose newest decision tested how users were split")
    splits_failed: list[str] = Field(description="those of them whose users were not split as planned")
    share_users: int = Field(
        description="running experiments that read their users from the same place as another running one, by their specs"
    )
    shared_users: SharedUsers | None = Field(
        description="how many users pairs of experiments have in common; null before maintenance has counted them"
    )
    impacts: list[Impact] = Field(
        description="of metrics of the library that two experiments at least measured"
    )


def portfolio(request: Request, readable: Readable) -> Portfolio:
    """The portfolio of whoever asks."""
    found = lines(request, readable)
    newest = {line.id: line.newest for line in found if line.newest is not None}
    decided = [
        Decided(line.newest, line.state is State.DECIDED, _spec(line))
        for line in found
        if line.newest is not None
    ]
    told = impacts(decided, {id: one.measured for id, one in newest.items()})
    return numbers(found, told, datetime.now(UTC).date(), counted_overlaps(environment()))


AskedPortfolio = Annotated[Portfolio, Depends(portfolio)]


@router.get("/portfolio")
def portfolio_page(request: Request, asked: AskedPortfolio) -> Response:
    """The page."""
    told = tag(asked)
    if held := unchanged(request, told):
        return held
    told_of = [one for one in asked.impacts if one.total is not None]
    totals = [_drawn(one.total) for one in told_of if one.total is not None]
    widest = sorted(totals, key=lambda e: max(abs(e.relative_low or 0), abs(e.relative_high or 0)))[-1:]
    each = [_drawn(one.expected) for of in told_of for one in of.shipped if one.expected is not None]
    context = {
        "all": asked,
        "this_month": asked.months[0],
        "scale": drawing.scale_of(widest),
        "each_scale": drawing.scale_of(each),
        "interval": drawing.interval,
        "drawn": _drawn,
        "tone": tone,
        "chance": ALPHA,
        "level": LEVEL,
        "needed": FEWEST,
        "large": LARGE,
    }
    return HTMLResponse(render(request, "portfolio.html.j2", **context), headers=tagged(told))


def numbers(
    found: Sequence[Line], told: list[Impact], today: date, overlaps: Overlaps | None = None
) -> Portfolio:
    """The portfolio of these lines as of a day."""
    decided = [line for line in found if line.state is State.DECIDED and line.newest is not None]
    days = [days for line in decided if (days := _days(line)) is not None]
    tested = [line for line in found if line.newest is not None and line.newest.split != "untested"]
    return Portfolio(
        experiments=len(found),
        running=sum(line.state is State.RUNNING for line in found),
        decidable=[line.id for line in found if line.state is State.RUNNING and line.early],
        with_results=sum(line.newest is not None for line in found),
        decided=len(decided),
        shipped=sum(line.decision == "ship" for line in decided),
        median_days_to_decision=median(days) if days else None,
        months=list(_months(decided, today)),
        splits_tested=len(tested),
        splits_failed=[
            line.id for line in tested if line.newest is not None and line.newest.split == "mismatch"
        ],
        share_users=_share_users(found),
        shared_users=shared_users(overlaps, {line.id for line in found}),
        impacts=told,
    )


def _months(decided: Sequence[Line], today: date) -> list[Month]:
    at = [(today.year * 12 + today.month - 1 - back) for back in range(MONTHS)]
    firsts = [date(month // 12, month % 12 + 1, 1) for month in at]
    counted: Counter[tuple[date, bool]] = Counter(
        (line.newest.decided_on.replace(day=1), line.decision == "ship")
        for line in decided
        if line.newest is not None and line.newest.decided_on is not None
    )
    return [
        Month(first_day=day, decided=counted[day, True] + counted[day, False], shipped=counted[day, True])
        for day in firsts
    ]


def _days(line: Line) -> int | None:
    """Days to the decision, of one whose start is known."""
    experiment = _spec(line)
    if experiment is None or line.newest is None or line.newest.decided_on is None:
        return None
    return (line.newest.decided_on - experiment.window.start).days + 1


def _spec(line: Line) -> Experiment | None:
    """The spec; of one that is gone, or cannot be used, that of the run which decided."""
    if line.experiment is not None or line.newest is None:
        return line.experiment
    return _frozen_spec(line.id, line.newest.run_id)


@lru_cache(maxsize=500)
def _frozen_spec(experiment_id: str, run_id: str) -> Experiment | None:
    run = frozen(experiment_id, run_id)
    return run.experiment if run else None


def _share_users(found: Sequence[Line]) -> int:
    """How many running experiments read their exposures from where another running one does."""
    running = [line.experiment for line in found if line.state is State.RUNNING and line.experiment]
    places = Counter(place for one in running if (place := _place(one)) is not None)
    return sum(n for n in places.values() if n > 1)


def _place(experiment: Experiment) -> tuple[object, ...] | None:
    source = experiment.source
    if isinstance(source, EventsSource):
        return source.exposures.format, source.exposures.location, source.exposures.query
    if isinstance(source, UnitsSource):
        return source.table.format, source.table.location, source.table.query
    return None  # generated users are of one experiment alone


def _drawn(estimate: Estimate) -> Effect:
    return Effect("", None, estimate.relative, estimate.low, estimate.high, LEVEL)


def tone(estimate: Estimate, direction: int) -> str:
    """The class of its colour: what is known to be good, known to be bad, or open."""
    if estimate.low <= 0 <= estimate.high:
        return "open"
    return "good" if estimate.relative * direction > 0 else "bad"
