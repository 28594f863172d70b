"""Which of many waiting tasks goes first: of the run that has come farthest, of the older night, of the longer experiment.

So of many runs one after another has its decision, no run waits for ever behind those of later nights, however long or short
these are, and of one night's runs the longest begin first, which ends the night soonest. Airflow computes a task's weight when
it makes the run, from what the DAG says of the task (`priority`) and the id of the run.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow.task.priority_strategy import PriorityWeightStrategy

from exp_platform.config.experiment import Experiment
from exp_platform.stages.graph import STAGES

if TYPE_CHECKING:
    from airflow.models.taskinstance import TaskInstance

WAIT = "wait_for_source"
CHECK = "check"
ENDED = "ended"
RELEASE = "release"
SIZES = 1000  # 0 to 999: what is known of how long an experiment's runs take
_UNMEASURED = 900  # and above: so long an experiment may be that nobody has measured
_NIGHTS = 60_000  # since 1970; progress x nights x sizes stays below 2^31, which Airflow's database holds
_PROGRESS = {name: step for step, name in enumerate((WAIT, CHECK, *(s.name for s in STAGES), ENDED, RELEASE))}
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}")


class RunOrder(PriorityWeightStrategy):
    """The weight of a task in its run; the plugin `experiment_timetable` tells Airflow of it."""

    def get_weight(self, ti: TaskInstance) -> int:
        """Farther goes before older, older before longer."""
        progress, size = divmod(ti.task.priority_weight, SIZES)  # type: ignore[union-attr]
        return (progress * _NIGHTS + _NIGHTS - 1 - night_of(ti.run_id)) * SIZES + size

    def __repr__(self) -> str:
        """The same in each process: Airflow stores this text with the DAG, and another one is another version of it."""
        return "RunOrder()"


def priority(task: str, size: int) -> int:
    """What a DAG says of a task: how far a run has come with it, and the size of its experiment."""
    return _PROGRESS[task] * SIZES + size


def size_of(experiment: Experiment, seconds: float | None) -> int:
    """The size by the seconds that a run was measured to take; unmeasured ones above all others, by the days of their window.

    On a scale of ratios, as a difference of seconds matters among short ones only.
    """
    if seconds is None:
        days = (experiment.window.end - experiment.window.start).days
        return min(_UNMEASURED + days, SIZES - 1)
    return min(round(50 * math.log2(1 + max(seconds, 0))), _UNMEASURED - 1)


def night_of(run_id: str) -> int:
    """The night of a run by the moment in its id, as days since 1970, from noon to noon UTC; of any other id the present one."""
    found = _MOMENT.search(run_id)
    try:
        moment = (
            datetime.strptime(found[0], "%Y-%m-%dT%H").replace(tzinfo=UTC) if found else datetime.now(UTC)
        )
    except ValueError:  # digits that are no date
        moment = datetime.now(UTC)
    night = (moment + timedelta(hours=12)).date() - datetime(1970, 1, 1, tzinfo=UTC).date()
    return min(max(night.days, 0), _NIGHTS - 1)
