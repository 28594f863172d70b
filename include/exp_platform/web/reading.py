"""What pages and API read: lists, reports and the days that are stored, each remembered as long as what it is of counts."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from threading import Lock
from typing import Any

from fastapi import HTTPException, Request
from pydantic import TypeAdapter, ValidationError

from exp_platform.code_version import code_version, wording_version
from exp_platform.config.asset import dag_id_of
from exp_platform.config.experiment import Experiment
from exp_platform.config.readings import NOTHING_READ
from exp_platform.report.content import Report, load_report
from exp_platform.results.newest import NewestDecisions
from exp_platform.results.reader import Results
from exp_platform.tables.scans import give_memory_back
from exp_platform.web.access import may_see_runs
from exp_platform.web.last_runs import LastRun, last_runs
from exp_platform.web.listing import Line, line_of
from exp_platform.web.run_folders import frozen, last_frozen
from exp_platform.web.specs import SPECS, environment
from exp_platform.web.static_files import pages_version

NEWEST = NewestDecisions()


def results() -> Results:
    """The stored results; of its own for each request, as one holds what it is reading."""
    return Results(environment())


def lines(request: Request, readable: frozenset[str]) -> list[Line]:
    """A line for each experiment that this user may read: of every spec, broken ones too, and of whatever is stored."""
    loaded, newest = SPECS.all(), NEWEST.read(environment())
    there = {*loaded.experiments, *loaded.broken, *newest, *NEWEST.damaged} & readable
    seen = there if may_see_runs(request) else {id for id in there if may_see_runs(request, dag_id_of(id))}
    runs = last_runs(seen) if seen else {}
    now = datetime.now(UTC)
    return [
        line_of(
            id,
            loaded.experiments.get(id),
            newest.get(id),
            runs.get(id),
            now,
            damaged=id in NEWEST.damaged,
        )
        for id in sorted(there)
    ]


def one_line(request: Request, experiment_id: str) -> Line:
    """The line of one experiment, which has a DAG at least."""
    experiment = SPECS.one(experiment_id)
    reader = NewestDecisions(only=experiment_id)
    newest = reader.read(environment()).get(experiment_id)
    damaged = experiment_id in reader.damaged
    last = last_run(request, experiment_id)
    return line_of(experiment_id, experiment, newest, last, datetime.now(UTC), damaged=damaged)


def last_run(request: Request, experiment_id: str) -> LastRun | None:
    """The experiment's last DAG run, where this user may see runs."""
    seen = may_see_runs(request, dag_id_of(experiment_id))
    return last_runs([experiment_id]).get(experiment_id) if seen else None


class Reports:
    """Reports that were read, by the runs whose rows they are made of: any worker sees a new run by its id."""

    MOST = 8  # one of 28 days, 10 metrics and 3 arms is 5 MB

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[str, Report] = OrderedDict()

    def read(self, experiment_id: str, as_of: date | None) -> tuple[Report, str] | None:
        """The report of a day, or of the newest, and the tag of its content; None where nothing is stored of it."""
        stored = results()
        runs = stored.runs(experiment_id)
        day = max(runs, default=None) if as_of is None else as_of
        if day is None or day not in runs:
            return None
        run = frozen(experiment_id, runs[day])
        registered = stored.registered(experiment_id) or {}
        experiment = run.experiment if run else _spec_without_run(experiment_id, registered)
        if experiment is None:
            raise HTTPException(404)
        deleted = registered.get("user_level_deleted_on")
        key = tag(experiment_id, day, sorted(runs.items()), deleted, _words(experiment), wording_version())
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key], key
        report = load_report(stored, experiment, day, state=run.state if run else NOTHING_READ)
        give_memory_back()
        if report.stored.run_id != runs[day]:  # a run has ended meanwhile, whose spec may be another one
            return self.read(experiment_id, as_of)
        if report.unreadable:  # until somebody has mended it
            return replace(report, unreadable=(_damaged(len(report.unreadable)),)), tag(
                key, report.unreadable
            )
        with self._lock:
            self._kept[key] = report
            while len(self._kept) > self.MOST:
                self._kept.popitem(last=False)
        return report, key


REPORTS = Reports()


def tag(*parts: object) -> str:
    """An entity tag: equal parts, equal tag, in any worker of the same version."""
    return hashlib.sha256(repr((*parts, code_version(), pages_version())).encode()).hexdigest()[:24]


def _spec_without_run(experiment_id: str, registered: Mapping[str, Any]) -> Experiment | None:
    """The spec of results whose run's folder is gone: as it is now, else as it ran last, else as it was published."""
    found = SPECS.one(experiment_id) or last_frozen(experiment_id)
    try:
        return found or TypeAdapter(Experiment).validate_json(registered["spec"])
    except (KeyError, ValidationError):  # nothing is published, or an older version's, whose specs are others
        return None


def _damaged(files: int) -> str:
    """What readers are told of files, whose paths are for whoever mends them."""
    return "A stored file cannot be read." if files == 1 else f"{files} stored files cannot be read."


def _words(experiment: Experiment) -> str:
    """All that a report takes of a spec."""
    return repr(experiment)
