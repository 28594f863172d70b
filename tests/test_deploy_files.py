"""The files of deploy/ agree with each other, with the image that they are for, and with what Airflow and Spark read.

The official chart is not part of the project; `deploy/helm/values.yaml` was rendered with its version 1.22.0 by Helm 3.19.5.
What that showed is held here: keys that the chart has, and programs that its defaults call and this image lacks.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from exp_platform.config.environment import project_root
from orchestration import airflow_home  # noqa: F401  first: Airflow reads its settings when it is imported

ROOT = project_root()
DEPLOY = ROOT / "deploy"
VALUES: dict[str, Any] = yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text())
ENVIRONMENT = (DEPLOY / "kubernetes" / "environment.yaml").read_text()
IMAGE = (ROOT / "docker" / "Dockerfile").read_text()
PODS = ("scheduler", "triggerer", "dagProcessor", "apiServer")

# Keys of chart 1.22.0, as far as they are used; a value below a key that the chart does not know is silently nothing.
CHART = {
    "airflowVersion", "airflowHome", "dags.mountPath", "executor", "images.airflow.repository", "images.airflow.tag",
    "images.migrationsWaitTimeout", "postgresql.enabled", "redis.enabled", "statsd.enabled", "allowPodLaunching",
    "enableServiceLinks", "data.metadataSecretName", "fernetKeySecretName", "apiSecretKeySecretName", "jwtSecretName",
    "extraEnvFrom", "env", "extraEnv", "config.*", "securityContexts.pod.*", "securityContexts.containers.*",
    "migrateDatabaseJob.args", "createUserJob.args", "createUserJob.env", "scheduler.serviceAccount.create",
    "scheduler.serviceAccount.name", "scheduler.terminationGracePeriodSeconds", "scheduler.extraVolumes",
    "scheduler.extraVolumeMounts", "scheduler.affinity.*", "dagProcessor.extraVolumes", "dagProcessor.extraVolumeMounts",
    "dagProcessor.affinity.*", "apiServer.extraVolumes", "apiServer.extraVolumeMounts", "apiServer.affinity.*",
    "scheduler.livenessProbe.command", "scheduler.startupProbe.failureThreshold",
    "scheduler.startupProbe.command", "scheduler.logGroomerSidecar.enabled", "scheduler.resources.*",
    "workers.celery.persistence.size", "triggerer.persistence.enabled", "triggerer.livenessProbe.command",
    "triggerer.logGroomerSidecar.enabled", "triggerer.resources.*", "dagProcessor.livenessProbe.timeoutSeconds",
    "dagProcessor.livenessProbe.command", "dagProcessor.logGroomerSidecar.enabled", "dagProcessor.resources.*",
    "apiServer.allowPodLogReading", "apiServer.env", "apiServer.startupProbe.failureThreshold", "apiServer.resources.*",
}  # fmt: skip


def manifests(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text()))


def keys(tree: dict[str, Any], above: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from keys(value, f"{above}{key}.")
        else:
            yield f"{above}{key}"


def texts(tree: Any) -> Iterator[str]:
    """Every value of the file that is text."""
    for value in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        if isinstance(value, str):
            yield value
        yield from texts(value)


# ---------------------------------------------------------------- the chart's values


def test_every_key_is_one_that_the_chart_reads() -> None:
    known = [re.compile(re.escape(one).replace(r"\*", ".+")) for one in CHART]
    assert not [key for key in keys(VALUES) if not any(one.fullmatch(key) for one in known)]


def test_nothing_is_called_that_only_airflows_own_image_has() -> None:
    """The chart's probes run /entrypoint and its groomers /clean-logs: every pod would be killed, or never come up."""
    assert not [text for text in texts(VALUES) if "/entrypoint" in text or "/clean-logs" in text]
    for pod in ("scheduler", "triggerer", "dagProcessor"):
        assert VALUES[pod]["livenessProbe"]["command"], pod
        assert VALUES[pod]["logGroomerSidecar"] == {"enabled": False}, pod
    assert VALUES["scheduler"]["startupProbe"]["command"]


