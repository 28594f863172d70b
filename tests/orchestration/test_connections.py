"""What a task takes from Airflow's connections."""

from __future__ import annotations

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
