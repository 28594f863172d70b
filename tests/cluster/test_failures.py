"""What a person reads when the cluster is set up wrongly or its disk is full: the cause and the remedy."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cluster.cluster import ENVIRONMENT, Cluster, ClusterInstallation
from cluster.experiments import EXPERIMENTS
from cluster.object_store import Keys
from cluster.servers import free_ports, wait_until
from end_to_end.airflow_runs import DagRun, DagTest

EXPERIMENT = "exp_b"
FULL_DISK = "full disk"
CLOSED_PORT = free_ports(1)[0]
# Fault -> the task that must notice it, the cause and the remedy that the last line of its log must tell.
FAULTS = {
    "wrong password": (
        "check",
        r"the database refused the password of user exp_platform: ",
        r"correct the variable that password_env names",
    ),
    # What a store says where `check` looks for tables that lie there already.
    "wrong secret key": (
        "check",
        r"the object store refused the credentials: ",
        r"correct the connection aws_default",
    ),
    # It says no more than that to who may not see its buckets.
    "missing bucket": (
        "check",
        r"the object store denied access: ",
        r"see that the bucket is there.*'warehose'",
    ),
    "unreachable master": (
        "ingest",
        rf"the Spark master spark://127.0.0.1:{CLOSED_PORT} does not answer",
        r"start it, or correct the Airflow connection 'spark_default'",
    ),
    FULL_DISK: ("ingest", r"the disk is full: ", r"free some space"),
}


@pytest.fixture(scope="module")
def runs(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, DagRun]]:
    """One DAG run for each fault, all at once; none for a full disk where nobody may make a small one."""

    def installation(**fault: Any) -> ClusterInstallation:
        made = ClusterInstallation(tmp_path_factory.mktemp("faulty"), cluster, **fault)
        made.entries(**{EXPERIMENT: EXPERIMENTS[EXPERIMENT] | {"schedule": {"retries": 0}}})
        return made

    with ExitStack() as ended:
        started = {}

        def start(fault: str, made: ClusterInstallation) -> None:
            started[fault] = DagTest(made, EXPERIMENT)
            ended.callback(started[fault].stop)

        start("wrong password", installation(password="guessed"))
        start("wrong secret key", installation(keys=Keys(cluster.object_store.keys.access)))
        start("unreachable master", installation(master=f"spark://127.0.0.1:{CLOSED_PORT}"))
        misnamed = installation()
        misnamed.rewrite(ENVIRONMENT, f"s3://warehouse/{misnamed.catalog}", "s3://warehose/iceberg")
        start("missing bucket", misnamed)
        crowded = installation()
        if mounted(crowded.state):
            ended.callback(subprocess.run, ["umount", "--lazy", crowded.state], check=True)
            start(FULL_DISK, crowded)
            wait_until(lambda: "ingest" in started[FULL_DISK].submitted_stages, seconds=600)
            fill(crowded.state)
        yield {fault: test.ended() for fault, test in started.items()}


def mounted(folder: Path, size: str = "1m") -> bool:
    """Whether an own small file system could be put there."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    return os.name == "posix" and os.geteuid() == 0 and subprocess.run(command, check=False).returncode == 0


def fill(folder: Path) -> None:
    """Leave no byte free."""
    with (folder / "filler").open("wb", buffering=0) as filler:
        try:
            while filler.write(b"x" * 4096):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC, error  # noqa: PT017  what is wanted


@pytest.mark.parametrize("fault", FAULTS)
def test_the_last_line_of_the_log_names_cause_and_remedy(runs: dict[str, DagRun], fault: str) -> None:
    if fault not in runs:
        pytest.skip("only root may mount a small file system")
    run = runs[fault]
    task, cause, remedy = FAULTS[fault]

    assert run.code != 0
    assert run.tasks[task] == "failed", run.tasks
    told = run.last_words(task)
    assert re.search(f"{cause}.*{remedy}", told), told
