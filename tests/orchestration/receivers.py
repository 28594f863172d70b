"""Who listens on this machine, in a test, to what Airflow tells: a StatsD server, an HTTP server for OTLP, OpenLineage and Slack, an SMTP server."""

from __future__ import annotations

import gzip
import queue
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_MARK, _END = b"mark", b"end"


class StatsD:
    """A StatsD server by UDP. What is sent to it on this machine is there once it is asked for, however busy the machine."""

    def __init__(self, receiver: socket.socket) -> None:
        self.port: int = receiver.getsockname()[1]
        self._receiver = receiver
        self._lines: list[str] = []
        self._marks = queue.Queue[bytes]()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @property
    def lines(self) -> list[str]:
        """Lines such as `airflow.exp.stage.tries:1|c`, as they came until now."""
        self._mark(_MARK)
        return list(self._lines)

    def of(self, name: str) -> list[tuple[float, str]]:
        """The values of a metric with their kinds (c, ms), by its name without `airflow.`."""
        start = f"airflow.{name}:"
        values = [line.removeprefix(start) for line in self.lines if line.startswith(start)]
        return [(float(value), kind) for value, _, kind in (text.partition("|") for text in values)]

    def close(self) -> None:
        self._mark(_END)
        self._thread.join(10)

    def _mark(self, mark: bytes) -> None:
        """Send a packet of our own and wait until it has come: those before it have come by then."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(mark, self._receiver.getsockname())
        assert self._marks.get(timeout=60) == mark

    def _listen(self) -> None:
        packet = b""
        while packet != _END:
            packet = self._receiver.recv(65535)
            if packet in (_MARK, _END):
                self._marks.put(packet)
            else:
                self._lines += packet.decode().splitlines()


@contextmanager
def statsd() -> Iterator[StatsD]:
    """A StatsD server for the length of a `with` block."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
        receiver.bind(("127.0.0.1", 0))
        server = StatsD(receiver)
        try:
            yield server
        finally:
            server.close()


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


class _Session(socketserver.StreamRequestHandler):
    """One client's mails, as far as RFC 5321 goes without extensions: each is kept as it came after DATA."""

    def handle(self) -> None:
        self._say("220 here")
        recipients: list[str] = []
        while line := self.rfile.readline().decode():
            verb, _, rest = line.strip().partition(" ")
            if verb.upper() == "QUIT":
                self._say("221 bye")
                return
            if verb.upper() == "RCPT":
                recipients.append(rest.partition("<")[2].rstrip(">"))
            if verb.upper() != "DATA":
                self._say("250 fine")
                continue
            self._say("354 go on")
            body = b""
            while (part := self.rfile.readline()) != b".\r\n":
                body += part.removeprefix(b".") if part.startswith(b"..") else part
            self.server.mails.append((recipients, message_from_bytes(body, policy=default)))  # type: ignore[attr-defined]
            recipients = []
            self._say("250 kept")

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@dataclass
class Mails:
    """What was mailed: to whom, and the message as a reader of mail parses it."""

    port: int
    mails: list[tuple[list[str], EmailMessage]]


@contextmanager
def smtp_receiver() -> Iterator[Mails]:
    """An SMTP server that takes whatever is mailed to it."""

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), _Session)
    server.mails = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Mails(server.server_address[1], server.mails)  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
