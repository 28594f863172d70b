"""The environment files and connections on the page about deployment work: they are taken from the page and from deploy/."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from exp_platform.config.environment import Environment, load_environment, project_root
from exp_platform.spark.submit import driver_properties, session_properties, submit_properties
from orchestration import airflow_home  # noqa: F401  first: Airflow reads its settings when it is imported

PAGE = (Path(__file__).parents[1] / "docs" / "11_deployment" / "moving_on.md").read_text()
BLOCKS = re.findall(r"```yaml\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
KUBERNETES = Path(__file__).parents[1] / "deploy" / "kubernetes"
ENVIRONMENTS = {
    Path(name).stem: text for name, text in BLOCKS if name.startswith("configs/environments/")
} | {"kubernetes": (KUBERNETES / "environment.yaml").read_text()}
CONNECTIONS = {
    section.partition("\n")[0]: dict(re.findall(r"^export (AIRFLOW_CONN_\w+)='(.*)'$", section, re.MULTILINE))
    for section in PAGE.split("\n## ")[1:]
}
CONNECTIONS["Spark on Kubernetes"] = {
    name: text
    for secret in yaml.safe_load_all((KUBERNETES / "secrets.yaml").read_text())
    for name, text in secret["stringData"].items()
    if name.startswith("AIRFLOW_CONN_")
}
SECRETS = {
    "EXP_CATALOG_PASSWORD": "secret-of-the-catalog",
    "EXP_LEASES_PASSWORD": "secret-of-the-leases",
    "EXP_CATALOG_CREDENTIAL": "client:secret-of-the-client",
}
REQUIRED = {
    "wide": set(),
    "aws": {"EXP_CATALOG_HOST"},
    "rest_catalog": {"EXP_CATALOG_URI", "EXP_LEASES_HOST"},
    "yarn": {"EXP_CATALOG_HOST"},
    "kubernetes": {
        "EXP_LAKE",
        "EXP_CATALOG_HOST",
        "EXP_SPARK_IMAGE",
        "EXP_POD_IP",
        "EXP_POD_NAME",
        "EXP_POD_NAMESPACE",
    },
}
VALUES = {
    "EXP_CATALOG_HOST": "db:5432",
    "EXP_CATALOG_URI": "https://catalog.example/api",
    "EXP_LEASES_HOST": "db:5432",
    "EXP_SPARK_IMAGE": "registry/executor:1",
    "EXP_LAKE": "s3://lake",
    "EXP_POD_IP": "10.0.0.7",
    "EXP_POD_NAME": "exp-scheduler-0",
    "EXP_POD_NAMESPACE": "airflow",
}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine whose configs are those of the page, and that knows no key of any store."""
    folder = tmp_path / "configs" / "environments"
    folder.mkdir(parents=True)
    for name, text in ENVIRONMENTS.items():
        (folder / f"{name}.yaml").write_text(text)
    for name in [
        *VALUES,
        *SECRETS,
        *re.findall(r"\$\{(\w+)", PAGE + ENVIRONMENTS["kubernetes"]),
        *re.findall(r"\bAWS_\w+", _code()),
    ]:
        monkeypatch.delenv(name, raising=False)
    jars = tmp_path / "jars"
    jars.mkdir()
    (jars / "iceberg-spark-runtime-0.jar").touch()
    for name, value in {
        **SECRETS,
        "EXP_CONFIG_DIR": tmp_path / "configs",
        "EXP_STATE_DIR": tmp_path / "state",
        "EXP_JARS_DIR": jars,
    }.items():
        monkeypatch.setenv(name, str(value))


def _code() -> str:
    """What is written about object stores, as far as it names variables."""
    return (project_root() / "include" / "exp_platform" / "config" / "environment.py").read_text()


@pytest.fixture(params=REQUIRED)
def environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Environment:
    for name in REQUIRED[request.param]:
        monkeypatch.setenv(name, VALUES[name])
    return load_environment(request.param)


def _loaded(name: str, monkeypatch: pytest.MonkeyPatch) -> Environment:
    for variable in REQUIRED[name]:
        monkeypatch.setenv(variable, VALUES[variable])
    return load_environment(name)


def test_every_environment_of_the_page_is_tested() -> None:
    assert set(ENVIRONMENTS) == set(REQUIRED)


def test_it_loads_with_the_variables_it_requires_and_opens_one_catalog_for_both(
    environment: Environment,
) -> None:
    pyiceberg, spark = environment.pyiceberg_properties(), environment.spark_properties()
    assert pyiceberg["warehouse"] == spark["spark.sql.catalog.iceberg.warehouse"] == environment.warehouse
    assert spark["spark.sql.catalog.iceberg.io-impl"] == "org.apache.iceberg.aws.s3.S3FileIO"
    assert environment.uses_s3


