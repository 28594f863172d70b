"""A situation: specs and deliveries of data with a known truth, carried out by ordinary runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any

import yaml

from exp_platform.aggregates import DailyRow
from exp_platform.config.environment import Environment
from exp_platform.config.loading import load_experiment
from exp_platform.errors import ConfigError
from exp_platform.pipelines.progress import PlainLines
from exp_platform.pipelines.runner import StageFailedError, run_experiment
from exp_platform.report.charts import Chart
from exp_platform.report.content import Report, load_report
from exp_platform.results.reader import Results
from exp_platform.results.stored import StoredDecision
from exp_scenarios.shop import DAYS, START

Deliver = Callable[[Path], None]  # writes raw files into the folders `exposures` and `outcomes` of a folder

COMMON: dict[str, Any] = {  # what a full spec leaves out; flat ones have defaults of their own
    "owner": "experimentation",
    "variants": [{"id": "control", "control": True}, {"id": "treatment"}],
    "window": {"start": START.date(), "days": DAYS},
    "source": {
        "kind": "events",
        "exposures": {"path": "exposures", "columns": {"event_id": "event_id"}},
        "outcomes": {"path": "outcomes", "columns": {"event_id": "event_id", "value": "value"}},
    },
}


@dataclass(frozen=True)
class Step:
    """One run: the spec as it stands then (`days`: flat, else what differs from COMMON), and what is delivered first.

    `as_of` empty: the planned decision date. `name` says when or how this run is, where a scenario has several. One that is
    `apart` asks what would have been, had the spec been like this from the beginning: it is an experiment of its own.
    """

    spec: str
    deliver: Deliver | None = None
    as_of: tuple[date, ...] = ()
    name: str = ""
    apart: bool = False


@dataclass(frozen=True)
class Said:
    """What the platform said of one step: a report with the decisions of all days, or why it refused."""

    decisions: tuple[StoredDecision, ...] = ()
    stored: Report | None = None
    daily: tuple[DailyRow, ...] = ()
    refused: str | None = None
    up_to_date: bool = False

    @property
    def report(self) -> Report:
        """What is stored. Raises LookupError where nothing was ever."""
        if self.stored is None:
            raise LookupError(f"nothing is stored: {self.refused}")
        return self.stored


@dataclass(frozen=True)
class Scenario:
    """A situation that a team meets. Texts are Markdown; functions of what was said hold its numbers."""

    id: str  # the experiment's id
    title: str
    situation: str
    truth: str
    steps: tuple[Step, ...]
    why: str
    naive: Callable[[Sequence[Said], Path], str]
    rows: tuple[tuple[str, str], ...]  # (method, metric) of the rows that matter
    further: Callable[[Sequence[Said]], Sequence[str]] | None = None  # lines of Markdown after the rows
    picture: Callable[[Sequence[Said]], Chart | None] | None = None

    def carry_out(self, environment: Environment, folder: Path) -> list[Said]:
        """Run every step in turn in an environment, with the raw data and the spec's file in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        return [self._said(step, environment, folder) for step in self.steps]

    def _said(self, step: Step, environment: Environment, folder: Path) -> Said:
        if step.deliver is not None:
            step.deliver(folder)
        refused, up_to_date, experiment = None, False, None
        id = f"{self.id}_apart" if step.apart else self.id
        try:
            experiment = load_experiment(id, self._written(id, step, folder))
            outcome = run_experiment(
                experiment, environment, PlainLines(StringIO()), as_of_dates=step.as_of or None
            )
            up_to_date = outcome.started.up_to_date
        except (ConfigError, StageFailedError) as error:
            refused = str(error).replace(f"{folder}/", "")
        results = Results(environment)
        decisions = tuple(results.decisions(id))
        report = load_report(results, experiment) if experiment is not None and decisions else None
        return Said(decisions, report, tuple(results.daily(id)), refused, up_to_date)

    def _written(self, id: str, step: Step, folder: Path) -> Path:
        own = yaml.safe_load(step.spec)
        entry = own if "days" in own else {**COMMON, "hypothesis": self.title, **own}
        path = folder / "spec.yaml"
        path.write_text(yaml.safe_dump({"experiments": {id: entry}}, sort_keys=False))
        return path
