"""As much of Kubernetes' API as Spark asks for, on this machine: what it makes is kept, and a pod's command becomes a process.

It also plays the kubelet: variables are taken from where the pod says, the command is the image's own program, and what the
pod mounts at SPARK_CONF_DIR is not needed. Every request is written down as Kubernetes' authorisation would see it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from exp_platform.config.environment import project_root
from exp_platform.spark.submit import spark_home

_PATH = re.compile(r"/api/v1/namespaces/(?P<namespace>[\w-]+)/(?P<resource>\w+)(/(?P<name>[\w.-]+))?")
_ONE = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_MANY = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}


class Kubernetes:
    """One namespace. `asked` holds (verb, resource), `made` every object that was ever created."""

    def __init__(self, namespace: str, driver_pod: str, folder: Path) -> None:
        self.namespace, self.folder = namespace, folder
        self.asked: set[tuple[str, str]] = set()
        self.made: list[dict[str, Any]] = []
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        driver = {
            "metadata": {"name": driver_pod, "uid": "1", "labels": {}},
            "kind": "Pod",
            "spec": {},
            "status": _RUNNING,
        }
        self.objects["pods", driver_pod] = driver

    def create(self, resource: str, made: dict[str, Any]) -> dict[str, Any]:
        name = made["metadata"]["name"]
        made["metadata"] |= {
            "uid": name,
            "namespace": self.namespace,
            "resourceVersion": "1",
            "creationTimestamp": _now(),
        }
        self.made.append(json.loads(json.dumps(made)))
        self.objects[resource, name] = made
        if resource == "pods":
            self._start(name, made)
            made["status"] = _RUNNING
        return made

    def delete(self, resource: str, name: str) -> None:
        self.objects.pop((resource, name), None)
        if resource == "pods" and name in self.processes:
            self.processes[name].kill()

    def selected(self, resource: str, selector: str) -> list[dict[str, Any]]:
        wanted = dict(one.split("=") for one in selector.split(",") if re.fullmatch(r"[^=!]+=[^=]+", one))
        found = [value for (kind, _), value in list(self.objects.items()) if kind == resource]
        return [one for one in found if wanted.items() <= one["metadata"].get("labels", {}).items()]

    def _start(self, name: str, pod: dict[str, Any]) -> None:
        (container,) = pod["spec"]["containers"]
        fields = {"status.podIP": "127.0.0.1", "metadata.name": name}
        variables = {
            one["name"]: one["value"] if "value" in one else fields[one["valueFrom"]["fieldRef"]["fieldPath"]]
            for one in container["env"]
        }
        scratch = self.folder / name
        scratch.mkdir()
        image = {  # what deploy/image has in its environment
            "PATH": f"{project_root() / 'deploy' / 'image'}:{os.environ['PATH']}",
            "SPARK_HOME": str(spark_home()),
            "PYSPARK_PYTHON": sys.executable,
            "PYTHONPATH": str(project_root() / "include"),
            "HOME": str(scratch),
        }
        places = {"SPARK_LOCAL_DIRS": str(scratch), "SPARK_CONF_DIR": str(scratch)}  # volumes of the pod
        if "JAVA_HOME" in os.environ:
            image["JAVA_HOME"] = os.environ["JAVA_HOME"]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                container["args"], env=image | variables | places, cwd=scratch, stdout=log, stderr=log
            )


_RUNNING = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": []}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _handler(cluster: Kubernetes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def _answer(self) -> None:
            url = urlsplit(self.path)
            asked = {key: values[0] for key, values in parse_qs(url.query).items()}
            found = _PATH.fullmatch(url.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if found is None or found["namespace"] != cluster.namespace:
                self._say(404, {"kind": "Status", "code": 404, "message": url.path})
                return
            resource, name = found["resource"], found["name"]
            verb = (_ONE if name else _MANY)[self.command]
            if asked.get("watch") == "true":
                cluster.asked.add(("watch", resource))
                # Spark asks by a web socket first, and goes on by a plain request that stays open.
                if "Upgrade" in self.headers:
                    self._say(200, {})
                else:
                    self._stay(cluster.selected(resource, asked.get("labelSelector", "")))
                return
            cluster.asked.add((verb, resource))
            if verb == "create":
                self._say(201, cluster.create(resource, json.loads(body)))
            elif name is None:
                items = cluster.selected(resource, asked.get("labelSelector", ""))
                if verb == "deletecollection":
                    for one in items:
                        cluster.delete(resource, one["metadata"]["name"])
                self._say(
                    200,
                    {
                        "kind": "List",
                        "apiVersion": "v1",
                        "metadata": {"resourceVersion": "1"},
                        "items": items,
                    },
                )
            elif (resource, name) not in cluster.objects:
                self._say(404, {"kind": "Status", "code": 404, "message": f"no {resource} {name}"})
            else:
                one = cluster.objects[resource, name]
                if verb == "delete":
                    cluster.delete(resource, name)
                self._say(200, one)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815  names of http.server

        def _say(self, status: int, content: dict[str, Any]) -> None:
            text = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _stay(self, items: list[dict[str, Any]]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            for one in items:
                self.wfile.write(json.dumps({"type": "ADDED", "object": one}).encode() + b"\n")
            self.wfile.flush()
            time.sleep(5)  # then Spark asks again

    return Handler


@contextmanager
def kubernetes(namespace: str, driver_pod: str, folder: Path) -> Iterator[tuple[Kubernetes, str]]:
    """A cluster with nothing in it but the pod of the driver, and its address."""
    cluster = Kubernetes(namespace, driver_pod, folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(cluster))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield cluster, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        for process in cluster.processes.values():
            process.kill()
            process.wait()