def test_no_secret_of_it_is_written_into_a_file(environment: Environment) -> None:
    text = submit_properties(environment, session=True).read_text()
    assert not [value for value in SECRETS.values() if value in text]


def test_what_its_spark_properties_say_is_what_spark_gets(environment: Environment) -> None:
    given = driver_properties(environment) | session_properties(environment)
    assert environment.spark.properties.items() <= given.items()
    assert environment.spark.driver_memory == given["spark.driver.memory"]


def test_several_machines_may_start_runs_of_it(environment: Environment) -> None:
    assert environment.lease_database.sqlalchemy_uri.startswith("postgresql+psycopg2://")


# ---------------------------------------------------------------- step by step


def test_on_amazon_no_key_and_no_address_is_given_to_anybody(monkeypatch) -> None:
    from exp_platform.orchestration.connections import use_object_store

    aws = _loaded("aws", monkeypatch)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", CONNECTIONS["S3 proper"]["AIRFLOW_CONN_AWS_DEFAULT"])
    monkeypatch.setenv("AWS_REGION", "")  # given back after the test
    use_object_store(aws)
    for properties in (aws.pyiceberg_properties(), aws.spark_properties()):
        found = {
            key.split("iceberg.")[-1]: v for key, v in properties.items() if "s3." in key or "region" in key
        }
        assert found == {"s3.region": "eu-central-1", "client.region": "eu-central-1"}


def test_a_rest_catalog_is_given_its_credential_and_nothing_empty(monkeypatch) -> None:
    rest = _loaded("rest_catalog", monkeypatch)
    assert rest.pyiceberg_properties() == {
        "type": "rest",
        "uri": "https://catalog.example/api",
        "warehouse": "s3://example-experiments/warehouse",
        "credential": "client:secret-of-the-client",
    }
    assert session_properties(rest)["spark.sql.catalog.iceberg.type"] == "rest"


@pytest.mark.parametrize(
    ("name", "section", "master"),
    [
        ("wide", "More workers", "spark://spark-master:7077"),
        ("yarn", "Spark on YARN, or EMR", "yarn"),
        ("kubernetes", "Spark on Kubernetes", "k8s://https://kubernetes.default.svc:443"),
    ],
)
def test_stages_are_submitted_to_the_connections_master(
    name: str, section: str, master: str, monkeypatch
) -> None:
    """The command line by Airflow's own hook, and the environment that the driver then loads."""
    from airflow.providers.apache.spark.hooks import spark_submit

    from exp_platform.orchestration.submit import Submit

    monkeypatch.setattr(spark_submit, "kube_client", object(), raising=False)  # as if installed
    monkeypatch.setattr("exp_platform.orchestration.submit.check_master_answers", lambda master, _: None)
    monkeypatch.setenv("EXP_SPARK_MASTER", "")  # given back after the test
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", CONNECTIONS[section]["AIRFLOW_CONN_SPARK_DEFAULT"])
    _loaded(name, monkeypatch)
    submit = Submit("spark_default", name, "a stage", ["--stage", "ingest"], session=True)
    command = submit._hook._build_spark_submit_command("jobs/stage.py")
    assert command[command.index("--master") + 1] == master
    assert command[command.index("--deploy-mode") + 1] == "client"
    assert load_environment(name).spark.master == master
    assert not load_environment(name).spark.local


def test_executors_on_yarn_have_a_python_of_their_own_and_on_kubernetes_the_images(monkeypatch) -> None:
    import sys

    for name, python in (("yarn", "./python/bin/python"), ("kubernetes", sys.executable)):
        lines = submit_properties(_loaded(name, monkeypatch), session=True).read_text().splitlines()
        assert f"spark.pyspark.python={python}" in lines
        assert f"spark.pyspark.driver.python={sys.executable}" in lines
        assert not [line for line in lines if line.startswith("spark.driver.bindAddress")]


def test_executors_on_kubernetes_find_their_driver_and_belong_to_its_pod(monkeypatch) -> None:
    lines = submit_properties(_loaded("kubernetes", monkeypatch), session=True).read_text().splitlines()
    assert {
        "spark.driver.host=10.0.0.7",
        "spark.kubernetes.driver.pod.name=exp-scheduler-0",
        "spark.kubernetes.namespace=airflow",
    } <= set(lines)


def test_the_connections_of_the_page_are_json() -> None:
    found = [text for section in CONNECTIONS.values() for text in section.values()]
    assert len(found) == 5
    assert {json.loads(text)["conn_type"] for text in found} == {"spark", "aws"}
