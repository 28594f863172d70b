"""What is worth a word to somebody: the events that hold as of a day, or of a run that failed, as sentences with their numbers.

An event is a state, named by its kind and by what it is about (a treatment on a guardrail, what was decided). Told is what
holds now and did not when it was last told; so one that goes away and comes back is told again, and one that stays is not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from exp_platform import numbers
from exp_platform.checks import CheckResult
from exp_platform.config.notify import EventKind

# Kind and what it was about, of each event that was told and held when it was looked last
Told = frozenset[tuple[str, str]]

WAITED = "the source"  # what `data_late` is about where a run waited in vain
TOO_LONG = "it took too long"  # what `run_failed` is about where no task failed


@dataclass(frozen=True)
class Event:
    """One event: a sentence, and numbers as pairs of name and value. Texts of specs and data are in it as they are."""

    kind: EventKind
    about: str
    sentence: str
    numbers: tuple[tuple[str, str], ...] = ()
    next_step: str = ""
    short: str = ""  # the event in a few words, where kind and subject do not say it
    beginning: bool = (
        False  # what an experiment begins with: told only where something else of its kind was before
    )

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from others, whatever its words and numbers."""
        return self.kind, self.about

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Event:
        """The inverse of `to_json`."""
        return Event(**{**data, "numbers": tuple((name, value) for name, value in data["numbers"])})


def events_of_failure(
    experiment_id: str, task: str, error: str, checks: Sequence[CheckResult] = ()
) -> list[Event]:
    """The events of a run that failed in `task`; `checks`: those that refused its data, of which that is the failure."""
    if checks:
        return [_refused(experiment_id, check) for check in checks]
    why = error or "its log says why"
    sentence = f"{experiment_id}: the run failed in {task}: {ended(why)} The last good results stay."
    return [Event("run_failed", task, sentence)]


def event_of_timeout(experiment_id: str, hours: str) -> Event:
    """The event of a run that Airflow ended as it took longer than any may."""
    sentence = (
        f"{experiment_id}: the run had not ended within {hours}, and was ended. The last good results stay."
    )
    return Event("run_failed", TOO_LONG, sentence, next_step="See in Airflow what its tasks waited for.")


def event_of_waiting(experiment_id: str) -> Event:
    """The event of a run whose data did not come within the time that it waits."""
    sentence = (
        f"{experiment_id}: the data did not come within the time that a run waits (schedule.wait_hours)."
    )
    return Event("data_late", WAITED, sentence, next_step="See what keeps the delivery, and run again.")


def untold(events: Iterable[Event], told: Collection[tuple[str, str]]) -> list[Event]:
    """Those that have not been told; of an experiment's beginning nothing is."""
    kinds = {kind for kind, _ in told}
    return [e for e in events if e.key not in told and not (e.beginning and e.kind not in kinds)]


def after_results(events: Iterable[Event]) -> Told:
    """What is remembered once these events of new results were told: what holds, and nothing else."""
    return frozenset(event.key for event in events)


def after_failure(events: Iterable[Event], told: Told) -> Told:
    """The same of a failed run, which tells nothing of what the results say; of several failures the last is remembered."""
    return frozenset({*(key for key in told if key[0] != "run_failed"), *(event.key for event in events)})


def after_good_run(told: Told) -> Told:
    """What is remembered once a run has ended well without new results: the data came, and nothing failed."""
    return frozenset(key for key in told if key[0] != "run_failed" and key != ("data_late", WAITED))


def _refused(experiment_id: str, check: CheckResult) -> Event:
    sentence = f"{experiment_id} as of {check.as_of_date}: the data were refused by the check {check.check}: {ended(check.message)}"
    measured = (("observed", check.observed), ("threshold", check.threshold))
    found = tuple((name, numbers.level(value)) for name, value in measured if value is not None)
    return Event("quality_failed", check.check, sentence, found, "The last good results stay until then.")


def ended(sentence: str) -> str:
    """The sentence with its full stop."""
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."
