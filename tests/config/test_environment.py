"""Environment files: variables in them, and the properties they become for Spark and PyIceberg."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from exp_platform.config.environment import Environment, load_environment
from exp_platform.errors import ConfigError
from exp_platform.spark.submit import (
    ARCHIVES,
    driver_properties,
    session_properties,
    submit_environment,
    submit_properties,
)

SECRETS = {
    "AWS_ACCESS_KEY_ID": "key-of-the-store",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-store",
    "AWS_SESSION_TOKEN": "token-of-the-store",
    "EXP_CATALOG_PASSWORD": "p@ss/word",
    "EXP_SPARK_SECRET": "secret-of-spark",
}
VARIABLES = (
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "EXP_SPARK_MASTER",
)


@pytest.fixture(autouse=True)
def _variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*SECRETS, *VARIABLES, "EXP_CATALOG_HOST", "EXP_CATALOG_USER", "EXP_CATALOG_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Environment:
    """The shipped cluster environment with keys, as a task of Airflow sees it."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store:9000")
    monkeypatch.setenv("EXP_CATALOG_HOST", "db:5433")
    monkeypatch.setenv("EXP_SPARK_MASTER", "spark://master:7077")
    return load_environment("cluster")


def write(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (folder / "environments").mkdir(parents=True)
    (folder / "environments" / "here.yaml").write_text(f"name: here\nruns_dir: runs\n{text}")
    monkeypatch.setenv("EXP_CONFIG_DIR", str(folder))


STORE = {
    "s3.access-key-id": "key-of-the-store",
    "s3.secret-access-key": "secret-of-the-store",
    "s3.session-token": "token-of-the-store",
    "s3.endpoint": "http://store:9000",
    "s3.region": "eu-central-1",
    "client.region": "eu-central-1",
    "s3.path-style-access": "true",
}


def test_pyiceberg_reaches_catalog_and_store(cluster: Environment) -> None:
    assert cluster.pyiceberg_properties() == {
        "type": "sql",
        "pool_pre_ping": "true",
        "uri": "postgresql+psycopg2://iceberg:p%40ss%2Fword@db:5433/iceberg?connect_timeout=10",
        "warehouse": "s3://warehouse/iceberg",
        **STORE,
    }


def test_spark_opens_the_same_catalog_and_store(cluster: Environment) -> None:
    properties = cluster.spark_properties()
    found = {
        key.removeprefix("spark.sql.catalog.iceberg."): value
        for key, value in properties.items()
        if key.startswith("spark.sql.catalog.iceberg.")
    }
    assert found == {
        "type": "jdbc",
        "jdbc.schema-version": "V1",
        "uri": "jdbc:postgresql://db:5433/iceberg",
        "jdbc.user": "iceberg",
        "jdbc.password": "p@ss/word",
        "warehouse": "s3://warehouse/iceberg",
        "cache-enabled": "false",
        "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        **STORE,
    }


def test_no_secret_is_written_into_a_file(cluster: Environment) -> None:
    text = submit_properties(cluster, session=True).read_text()
    assert "spark.sql.catalog.iceberg.uri=jdbc:postgresql://db:5433/iceberg" in text
    assert not [name for name, value in SECRETS.items() if value in text]
    in_session = session_properties(cluster).values()
    assert all(value in in_session for value in SECRETS.values())


def test_driver_and_workers_must_know_the_secret(cluster: Environment) -> None:
    properties = session_properties(cluster)
    assert properties["spark.authenticate"] == "true"
    assert properties["spark.authenticate.secret"] == "secret-of-spark"


def test_a_local_spark_needs_no_secret(cluster: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXP_SPARK_MASTER")
    monkeypatch.delenv("EXP_SPARK_SECRET")
    assert not [key for key in session_properties(load_environment("cluster")) if "authenticate" in key]


def test_a_cluster_s_secret_that_is_nowhere_is_told_before_any_driver_starts(
    cluster: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EXP_SPARK_SECRET")
    with pytest.raises(
        ConfigError, match=r"^spark.secret_env: the variable EXP_SPARK_SECRET is not set, nor is"
    ):
        session_properties(cluster)


def test_a_cluster_keeps_spark_s_events_in_a_folder_that_is_there(cluster: Environment) -> None:
    properties = session_properties(cluster)
    cluster.prepare()
    assert properties["spark.eventLog.enabled"] == "true"
    assert properties["spark.eventLog.dir"] == f"file://{cluster.state_dir}/spark-events"
    assert (cluster.state_dir / "spark-events").is_dir()


def test_the_embedded_environment_keeps_no_events() -> None:
    assert not [key for key in session_properties(load_environment("embedded")) if "eventLog" in key]


def test_events_may_lie_in_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = "raw_dir: raw\nwarehouse: w\nmemos_dir: m\ncatalog: {kind: sqlite, uri: c.db}\n"
    write(tmp_path, monkeypatch, f"{catalog}spark: {{event_log_dir: 's3a://logs/spark'}}")
    assert load_environment("here").spark.event_log["spark.eventLog.dir"] == "s3a://logs/spark"


def test_workers_have_the_jars_where_the_driver_has_them(cluster: Environment) -> None:
    properties = session_properties(cluster)
    assert "iceberg-spark-runtime" in properties["spark.executor.extraClassPath"]
    assert "spark.driver.host" not in properties  # workers must find the driver


def test_what_only_a_cluster_needs_comes_last_on_the_class_path(
    cluster: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the start-up archive of a driver without it, whose class path must be a beginning of the driver's, still fits."""
    for name in ("iceberg-spark-runtime-1.jar", "cluster/aws-1.jar", "cluster/postgresql-1.jar"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    monkeypatch.setenv("EXP_JARS_DIR", str(tmp_path))
    monkeypatch.delenv("SPARK_DIST_CLASSPATH", raising=False)
    always, cluster_only = (
        f"{tmp_path}/iceberg-spark-runtime-1.jar",
        f"{tmp_path}/cluster/aws-1.jar:{tmp_path}/cluster/postgresql-1.jar",
    )

    assert driver_properties(cluster)["spark.driver.extraClassPath"] == always
    assert submit_environment()["SPARK_DIST_CLASSPATH"] == cluster_only
    assert session_properties(cluster)["spark.executor.extraClassPath"] == f"{always}:{cluster_only}"


def test_a_driver_without_a_session_maps_an_archive_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("iceberg-spark-runtime-1.jar", *ARCHIVES):
        (tmp_path / name).touch()
    monkeypatch.setenv("EXP_JARS_DIR", str(tmp_path))
    environment = load_environment("embedded")
    for session, archive in ((True, "cds-driver.jsa"), (False, "cds-bare.jsa")):
        given = driver_properties(environment, session=session)["spark.driver.extraJavaOptions"]
        assert re.findall(r"SharedArchiveFile=\S+/(\S+)", given) == [archive]
        text = submit_properties(environment, session=session).read_text()
        assert archive in text
        assert ("spark.driver.memory=512m" in text) is not session


def test_without_keys_the_clients_look_for_credentials_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXP_CATALOG_PASSWORD", "x")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    properties = load_environment("cluster").pyiceberg_properties()
    assert {key for key in properties if "s3." in key or "region" in key} == {"s3.region", "client.region"}


def test_a_rest_catalog_is_the_same_for_both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CATALOG_CREDENTIAL", "id:of-the-catalog")
    write(
        tmp_path / "configs",
        monkeypatch,
        "raw_dir: s3://lake/raw\nwarehouse: s3://lake/warehouse\nmemos_dir: s3://lake/memos\n"
        "catalog:\n  kind: rest\n  uri: https://catalog.example/api\n"
        "  properties: {credential: '${CATALOG_CREDENTIAL}', scope: '${CATALOG_SCOPE:-}'}\n"
        "leases: {uri: 'postgresql://db/airflow', user: leases}\n",
    )
    environment = load_environment("here")
    assert environment.pyiceberg_properties() == {
        "type": "rest",
        "uri": "https://catalog.example/api",
        "warehouse": "s3://lake/warehouse",
        "credential": "id:of-the-catalog",
    }
    prefix = "spark.sql.catalog.iceberg."
    spark = environment.spark_properties()
    assert (spark[f"{prefix}type"], spark[f"{prefix}uri"]) == ("rest", "https://catalog.example/api")
    assert spark[f"{prefix}credential"] == "id:of-the-catalog"
    assert environment.lease_database.sqlalchemy_uri == (
        "postgresql+psycopg2://leases@db/airflow?connect_timeout=10"
    )
    assert "id:of-the-catalog" not in submit_properties(environment, session=True).read_text()


def test_a_rest_catalog_without_a_database_keeps_its_leases_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(
        tmp_path / "configs",
        monkeypatch,
        "raw_dir: raw\nwarehouse: s3://lake/warehouse\nmemos_dir: memos\n"
        "catalog: {kind: rest, uri: 'https://catalog.example'}\n",
    )
    environment = load_environment("here")
    assert environment.lease_database.uri == str(tmp_path / "state" / "leases.db")


def test_a_variable_that_is_not_set_is_named_with_file_and_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(tmp_path / "configs", monkeypatch, "raw_dir: raw\nspark: {properties: {spark.x: '${NO_SUCH}'}}\n")
    with pytest.raises(ConfigError, match=r"here\.yaml: spark: properties: spark\.x: .*NO_SUCH.*export"):
        load_environment("here")


def test_a_password_is_never_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="EXP_CATALOG_PASSWORD is not set"):
        load_environment("cluster").pyiceberg_properties()


@pytest.mark.parametrize("name", ["100%20", "%2e%2e", "a b'c\"d[e];&=+", "ünï"])
def test_a_database_is_the_file_that_its_path_says(tmp_path: Path, monkeypatch, name: str) -> None:
    """Not the one that a URL of these letters would mean: SQLite itself says what it has opened."""
    from sqlalchemy import create_engine, text

    monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path / name))
    environment = load_environment("embedded")
    environment.prepare()
    engine = create_engine(environment.catalog.sqlalchemy_uri)
    with engine.connect() as connection:
        opened = connection.execute(text("PRAGMA database_list")).one()[2]
    engine.dispose()
    assert opened == str(tmp_path / name / "catalog.db")
    assert environment.pyiceberg_properties()["warehouse"] == f"file://{tmp_path / name}/warehouse"
    # Spark's driver takes a URI of SQLite, where the standard library's parser is the judge.
    jdbc = environment.spark_properties()["spark.sql.catalog.iceberg.uri"].removeprefix("jdbc:sqlite:")
    assert unquote(urlsplit(jdbc).path) == str(tmp_path / name / "catalog.db")


@pytest.mark.parametrize("name", ["hash#x", "quest?x", "new\nline"])
def test_a_folder_that_libraries_cannot_name_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch, name: str
) -> None:
    monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path / name))
    with pytest.raises(
        ConfigError, match="means something else in a URL; set EXP_STATE_DIR to a folder without"
    ):
        load_environment("embedded")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["s3://lake/a#b", "/data/what?", "file:///data/a#b"])
