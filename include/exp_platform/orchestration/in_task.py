"""A stage in the task's own process, for what starts no Spark session, where an environment says `spark.submit: sessions`."""

from __future__ import annotations

import threading

from airflow.sdk.exceptions import AirflowException

from exp_platform.diagnosis import told
from exp_platform.stages.execute import execute
from exp_platform.stages.run import Run


class Stopped(BaseException):
    """The stage was left where it was, as by Ctrl-C; no handler of its own errors may take it for one of them."""


class InTask:
    """The same as a Submit of the stage, without a process of its own."""

    def __init__(self, run: Run, stage: str, try_number: int) -> None:
        self._run, self._stage, self._try_number = run, stage, try_number
        self._working_thread: int | None = None
        self.how_it_ended = "the stage was left before it was done"

    def run(self) -> None:
        """Carry the stage out. Raises AirflowException where it failed, Stopped where `end` was called meanwhile."""
        self._working_thread = threading.get_ident()
        try:
            manifest = execute(self._run, self._stage, self._try_number)
        except OSError as error:  # no manifest could be written
            self.how_it_ended = told(error) or f"{type(error).__name__}: {error}"
            raise AirflowException(self.how_it_ended) from error
        finally:
            self._working_thread = None
        if manifest.status == "failed":
            raise AirflowException(manifest.error)

    def end(self) -> None:
        """Leave the stage, where its own thread calls this, as a signal handler does.

        Another thread calls it when the lease is lost: then the stage goes on for its few seconds, and its fence lets it
        commit nothing.
        """
        if self._working_thread == threading.get_ident():
            self._working_thread = None
            raise Stopped

    def close(self) -> None:
        """Nothing is left open."""
