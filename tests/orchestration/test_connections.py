"""What a task takes from Airflow's connections."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from exp_platform.config.environment import Environment, load_environment, project_root

STACK = yaml.safe_load((project_root() / "docker-compose.yml").read_text())
KEYS = "[default]\naws_access_key_id = of-the-file\naws_secret_access_key = secret-of-the-file\n"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """The compose stack's environment and connection, with a credentials file where its services have one."""
    given = STACK["x-airflow"]["environment"]
    (tmp_path / "aws_credentials").write_text(KEYS)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws_credentials"))
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", given["AIRFLOW_CONN_AWS_DEFAULT"])
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "REGION", "ENDPOINT_URL"):
        monkeypatch.setenv(f"AWS_{name}", "")  # given back after the test
    return load_environment("cluster")


def test_the_keys_of_the_profile_that_the_connection_names_are_handed_to_the_tasks(
    cluster: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spark's workers have no such file."""
    from exp_platform.orchestration.connections import use_object_store

    monkeypatch.setenv("EXP_CATALOG_PASSWORD", "x")
    use_object_store(cluster)
    properties = cluster.pyiceberg_properties()
    assert properties["s3.access-key-id"] == "of-the-file"
    assert properties["s3.secret-access-key"] == "secret-of-the-file"
    assert properties["s3.endpoint"] == "http://minio:9000"


def test_the_databases_of_a_source_are_handed_to_the_task_as_exp_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from exp_platform.config.sources import SqlQuery, TableSource
    from exp_platform.errors import ConfigError
    from exp_platform.orchestration.connections import use_databases
    from exp_platform.stages.sql_connections import Connection, connection_of
    from stages.raw_data import events_experiment

    experiment = events_experiment(Path("unused"))
    of_lake = TableSource("sql", "lake", {}, query=SqlQuery(table="exposures"))
    experiment = replace(experiment, source=replace(experiment.source, exposures=of_lake))
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", "")  # given back after the test
    with pytest.raises(
        ConfigError, match="the Airflow connection 'lake' does not exist, so there is no database"
    ):
        use_databases(experiment)
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", "clickhouse://me:p%40ss@db:8443/shop?secure=true")
    use_databases(experiment)
    assert connection_of("lake", "x") == Connection(
        "lake", "clickhouse", "db", 8443, "me", "p@ss", "shop", {"secure": "true"}
    )
