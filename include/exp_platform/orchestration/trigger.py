"""The operator of the DAG `run_experiment`: starts an experiment's own DAG by the experiment's id and waits for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NoReturn

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException, TaskDeferralTimeout
from airflow.triggers.base import BaseTrigger

from exp_platform.config.asset import dag_id_of
from exp_platform.config.awaited import awaited
from exp_platform.config.loading import load_experiment
from exp_platform.config.locations import current_rules
from exp_platform.orchestration.asked import ON_BEHALF_OF, PARAMS, refuse_unknown, under_dags_test
from exp_platform.orchestration.connections import told_plainly
from exp_platform.orchestration.limits import hours, run_timeout

POLL_SECONDS = 5


class RunExperimentOperator(TriggerDagRunOperator):
    """Triggers `exp__<experiment_id>` of the run's params with no logical date, waits without a worker, fails with it.

    No logical date: two runs at the same instant never collide, and the run counts as of when it starts. It waits at most
    for two runs' longest time: the experiment's own, and one that may be before it in the queue.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            trigger_dag_id="",  # known from the params when it runs
            logical_date=None,
            wait_for_completion=True,
            poke_interval=POLL_SECONDS,
            deferrable=True,
            **kwargs,
        )
        self.experiment_id = ""  # likewise

    def execute(self, context: Context) -> Any:
        """Trigger and wait. Refuses an id that no spec has, and where nobody would start the child: under `dags test`, or where it is paused."""
        with told_plainly():
            refuse_unknown(context, ("experiment_id", *PARAMS))
            params = context["params"]
            self.experiment_id = params["experiment_id"]
            load_experiment(
                self.experiment_id
            )  # of another one it names the nearest id, of a broken one its faults
        self.trigger_dag_id = dag_id_of(self.experiment_id)
        if under_dags_test(context):
            raise AirflowFailException(
                "`airflow dags test` has no scheduler that would start another DAG; "
                f"run `airflow dags test {self.trigger_dag_id}` instead"
            )
        if context["ti"].get_dag(self.trigger_dag_id).is_paused:
            raise AirflowFailException(
                f"{self.trigger_dag_id} is paused, so its run would wait for ever; unpause it in the UI or by "
                f"`airflow dags unpause {self.trigger_dag_id}`, or set `active: true` in its spec's schedule"
            )
        asked = {name: bool(params.get(name)) for name in ("force", "full")}
        self.conf = {"as_of": params.get("as_of"), **asked}
        if user := context["dag_run"].triggering_user_name:
            self.conf[ON_BEHALF_OF] = user
        return super().execute(context)

    def defer(
        self,
        *,
        trigger: BaseTrigger,
        method_name: str,
        kwargs: dict[str, Any] | None = None,
        timeout: timedelta | float | None = None,
    ) -> NoReturn:
        """As its parent does, which would wait for ever."""
        super().defer(
            trigger=trigger, method_name=method_name, kwargs=kwargs, timeout=timeout or self._longest()
        )

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Told that the time is over, say what was waited for."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            self.experiment_id = context["params"]["experiment_id"]
            run_id = context["ti"].xcom_pull(task_ids=self.task_id, key="trigger_run_id")
            raise AirflowFailException(
                f"the run {run_id} of {dag_id_of(self.experiment_id)} has not ended within "
                f"{hours(self._longest().total_seconds())}; look what it waits for"
            ) from None

    def _longest(self) -> timedelta:
        with told_plainly():
            experiment = load_experiment(self.experiment_id)
            return 2 * run_timeout(experiment, waits_for_data=bool(awaited(experiment, current_rules())))
