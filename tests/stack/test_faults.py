"""A stack that is set up wrongly or whose disk is full: within a minute the log names the cause and the remedy.

Each fault is made in the running stack, one run meets it, and after the remedy a run leaves what it always leaves.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from stack.running import FIRST, RUNNING, Content, Stack, content, secret_file

pytestmark = RUNNING

STATE = "/opt/exp_platform/data"
SCHEDULER = "airflow-scheduler"


@contextmanager
def wrong_secret_key(stack: Stack, folder: Path) -> Iterator[None]:
    (container,) = stack.containers(SCHEDULER)
    variables = json.loads(stack.inspect(container, "{{json .Config.Env}}"))
    (said,) = (v.partition("=")[2] for v in variables if v.startswith("AIRFLOW_CONN_AWS_DEFAULT="))
    extra = {key: value for key, value in json.loads(said)["extra"].items() if key != "profile_name"}
    keys = {"login": secret_file("minio_root_user"), "password": "guessed"}
    connection = json.dumps(json.loads(said) | keys | {"extra": extra})
    with stack.otherwise(SCHEDULER, folder, environment={"AIRFLOW_CONN_AWS_DEFAULT": connection}):
        yield


@contextmanager
def wrong_password(stack: Stack, folder: Path) -> Iterator[None]:
    with stack.otherwise(SCHEDULER, folder, environment={"EXP_CATALOG_PASSWORD": "guessed"}):
        yield


@contextmanager
def missing_bucket(stack: Stack, folder: Path) -> Iterator[None]:
    store = boto3.resource(
        "s3",
        aws_access_key_id=secret_file("minio_root_user"),
        aws_secret_access_key=secret_file("minio_root_password"),
        config=Config(s3={"addressing_style": "path"}),
    )
    store.Bucket("raw").objects.delete()
    store.Bucket("raw").delete()
    try:
        yield
    finally:
        stack.compose("run", "--rm", "minio-init")


@contextmanager
def unreachable_master(stack: Stack, folder: Path) -> Iterator[None]:
    stack.compose("stop", "spark-master")
    try:
        yield
    finally:
        stack.compose("start", "spark-master")
        stack.ready("spark-master")


@contextmanager
def full_disk(stack: Stack, folder: Path) -> Iterator[None]:
    small = {"type": "tmpfs", "target": STATE, "tmpfs": {"size": 1_000_000}}
    with stack.otherwise(SCHEDULER, folder, volumes=[small]) as container:
        # A tmpfs is root's until all may write to it
        as_root = ["docker", "exec", "--user", "root", container]
        subprocess.run([*as_root, "chmod", "777", STATE], check=True)
        fill = [*as_root, "dd", "if=/dev/zero", f"of={STATE}/filler"]
        assert "No space left" in subprocess.run(fill, capture_output=True, text=True).stderr
        yield


Fault = Callable[[Stack, Path], AbstractContextManager[None]]
FAULTS: dict[Fault, tuple[str, str]] = {  # -> the cause and the remedy that the log must end with
    wrong_secret_key: (
        "the object store (denied access|refused the credentials)",
        "correct the connection aws_default",
    ),
    wrong_password: (
        "the database refused the password of user",
        "correct the variable that password_env names",
    ),
    missing_bucket: ("the object store has no such bucket", "create it, or correct raw_dir"),
    unreachable_master: (
        "the Spark master spark://spark-master:7077 does not answer",
        "start it, or correct the Airflow connection 'spark_default'",
    ),
    full_disk: ("the disk is full", "free some space or enlarge the volume"),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_told_within_a_minute_and_after_the_remedy_a_run_is_as_ever(
    stack: Stack, undisturbed: dict[str, Content], tmp_path: Path, fault: Fault
) -> None:
    with fault(stack, tmp_path):
        (run,) = stack.start(FIRST)
        task, log = stack.first_failure(run)
    if stack.end(run) == "failed":  # there are few retries, and they come soon
        (run,) = stack.start(FIRST)
        assert stack.end(run) == "success"
    assert content(stack.environment, FIRST) == undisturbed[FIRST]

    cause, remedy = FAULTS[fault]
    last_lines = "\n".join([line for line in log.splitlines() if line.strip()][-5:])
    assert re.search(f"{cause}.*{remedy}", last_lines), log
    assert task["duration"] < 60
