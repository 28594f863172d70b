"""After whole runs on the compose stack no secret of it stands anywhere that they leave, show or write. `make test-stack`."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from collections.abc import Callable, Iterator

import httpx
import pyarrow as pa
import pytest

from stack.running import FIRST, ROOT, RUNNING, SECOND, Stack, address, until

pytestmark = RUNNING

NAMES = {"minio_root_user"}  # of an account, as an access key's id is
OF_THE_CONTAINERS = {  # what a service writes, without the file that is the secret
    "airflow-apiserver": "find /opt/exp_platform/.airflow /tmp -type f ! -name passwords.json",
    "airflow-scheduler": "find /opt/exp_platform/.airflow /opt/exp_platform/data /tmp -type f",
    "airflow-dag-processor": "find /opt/exp_platform/.airflow /tmp -type f",
    "airflow-triggerer": "find /opt/exp_platform/.airflow /tmp -type f",
    "spark-worker": "find /var/spark /tmp -type f",
    "spark-master": "find /tmp -type f",
    "minio": "find /tmp /home/minio -type f",
    "postgres": "find /tmp -type f",
}


def secrets() -> dict[str, bytes]:
    """Every secret of the stack, by the name of its file."""
    found = {file.name: file.read_text().strip() for file in (ROOT / ".secrets").iterdir()}
    found["aws_credentials"] = found["aws_credentials"].rpartition("= ")[2]
    return {name: value.encode() for name, value in found.items() if name not in NAMES}


def output(*command: str, stdin: bytes = b"") -> bytes:
    """What a command prints on either stream."""
    done = subprocess.run(
        command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True, cwd=ROOT
    )
    return done.stdout


def processes(stack: Stack) -> bytes:
    """The command line of every process in every container of the stack."""
    running = stack.compose("ps", "--quiet").split()
    done = (
        subprocess.run(["docker", "top", name, "-eo", "pid,args"], capture_output=True) for name in running
    )
    return b"".join(top.stdout for top in done)


@pytest.fixture(scope="module")
def seen(stack: Stack) -> bytes:
    """All command lines while both experiments ran, looked at again and again."""
    lines: set[bytes] = set()
    runs = stack.start(FIRST, SECOND)

    def ended() -> bool:
        lines.update(processes(stack).splitlines())
        for run in runs:
            list(run.look(stack.airflow))
        return all(run.ended for run in runs)

    until(ended, 1200, "the end of both runs")
    assert {run.state for run in runs} == {"success"}
    return b"\n".join(lines)


def process_lists(stack: Stack) -> bytes:
    return processes(stack) + output("ps", "-eo", "args")


def logs_of_containers(stack: Stack) -> bytes:
    return b"".join(output("docker", "logs", name) for name in containers(stack))


def what_the_engine_knows(stack: Stack) -> bytes:
    return output("docker", "inspect", *containers(stack)) + output("scripts/compose.sh", "config")


def what_starting_prints(stack: Stack) -> bytes:
    return output("make", "--no-print-directory", "env", "stack")


def how_the_buckets_are_made(stack: Stack) -> bytes:
    """Every command with its arguments, as the shell traces them."""
    return output("scripts/compose.sh", "run", "--rm", "minio-init", "sh", "-x", "/opt/minio/init.sh")


def databases(stack: Stack) -> bytes:
    """Airflow's: XComs, rendered templates, serialised DAGs, the audit log, connections, variables. And the catalog."""
    (container,) = stack.containers("postgres")
    return b"".join(
        output("docker", "exec", container, "pg_dump", f"--dbname={name}") for name in ("airflow", "iceberg")
    )


def objects(stack: Stack) -> bytes:
    """The tasks' logs, memos, tables and raw data on S3."""
    return b"".join(
        stack.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        for bucket in ("logs", "memos", "warehouse", "raw")
        for key in stack.objects(bucket)
    )


def pages_of_spark(stack: Stack) -> bytes:
    """The master's, and the history server's, above all the environment of each application."""
    history = address("SPARK_HISTORY_PORT", 18080)
    with httpx.Client(timeout=60, follow_redirects=True) as client:
        known = client.get(f"{history}/api/v1/applications").json()
        pages = [stack.master, f"{stack.master}/json/", history]
        for app in known:
            pages.append(f"{stack.master}/app/?appId={app['id']}")
            pages.append(f"{history}/api/v1/applications/{app['id']}/environment")
            pages.append(f"{history}/history/{app['id']}/environment/")
        return b"".join(client.get(page).content for page in pages)


