"""One spark-submit of one stage: where it goes to, and how it ends with everything that it started."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from subprocess import TimeoutExpired

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from exp_platform.config.environment import load_environment, project_root
from exp_platform.errors import ConfigError
from exp_platform.orchestration.processes import end_process_tree
from exp_platform.spark.submit import submit_environment, submit_properties

_LAST_LINES = 5
_SECONDS_TO_END = 5


class Submit:
    """A spark-submit in client mode by Airflow's own hook, to the Spark that the connection names.

    Raises ConfigError for a connection that cannot be used: the hook itself would turn one that it does not know into
    the master `yarn`.
    """

    def __init__(
        self, connection_id: str, environment: str, name: str, arguments: list[str], *, session: bool
    ) -> None:
        _check_connection(connection_id)
        # The interpreter's own folder comes last: where no spark-submit is on the path, the installed one is there.
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
        self._hook = SparkSubmitHook(
            conn_id=connection_id,
            name=name,
            application_args=arguments,
            properties_file=str(submit_properties(load_environment(environment), session=session)),
            env_vars=submit_environment() | {"PATH": path},
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
    def last_words(self) -> str:
        """The last lines that spark-submit said, in one."""
        return "; ".join(line for line in list(self._hook._last_submit_log_lines)[-_LAST_LINES:] if line)


def _check_connection(connection_id: str) -> None:
    try:
        connection = BaseHook.get_connection(connection_id)
    except AirflowNotFoundException:
        raise ConfigError(
            f"the Airflow connection {connection_id!r} does not exist, so there is no Spark to submit to. Add it in the "
            f"UI (Admin, Connections), or set AIRFLOW_CONN_{connection_id.upper()} as scripts/airflow-env.sh does"
        ) from None
    mode = connection.extra_dejson.get("deploy-mode", "client")
    if mode != "client":
        raise ConfigError(
            f"the Airflow connection {connection_id!r}: deploy-mode: found {mode!r}, allowed is 'client', in which stages "
            f"run"
        )
