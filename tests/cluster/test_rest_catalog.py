"""A REST catalog in the place of the SQL one: a run, read back by PyIceberg and by Spark."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cluster.cluster import Cluster
from cluster.experiments import ELSEWHERE, EXPERIMENTS
from cluster.object_store import REGION, TABLE_BUCKET
from end_to_end.installation import Installation
from exp_platform.doctor.examine import examine
from exp_platform.results.reader import Results
from exp_platform.tables.schemas import TABLES
from exp_platform.tables.views import VIEWS

EXPERIMENT = "exp_b"
ENVIRONMENT = {
    "name": "rest",
    "raw_dir": "s3://raw",
    "warehouse": f"s3://{TABLE_BUCKET}",
    "memos_dir": "memos",
    "runs_dir": "runs",
    "catalog": {
        "kind": "rest",
        "uri": "${EXP_CATALOG_URI}",
        "properties": {
            "credential": "${EXP_CATALOG_CREDENTIAL}",
            "oauth2-server-uri": "${EXP_CATALOG_URI}/v1/oauth/tokens",
            "view-endpoints-supported": "true",  # it has them, and lists no endpoint at all
        },
    },
    "spark": {"master": "local[*]", "driver_memory": "1g"},
}


class RestInstallation(Installation):
    """An installation whose catalog is that of the object store itself; Spark is this machine's own."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        super().__init__(folder)
        self.object_store = cluster.object_store
        (self.configs / "environments" / "rest.yaml").write_text(yaml.safe_dump(ENVIRONMENT))

    @property
    def variables(self) -> dict[str, str]:
        store = self.object_store
        return super().variables | {
            "EXP_ENVIRONMENT": "rest",
            "EXP_CATALOG_URI": store.rest_catalog,
            "EXP_CATALOG_CREDENTIAL": f"{store.admin.access}:{store.admin.secret}",
            "AWS_ENDPOINT_URL": store.endpoint,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": store.admin.access,
            "AWS_SECRET_ACCESS_KEY": store.admin.secret,
        }


@pytest.fixture(scope="module")
def installation(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> RestInstallation:
    """After a run and a forced rerun."""
    made = RestInstallation(tmp_path_factory.mktemp("rest"), cluster)
    made.entries(**{EXPERIMENT: EXPERIMENTS[EXPERIMENT]})
    made.run(EXPERIMENT)
    made.run(EXPERIMENT, force=True)
    return made


def test_content_is_that_of_an_embedded_run(installation: RestInstallation, embedded: Installation) -> None:
    assert installation.content(EXPERIMENT, ELSEWHERE) == embedded.content(EXPERIMENT, ELSEWHERE)


def test_no_secret_is_written_here(installation: RestInstallation) -> None:
    secret = installation.object_store.admin.secret.encode()
    written = installation.files()
    assert any(path.endswith("run.json") for path in written)
    assert [path for path, content in written.items() if secret in content] == []


def test_spark_reads_what_pyiceberg_reads(installation: RestInstallation) -> None:
    from exp_platform.spark.session import build_spark_session

    with installation.here():
        spark = build_spark_session("rest")
        for name in TABLES:
            found = spark.table(f"iceberg.exp.{name}").toArrow().to_pylist()
            assert sorted(map(repr, found)) == sorted(map(repr, installation.lying_rows(name))), name


def test_spark_reads_the_views_which_hold_the_rows_that_count(installation: RestInstallation) -> None:
    from exp_platform.spark.session import build_spark_session

    with installation.here():
        spark, results = build_spark_session("rest"), Results()
        everybody = [row["experiment_id"] for row in results.experiments()]  # other tests share the service
        for view, method in VIEWS.items():
            counted = [row.estimate for id in everybody for row in results.of_method(method, id)]
            found = [row.estimate for row in spark.table(f"iceberg.exp.{view}").collect()]
            assert sorted(map(repr, found)) == sorted(map(repr, counted)), view
        assert spark.table("iceberg.exp.analysis_results_ab").count() > 0
        (told,) = [finding for finding in examine() if finding.check == "views"]
        assert told.found == f"{len(VIEWS)} of analysis_results, one per method"