def test_a_warehouse_that_libraries_cannot_name_is_refused(tmp_path: Path, monkeypatch, place: str) -> None:
    text = f"raw_dir: raw\nmemos_dir: memos\nwarehouse: '{place}'\ncatalog: {{kind: sqlite, uri: c.db}}\n"
    write(tmp_path, monkeypatch, text)
    with pytest.raises(ConfigError, match=r"here\.yaml: warehouse: found .*name a folder without #"):
        load_environment("here")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: here\nname: here\n", r"here\.yaml:2: name: found this key twice; a key may stand once"),
        (
            "spark: {shuffle_partitions: 010}\n",
            r"here\.yaml:1: spark\.shuffle_partitions: found 010; YAML 1\.1 reads it as 8",
        ),
        ("name: !!int abc\n", r"here\.yaml:1: name: found the tag !!int"),
        ("name: " + "[" * 100_000, r"here\.yaml: cannot be read: lists and mappings more than 20 deep"),
        ("- a\n", r"here\.yaml: found list, allowed is a mapping"),
    ],
)
def test_an_environment_has_the_limits_and_traps_of_a_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments" / "here.yaml").write_text(text)
    monkeypatch.setenv("EXP_CONFIG_DIR", str(tmp_path))
    with pytest.raises(ConfigError, match=told):
        load_environment("here")


