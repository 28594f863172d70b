"""An S3 server in one process, SeaweedFS, with an administrator and a user who may use the platform's buckets."""

from __future__ import annotations

import json
import secrets
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from pyarrow.fs import FileSelector, FileType, S3FileSystem

from cluster.servers import Server, free_ports

BUCKETS = ("raw", "warehouse", "memos")
TABLE_BUCKET = "lake"  # the store is its REST catalog too, with the access keys as credentials
REGION = "us-east-1"


@dataclass(frozen=True)
class Keys:
    """An access key and its secret."""

    access: str = field(default_factory=lambda: secrets.token_hex(10))
    secret: str = field(default_factory=lambda: secrets.token_hex(20))


class ObjectStore:
    """The server and its buckets; `keys` are of the user, who may make no bucket."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.admin, self.keys = Keys(), Keys()
        config = folder / "users.json"
        config.write_text(
            json.dumps({"identities": [_identity("admin", self.admin), _identity("user", self.keys)]})
        )
        data = folder / "data"
        data.mkdir()
        names = (
            "master",
            "master.grpc",
            "filer",
            "filer.grpc",
            "volume",
            "volume.grpc",
            "s3",
            "s3.grpc",
            "rest",
            "admin",
        )
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.endpoint = f"http://127.0.0.1:{ports['s3']}"
        self.rest_catalog = f"http://127.0.0.1:{ports['rest']}"
        options = {
            "dir": data,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "master.telemetry": "false",
            **{f"{server}.port": ports[server] for server in ("master", "filer", "volume", "s3", "admin")},
            **{
                f"{server}.port.grpc": ports[f"{server}.grpc"]
                for server in ("master", "filer", "volume", "s3")
            },
            "s3.port.iceberg": ports["rest"],
            "s3.port.lance": 0,
            "s3.config": config,
            "s3.autoCreateBucket": "false",
            "tableBucket": TABLE_BUCKET,
            "admin.ui": "false",
            "webdav": "false",
        }
        self.server = Server(
            [str(program()), "mini", *(f"-{name}={value}" for name, value in options.items())],
            folder / "log.txt",
            self._answers,
        )

    def start(self) -> None:
        self.server.start()
        for bucket in BUCKETS:
            self.files(self.admin).create_dir(bucket)

    def files(self, keys: Keys | None = None) -> S3FileSystem:
        """The store as PyArrow sees it, for the user or for whose keys are given."""
        keys = keys or self.keys
        return S3FileSystem(
            access_key=keys.access,
            secret_key=keys.secret,
            endpoint_override=self.endpoint,
            region=REGION,
            force_virtual_addressing=False,
            allow_bucket_creation=True,
        )

    def read(self, bucket: str) -> dict[str, bytes]:
        """Every object of a bucket by its path in it."""
        files = self.files()
        found = files.get_file_info(FileSelector(bucket, recursive=True))
        return {
            info.path.removeprefix(f"{bucket}/"): files.open_input_stream(info.path).read()
            for info in found
            if info.type == FileType.File
        }

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/healthz", timeout=5):
                return True
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False


def program() -> Path:
    """SeaweedFS as its package puts it beside the interpreter."""
    return Path(sys.executable).with_name("weed")


def _identity(name: str, keys: Keys) -> dict[str, object]:
    actions = [f"{action}:{bucket}" for bucket in BUCKETS for action in ("Read", "Write", "List", "Tagging")]
    return {
        "name": name,
        "credentials": [{"accessKey": keys.access, "secretKey": keys.secret}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"] if name == "admin" else actions,
    }
