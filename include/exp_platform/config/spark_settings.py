"""The key `spark` of an environment file."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from exp_platform.config.secret_values import secret


class SparkSettings(BaseModel):
    """How Spark starts where no spark-submit says it; `master` must be the one of the submit where one does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    master: str = "local[*]"
    # What Airflow hands to spark-submit: every stage, or those that may start a session; the others then run in their task.
    submit: Literal["all", "sessions"] = "all"
    driver_memory: str = Field(default="4g", pattern=r"^\d+[mg]$")
    shuffle_partitions: int | None = Field(default=None, ge=1)  # None: as many as the local cores
    # The name of the variable that holds what driver and workers know each other by; a local Spark needs none.
    secret_env: str | None = None
    event_log_dir: str | None = None  # where a history server finds what Spark did; None: nothing is kept
    properties: dict[str, str] = {}  # further Spark properties, which win over the platform's own

    @property
    def local(self) -> bool:
        """Whether there are no other cores than this machine's: then `ingest` and `aggregates` need no Spark."""
        return self.master.startswith("local")

    @property
    def cores(self) -> int:
        """How many processes may share the work of a local master: `local` 1, `local[4]` 4, `local[*]` what this one may use."""
        found = re.match(r"local\[\s*(\*|\d+)", self.master)
        if found is None:
            return 1
        return usable_cores() if found[1] == "*" else max(1, int(found[1]))

    @property
    def authentication(self) -> dict[str, str]:
        """Spark properties by which driver, master and workers answer only who knows their secret."""
        if self.secret_env is None or self.local:
            return {}
        known = secret(self.secret_env, "spark.secret_env")
        return {"spark.authenticate": "true", "spark.authenticate.secret": known}

    @property
    def event_log(self) -> dict[str, str]:
        """Spark properties by which a session's events are kept."""
        place = self.event_log_dir
        return {} if place is None else {"spark.eventLog.enabled": "true", "spark.eventLog.dir": place}


def usable_cores() -> int:
    """The cores that this process may run on, in a container no more than its share of the machine's time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no Linux, no limit ("max")
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, -(-int(quota) // int(period)))
    return max(1, cores)
