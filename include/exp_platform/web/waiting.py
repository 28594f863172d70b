"""What is said where there is nothing to show, or nothing new: why, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from exp_platform.checks import CheckResult
from exp_platform.web.last_runs import LastRun
from exp_platform.web.listing import Line, State
from exp_platform.web.run_folders import Progress

UNDER_WAY = ("queued", "running")


@dataclass(frozen=True)
class Notice:
    """A title, sentences, and what they rest on. `task` names the task whose log says more."""

    title: str
    says: tuple[str, ...]
    checks: Sequence[CheckResult] = ()
    stages: dict[str, str | None] = field(default_factory=dict)  # where a run has come to
    task: str | None = None
    bad: bool = False  # something went wrong, and somebody has to mend it


def nothing_stored(line: Line, progress: Progress | None) -> Notice:
    """Why an experiment has no result at all."""
    run = line.last_run
    if line.damaged:
        return DAMAGED
    if run and run.state in UNDER_WAY:
        stages = progress.ended if progress else {}
        return Notice("It is running for the first time", (_FIRST_TIME,), stages=stages)
    if progress and progress.failed:
        return _failed(progress, "There is no result yet: ")
    if progress and stopped(run, progress):
        return _stopped(progress, "There is no result yet: ")
    if run and run.state == "failed":
        return Notice("Its last run failed before it read anything", (_FAILED_EARLY,), task="check", bad=True)
    if line.state is State.NOT_STARTED and line.experiment:
        return Notice("It has not started", (f"It {line.told}. The first result is of the end of that day.",))
    if line.state is State.NO_SPEC:
        return Notice("Its spec cannot be used", (_NO_SPEC,), bad=True)
    return Notice("It has never run", (_NEVER_RUN,))


def last_run_failed(line: Line, progress: Progress | None) -> Notice | None:
    """What is said above older results where the last run failed; None where it did not."""
    if not line.newest or not progress or progress.run.run_id <= line.newest.run_id:
        return None
    what = f"What is shown is as of {line.newest.as_of_date}, from the run before: "
    if progress.failed:
        return _failed(progress, what)
    return _stopped(progress, what) if stopped(line.last_run, progress) else None


def stopped(run: LastRun | None, progress: Progress) -> bool:
    """Whether a DAG run failed, this one, and none of its stages did: as one that a person ends between two of them."""
    return run is not None and run.state == "failed" and _is_of(progress, run) and not progress.failed


def another_under_way(line: Line, progress: Progress | None) -> Notice | None:
    """What is said above older results while a run is under way, to whoever may see runs; None where none is."""
    run = line.last_run
    if not line.newest or not run or run.state not in UNDER_WAY:
        return None
    its_own = progress is not None and _is_of(progress, run)
    says = [
        f"What is stored so far ends with {line.newest.as_of_date}. Reload the page when the run has ended."
    ]
    if progress and progress.failed and not its_own:
        says.append(f"The run before it failed in {progress.failed}.")
    stages = progress.ended if progress and its_own else {}
    return Notice(
        "A run is queued" if run.state == "queued" else "A run is under way", tuple(says), stages=stages
    )


def no_such_day(asked: date, days: Sequence[date]) -> Notice:
    """What is said of a day without results."""
    return Notice(
        f"There is no result as of {asked}",
        (
            f"Results are stored of {len(days)} days, from {min(days)} to {max(days)}. Choose one of them above.",
        ),
    )


def _failed(progress: Progress, what: str) -> Notice:
    stage = progress.failed
    if stage == "quality":
        errors = [check for check in progress.checks if check.severity == "error"]
        return Notice(
            "The last run stopped at the quality of its data",
            (what + _QUALITY,),
            errors,
            task=stage,
            bad=True,
        )
    return Notice(
        f"The last run failed in {stage}", (what + _STAGE,), stages=progress.ended, task=stage, bad=True
    )


def run_stopped(progress: Progress) -> Notice:
    """What is said on the tab of such a run."""
    its_own = progress.ended.get("decision") == "success"
    what = "" if its_own else "What is shown, if anything, is of another run of the same day: "
    return _stopped(progress, what, "This run")


def _stopped(progress: Progress, what: str, which: str = "The last run") -> Notice:
    told = what + _ENDED_EARLY
    return Notice(
        f"{which} was stopped before its end",
        (told[0].upper() + told[1:],),
        stages=progress.ended,
        task="release",
        bad=True,
    )


def _is_of(progress: Progress, run: LastRun) -> bool:
    """Whether this is how far that DAG run has come."""
    return progress.run.started_by.endswith(f"by Airflow, {run.run_id}")


_TOLD_OF_DAMAGE = "A file of them is missing or damaged. exp doctor names it and says what to do; whoever looks after Airflow can run it."
_FIRST_TIME = "Its results appear here when the stage decision has ended. Reload the page then."
_FAILED_EARLY = (
    "The log of the task check says why: most often the spec is broken, or another run holds the experiment."
)
_NO_SPEC = (
    "It is gone, or has a fault: Airflow's import error of config_errors.py tells every fault, and so does exp validate. "
    "The results of before stay."
)
_NEVER_RUN = "Start a run here, or wait for its schedule. Without a day it takes all that happened up to the last complete one."
_QUALITY = (
    "the data were not published, so that no decision rests on them. Below stands each check that failed, what it found, and the "
    "remedy. Mend the data or the threshold, then start a new run."
)
_ENDED_EARLY = (
    "none of its stages failed, so a person ended it, or its time was over. Start a new run, or clear the first task that was "
    "not done, with all after it."
)
_STAGE = "the log of that task ends with the cause and the remedy."

DAMAGED = Notice("Its stored results cannot be read", (_TOLD_OF_DAMAGE,), bad=True)