def test_what_is_called_is_in_the_image() -> None:
    (init,) = VALUES["migrateDatabaseJob"]["args"]
    assert os.access(ROOT / init, os.X_OK)
    assert "COPY scripts scripts" in IMAGE
    (module,) = (
        one for one in VALUES["triggerer"]["livenessProbe"]["command"] if one.startswith("exp_platform.")
    )
    assert (ROOT / "include" / module.replace(".", "/")).with_suffix(".py").is_file()
    assert "curl" in IMAGE.partition("apt-get install")[2].partition("\n")[0]


def test_the_pool_is_made_by_the_job_that_makes_the_database() -> None:
    script = (ROOT / VALUES["migrateDatabaseJob"]["args"][0]).read_text()
    assert "airflow db migrate" in script
    assert "airflow pools import" in script


def test_paths_and_user_are_the_images() -> None:
    assert f"AIRFLOW_HOME={VALUES['airflowHome']} " in IMAGE
    assert f"AIRFLOW__CORE__DAGS_FOLDER={VALUES['dags']['mountPath']} " in IMAGE
    assert f"--uid {VALUES['securityContexts']['pod']['runAsUser']} " in IMAGE
    (template,) = manifests("executor-pod.yaml")
    assert template["spec"]["securityContext"]["runAsUser"] == VALUES["securityContexts"]["pod"]["runAsUser"]


def test_executors_run_the_image_of_airflow() -> None:
    image = VALUES["images"]["airflow"]
    env = {one["name"]: one["value"] for one in VALUES["env"]}
    assert env["EXP_SPARK_IMAGE"] == f"{image['repository']}:{image['tag']}"


