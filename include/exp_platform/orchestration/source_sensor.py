"""The operator that waits for an experiment's data on S3 before its run starts.

Imported only where a DAG has such a task: the amazon provider costs half a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor
from airflow.sdk import Context
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
)

from exp_platform.config.awaited import WAIT_FOR, Awaited
from exp_platform.config.environment import load_environment
from exp_platform.config.loading import load_experiment
from exp_platform.orchestration.asked import PARAMS, as_of_dates, refuse_unknown, under_dags_test
from exp_platform.orchestration.connections import AWS_CONNECTION, told_plainly
from exp_platform.orchestration.limits import hours
from exp_platform.orchestration.s3_arrival import S3, ArrivalTrigger
from exp_platform.tables.last_runs import note_run

POKE_SECONDS = 60.0


class SourceSensor(S3KeySensor):
    """Waits, deferred, until everything awaited is on S3; the day in its names is the one that `check` will take.

    Fails at once where waiting cannot help: a day that `check` would refuse, no such bucket, no permission. Fails
    without a retry when the time is over. An S3 that gives no answer is retried. `airflow dags test` does not wait.
    """

    template_fields: Sequence[str] = ()  # braces in the name of a file mean themselves

    def __init__(
        self, *, experiment_id: str, awaited: Sequence[Awaited], wait: timedelta, **kwargs: Any
    ) -> None:
        super().__init__(
            bucket_key=[item.location for item in awaited],
            aws_conn_id=AWS_CONNECTION,
            deferrable=True,
            poke_interval=POKE_SECONDS,
            timeout=wait,
            **kwargs,
        )
        self.experiment_id = experiment_id
        self.awaited = tuple(awaited)

    def execute(self, context: Context) -> None:
        """Look once, and defer where something is not there."""
        with told_plainly():
            note_run(load_environment(), self.experiment_id)
        today, absent = self._look(context)
        if not absent:
            return
        if under_dags_test(context):
            raise AirflowFailException(
                f"{_told(absent)} is not there, and `airflow dags test` does not wait for it; {self._remedy()}"
            )
        self.log.info("waiting up to %s for %s", hours(self.timeout), _told(absent))
        self.defer(
            trigger=ArrivalTrigger.of(today, AWS_CONNECTION, self.poke_interval),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout),
        )

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        """Done, unless the trigger could not ask; then the same error is raised here, with its kind."""
        if event["status"] == "success":
            self.log.info("everything that this run waits for is there")
        elif self._look(context)[1]:
            raise AirflowException(f"the triggerer could not ask S3, and this task could: {event['message']}")

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Told that the time is over, look a last time."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowSensorTimeout:
            _, absent = self._look(context)
            if not absent:
                return None
            raise AirflowSensorTimeout(
                f"{_told(absent)} has not come within {hours(self.timeout)}; {self._remedy()}"
            ) from None

    def _look(self, context: Context) -> tuple[list[Awaited], list[Awaited]]:
        """What this run waits for, and what of it is not there."""
        from exp_platform.stages.start import as_of_days

        with told_plainly():
            refuse_unknown(context, PARAMS)
            experiment = load_experiment(self.experiment_id)
            (day,) = as_of_days(experiment, as_of_dates(context, experiment), datetime.now(UTC))
            today = [item.at(day) for item in self.awaited]
            return today, S3.of(AWS_CONNECTION).missing(today)

    def _remedy(self) -> str:
        spec = load_experiment(self.experiment_id).spec_file
        return (
            f"deliver it and clear this task with downstream, raise schedule.wait_hours, or correct the location in "
            f"{spec}"
        )


def _told(items: Sequence[Awaited]) -> str:
    return " and ".join(
        f"{item.told} ({item.what if item.what == WAIT_FOR else f'{item.what}, {item.format}'})"
        for item in items
    )
