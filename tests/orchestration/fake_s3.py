"""An S3 that knows one operation, ListObjectsV2, and answers it as AWS documents: what a wait for objects asks for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from xml.sax.saxutils import escape

Refusal = tuple[int, str, str]  # status, code, message

NO_SUCH_BUCKET: Refusal = (404, "NoSuchBucket", "The specified bucket does not exist")
ACCESS_DENIED: Refusal = (403, "AccessDenied", "Access Denied")
WRONG_SECRET: Refusal = (
    403,
    "SignatureDoesNotMatch",
    "The request signature we calculated does not match the signature you provided.",
)
BUSY: Refusal = (503, "SlowDown", "Please reduce your request rate.")


@dataclass
class FakeS3:
    """What is stored, and what was asked; `refusal` answers everything until it is taken away."""

    url: str = ""
    buckets: dict[str, set[str]] = field(default_factory=dict)
    refusal: Refusal | None = None
    asked: list[str] = field(default_factory=list)  # bucket/prefix of each listing
    after: dict[int, Any] = field(default_factory=dict)  # number of listings -> what then happens

    def put(self, *paths: str) -> None:
        """Store empty objects by bucket/key."""
        for path in paths:
            bucket, _, key = path.partition("/")
            self.buckets.setdefault(bucket, set()).add(key)

    def connection(self, **changed: Any) -> str:
        """The Airflow connection to it, as JSON."""
        extra = {"endpoint_url": self.url, "region_name": "us-east-1"}
        return json.dumps(
            {"conn_type": "aws", "login": "user", "password": "secret", "extra": extra} | changed
        )

    def listing(self, bucket: str, query: dict[str, list[str]]) -> tuple[int, str]:
        prefix, limit = query.get("prefix", [""])[0], int(query.get("max-keys", ["1000"])[0])
        self.asked.append(f"{bucket}/{prefix}")
        self.after.pop(len(self.asked), lambda: None)()
        refusal = self.refusal or (NO_SUCH_BUCKET if bucket not in self.buckets else None)
        if refusal:
            status, code, message = refusal
            return status, f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        start = query.get("continuation-token", [""])[0]
        keys = sorted(k for k in self.buckets[bucket] if k.startswith(prefix) and k > start)
        contents = "".join(f"<Contents><Key>{quote(k)}</Key><Size>1</Size></Contents>" for k in keys[:limit])
        more = len(keys) > limit
        token = f"<NextContinuationToken>{escape(keys[limit - 1])}</NextContinuationToken>" if more else ""
        return 200, (
            f"<ListBucketResult><Name>{bucket}</Name><EncodingType>url</EncodingType>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{contents}</ListBucketResult>"
        )


@contextmanager
def fake_s3() -> Iterator[FakeS3]:
    """One that runs on a free port of this machine."""
    store = FakeS3()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            status, body = store.listing(address.path.strip("/"), parse_qs(address.query))
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *words: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    store.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
