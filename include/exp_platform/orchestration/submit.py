"""One spark-submit of one stage: where it goes to, and how it ends with everything that it started."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from subprocess import TimeoutExpired

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook

from exp_platform.config.environment import load_environment, project_root
from exp_platform.orchestration.connections import check_master_answers, use_spark
from exp_platform.orchestration.processes import STARTED_BY, end_process_tree, this_process
from exp_platform.orchestration.submit_end import how_it_ended
from exp_platform.spark.submit import submit_environment, submit_properties

_SECONDS_TO_END = 5


class Submit:
    """A spark-submit in client mode by Airflow's own hook, to the Spark that the connection names.

    Raises ConfigError for a connection that cannot be used (the hook itself would turn one that it does not know into
    the master `yarn`), AirflowException where its master does not answer.
    """

    def __init__(
        self, connection_id: str, environment: str, name: str, arguments: list[str], *, session: bool
    ) -> None:
        master = use_spark(connection_id)
        if session:
            check_master_answers(master, connection_id)
        # The interpreter's own folder comes last: where no spark-submit is on the path, the installed one is there.
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
        self._hook = SparkSubmitHook(
            conn_id=connection_id,
            name=name,
            application_args=arguments,
            properties_file=str(submit_properties(load_environment(environment), session=session)),
            env_vars=submit_environment() | {"PATH": path, STARTED_BY: this_process()},
        )

    def run(self) -> None:
        """Submit `jobs/stage.py` and log its output until it ends. Raises AirflowException where it ends badly."""
        self._hook.submit(str(project_root() / "jobs" / "stage.py"))

    def end(self) -> None:
        """End spark-submit with all that it started, if it still runs. For any thread, and for signal handlers."""
        process = self._hook._submit_sp
        if process is not None and process.poll() is None:
            end_process_tree(process.pid)

    def close(self) -> None:
        """Give back what the hook leaves open: the pipe, and the exit code of a process that it was torn from."""
        self.end()
        process = self._hook._submit_sp
        if process is not None:
            process.stdout.close()
            with suppress(TimeoutExpired):
                process.wait(_SECONDS_TO_END)

    @property
    def how_it_ended(self) -> str:
        """How spark-submit ended, why, and what to do, in one line."""
        process = self._hook._submit_sp
        code = None if process is None else process.poll()
        return how_it_ended(code, list(self._hook._last_submit_log_lines))