def test_the_settings_are_airflows_and_its_version_is_the_pinned_one() -> None:
    from airflow.configuration import conf

    settings = [(section, key) for section, options in VALUES["config"].items() for key in options]
    settings += [
        tuple(one["name"].lower().split("__")[1:])
        for one in (*VALUES["env"], *VALUES["apiServer"]["env"])
        if one["name"].startswith("AIRFLOW__")
    ]
    assert not [one for one in settings if not conf.has_option(*one)]
    pinned = re.search(r"^apache-airflow==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert VALUES["airflowVersion"] == pinned[1]


def test_who_logs_in_is_known_to_a_package_that_the_images_add() -> None:
    """The chart's job calls `airflow users`, which is the FAB package's, as is the auth manager that the chart sets."""
    provider = "apache-airflow-providers-fab=="
    assert VALUES["config"]["core"]["auth_manager"].startswith("airflow.providers.fab.")
    assert provider in (ROOT / "docker" / "requirements.txt").read_text()
    assert "-r docker/requirements.txt" in IMAGE
    assert provider not in (ROOT / "requirements.txt").read_text()


def test_the_password_of_the_first_user_is_a_secret_and_no_argument() -> None:
    """The chart's own is `admin`, in plain sight in the job and in its process list."""
    command = VALUES["createUserJob"]["args"][-1]
    assert re.fullmatch(
        r"printf '%s\\n%s\\n' \"\$ADMIN_PASSWORD\" \"\$ADMIN_PASSWORD\" \| airflow users create [^$]*",
        command,
    )
    (variable,) = VALUES["createUserJob"]["env"]
    assert variable["name"] == "ADMIN_PASSWORD"


# ---------------------------------------------------------------- together


def test_the_values_choose_the_environment_and_give_what_it_requires() -> None:
    env = {one["name"]: one["value"] for one in VALUES["env"]}
    pod = {
        one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"] for one in yaml.safe_load(VALUES["extraEnv"])
    }
    (connections,) = (
        one for one in manifests("secrets.yaml") if one["metadata"]["name"] == "exp-platform-connections"
    )
    required = set(re.findall(r"\$\{(\w+)\}", ENVIRONMENT)) | {
        yaml.safe_load(ENVIRONMENT)["catalog"]["password_env"]
    }
    assert env["EXP_ENVIRONMENT"] == yaml.safe_load(ENVIRONMENT)["name"]
    assert required <= {*env, *pod, *connections["stringData"]}
    assert pod == {
        "EXP_POD_IP": "status.podIP",
        "EXP_POD_NAME": "metadata.name",
        "EXP_POD_NAMESPACE": "metadata.namespace",
    }


def test_every_secret_that_is_named_is_in_the_file_of_secrets() -> None:
    there = {(one["metadata"]["name"], key) for one in manifests("secrets.yaml") for key in one["stringData"]}
    keys_of_airflow = {"connection", "fernet-key", "api-secret-key", "jwt-secret", "admin-password"}
    names = {VALUES["data"]["metadataSecretName"]} | {
        VALUES[one] for one in ("fernetKeySecretName", "apiSecretKeySecretName", "jwtSecretName")
    }
    assert names == {"airflow-keys"}
    reference = VALUES["createUserJob"]["env"][0]["valueFrom"]["secretKeyRef"]
    assert (reference["name"], reference["key"]) in there
    assert {("airflow-keys", key) for key in keys_of_airflow} <= there
    assert yaml.safe_load(VALUES["extraEnvFrom"]) == [{"secretRef": {"name": "exp-platform-connections"}}]


def test_no_secret_has_a_value_in_the_project() -> None:
    for secret in manifests("secrets.yaml"):
        for key, value in secret["stringData"].items():
            if key.startswith("AIRFLOW_CONN_"):
                assert not {"login", "password"} & json.loads(value).keys()
            else:
                assert re.fullmatch("<.*>", value), key


def test_run_folders_lie_on_the_claim_which_pods_of_one_node_mount() -> None:
    """More pods, or another node, and a claim of one node would keep a pod from starting."""
    env = {one["name"]: one["value"] for one in VALUES["env"]}
    (claim,) = manifests("state-volume.yaml")
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert VALUES["executor"] == "LocalExecutor"
    assert not {"volumes", "volumeMounts"} & VALUES.keys()
    readers = ["dagProcessor", "apiServer"]
    assert [pod for pod in PODS if "extraVolumes" in VALUES[pod]] == ["scheduler", *readers]
    for pod in ("scheduler", *readers):
        (volume,), (mount,) = VALUES[pod]["extraVolumes"], VALUES[pod]["extraVolumeMounts"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert (mount["name"], mount["mountPath"]) == (volume["name"], env["EXP_STATE_DIR"])
    for pod in readers:
        assert VALUES[pod]["extraVolumeMounts"][0]["readOnly"]
        (near,) = VALUES[pod]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert near["labelSelector"] == {"matchLabels": {"component": "scheduler"}}
        assert near["topologyKey"] == "kubernetes.io/hostname"


def test_the_scheduler_has_the_account_to_which_the_role_is_bound() -> None:
    roles = manifests("roles.yaml")
    accounts = {one["metadata"]["name"]: one for one in roles if one["kind"] == "ServiceAccount"}
    (role,) = (one for one in roles if one["kind"] == "Role")
    (binding,) = (one for one in roles if one["kind"] == "RoleBinding")
    account = VALUES["scheduler"]["serviceAccount"]
    assert account == {"create": False, "name": "exp-platform-scheduler"}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account["name"]}]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert f"executor.serviceAccountName: {(accounts.keys() - {account['name']}).pop()}" in ENVIRONMENT
    assert accounts["exp-platform-executor"]["automountServiceAccountToken"] is False


