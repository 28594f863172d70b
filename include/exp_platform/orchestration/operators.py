"""The operators of an experiment's DAG: `check` starts a run, one StageOperator a stage, `release` ends it.

What only a running task needs (PyIceberg, the catalog) is imported when it runs, so that parsing does not pay for it.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.utils.skipmixin import SkipMixin
from airflow.sdk import BaseOperator, Context
from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
)
from pydantic import TypeAdapter

from exp_platform.config.environment import Environment, load_environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.loading import load_experiment
from exp_platform.errors import bounded
from exp_platform.escaping import line
from exp_platform.orchestration import metrics
from exp_platform.orchestration.after_asset import out_of_season
from exp_platform.orchestration.asked import PARAMS, as_of_dates, refuse_unknown, started_by, under_dags_test
from exp_platform.orchestration.backfill import other_days
from exp_platform.orchestration.connections import told_plainly, use_databases, use_object_store
from exp_platform.orchestration.in_task import InTask, Stopped
from exp_platform.orchestration.lease_wait import OperatorUnderLease
from exp_platform.orchestration.lineage import lineage_of
from exp_platform.orchestration.priority import CHECK, RELEASE
from exp_platform.orchestration.run_lease import lease_of
from exp_platform.orchestration.shown import (
    DECISION,
    RESULT_STAGES,
    ResultLink,
    extra_of,
    refused,
    result_page,
    told,
)
from exp_platform.orchestration.submit import Submit
from exp_platform.stages.graph import Stage
from exp_platform.stages.run import Manifest, Run, manifest_path
from exp_platform.tables.last_runs import note_run, note_seconds
from exp_platform.tables.lease import beating

READING = "ingest"
SPARK_CONNECTION = "spark_default"
RUN_JSON = f"{{{{ ti.xcom_pull(task_ids='{CHECK}')['run_path'] }}}}"

_MANIFEST = TypeAdapter(Manifest)


class RetryAtOnceUnderTest(RetryPolicy):
    """`airflow dags test` sleeps through a retry's delay while a person watches, so there it is zero."""

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """No delay under `dags test`, no retry after Ctrl-C; everywhere else what the task says."""
        if isinstance(exception, KeyboardInterrupt):
            return RetryDecision.fail("stopped by Ctrl-C")
        if context is not None and under_dags_test(context):
            return RetryDecision.retry(timedelta(0))
        return RetryDecision.default()


class CheckOperator(OperatorUnderLease, SkipMixin):
    """Starts a run: resolves the spec, takes the lease, freezes the run; ends it as a success if nothing changed.

    Returns a manifest with `run_path`, `as_of_dates`, `up_to_date` and `message`; of a failed try the XCom is one without
    these. Bad specs and dates are not retried; a lease that another run holds is waited for.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Start the run, and skip the tasks that it has nothing for: all but the teardown where all is up to date."""
        began, clock = datetime.now(UTC), time.monotonic()

        def manifest(run: Run | None, error: str | None = None) -> Manifest:
            return Manifest(
                run_id=run.run_id if run else "",
                experiment_id=self.experiment_id,
                stage=CHECK,
                try_number=context["ti"].try_number,
                status="failed" if error else "success",
                started_at=began.isoformat(),
                seconds=round(time.monotonic() - clock, 3),
                error=error,
            )

        try:
            with told_plainly():
                refuse_unknown(context, PARAMS)
                experiment = load_experiment(self.experiment_id)
                use_object_store(load_environment(), experiment)
                use_databases(experiment)
                note_run(load_environment(), self.experiment_id)  # first, as the lease may be waited for
                lease = self.take_lease(context)
                run, message = self._start(context, experiment, lease.holder)
                if run is None:
                    lease.release()  # at once, as others may wait for it
        except AirflowException as error:  # `release` tells it
            why = bounded(line(str(error)))
            context["ti"].xcom_push("return_value", manifest(None, why).to_json())
            raise
        self.log.info("%s", message)
        well = manifest(run)
        metrics.send(self.experiment_id, metrics.of_manifest(well))
        result = well.to_json() | {
            "up_to_date": run is None,
            "message": message,
            "run_path": str(run.path / "run.json") if run else None,
            "as_of_dates": [day.isoformat() for day in run.as_of_dates] if run else [],
        }
        if run is None:
            metrics.send(self.experiment_id, metrics.up_to_date())
        else:
            well.save(run)
            note_run(lease.environment, self.experiment_id, str(run.path / "run.json"))
        if run is None or run.memo_only:
            context["ti"].xcom_push("return_value", result)  # skipping others ends this task without a return
            left = {stage.name for stage in run.stages} if run else set()
            downstream = self.get_flat_relatives(upstream=False)
            skipped = [task for task in downstream if not task.is_teardown and task.task_id not in left]
            self.skip(ti=context["ti"], tasks=skipped)
        return result

    def _start(self, context: Context, experiment: Experiment, holder: str) -> tuple[Run | None, str]:
        from exp_platform.stages.start import start_run

        idle = out_of_season(context, experiment)
        if idle is not None:
            return None, idle
        params = context["params"]
        started = start_run(
            experiment,
            as_of_dates=as_of_dates(context, experiment),
            with_them=other_days(context, experiment),
            force=bool(params.get("force")),
            full=bool(params.get("full")),
            holder=holder,
            started_by=started_by(context),
        )
        how = 'To run it all the same, trigger it with {"force": true}.'
        return started.run, f"{started.message} {how}" if started.run is None else started.message


