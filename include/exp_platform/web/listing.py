"""The list of experiments: what is said of each in a line, which lines are asked for, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import Depends, Query

from exp_platform.config.experiment import Experiment
from exp_platform.results.newest import Newest
from exp_platform.web.last_runs import LastRun


class State(StrEnum):
    """Where an experiment stands between its spec and its decision."""

    NOT_STARTED = "not started"
    RUNNING = "running"
    ENDED = "ended"  # and not decided: it waits for its last outcomes, or for people
    DECIDED = "decided"
    NO_SPEC = "without a spec"


@dataclass(frozen=True)
class Line:
    """One experiment in the list. `experiment` None: its spec is gone or cannot be used; `newest` None: nothing is stored."""

    id: str
    experiment: Experiment | None
    newest: Newest | None
    last_run: LastRun | None
    state: State
    told: str  # the state in words, such as "running, day 9 of 14"
    damaged: bool = False  # what is stored cannot be read

    @property
    def hypothesis(self) -> str:
        """What is tested."""
        return self.experiment.hypothesis if self.experiment else ""

    @property
    def owner(self) -> str:
        """Who answers for it."""
        return self.experiment.owner if self.experiment else ""

    @property
    def tags(self) -> tuple[str, ...]:
        """The spec's tags."""
        return self.experiment.tags if self.experiment else ()

    @property
    def decision(self) -> str:
        """What is to be done: ship, stop, extend, investigate; empty where nothing is decided."""
        return self.newest.action if self.newest else ""

    @property
    def early(self) -> bool:
        """Whether it is decided before its planned date, by evidence that may be looked at every day: a word to people, who end it."""
        return is_early(self.newest)

    @property
    def lift(self) -> float | None:
        """The relative effect that the decision reports; None where there is none, or it cannot be trusted."""
        return self.newest.lift if self.newest and self.newest.trust == "ok" else None


@dataclass(frozen=True)
class Wanted:
    """Which lines are asked for; an empty text asks for all."""

    q: str = ""
    owner: str = ""
    state: str = ""
    decision: str = ""
    tag: str = ""
    sort: str = "newest"

    def of(self, lines: Iterable[Line]) -> list[Line]:
        """The lines asked for, in order; of equals by id."""
        found = sorted((line for line in lines if self._takes(line)), key=lambda line: line.id)
        key, reverse = _ORDERS.get(self.sort, _ORDERS["newest"])
        known = [line for line in found if key(line) is not None]
        return sorted(known, key=key, reverse=reverse) + [line for line in found if key(line) is None]

    def _takes(self, line: Line) -> bool:
        words = " ".join((line.id, line.hypothesis, line.owner, *line.tags)).casefold()
        return (
            all(word in words for word in self.q.casefold().split())
            and self.owner in ("", line.owner)
            and self.state in ("", line.state)
            and self.decision in ("", line.decision)
            and (not self.tag or self.tag in line.tags)
        )


def wanted(
    q: Annotated[str, Query(max_length=200, description="words in id, hypothesis, owner or tags")] = "",
    owner: Annotated[str, Query(max_length=200)] = "",
    state: Annotated[str, Query(max_length=40, description=", ".join(State))] = "",
    decision: Annotated[str, Query(max_length=40, description="ship, stop, extend, investigate")] = "",
    tag: Annotated[str, Query(max_length=200)] = "",
    sort: Annotated[
        str, Query(max_length=40, description="newest, id, owner, state, users, lift, ends")
    ] = "newest",
) -> Wanted:
    """The lines that a request asks for."""
    return Wanted(q, owner, state, decision, tag, sort)


AskedFor = Annotated[Wanted, Depends(wanted)]

# What a list may be sorted by -> its key and whether the greatest comes first; lines without a key come last.
_ORDERS: dict[str, tuple[Callable[[Line], Any], bool]] = {
    "newest": (lambda line: line.newest and (line.newest.as_of_date, line.newest.computed_at), True),
    "id": (lambda line: line.id, False),
    "owner": (lambda line: line.owner.casefold() or None, False),
    "state": (lambda line: list(State).index(line.state), False),
    "users": (lambda line: line.newest and line.newest.users, True),
    "lift": (lambda line: line.lift, True),
    "ends": (lambda line: line.experiment and line.experiment.decision_date, True),
}
ORDERS = tuple(_ORDERS)


def line_of(
    id: str,
    experiment: Experiment | None,
    newest: Newest | None,
    last_run: LastRun | None,
    now: datetime,
    *,
    damaged: bool = False,
) -> Line:
    """One line of the list; `now` is aware."""
    state, told = _state(experiment, newest, now)
    return Line(id, experiment, newest, last_run, state, told, damaged)


def is_early(newest: Newest | None) -> bool:
    """Whether a newest decision is to ship or to stop, and not final."""
    return newest is not None and not newest.final and newest.action in ("ship", "stop")


def _state(experiment: Experiment | None, newest: Newest | None, now: datetime) -> tuple[State, str]:
    if newest is not None and newest.final and newest.action in ("ship", "stop"):
        return State.DECIDED, f"decided as of {newest.as_of_date}"
    if experiment is None:
        return State.NO_SPEC, "its spec is gone or cannot be used"
    window, today = experiment.window, now.astimezone(ZoneInfo(experiment.window.timezone)).date()
    if today < window.start:
        return State.NOT_STARTED, f"starts on {window.start}"
    if today <= window.end:
        told = f"running, day {_days(window.start, today)} of {_days(window.start, window.end)}"
        return State.RUNNING, f"{told}, decided early" if is_early(newest) else told
    if today <= experiment.decision_date:
        return State.ENDED, f"ended, last outcomes count until {experiment.decision_date}"
    decided = "no run has decided at its planned date" if is_early(newest) else "not decided"
    return State.ENDED, f"ended on {window.end}, {decided}"


def _days(first: date, last: date) -> int:
    return (last - first).days + 1