def test_further_catalogs_are_opened_by_their_names_with_the_same_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = "raw_dir: raw\nwarehouse: warehouse\nmemos_dir: memos\ncatalog: {kind: sqlite, uri: own.db}\n"
    crm = "crm: {kind: sqlite, uri: crm.db}"
    rest = "sales: {kind: rest, uri: 'http://sales', properties: {warehouse: s3://sales, token: ''}}"
    write(tmp_path / "configs", monkeypatch, f"{own}catalogs: {{{crm}, {rest}}}\n")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    environment = load_environment("here")
    region = {"s3.region": "eu-central-1", "client.region": "eu-central-1"}
    place = {"type": "rest", "uri": "http://sales", "warehouse": "s3://sales"}
    assert environment.pyiceberg_properties("sales") == {**place, **region}
    assert environment.catalogs["crm"].uri == str(tmp_path / "state" / "crm.db")

    (tmp_path / "configs" / "environments" / "here.yaml").write_text(
        f"name: here\nruns_dir: runs\n{own}catalogs: {{iceberg: {{kind: sqlite, uri: x.db}}}}\n"
    )
    with pytest.raises(
        ConfigError, match=r"catalogs\.iceberg: allowed are names of a-z, 0-9 and _, other than iceberg"
    ):
        load_environment("here")
