"""A Spark session by the files of deploy/kubernetes, on an API of Kubernetes that writes down what it is asked."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from cluster.kubernetes_api import Kubernetes, kubernetes
from exp_platform.config.environment import load_environment, project_root
from exp_platform.spark.submit import spark_home, submit_properties

DEPLOY = project_root() / "deploy"
ROLES = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "roles.yaml").read_text()))
PROGRAM = """
from pyspark.sql import SparkSession
from exp_platform.spark.jar_checksums import PARTS  # the package is there
spark = SparkSession.builder.getOrCreate()
where = spark.sparkContext.parallelize(range(100), 2).map(lambda i: (i * 2, len(PARTS))).collect()
print("sum is", sum(i for i, _ in where), {n for _, n in where})
spark.stop()
"""


@dataclass
class Ended:
    said: subprocess.CompletedProcess[str]
    cluster: Kubernetes

    def made(self, kind: str) -> list[dict[str, Any]]:
        return [one for one in self.cluster.made if one["kind"] == kind]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    folder = tmp_path_factory.mktemp("kubernetes")
    environments = folder / "configs" / "environments"
    environments.mkdir(parents=True)
    (environments / "kubernetes.yaml").write_text((DEPLOY / "kubernetes" / "environment.yaml").read_text())
    (folder / "program.py").write_text(PROGRAM)
    with (
        kubernetes("airflow", "exp-scheduler-0", folder) as (cluster, address),
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in {
            "EXP_CONFIG_DIR": str(folder / "configs"),
            "EXP_STATE_DIR": str(folder / "state"),
            "EXP_LAKE": "s3://lake",
            "EXP_CATALOG_HOST": "db",
            "EXP_CATALOG_PASSWORD": "secret",
            "EXP_SPARK_IMAGE": "registry/image:1",
            "EXP_SPARK_MASTER": f"k8s://{address}",
            "EXP_POD_IP": "127.0.0.1",
            "EXP_POD_NAME": "exp-scheduler-0",
            "EXP_POD_NAMESPACE": "airflow",
        }.items():
            patch.setenv(name, value)
        properties = submit_properties(load_environment("kubernetes"), session=True)
        template = "spark.kubernetes.executor.podTemplateFile"
        here = f"{template}={DEPLOY / 'kubernetes' / 'executor-pod.yaml'}"
        said = subprocess.run(
            [
                *(
                    str(spark_home() / "bin" / "spark-submit"),
                    "--master",
                    f"k8s://{address}",
                    "--deploy-mode",
                    "client",
                ),
                *("--properties-file", str(properties), "--conf", here),
                *("--conf", "spark.executor.instances=1", "--conf", "spark.executor.memory=512m"),
                str(folder / "program.py"),
            ],
            env=os.environ | {"KUBECONFIG": str(folder / "none")},
            capture_output=True,
            text=True,
            timeout=540,
        )
        return Ended(said, cluster)


def test_executors_of_the_image_do_the_work(ended: Ended) -> None:
    assert "sum is 9900 {2}" in ended.said.stdout, ended.said.stderr[-3000:]


def test_a_driver_is_allowed_all_that_it_asks(ended: Ended) -> None:
    (role,) = (one for one in ROLES if one["kind"] == "Role")
    allowed = {(verb, of) for rule in role["rules"] for of in rule["resources"] for verb in rule["verbs"]}
    assert {("create", "pods"), ("watch", "pods"), ("create", "configmaps")} <= ended.cluster.asked
    assert ended.cluster.asked <= allowed


def test_executors_belong_to_the_drivers_pod_and_so_end_with_it(ended: Ended) -> None:
    """Without an owner they would stay where the scheduler's pod is lost with its drivers."""
    assert ended.made("Pod")
    for one in [*ended.made("Pod"), *ended.made("ConfigMap")]:
        (owner,) = one["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"]) == ("Pod", "exp-scheduler-0")


def test_executors_have_their_account_no_token_and_no_rights_of_the_machine(ended: Ended) -> None:
    (pod,) = ended.made("Pod")
    assert pod["spec"]["serviceAccountName"] in {
        one["metadata"]["name"] for one in ROLES if one["kind"] == "ServiceAccount"
    }
    assert pod["spec"]["automountServiceAccountToken"] is False
    (container,) = pod["spec"]["containers"]
    assert (container["image"], container["args"]) == ("registry/image:1", ["executor"])
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_only_its_own_executors_can_talk_to_a_driver(ended: Ended) -> None:
    (pod,) = ended.made("Pod")
    (secret,) = (
        one["value"] for one in pod["spec"]["containers"][0]["env"] if one["name"] == "_SPARK_AUTH_SECRET"
    )
    assert len(secret) >= 32


def test_nothing_of_a_session_stays_and_no_secret_is_in_what_it_made(ended: Ended) -> None:
    left = [name for _, name in ended.cluster.objects]
    assert left == ["exp-scheduler-0"]
    assert "secret" not in str([one.get("data") for one in ended.cluster.made])
