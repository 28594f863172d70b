"""How long what may take in Airflow: a try of a task, the wait for the lease, a whole run; nothing waits for ever."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from exp_platform.config.experiment import Experiment
from exp_platform.stages.graph import Stage, stages_of

SESSION_TIMEOUT = timedelta(hours=4)  # of a try of a stage that may need a Spark session
PLAIN_TIMEOUT = timedelta(minutes=30)  # of a try of any other task


def working_time(stages: Sequence[Stage]) -> timedelta:
    """What a run takes at most if the first try of each task takes all its time: `check`, the longest way, `release`."""
    ends: dict[str, timedelta] = {}
    for stage in stages:  # in an order that respects `needs`
        began = max((ends[need] for need in stage.needs), default=PLAIN_TIMEOUT)
        ends[stage.name] = began + (SESSION_TIMEOUT if stage.spark_session else PLAIN_TIMEOUT)
    return max(ends.values()) + PLAIN_TIMEOUT


def lease_wait(experiment: Experiment) -> timedelta:
    """How long a run waits for the lease: as long as who holds it may work."""
    return working_time(stages_of(experiment))


def run_timeout(experiment: Experiment, *, waits_for_data: bool) -> timedelta:
    """After which time Airflow fails a run, whatever it is at: the wait for data, the wait for the lease, and the work."""
    data = timedelta(hours=experiment.schedule.wait_hours) if waits_for_data else timedelta()
    return data + lease_wait(experiment) + working_time(stages_of(experiment))


def hours(seconds: float) -> str:
    """A time as messages say it."""
    return f"{seconds / 3600:g} hours"
