"""The compose stack, for real: two runs at once, crashes in the middle of stages, down and up. `make test-stack`."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from botocore.exceptions import ClientError
from pyarrow.feather import read_table

from exp_platform.config.environment import load_environment
from stack.running import (
    FIRST,
    ROOT,
    RUNNING,
    SECOND,
    Content,
    Stack,
    address,
    content,
    digest,
    in_order,
    rows,
    same,
    until,
    without_run,
)

pytestmark = RUNNING

EXACT = {"exposures", "outcomes", "unit_days"}  # nothing in them is a sum over users


def test_two_experiments_at_once_both_succeed_and_their_memos_are_on_s3(
    stack: Stack, undisturbed: dict[str, Content]
) -> None:
    memos = stack.objects("memos")
    assert {
        f"{of}{kind}" for of in (FIRST, SECOND) for kind in (".md", ".json", ".html", "/appendix.md")
    } <= memos.keys()
    assert any(key.startswith(f"{FIRST}/") and key.endswith(".png") for key in memos)
    assert all(undisturbed[name]["decisions"][0] == 1 for name in (FIRST, SECOND))


def test_the_embedded_run_of_the_same_experiment_has_the_same_content(
    stack: Stack, undisturbed: dict[str, Content], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = stack.environment
    monkeypatch.setenv("EXP_ENVIRONMENT", "embedded")
    monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path))
    command = [sys.executable, "-m", "exp_platform.cli", "run", FIRST]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    embedded = load_environment("embedded")
    bits = content(embedded, FIRST)
    for name in undisturbed[FIRST].keys() - EXACT:
        ours, theirs = (in_order(rows(environment, name, FIRST)) for environment in (cluster, embedded))
        assert same(ours, theirs), name
    assert {name: bits[name] for name in EXACT} == {name: undisturbed[FIRST][name] for name in EXACT}


def test_spark_on_this_machine_reads_what_pyiceberg_reads(
    stack: Stack, undisturbed: dict[str, Content], tmp_path: Path
) -> None:
    script = (
        "import pyarrow.feather\n"
        "from exp_platform.spark.session import build_spark_session\n"
        "spark = build_spark_session('compare')\n"
        f"for name in {sorted(undisturbed[FIRST])!r}:\n"
        f"    rows = spark.table('iceberg.exp.' + name).where(\"experiment_id = '{FIRST}'\")\n"
        f"    pyarrow.feather.write_feather(rows.toArrow(), '{tmp_path}/' + name)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    read = {name: without_run(read_table(tmp_path / name)) for name in undisturbed[FIRST]}
    assert {name: digest(found) for name, found in read.items()} == undisturbed[FIRST]


def test_what_spark_did_in_stages_that_have_ended_is_on_the_history_server(
    stack: Stack, undisturbed: dict[str, Content]
) -> None:
    """The master forgets its applications with a restart, and a driver's own page ends with it."""
    page = f"{address('SPARK_HISTORY_PORT', 18080)}/api/v1/applications"

    def kept() -> dict[str, str] | None:
        ended = httpx.get(page, params={"status": "completed"}, timeout=30).json()
        found = {app["name"]: app["id"] for app in ended}
        return found if f"ingest {FIRST}" in found else None

    known = until(kept, 60, "the ended stage's events")
    jobs = httpx.get(f"{page}/{known[f'ingest {FIRST}']}/jobs", timeout=60).json()
    assert {job["status"] for job in jobs} == {"SUCCEEDED"}


@pytest.mark.parametrize(
    "service, stage",
    [
        ("spark-worker", "ingest"),
        ("airflow-scheduler", "aggregates"),
        ("minio", "ingest"),
        ("postgres", "aggregates"),
    ],
)
def test_a_crash_in_the_middle_of_a_stage_costs_a_retry_and_changes_no_table(
    stack: Stack, undisturbed: dict[str, Content], service: str, stage: str
) -> None:
    containers = stack.containers(service)
    (run,) = stack.start(FIRST)
    stack.wait_for_stage(run, stage)
    (container,) = stack.busy_worker(containers) if service == "spark-worker" else containers
    restarts = stack.restarts(container)
    stack.kill(container)
    killed = datetime.now(UTC)
    until(lambda: stack.restarts(container) > restarts, 60, f"the restart of {service}")
    until(lambda: stack.healthy(container), 180, f"the health of {service}")
    state = stack.end(run)
    assert stack.ended_at(run, stage) > killed, f"{stage} had ended before {service} was killed"
    if state == "failed":
        (run,) = stack.start(FIRST)
        assert stack.end(run) == "success"
    for name in (FIRST, SECOND):
        assert content(stack.environment, name) == undisturbed[name], name


def test_down_and_up_keeps_tables_memos_logs_and_history(
    stack: Stack, undisturbed: dict[str, Content]
) -> None:
    objects = {bucket: stack.objects(bucket) for bucket in ("raw", "warehouse", "memos", "logs")}
    history = {name: stack.history(name) for name in (FIRST, SECOND)}
    stack.compose("down")
    stack.up()
    assert {bucket: stack.objects(bucket) for bucket in objects} == objects
    assert {name: stack.history(name) for name in history} == history
    assert {name: content(stack.environment, name) for name in undisturbed} == undisturbed


def test_a_new_file_is_a_dag_within_a_minute(stack: Stack) -> None:
    spec = ROOT / "configs" / "experiments" / "stack_test_new.yaml"
    text = (ROOT / "configs" / "experiments" / "cookie_cats.yaml").read_text()
    spec.write_text(text.replace("id: cookie_cats", "id: stack_test_new", 1))
    try:
        until(lambda: stack.knows("exp__stack_test_new"), 90, "the new experiment's DAG")
    finally:
        spec.unlink()


@pytest.mark.parametrize("bucket", ["raw", "warehouse", "memos", "logs"])
def test_the_platform_s_account_works_in_its_buckets(stack: Stack, bucket: str) -> None:
    stack.s3.put_object(Bucket=bucket, Key="test-stack", Body=b"x")
    stack.s3.delete_object(Bucket=bucket, Key="test-stack")


def test_the_platform_s_account_makes_no_bucket(stack: Stack) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        stack.s3.create_bucket(Bucket="another")
