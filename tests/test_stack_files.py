"""What must hold of the compose stack's files before any engine reads them."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from exp_platform.config.environment import project_root

ROOT = project_root()
STACK = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
ONE_OFF = {"minio-init", "airflow-init", "tools"}  # they end; nothing waits for their health
DOCKERFILES = sorted(ROOT.glob("docker/**/Dockerfile"))
NINE_GB = 9 * 1024
BUCKETS = {"raw", "warehouse", "memos", "logs"}


def megabytes(limit: str) -> int:
    number, unit = int(limit[:-1]), limit[-1]
    return number * {"m": 1, "g": 1024}[unit]


def make_env(root: Path) -> str:
    command = [ROOT / "scripts" / "stack-env.sh", root]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """The folder of secrets that `make env` makes where there is none."""
    make_env(tmp_path)
    return tmp_path / ".secrets"


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_limit_and_rights_for_nothing_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert megabytes(service["mem_limit"]) > 0
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] > 0
    assert service["logging"]["options"]["max-size"]
    assert not service.get("privileged")


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"spark-worker"}))
def test_no_service_can_change_its_own_image(name: str) -> None:
    """But for Spark's workers, whose scratch would not fit memory."""
    assert SERVICES[name]["read_only"] is True
    assert any(place.partition(":")[0] == "/tmp" for place in SERVICES[name]["tmpfs"])


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - ONE_OFF))
def test_what_stays_up_is_restarted_and_tells_its_health(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_the_limits_of_what_stays_up_fit_nine_gigabytes() -> None:
    running = [service for name, service in SERVICES.items() if name not in ONE_OFF]
    assert sum(megabytes(s["mem_limit"]) * s.get("scale", 1) for s in running) <= NINE_GB


def test_every_published_port_is_for_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 6
    assert all(re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+:-\d+\}:\d+", port) for port in ports), ports


def test_services_wait_for_the_health_or_the_end_of_what_they_need() -> None:
    for name, service in SERVICES.items():
        for needed, condition in service.get("depends_on", {}).items():
            ends = needed in ONE_OFF
            wanted = "service_completed_successfully" if ends else "service_healthy"
            assert condition == {"condition": wanted}, (name, needed)


def test_no_secret_is_in_an_environment_or_a_command() -> None:
    """Whoever may ask the engine reads both, and so does every program that a service starts."""
    secret = re.compile(r"(?i)password|secret|credential|fernet|_KEY$")
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if secret.search(variable):
                file = r"/run/secrets/\w+|cat /run/secrets/\w+|/opt/exp_platform/docker/airflow-database\.sh"
                assert re.fullmatch(r"\w+_(FILE|CMD)", variable), (name, variable)
                assert re.fullmatch(file, value), (name, variable)
    # What compose fills in: ports, and the group of the secrets' files.
    filled_in = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    assert all(variable.endswith("_PORT") or variable == "STACK_GID" for variable in filled_in)


def test_a_service_is_handed_the_secrets_that_it_reads_and_no_other() -> None:
    scripts = {"/".join(script.parts[-2:]): script.read_text() for script in ROOT.glob("docker/**/*.s*")}
    for name, service in SERVICES.items():
        said = json.dumps([service.get("environment", {}), service.get("command", "")])
        run = [text for script, text in scripts.items() if script in said]
        if name == "postgres":
            run = [scripts["postgres/databases.sql"]]
        read = set(re.findall(r"/run/secrets/(\w+)|secret (\w+);", "\n".join([said, *run])))
        assert {one or other for one, other in read} == set(service.get("secrets", [])), name


def test_who_does_not_know_spark_s_secret_can_run_nothing_on_a_worker() -> None:
    assert "-Dspark.authenticate=true" in (ROOT / "docker/spark.sh").read_text()
    for name, service in SERVICES.items():
        if re.search(r"deploy\.(master|worker)|docker/spark\.sh", service.get("command", "")):
            assert service["command"].startswith("docker/spark.sh "), name
    # Spark 4 opens a port for drivers by REST, which authentication does not guard.
    assert "-Dspark.master.rest.enabled=false" in SERVICES["spark-master"]["environment"]["SPARK_MASTER_OPTS"]


def test_code_and_state_survive_their_containers() -> None:
    mounts = {name: service.get("volumes", []) for name, service in SERVICES.items()}
    assert mounts["postgres"] == ["postgres:/var/lib/postgresql"]
    assert mounts["minio"] == ["minio:/data"]
    assert "state:/opt/exp_platform/data" in mounts["airflow-scheduler"]
    configs = "./configs:/opt/exp_platform/configs:ro"
    assert all(configs in mounts[name] for name in SERVICES if name.startswith("airflow-"))
    # A new volume takes the owner of what the image has there, so the image has it.
    made = re.search(r"--owner=exp_platform (.*)", (ROOT / "docker/Dockerfile").read_text())
    assert made is not None
    ours = [mount for name in SERVICES if name.startswith(("airflow", "spark")) for mount in mounts[name]]
    places = {place.split(":")[1] for place in ours if not place.startswith("./")}
    assert places <= {f"/opt/exp_platform/{folder}" for folder in made[1].split()}
    named = {mount.split(":")[0] for all_of in mounts.values() for mount in all_of} - {"./configs"}
    assert named == STACK["volumes"].keys()


def test_env_makes_every_secret_that_compose_mounts_for_its_owner_and_the_containers(secrets: Path) -> None:
    made = contents(secrets)
    assert {name: {"file": f".secrets/{name}"} for name in made} == STACK["secrets"]
    assert len(set(made.values())) == len(made)
    assert all(len(value) >= 12 for value in made.values())
    assert len(made["airflow_jwt_secret"]) >= 64
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in secrets.iterdir()} == {0o640}
    assert f"STACK_GID={secrets.stat().st_gid}\n" in (secrets.parent / ".env").read_text()