class StageOperator(OperatorUnderLease):
    """One stage as a spark-submit, or in the task's own process; its manifest is the XCom, of a failed try too.

    Where the manifest says that a retry gives the same, the task fails at once. A best-effort stage whose last try
    failed ends skipped, which lets the run go on.
    """

    # Not a SparkSubmitOperator, whose hook it uses: hundreds of DAGs of these take half as long to parse.
    template_fields = ("arguments",)
    ui_color = "#FF9933"  # as Airflow paints Spark

    def __init__(self, *, stage: Stage, conn_id: str = SPARK_CONNECTION, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stage = stage.name
        self.conn_id = conn_id
        self.required = stage.required
        self.spark_session = stage.spark_session
        self.arguments = ["--run", RUN_JSON, "--stage", stage.name, "--try", "{{ ti.try_number }}"]
        if stage.name in RESULT_STAGES:
            self.operator_extra_links = (ResultLink(),)
        self._work: Submit | InTask | None = None
        self._ended_because = ""

    def execute(self, context: Context) -> dict[str, Any]:
        """Carry the stage out under the run's lease and return its manifest."""
        run = self._run()
        if self.stage not in [stage.name for stage in run.stages]:
            if run.memo_only:
                raise AirflowSkipException(
                    "this run words stored results anew, and makes no other than the memo"
                )
            raise AirflowSkipException(
                f"the spec was changed after this run began, which has no {self.stage}"
            )
        began = datetime.now(UTC)
        with told_plainly():
            environment = load_environment(run.environment)
            use_object_store(environment, run.experiment)
            if self.stage == READING:  # no other stage's process knows a password
                use_databases(run.experiment)
            # The run's own, unless this task was cleared after the run had ended
            lease = self.take_lease(context)
            self._work = self._carried_out_by(environment, run, context["ti"].try_number)
        failure = ""
        try:
            with beating(lease, lost=self._lease_lost):
                self._work.run()
        except (AirflowException, AirflowTaskTimeout, OSError, Stopped) as error:
            failure = self._ended_because or self._without_manifest(error, self._work)
        finally:
            self._work.close()
        with told_plainly():  # where the stage could write no manifest, this task may not be able to either
            manifest = self._manifest(context, run, began, failure)
        metrics.send(self.experiment_id, metrics.of_manifest(manifest))
        if failure and manifest.status == "success":
            self.log.warning("the stage had ended well, and then: %s", failure)
        return self._judge(context, manifest, run)

    def _carried_out_by(self, environment: Environment, run: Run, try_number: int) -> Submit | InTask:
        if environment.spark.submit == "sessions" and not self.spark_session:
            return InTask(run, self.stage, try_number)
        name = f"{self.experiment_id} {self.stage}"
        return Submit(self.conn_id, run.environment, name, self.arguments, session=self.spark_session)

    def get_openlineage_facets_on_start(self) -> Any:
        """What this stage is about to read and write; Airflow's OpenLineage provider asks, where it is on."""
        return lineage_of(self._run(), self.stage, None)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """The same with the snapshots, once the try has ended, well or badly."""
        run = self._run()
        path = manifest_path(run.path, self.stage, task_instance.try_number)
        return lineage_of(run, self.stage, _MANIFEST.validate_json(path.read_bytes()))

    def on_kill(self) -> None:
        """End the stage with all that it started; no Spark process is left."""
        self._end("the task was stopped before it ended; clear it to run it again")

    def _lease_lost(self) -> None:
        self._end("another run has taken this experiment's lease, so this one stopped; wait for the other")

    def _end(self, because: str) -> None:
        self._ended_because = self._ended_because or because
        if self._work is not None:
            self._work.end()

    def _run(self) -> Run:
        try:
            return Run.load(self.arguments[1])
        except FileNotFoundError:
            raise AirflowFailException(
                f"the run {self.arguments[1]} is gone, as old runs are after some days; trigger a new one"
            ) from None

    def _without_manifest(self, error: BaseException, work: Submit | InTask) -> str:
        """The failure of a try that left no manifest: its cause as far as it is known, and a remedy."""
        if isinstance(error, FileNotFoundError):
            return "spark-submit was not found on the PATH; run `make setup`, or `. scripts/airflow-env.sh` before Airflow"
        if isinstance(error, AirflowTaskTimeout):
            return f"no end within {self.execution_timeout}; see what the log above waits for, or raise the timeout"
        return work.how_it_ended

    def _manifest(self, context: Context, run: Run, began: datetime, failure: str) -> Manifest:
        try_number = context["ti"].try_number
        path = manifest_path(run.path, self.stage, try_number)
        if path.is_file():
            return _MANIFEST.validate_json(path.read_bytes())
        manifest = Manifest(
            run_id=run.run_id,
            experiment_id=run.experiment.id,
            stage=self.stage,
            try_number=try_number,
            status="failed",
            started_at=began.isoformat(),
            seconds=round((datetime.now(UTC) - began).total_seconds(), 3),
            error=failure
            or f"jobs/stage.py ended well and left no manifest at {path}; this is a fault of the platform",
        )
        manifest.save(run)
        return manifest

    def _judge(self, context: Context, manifest: Manifest, run: Run) -> dict[str, Any]:
        value = manifest.to_json()
        if manifest.status == "success":
            for warning in manifest.warnings:
                self.log.warning("%s", warning)
            self._show(context, manifest)
            if "events" in manifest.details:
                from exp_platform.orchestration.notify import tell_results

                tell_results(context, load_environment(run.environment), run.experiment, manifest.details)
            return value
        ti = context["ti"]
        ti.xcom_push("return_value", value)
        last = ti.try_number > ti.max_tries
        if not self.required and (last or not manifest.retryable):
            message = f"{self.stage} failed, and the run goes on without it (best effort): {manifest.error}"
            self.log.warning("%s", message)
            raise AirflowSkipException(message)
        for check in refused(run, self.stage):
            self.log.error("%s", check)
        message = f"{self.stage} failed: {manifest.error}"
        if not manifest.retryable:
            raise AirflowFailException(f"{message} (not retried: it would fail again)")
        raise AirflowException(message)

    def _show(self, context: Context, manifest: Manifest) -> None:
        """Say what was decided where people look: at the end of the log, and to whoever the asset starts."""
        ti = context["ti"]
        page = result_page(ti.dag_id, ti.run_id)
        for sentence in told(manifest.details, page):
            self.log.info("%s", sentence)
        for asset in self.outlets:
            # What this run decided, of whatever day; a run of the memo alone decided nothing, and tells what the memo is of
            decided = ti.xcom_pull(task_ids=DECISION) or manifest.to_json()
            context["outlet_events"][asset].extra = extra_of(decided["details"], page)


def seconds_of_run(run_json: str) -> float | None:
    """What the stages of a run took that came to its decision; None of any other, which says nothing of the next one's length."""
    files = (Path(run_json).parent / "manifests").glob("*.json")
    manifests = [_MANIFEST.validate_json(path.read_bytes()) for path in files]
    ended = [manifest for manifest in manifests if manifest.status == "success"]
    if "decision" not in {manifest.stage for manifest in ended}:
        return None
    return sum(manifest.seconds for manifest in ended)


class ReleaseOperator(BaseOperator):
    """Gives the run's lease back, however the run ended. A teardown: it cannot turn a failed run green.

    Nor may Airflow turn a stopped one green, whose last stage it has skipped: of that one it fails.
    """

    def __init__(self, *, experiment_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.experiment_id = experiment_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Release the lease if this DAG run holds it, and return a small manifest. Fails where the run was stopped."""
        from exp_platform.orchestration.run_end import stopped_in, tell_end

        began, clock = datetime.now(UTC), time.monotonic()
        checked = context["ti"].xcom_pull(task_ids=CHECK) or {}
        stopped = stopped_in(context, checked)
        with told_plainly():
            lease = lease_of(context, self.experiment_id)
            self._remember(lease.environment, checked.get("run_path"))  # before another run may begin
            if not stopped:
                tell_end(context, lease.environment, self.experiment_id, checked.get("run_path"))
            lease.release()
        manifest = Manifest(
            run_id=checked.get("run_id", ""),
            experiment_id=self.experiment_id,
            stage=RELEASE,
            try_number=context["ti"].try_number,
            status="success",
            started_at=began.isoformat(),
            seconds=round(time.monotonic() - clock, 3),
        )
        metrics.send(self.experiment_id, metrics.of_manifest(manifest))
        if stopped:
            context["ti"].xcom_push("return_value", manifest.to_json())
            raise AirflowFailException(
                f"this run was stopped at {stopped}, so it is no success. Its lease is given back: clear {stopped} with downstream "
                "to go on, or start a new run"
            )
        return manifest.to_json()

    def _remember(self, environment: Environment, run_json: str | None) -> None:
        """For whose turn it is the next time; no reason to keep the lease where it cannot be written."""
        try:
            if run_json and (seconds := seconds_of_run(run_json)) is not None:
                note_seconds(environment, self.experiment_id, seconds)
        except (OSError, ValueError) as error:
            self.log.warning("what this run took is not remembered: %s", error)
