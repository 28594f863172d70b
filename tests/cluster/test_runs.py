"""Two experiments at once on a cluster, by real Airflow: what is stored is what an embedded run stores, wherever it is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.cluster import Cluster, ClusterInstallation
from cluster.experiments import ELSEWHERE, EXPERIMENTS
from cluster.read_by_spark import OUTPUT
from end_to_end.airflow_runs import DagRun, DagTest
from end_to_end.installation import Installation
from exp_platform.config.loading import load_experiment
from exp_platform.stages.graph import STAGES, stages_of
from exp_platform.tables.schemas import TABLES

TOGETHER = ("exp_a", "exp_b")


@pytest.fixture(scope="module")
def installation(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> ClusterInstallation:
    made = ClusterInstallation(tmp_path_factory.mktemp("installation"), cluster)
    made.entries(**{name: EXPERIMENTS[name] for name in TOGETHER})
    return made


@pytest.fixture(scope="module")
def dag_runs(installation: ClusterInstallation) -> Iterator[dict[str, DagRun]]:
    """Both at once."""
    started = {name: DagTest(installation, name) for name in TOGETHER}
    yield {name: test.ended() for name, test in started.items()}
    for test in started.values():
        test.stop()


def test_both_runs_end_green_at_their_first_try(
    installation: ClusterInstallation, dag_runs: dict[str, DagRun]
) -> None:
    with installation.here():
        stages = stages_of(load_experiment("exp_a"))
    assert set(dag_runs["exp_a"].tasks) == {"check", *(stage.name for stage in stages), "ended", "release"}
    for run in dag_runs.values():
        assert run.tasks == dict.fromkeys(run.tasks, "success"), run.log[-4000:]
        assert set(run.tries.values()) == {1}
        assert run.code == 0


def test_the_stages_that_need_spark_ran_on_its_worker(cluster: Cluster, dag_runs: dict[str, DagRun]) -> None:
    ended = {app["name"]: app for app in cluster.spark.applications()}
    for experiment_id in dag_runs:
        for stage in STAGES:
            name = f"{stage.name} {experiment_id}"
            assert (name in ended) == stage.spark_session, sorted(ended)
            if stage.spark_session:
                assert ended[name]["state"] == "FINISHED"
                assert ended[name]["cores"] > 0


def test_content_is_that_of_an_embedded_run(
    installation: ClusterInstallation, dag_runs: dict[str, DagRun], embedded: Installation
) -> None:
    for experiment_id in dag_runs:  # all rows of one although the other was writing
        stored = installation.content(experiment_id, ELSEWHERE)
        assert stored == embedded.content(experiment_id, ELSEWHERE)
    empty = {name for name, rows in installation.content("exp_a").items() if not rows}
    # Nobody asked to be, and no arm is; generated data are read as a whole
    assert empty == {"forgotten_users", "late_days", "outcomes_aside", "outcomes_seen", "ingested_files"}


def test_spark_on_the_worker_reads_what_pyiceberg_reads(
    installation: ClusterInstallation, dag_runs: dict[str, DagRun]
) -> None:
    reading = installation.process(str(Path(__file__).with_name("read_by_spark.py")))
    said = reading.communicate()[0]
    assert reading.returncode == 0, said
    found = json.loads((installation.folder / OUTPUT).read_text())
    assert set(found["locations"]) == {f"s3://warehouse/{installation.catalog}"}
    for name in TABLES:
        assert found["rows"][name] == sorted(repr(row) for row in installation.lying_rows(name)), name


def test_memos_and_charts_are_in_the_bucket(
    installation: ClusterInstallation, dag_runs: dict[str, DagRun]
) -> None:
    stored = installation.cluster.object_store.read("memos")
    for experiment_id, run in dag_runs.items():
        assert json.loads(stored[f"{experiment_id}.json"])["run_id"] == run.xcoms["memo"]["run_id"]
        memo = stored[f"{experiment_id}.md"].decode()
        charts = [path for path in stored if path.startswith(f"{experiment_id}/") and path.endswith(".png")]
        assert len(charts) == 1
        assert stored[f"{experiment_id}.html"].startswith(b"<!doctype html>")
        assert memo.splitlines()[0] == stored[f"{experiment_id}/appendix.md"].decode().splitlines()[0]
        assert all(f"({path})" in memo and stored[path].startswith(b"\x89PNG") for path in charts)
    assert not list(installation.folder.rglob("*.md"))


def test_raw_data_and_tables_are_in_buckets_and_nothing_of_them_is_here(
    installation: ClusterInstallation, dag_runs: dict[str, DagRun]
) -> None:
    raw = installation.cluster.object_store.read("raw")
    assert {path.split("/")[1] for path in raw} >= set(TOGETHER)
    assert not [path for path in installation.folder.rglob("*") if path.suffix in (".parquet", ".avro")]


def test_no_secret_is_written_anywhere(
    installation: ClusterInstallation, dag_runs: dict[str, DagRun], cluster: Cluster
) -> None:
    # State, logs and database of Airflow; Spark's logs and work
    places = [installation.folder, cluster.spark.folder]
    written = {path: path.read_bytes() for place in places for path in place.rglob("*") if path.is_file()}
    for bucket in ("raw", "warehouse", "memos"):
        written |= {
            Path(bucket, name): content for name, content in cluster.object_store.read(bucket).items()
        }
    assert any(path.name == "airflow.db" for path in written)
    assert any(path.name == "stderr" for path in written)  # of an executor
    told = [
        path for path, content in written.items() for secret in cluster.secrets if secret.encode() in content
    ]
    assert told == []


def test_a_forced_rerun_by_the_command_gives_the_same_content(
    installation: ClusterInstallation, dag_runs: dict[str, DagRun]
) -> None:
    before = installation.content()
    decided = {row["experiment_id"]: row["run_id"] for row in installation.rows("decisions")}

    rerun = installation.process("-m", "exp_platform.cli", "run", "exp_a", "--force")
    said = rerun.communicate()[0]

    assert rerun.returncode == 0, said
    assert installation.content() == before
    for name in TABLES:
        assert decided["exp_a"] not in {row.get("run_id") for row in installation.rows(name)}, name
    assert decided["exp_b"] in {row["run_id"] for row in installation.rows("decisions")}
