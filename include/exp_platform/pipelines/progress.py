"""What a person sees while a run goes on: a live list on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from exp_platform.escaping import terminal
from exp_platform.pipelines.runner import Observer
from exp_platform.stages.graph import Stage
from exp_platform.stages.run import Manifest, Run


class PlainLines:
    """One line a finished stage: for logs and pipes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    def started(self, run: Run, stages: Sequence[Stage]) -> None:
        """Say what runs."""
        self._skipped = run.skipped
        self._say(run_title(run))

    def stage_started(self, stage: Stage) -> None:
        """Nothing: the line comes when the stage has ended."""

    def stage_finished(self, stage: Stage, manifest: Manifest) -> None:
        """Say how it ended."""
        self._say(f"  {stage.name:<11} {summary(stage, manifest, stage.name in self._skipped)}")
        for warning in manifest.warnings:
            self._say(f"  {'':<11} warning: {warning}")

    def _say(self, line: str) -> None:
        print(terminal(line), file=self._stream, flush=True)


class LiveProgress:
    """A bar over the stages with the current one named; finished stages stay above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._left = 0

    def started(self, run: Run, stages: Sequence[Stage]) -> None:
        """Show the bar."""
        self._console.print(Text(terminal(run_title(run))), style="bold")
        self._left = len(stages)
        self._skipped = run.skipped
        self._task = self._progress.add_task("", total=len(stages))
        self._progress.start()

    def stage_started(self, stage: Stage) -> None:
        """Name the stage."""
        self._progress.update(self._task, description=stage.name)

    def stage_finished(self, stage: Stage, manifest: Manifest) -> None:
        """Leave a line and step on; the bar goes with the last stage or the first required failure."""
        failed = manifest.status == "failed"
        mark = (("✗", "red") if stage.required else ("!", "yellow")) if failed else ("✓", "green")
        told = summary(stage, manifest, stage.name in self._skipped)
        self._console.print(Text.assemble(mark, terminal(f" {stage.name:<11} {told}")), highlight=False)
        for warning in manifest.warnings:
            told = terminal(f"  {'':<11} warning: {warning}")
            self._console.print(Text(told), style="yellow", highlight=False)
        self._progress.advance(self._task)
        self._left -= 1
        if not self._left or (failed and stage.required):
            self._progress.stop()


def console_observer() -> Observer:
    """The display that fits where standard output goes."""
    console = Console()
    return LiveProgress(console) if console.is_terminal else PlainLines()


def run_title(run: Run) -> str:
    """One line that names the run."""
    first, last = run.as_of_dates[0], run.as_of_dates[-1]
    days = (
        f"as of {last}"
        if first == last
        else f"as of {first} to {last}, {len(run.as_of_dates)} days in one pass"
    )
    return f"{run.experiment.id}, {days} (run {run.run_id})"


def summary(stage: Stage, manifest: Manifest, skipped: bool) -> str:
    """What a finished stage did, in a few words."""
    if manifest.status == "failed":
        way = "failed" if stage.required else "failed, the run goes on without it"
        return f"{way}: {manifest.error}"
    rows = (
        f", {manifest.rows_in:,} rows in, {manifest.rows_out:,} out"
        if manifest.rows_in or manifest.rows_out
        else ""
    )
    made = manifest.details.get("refresh") if stage.name == "ingest" else None
    refresh = f", {made['kind']}: {made['why']}" if made else ""
    return f"{manifest.seconds:6.1f} s{rows}{refresh}{', skipped: stored input used' if skipped else ''}"


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __str__(self) -> str:
        return f"{time.monotonic() - self._start:.1f} s"