def test_env_says_no_secret(tmp_path: Path) -> None:
    said = make_env(tmp_path) + make_env(tmp_path) + (tmp_path / ".env").read_text()
    assert not [name for name, value in contents(tmp_path / ".secrets").items() if value in said]


def test_env_makes_a_key_that_fernet_takes(secrets: Path) -> None:
    from cryptography.fernet import Fernet

    key = (secrets / "airflow_fernet_key").read_text()
    assert Fernet(key).decrypt(Fernet(key).encrypt(b"x")) == b"x"


def test_env_makes_an_account_that_aws_clients_read(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(secrets / "aws_credentials"))
    found = boto3.Session().get_credentials()
    assert found.access_key.startswith("exp-platform-")
    assert len(found.secret_key) == 48


def test_env_never_changes_secrets_that_are_there_and_adds_what_is_new(secrets: Path) -> None:
    before = contents(secrets)
    (secrets / "spark_secret").unlink()  # as an older version left it
    make_env(secrets.parent)
    after = contents(secrets)
    assert after.pop("spark_secret") != before.pop("spark_secret")
    assert after == before


def test_env_moves_the_secrets_of_an_older_env_into_files(tmp_path: Path) -> None:
    """The volumes hold what they were started with: new ones would lock the stack out of its own data."""
    older = {
        "AIRFLOW_ADMIN_PASSWORD": "a" * 24,
        "AIRFLOW_DB_PASSWORD": "b" * 48,
        "AIRFLOW_FERNET_KEY": "c" * 43 + "=",
        "AIRFLOW_JWT_SECRET": "d" * 128,
        "AIRFLOW_API_SECRET_KEY": "e" * 64,
        "EXP_CATALOG_PASSWORD": "f" * 48,
        "MINIO_ROOT_USER": "root-1",
        "MINIO_ROOT_PASSWORD": "h" * 48,
        "AWS_ACCESS_KEY_ID": "exp-platform-1",
        "AWS_SECRET_ACCESS_KEY": "i" * 48,
    }
    lines = [f"{name}={value}\n" for name, value in older.items()]
    (tmp_path / ".env").write_text("".join(["# of mine\n", *lines, "AIRFLOW_PORT=8090\n"]))
    make_env(tmp_path)
    made = "\n".join(contents(tmp_path / ".secrets").values())
    assert all(value in made for value in older.values())
    kept = (tmp_path / ".env").read_text()
    assert kept.startswith("# of mine\nAIRFLOW_PORT=8090\n")
    assert not [name for name in older if name in kept]


