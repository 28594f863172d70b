"""Spark's standalone master and one worker."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from cluster.servers import Server, free_ports
from exp_platform.spark.submit import QUICK_START, spark_home

CORES = 2
MEMORY = "1536m"


class Spark:
    """A master on `address` and a worker with two cores, for who knows the secret; both may be killed and started again."""

    def __init__(self, folder: Path, secret: str) -> None:
        folder.mkdir()
        port, page, worker_port, worker_page = free_ports(4)
        self.folder = folder
        self.address = f"spark://127.0.0.1:{port}"
        self._page = f"http://127.0.0.1:{page}/json/"
        # Both bind this address and nothing else; no machine's own spark-defaults or spark-env.
        conf = folder / "conf"
        conf.mkdir()
        variables = {
            "SPARK_HOME": str(spark_home()),
            "SPARK_CONF_DIR": str(conf),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_DAEMON_MEMORY": "256m",
            "SPARK_DAEMON_JAVA_OPTS": f"{QUICK_START} -XX:+UseSerialGC -Dspark.authenticate=true",
            "_SPARK_AUTH_SECRET": secret,
        }
        start = [str(spark_home() / "bin" / "spark-class"), "org.apache.spark.deploy"]
        self.master = Server(
            [
                start[0],
                f"{start[1]}.master.Master",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                "--webui-port",
                str(page),
            ],
            folder / "master.txt",
            lambda: self.state() is not None,
            variables=variables,
        )
        resources = ["--cores", str(CORES), "--memory", MEMORY, "--work-dir", str(folder / "work")]
        ports = ["--host", "127.0.0.1", "--port", str(worker_port), "--webui-port", str(worker_page)]
        self.worker = Server(
            [start[0], f"{start[1]}.worker.Worker", *ports, *resources, self.address],
            folder / "worker.txt",
            lambda: self.workers_alive() == 1,
            variables=variables,
        )

    def start(self) -> None:
        self.master.start()
        self.worker.start()

    def close(self) -> None:
        self.worker.kill()
        self.master.kill()

    def state(self) -> dict[str, Any] | None:
        """What the master says of itself, its workers and applications; None where it does not answer."""
        try:
            with urllib.request.urlopen(self._page, timeout=5) as answer:
                return dict(json.load(answer))
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return None

    def workers_alive(self) -> int:
        state = self.state()
        return int(state["aliveworkers"]) if state else 0

    def runs_a_task_of(self, name: str) -> bool:
        """Whether an executor has begun a task of the application that has this name."""
        state = self.state()
        running = [app["id"] for app in state["activeapps"] if app["name"] == name] if state else []
        logs = [log for app in running for log in self.folder.glob(f"work/{app}/*/stderr")]
        return any("Running task" in log.read_text(errors="replace") for log in logs)

    def applications(self) -> list[dict[str, Any]]:
        """Applications that have ended, as the master lists them."""
        state = self.state()
        assert state is not None
        return list(state["completedapps"])