def events_of_spark(stack: Stack) -> bytes:
    history = address("SPARK_HISTORY_PORT", 18080)
    known = httpx.get(f"{history}/api/v1/applications", timeout=60).json()
    return b"".join(
        content for app in known for content in events(f"{history}/api/v1/applications/{app['id']}")
    )


def events(application: str) -> Iterator[bytes]:
    with zipfile.ZipFile(io.BytesIO(httpx.get(f"{application}/logs", timeout=60).content)) as kept:
        for name in kept.namelist():
            content = kept.read(name)
            if name.endswith(".zstd"):
                content = pa.CompressedInputStream(pa.BufferReader(content), "zstd").read()
            yield content


def environments_of_airflow(stack: Stack) -> bytes:
    """What every program that a task starts would have."""
    services = [service for service in OF_THE_CONTAINERS if service.startswith("airflow-")]
    (*names,) = (name for service in services for name in stack.containers(service))
    return b"".join(output("docker", "exec", name, "cat", "/proc/1/environ") for name in names)


# Place -> what must be found there, so that the search has looked
PLACES: dict[Callable[[Stack], bytes], bytes] = {
    process_lists: b"scheduler",
    logs_of_containers: b"MinIO Object Storage Server",
    what_the_engine_knows: b"/run/secrets/spark_secret",
    what_starting_prints: b"healthy after",
    how_the_buckets_are_made: b"mc admin user add local",
    databases: FIRST.encode(),
    objects: FIRST.encode(),
    pages_of_spark: b"spark.authenticate.secret",
    events_of_spark: b"spark.authenticate.secret",
    environments_of_airflow: b"AIRFLOW__CORE__FERNET_KEY_CMD",
}


def containers(stack: Stack) -> list[str]:
    """All of the stack's, those that have ended too."""
    (one, *_) = stack.containers("airflow-scheduler")
    project = stack.inspect(one, '{{index .Config.Labels "com.docker.compose.project"}}')
    label = f"label=com.docker.compose.project={project}"
    return output("docker", "ps", "--all", "--quiet", "--filter", label).decode().split()


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_a_whole_run_leaves_no_secret_in(stack: Stack, seen: bytes, place: Callable[[Stack], bytes]) -> None:
    found = place(stack)
    assert PLACES[place] in found, "the search has not looked where it should"
    assert [name for name, value in secrets().items() if value in found] == []


def test_no_process_had_a_secret_on_its_command_line(stack: Stack, seen: bytes) -> None:
    assert b"CoarseGrainedExecutorBackend" in seen  # a worker's, so stages were watched too
    drivers = [line for line in seen.splitlines() if b"--stage ingest" in line]
    assert any(f"/{FIRST}/".encode() in line for line in drivers)  # and what a scheduler started
    assert [name for name, value in secrets().items() if value in seen] == []


@pytest.mark.parametrize("service", OF_THE_CONTAINERS)
def test_a_whole_run_leaves_no_secret_in_the_files_of(stack: Stack, seen: bytes, service: str) -> None:
    for container in stack.containers(service):
        inside = ["docker", "exec", "--interactive", container, "sh", "-c"]
        files = output(*inside, OF_THE_CONTAINERS[service])
        assert files or service in ("minio", "postgres", "spark-master")
        # What is looked for comes by standard input, and rests where no service writes.
        grep = (
            f"cat >/dev/shm/wanted; {OF_THE_CONTAINERS[service]} -exec grep -lFf /dev/shm/wanted {{}} + || true;"
            "rm /dev/shm/wanted"
        )
        found = output(*inside, grep, stdin=b"\n".join(secrets().values()))
        assert found == b""


def test_every_container_of_the_stack_is_held_to_what_the_file_says(stack: Stack) -> None:
    told = json.loads(output("docker", "inspect", *containers(stack)))
    for container in told:
        host, service = container["HostConfig"], container["Config"]["Labels"]["com.docker.compose.service"]
        assert host["ReadonlyRootfs"] is (service != "spark-worker"), service
        assert (host["CapDrop"], host["CapAdd"] or []) == (["ALL"], []), service
        assert host["SecurityOpt"] == ["no-new-privileges:true"], service
        assert 0 < host["PidsLimit"] <= 2048, service
        assert container["Config"]["User"] not in ("", "root", "0"), service
