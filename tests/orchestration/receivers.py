"""Who listens on this machine, in a test, to what Airflow tells: a StatsD server, and an HTTP server for OTLP and OpenLineage."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class StatsD:
    """Lines such as `airflow.exp.stage.tries:1|c`, as they came."""

    port: int
    lines: list[str] = field(default_factory=list)

    def of(self, name: str) -> list[tuple[float, str]]:
        """The values of a metric with their kinds (c, ms), by its name without `airflow.`."""
        values = [
            line.removeprefix(f"airflow.{name}:")
            for line in self.lines
            if line.startswith(f"airflow.{name}:")
        ]
        return [(float(value), kind) for value, _, kind in (text.partition("|") for text in values)]


@contextmanager
def statsd() -> Iterator[StatsD]:
    """A StatsD server by UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
        heard = StatsD(receiver.getsockname()[1])

        def listen() -> None:
            while (packet := receiver.recv(65535)) != b"end":
                heard.lines.extend(packet.decode().splitlines())

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield heard
        finally:
            receiver.sendto(b"end", receiver.getsockname())
            thread.join(10)


@dataclass
class Posted:
    """What was posted, by path, in order."""

    url: str
    bodies: list[tuple[str, bytes]] = field(default_factory=list)

    def to(self, path: str) -> list[bytes]:
        """The bodies posted to one path."""
        return [body for where, body in self.bodies if where == path]


@contextmanager
def http_receiver() -> Iterator[Posted]:
    """An HTTP server that takes whatever is posted to it."""
    heard = Posted("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            zipped = self.headers.get("Content-Encoding") == "gzip"
            heard.bodies.append((self.path, gzip.decompress(body) if zipped else body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    heard.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
