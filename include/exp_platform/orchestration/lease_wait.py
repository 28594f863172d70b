"""A task that finds the experiment's lease held waits for it, deferred: no worker, no slot of the pool, no try.

The trigger does not only look: it takes the lease in the name of the waiting DAG run, in one statement. So of any number
that wait one goes on, and nobody wakes up in vain.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferralTimeout
from airflow.triggers.base import BaseTrigger, TriggerEvent

from exp_platform.config.environment import load_environment
from exp_platform.errors import LeaseError
from exp_platform.orchestration import metrics
from exp_platform.orchestration.asked import under_dags_test
from exp_platform.orchestration.limits import hours
from exp_platform.orchestration.run_lease import LEASE_TTL, lease_of, take
from exp_platform.tables.lease import Lease, holder_of

POLL_SECONDS = 10.0
_FAILURES = 12  # of asking, in a row, till the task is told; a database that restarts takes fewer


class LeaseTrigger(BaseTrigger):
    """Fires once it has taken the lease for `holder`: {"status": "success"}, or "error" with a message if it cannot ask."""

    def __init__(self, experiment_id: str, holder: str, poll_interval: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.experiment_id = experiment_id
        self.holder = holder
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where the class is, and its arguments."""
        arguments = {
            "experiment_id": self.experiment_id,
            "holder": self.holder,
            "poll_interval": self.poll_interval,
        }
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Sleep, try, sleep again; in a thread, so that other triggers go on meanwhile. Says whenever the holder is another.

        It sleeps first: a trigger that fires before the scheduler has read that the task's process ended costs the task its try.
        """
        told, failures = "", 0
        while True:
            await asyncio.sleep(self.poll_interval * random.uniform(0.5, 1.5))
            try:
                holder, refusal = await asyncio.to_thread(self._take)
                failures = 0
            except Exception as error:  # a database that does not answer, most likely
                failures += 1
                self.log.warning("the lease of %s could not be asked for: %s", self.experiment_id, error)
                if failures == _FAILURES:
                    event = {"status": "error", "message": str(error)}
                    yield TriggerEvent(event)  # type: ignore[no-untyped-call]
                    return
            else:
                if not refusal:
                    yield TriggerEvent({"status": "success"})  # type: ignore[no-untyped-call]
                    return
                if holder != told:
                    self.log.info("%s", refusal)
                    told = holder

    async def on_kill(self) -> None:
        """A person stopped the waiting task: what was taken for it is given back."""
        await asyncio.to_thread(self._lease.release)

    @property
    def _lease(self) -> Lease:
        return Lease(self.experiment_id, self.holder, load_environment(), LEASE_TTL)

    def _take(self) -> tuple[str, str]:
        """Take the lease: who else holds it, and who that is in words; both empty where it was taken."""
        lease = self._lease
        try:
            take(lease)
        except LeaseError as error:
            held = holder_of(lease.environment, self.experiment_id)
            return (held.holder if held else ""), str(error)
        return "", ""


class OperatorUnderLease(BaseOperator):
    """An operator whose `execute` works under the experiment's lease, and may wait for it `longest_wait`."""

    def __init__(self, *, experiment_id: str, longest_wait: timedelta, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.experiment_id = experiment_id
        self.longest_wait = longest_wait
        self._wait_began: datetime | None = None  # where it has waited already

    def take_lease(self, context: Context) -> Lease:
        """The lease in the name of this DAG run; ends this process where another run holds it, to go on once it is free.

        Under `airflow dags test`, where a person watches, the task fails at once and says who holds it.
        """
        lease = lease_of(context, self.experiment_id)
        try:
            take(lease)
            return lease
        except LeaseError as error:
            if under_dags_test(context):
                raise AirflowFailException(f"{error}. `airflow dags test` does not wait for it") from None
            now = datetime.now(UTC)
            began = self._wait_began or now
            ends = began + self.longest_wait
            self.log.info(
                "waiting until %s for the lease, without a worker: %s", f"{ends:%Y-%m-%d %H:%M} UTC", error
            )
            self.defer(
                trigger=LeaseTrigger(self.experiment_id, lease.holder, POLL_SECONDS),
                method_name="go_on",
                kwargs={"wait_began": began.isoformat()},
                timeout=max(ends - now, timedelta(seconds=1)),
            )

    def go_on(self, context: Context, event: dict[str, Any], wait_began: str = "") -> Any:
        """The trigger has taken the lease, or could not ask for it; then a try is spent where this task can ask."""
        # `dag.test()` keeps no arguments of a deferral.
        self._wait_began = datetime.fromisoformat(wait_began) if wait_began else datetime.now(UTC)
        waited = datetime.now(UTC) - self._wait_began
        metrics.send(self.experiment_id, metrics.lease_taken(waited.total_seconds()))
        if event["status"] != "success":
            try:
                take(lease_of(context, self.experiment_id))
            except LeaseError as error:
                raise AirflowException(
                    f"the triggerer could not ask for the lease, and this task could. Give it the scheduler's environment "
                    f"and network. It said: {event['message']}. {error}"
                ) from None
        return self.execute(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Told that the time is over, say who held the lease all the time."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            refusal = lease_of(context, self.experiment_id).refusal()
            waited = hours(self.longest_wait.total_seconds())
            raise AirflowFailException(
                f"no lease within {waited}: {refusal}. Then clear this task with downstream"
            ) from None