def test_a_driver_may_do_what_sparks_kubernetes_client_asks() -> None:
    """What a whole session asked in tests/cluster/test_kubernetes.py, and what Spark asks where executors fail or are let go."""
    (role,) = (one for one in manifests("roles.yaml") if one["kind"] == "Role")
    allowed = {(of, verb) for rule in role["rules"] for of in rule["resources"] for verb in rule["verbs"]}
    asked = {
        "pods": ["create", "get", "list", "watch", "deletecollection", "delete", "patch"],
        "configmaps": ["create", "deletecollection"],
        "services": ["deletecollection"],
        "persistentvolumeclaims": ["list", "deletecollection"],
    }
    assert {(of, verb) for of, verbs in asked.items() for verb in verbs} <= allowed
    assert not [
        rule
        for rule in role["rules"]
        if "*" in (*rule["resources"], *rule["verbs"]) or "secrets" in rule["resources"]
    ]


# ---------------------------------------------------------------- the image


def test_no_image_changes_a_version_of_what_lies_below_it() -> None:
    """Locks that differ would give executors and tests other packages."""

    def pinned(lock: Path) -> dict[str, str]:
        return dict(re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(), re.MULTILINE))

    below = pinned(ROOT / "requirements.txt")
    for folder, provider in (("docker", "fab"), ("deploy/image", "cncf-kubernetes")):
        added = pinned(ROOT / folder / "requirements.txt")
        shared = below.keys() & added
        assert {name: below[name] for name in shared} == {name: added[name] for name in shared}
        assert f"apache-airflow-providers-{provider}" in added.keys() - below.keys()
        below |= added


def test_the_environment_and_the_pod_that_it_names_are_where_the_image_puts_them() -> None:
    dockerfile = (DEPLOY / "image" / "Dockerfile").read_text()
    assert "COPY deploy/kubernetes/environment.yaml configs/environments/kubernetes.yaml" in dockerfile
    assert "COPY deploy/kubernetes/executor-pod.yaml deploy/kubernetes/" in dockerfile
    assert "podTemplateFile: /opt/exp_platform/deploy/kubernetes/executor-pod.yaml" in ENVIRONMENT
    assert "!deploy" in (ROOT / ".dockerignore").read_text().splitlines()


def test_an_executor_is_started_with_all_that_spark_tells_it(tmp_path: Path) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    java.chmod(0o755)
    told = {
        "SPARK_DRIVER_URL": "spark://driver@10.0.0.1:7", "SPARK_EXECUTOR_ID": "3", "SPARK_EXECUTOR_CORES": "2",
        "SPARK_EXECUTOR_MEMORY": "512m", "SPARK_APPLICATION_ID": "spark-1", "SPARK_EXECUTOR_POD_IP": "10.0.0.2",
        "SPARK_EXECUTOR_POD_NAME": "exec-3", "SPARK_RESOURCE_PROFILE_ID": "0", "SPARK_HOME": "/spark",
        "SPARK_CONF_DIR": "/conf", "SPARK_CLASSPATH": "/a.jar",
        "SPARK_JAVA_OPT_0": "-Dfirst=two words", "SPARK_JAVA_OPT_10": "-Dlast=1", "SPARK_JAVA_OPT_2": "-Dsecond=1",
    }  # fmt: skip
    variables = told | {"PATH": os.environ["PATH"], "JAVA_HOME": str(tmp_path)}
    said = subprocess.run(
        [DEPLOY / "image" / "executor", "executor"], env=variables, capture_output=True, text=True
    )
    lines = said.stdout.splitlines()
    assert lines[:5] == ["-Dfirst=two words", "-Dsecond=1", "-Dlast=1", "-Xms512m", "-Xmx512m"]
    assert lines[5:7] == ["-cp", "/conf:/a.jar:/spark/jars/*"]
    assert dict(zip(lines[8::2], lines[9::2], strict=True)) == {
        "--driver-url": "spark://driver@10.0.0.1:7", "--executor-id": "3", "--cores": "2", "--app-id": "spark-1",
        "--hostname": "10.0.0.2", "--resourceProfileId": "0", "--podName": "exec-3",
    }  # fmt: skip
