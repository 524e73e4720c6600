"""Real receivers on loopback: an HTTP server that verifies what it gets, and a mail server."""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "notices.md").read_text()
# The receiver's own code is what the docs tell receivers to use.
_example: dict[str, Any] = {}
exec(re.findall(r"^```python\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)[0], _example)
verified: Callable[..., bool] = _example["verified"]


@dataclass
class Received:
    headers: dict[str, str]
    body: bytes
    path: str


class Receiver(ThreadingHTTPServer):
    """`answers` are the next statuses, one a request; the last one stays. A callable is called first, and gives the status."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[Received] = []
        self.answers: list[int | Callable[[], int]] = [200]
        self.guard = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/in/s3cr3t-path"

    @property
    def ids(self) -> list[str]:
        return [each.headers["webhook-id"] for each in self.got]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.guard:
            self.server.got.append(Received({name.lower(): value for name, value in self.headers.items()}, body, self.path))
            answer = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        status = answer() if callable(answer) else answer
        try:
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "http://169.254.169.254/")
            self.end_headers()
            self.wfile.write(b"what the receiver says")
        except OSError:
            return

    def log_message(self, *_: Any) -> None:
        return


@dataclass
class Letter:
    recipients: list[str]
    raw: bytes

    @property
    def message(self) -> EmailMessage:
        found = message_from_bytes(self.raw, policy=policy.default)
        assert isinstance(found, EmailMessage)
        return found

    @property
    def text(self) -> str:
        part = self.message.get_body(("plain",))
        assert part is not None
        return str(part.get_content())

    @property
    def html(self) -> str:
        part = self.message.get_body(("html",))
        assert part is not None
        return str(part.get_content())


class MailServer(socketserver.ThreadingTCPServer):
    """As much of SMTP as a client that delivers needs. `refuses` maps an address to the code that it is answered with."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Smtp)
        self.letters: list[Letter] = []
        self.refuses: dict[str, int] = {}
        self.connections = 0

    @property
    def port(self) -> int:
        return int(self.server_address[1])


@dataclass
class _Envelope:
    recipients: list[str] = field(default_factory=list)


class _Smtp(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self.server.connections += 1
        envelope = _Envelope()
        self.say(220, "ready")
        while line := self.rfile.readline():
            command, _, rest = line.decode().strip().partition(" ")
            match command.upper():
                case "EHLO" | "HELO" | "MAIL" | "NOOP":
                    self.say(250, "ok")
                case "RSET":
                    envelope = _Envelope()
                    self.say(250, "ok")
                case "RCPT":
                    address = rest[rest.index("<") + 1 : rest.index(">")]
                    code = self.server.refuses.get(address, 250)
                    if code == 250:
                        envelope.recipients.append(address)
                    self.say(code, "what the mail server says")
                case "DATA":
                    self.say(354, "go on")
                    lines = []
                    while (part := self.rfile.readline()) != b".\r\n":
                        lines.append(part[1:] if part.startswith(b"..") else part)
                    self.server.letters.append(Letter(envelope.recipients, b"".join(lines)))
                    envelope = _Envelope()
                    self.say(250, "taken")
                case "QUIT":
                    self.say(221, "bye")
                    return
                case _:
                    self.say(500, "unknown")

    def say(self, code: int, words: str) -> None:
        self.wfile.write(f"{code} {words}\r\n".encode())


@contextmanager
def running(server: Any) -> Iterator[Any]:
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
