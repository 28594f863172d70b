"""What must hold of the compose stack's files before any engine reads them."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from exp_platform.config.environment import project_root

ROOT = project_root()
STACK = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
ONE_OFF = {"minio-init", "airflow-init", "tools"}  # they end; nothing waits for their health
DOCKERFILES = sorted(ROOT.glob("docker/**/Dockerfile"))
EIGHT_GB = 8 * 1024
BUCKETS = {"raw", "warehouse", "memos", "logs"}


def megabytes(limit: str) -> int:
    number, unit = int(limit[:-1]), limit[-1]
    return number * {"m": 1, "g": 1024}[unit]


def variables(text: str) -> set[str]:
    return set(re.findall(r"\$\{([A-Z_]+):\?", text))


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    file = tmp_path / ".env"
    subprocess.run([ROOT / "scripts" / "stack-env.sh", file], check=True, capture_output=True)
    return file


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_limit_and_rights_for_nothing_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert megabytes(service["mem_limit"]) > 0
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"]["max-size"]
    assert not service.get("privileged")


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - ONE_OFF))
def test_what_stays_up_is_restarted_and_tells_its_health(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_the_limits_of_what_stays_up_fit_eight_gigabytes() -> None:
    running = [service for name, service in SERVICES.items() if name not in ONE_OFF]
    assert sum(megabytes(s["mem_limit"]) * s.get("scale", 1) for s in running) <= EIGHT_GB


def test_every_published_port_is_for_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 5
    assert all(re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+:-\d+\}:\d+", port) for port in ports), ports


def test_services_wait_for_the_health_or_the_end_of_what_they_need() -> None:
    for name, service in SERVICES.items():
        for needed, condition in service.get("depends_on", {}).items():
            ends = needed in ONE_OFF
            wanted = "service_completed_successfully" if ends else "service_healthy"
            assert condition == {"condition": wanted}, (name, needed)


def test_no_secret_has_a_value_or_a_default_in_the_file() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|_KEY$|FERNET", variable):
                assert re.fullmatch(r"\$\{[A-Z_]+:\?run `make env` first\}", value), (name, variable)


def test_code_and_state_survive_their_containers() -> None:
    mounts = {name: service.get("volumes", []) for name, service in SERVICES.items()}
    assert mounts["postgres"] == ["postgres:/var/lib/postgresql"]
    assert mounts["minio"] == ["minio:/data"]
    assert "state:/opt/exp_platform/data" in mounts["airflow-scheduler"]
    configs = "./configs:/opt/exp_platform/configs:ro"
    assert all(configs in mounts[name] for name in SERVICES if name.startswith("airflow-"))
    named = {mount.split(":")[0] for all_of in mounts.values() for mount in all_of} - {"./configs"}
    assert named == STACK["volumes"].keys()


def test_env_writes_every_secret_that_compose_asks_for_and_only_its_owner_reads_them(secrets: Path) -> None:
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    values = dict(
        line.split("=", 1) for line in secrets.read_text().splitlines() if line[:1] not in ("#", "")
    )
    assert values.keys() == variables((ROOT / "docker-compose.yml").read_text())
    assert len(set(values.values())) == len(values)
    assert all(len(value) >= 12 for value in values.values())
    assert len(values["AIRFLOW_JWT_SECRET"]) >= 64


def test_env_makes_a_key_that_fernet_takes(secrets: Path) -> None:
    from cryptography.fernet import Fernet

    key = re.search(r"^AIRFLOW_FERNET_KEY=(.*)$", secrets.read_text(), re.MULTILINE)
    assert key is not None
    assert Fernet(key[1]).decrypt(Fernet(key[1]).encrypt(b"x")) == b"x"


def test_env_never_changes_secrets_that_are_there(secrets: Path) -> None:
    before = secrets.read_text()
    subprocess.run([ROOT / "scripts" / "stack-env.sh", secrets], check=True, capture_output=True)
    assert secrets.read_text() == before


def test_git_does_not_take_the_secrets() -> None:
    subprocess.run(["git", "check-ignore", "--quiet", ".env"], cwd=ROOT, check=True)


def test_without_secrets_compose_is_not_asked_and_the_remedy_is_named(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    script = shutil.copy(ROOT / "scripts" / "compose.sh", tmp_path / "scripts")
    result = subprocess.run([script, "up"], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "make env" in result.stderr


def test_the_host_reaches_the_stack_by_its_published_ports(secrets: Path) -> None:
    root = secrets.parent
    (root / "scripts").mkdir()
    script = shutil.copy(ROOT / "scripts" / "stack-host-env.sh", root / "scripts")
    with secrets.open("a") as file:
        file.write("POSTGRES_PORT=15432\n")
    command = ["bash", "-c", f". {script} && env"]
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "EXP_"))}
    printed = subprocess.run(command, env=plain, capture_output=True, text=True, check=True).stdout
    found = dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)
    assert found["EXP_ENVIRONMENT"] == "cluster"
    assert found["EXP_CATALOG_HOST"] == "127.0.0.1:15432"
    assert found["AWS_ENDPOINT_URL"] == "http://127.0.0.1:9000"
    assert f"AWS_SECRET_ACCESS_KEY={found['AWS_SECRET_ACCESS_KEY']}" in secrets.read_text().splitlines()
    assert "MINIO_ROOT_PASSWORD" not in found  # nothing that the platform has no use for


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_images_are_built_on_named_releases_and_do_not_run_as_root(file: Path) -> None:
    text = file.read_text()
    stages = set(re.findall(r"^FROM \S+ AS (\w+)$", text, re.MULTILINE))
    bases = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) - stages
    assert all(re.fullmatch(r"[a-z]+:[\w.-]*bookworm[\w.-]*", base) for base in bases), bases
    final = text[text.rindex("\nFROM ") :]
    assert re.findall(r"^USER (\w+)$", final, re.MULTILINE)[-1] != "root"
    assert "tini" in final[final.rindex("ENTRYPOINT") :]


def test_the_account_of_the_platform_may_use_the_four_buckets_and_nothing_else() -> None:
    policy = json.loads((ROOT / "docker/minio/policy.json").read_text())
    resources = {resource for statement in policy["Statement"] for resource in statement["Resource"]}
    assert resources == {f"arn:aws:s3:::{bucket}{rest}" for bucket in BUCKETS for rest in ("", "/*")}
    assert not any("*" in action for statement in policy["Statement"] for action in statement["Action"])
    made = re.search(r"for bucket in (.*); do", (ROOT / "docker/minio/init.sh").read_text())
    assert made is not None
    assert set(made[1].split()) == BUCKETS


@pytest.mark.parametrize("command", [["docker", "compose"], ["docker-compose"]], ids=" ".join)
def test_compose_reads_the_file(command: list[str], secrets: Path, tmp_path: Path) -> None:
    if (
        shutil.which(command[0]) is None
        or subprocess.run([*command, "version"], capture_output=True).returncode
    ):
        pytest.skip(f"{' '.join(command)} is not installed here")
    files = ["--file", str(ROOT / "docker-compose.yml"), "--env-file", str(secrets)]
    subprocess.run([*command, *files, "config", "--quiet"], check=True, capture_output=True)
    (tmp_path / "none").touch()
    files[-1] = str(tmp_path / "none")
    refused = subprocess.run([*command, *files, "config"], capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "make env" in refused.stderr