def test_git_and_images_do_not_take_the_secrets() -> None:
    subprocess.run(["git", "check-ignore", ".env"], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["git", "check-ignore", ".secrets/x"], cwd=ROOT, check=True, capture_output=True)
    sent = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in sent
    assert not [line for line in sent if line.startswith("!.")]


def test_mc_is_told_no_key_as_an_argument() -> None:
    script = (ROOT / "docker/minio/init.sh").read_text()
    calls = re.findall(r"\bmc [^|\n]*", script)
    assert len(calls) >= 5
    assert not [call for call in calls if "secret" in call.lower() or "password" in call.lower()]


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
    with (root / ".env").open("a") as file:
        file.write("POSTGRES_PORT=15432\n")
    command = ["bash", "-c", f". {script} && env"]
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "EXP_"))}
    printed = subprocess.run(command, env=plain, capture_output=True, text=True, check=True).stdout
    found = dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)
    assert found["EXP_ENVIRONMENT"] == "cluster"
    assert found["EXP_CATALOG_HOST"] == "127.0.0.1:15432"
    assert found["AWS_ENDPOINT_URL"] == "http://127.0.0.1:9000"
    assert found["AWS_SHARED_CREDENTIALS_FILE"] == f"{root}/.secrets/aws_credentials"
    assert found["EXP_CATALOG_PASSWORD_FILE"] == f"{root}/.secrets/catalog_password"
    assert not [name for name, value in contents(secrets).items() if value in printed]


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_images_are_built_on_named_releases_and_do_not_run_as_root(file: Path) -> None:
    text = file.read_text()
    stages = set(re.findall(r"^FROM \S+ AS (\w+)$", text, re.MULTILINE))
    bases = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) - stages
    assert all(re.fullmatch(r"[a-z]+:[\w.-]*bookworm[\w.-]*", base) for base in bases), bases
    final = text[text.rindex("\nFROM ") :]
    assert re.findall(r"^USER (\w+)$", final, re.MULTILINE)[-1] != "root"
    assert "tini" in final[final.rindex("ENTRYPOINT") :]


class _At(ast.NodeTransformer):
    """What is imported at run time: not what is there for annotations alone."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        typing = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return None if typing else self.generic_visit(node)


def imported(module: str) -> set[str]:
    """A module of the platform and all of its own that it imports, wherever in the file."""
    found: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        path = ROOT / "include" / name.replace(".", "/")
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if name in found or not file.is_file():  # a name in a module, which is no module
            continue
        found.add(name)
        for node in ast.walk(_At().visit(ast.parse(file.read_text()))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("exp_platform"):
                todo += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def test_the_image_has_the_code_that_makes_its_start_up_archives_before_it_makes_them() -> None:
    """The archives are a layer below the rest of the code, so that a change of it costs no training run."""
    text = (ROOT / "docker/Dockerfile").read_text().replace("\\\n", " ")
    before = text[text.rindex("\nFROM ") : text.index("python -m exp_platform.spark.archive")]
    copied = {
        source
        for line in re.findall(r"^COPY (include.*)$", before, re.MULTILINE)
        for source in line.split()[:-1]
    }
    for module in imported("exp_platform.spark.archive") | imported("exp_platform.spark.training"):
        path = "include/" + module.replace(".", "/")
        places = {path, f"{path}.py", f"{path}/__init__.py", path.rpartition("/")[0]}
        assert places & copied, f"docker/Dockerfile does not copy {module} before it is needed"


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
    files = ["--file", str(ROOT / "docker-compose.yml"), "--env-file", str(secrets.parent / ".env")]
    subprocess.run([*command, *files, "config", "--quiet"], check=True, capture_output=True)
    (tmp_path / "none").touch()
    files[-1] = str(tmp_path / "none")
    refused = subprocess.run([*command, *files, "config"], capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "make env" in refused.stderr
