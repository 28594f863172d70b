"""The cluster mode as plain processes, Postgres, an S3 server, a Spark master and a worker, and installations that use it."""

from __future__ import annotations

import json
import secrets
from contextlib import ExitStack
from pathlib import Path

from cluster.object_store import REGION, Keys, ObjectStore
from cluster.postgres import Postgres
from cluster.spark import Spark
from end_to_end.installation import Installation

USER = "exp_platform"
ENVIRONMENT = "cluster"


class Cluster:
    """All servers, started; `close` ends them whatever state they are in."""

    def __init__(self, folder: Path) -> None:
        self.password = secrets.token_urlsafe(16)
        self.spark_secret = secrets.token_urlsafe(16)
        with ExitStack() as started:
            self.postgres = Postgres()
            started.callback(self.postgres.close)
            self.postgres.server.start()
            self.postgres.make_user(USER, self.password)
            self.object_store = ObjectStore(folder / "object_store")
            started.callback(self.object_store.server.kill)
            self.object_store.start()
            self.spark = Spark(folder / "spark", self.spark_secret)
            started.callback(self.spark.close)
            self.spark.start()
            self.close = started.pop_all().close

    @property
    def secrets(self) -> set[str]:
        """What must be written nowhere."""
        return {self.password, self.spark_secret, self.object_store.keys.secret}


class ClusterInstallation(Installation):
    """An installation with a catalog and a warehouse of its own on the cluster; where a test says so, a faulty one."""

    def __init__(
        self,
        folder: Path,
        cluster: Cluster,
        *,
        keys: Keys | None = None,
        password: str | None = None,
        master: str | None = None,
    ) -> None:
        super().__init__(folder)
        self.cluster = cluster
        self.keys = keys or cluster.object_store.keys
        self.password = password or cluster.password
        self.master = master or cluster.spark.address
        self.catalog = f"catalog_{secrets.token_hex(4)}"
        cluster.postgres.make_database(self.catalog, USER)
        self.rewrite(ENVIRONMENT, "s3://warehouse/iceberg", f"s3://warehouse/{self.catalog}")
        # The worker has two for two jobs
        self.rewrite(ENVIRONMENT, 'spark.cores.max: "2"', 'spark.cores.max: "1"')

    @property
    def variables(self) -> dict[str, str]:
        """What a person's own shell has for the command `exp`."""
        return self._common | {
            "EXP_SPARK_MASTER": self.master,
            "AWS_ENDPOINT_URL": self.cluster.object_store.endpoint,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": self.keys.access,
            "AWS_SECRET_ACCESS_KEY": self.keys.secret,
        }

    @property
    def variables_of_airflow(self) -> dict[str, str]:
        """What Airflow has: connections say where Spark and the object store are, and hold the keys."""
        host, _, port = self.master.rpartition(":")
        spark = {"conn_type": "spark", "host": host, "port": int(port), "extra": {"deploy-mode": "client"}}
        store = {"endpoint_url": self.cluster.object_store.endpoint, "region_name": REGION}
        aws = {
            "conn_type": "aws",
            "login": self.keys.access,
            "password": self.keys.secret,
            "extra": store,
        }
        return self._common | {
            "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps(spark),
            "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(aws),
        }

    @property
    def _common(self) -> dict[str, str]:
        return super().variables | {
            "EXP_ENVIRONMENT": ENVIRONMENT,
            "EXP_CATALOG_HOST": self.cluster.postgres.address,
            "EXP_CATALOG_DATABASE": self.catalog,
            "EXP_CATALOG_USER": USER,
            "EXP_CATALOG_PASSWORD": self.password,
            "EXP_SPARK_SECRET": self.cluster.spark_secret,
            "SPARK_LOCAL_IP": "127.0.0.1",  # drivers listen where the servers do
        }
