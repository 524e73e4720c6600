"""A control plane of a few lines: what a client meets on the wire, and every way in which it can go wrong."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Any, dict[str, str]]


class Plane:
    """Answers like the real one, or with what stands in `troubles` first, one each: a status, or a function of the request's body.

    `stored` are the items by id, `seqs` the batches' numbers in order, `requests` what was asked.
    """

    def __init__(self) -> None:
        self.troubles: list[int | Callable[[Any], Reply]] = []
        self.down = False
        self.pack = {"pack": "p", "digest": "sha256:1", "arm": "champion", "ttl_s": 60, "content": {"sections": {}}, "lineage": []}
        self.poison: set[str] = set()
        self.commands: list[dict[str, Any]] = []
        self.stale: list[str] = []
        self.stored: dict[str, dict[str, Any]] = {}
        self.seqs: list[int] = []
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.beats: list[dict[str, Any]] = []
        # Text for the next readers of the stream, after which it ends; and where it sends them.
        self.frames: list[str] = []
        self.redirect = ""
        self.lock = threading.Lock()
        plane = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                plane.handle(self, None)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                raw = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
                plane.handle(self, json.loads(raw))

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def handle(self, request: BaseHTTPRequestHandler, body: Any) -> None:
        path, _, query = request.path.removeprefix("/api/v1/").partition("?")
        with self.lock:
            self.requests.append((f"{path}?{query}", dict(request.headers.items()), body))
            if path == "stream":
                self._stream(request)
                return
            if self.down:
                status, answer, headers = 503, {"code": "unavailable"}, {}
            elif self.troubles:
                trouble = self.troubles.pop(0)
                status, answer, headers = trouble(body) if callable(trouble) else (trouble, {"code": "x", "detail": "trouble"}, {})
            else:
                status, answer, headers = self._answer(path, request, body)
        encoded = b"" if answer is None else json.dumps(answer).encode()
        request.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(encoded)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(encoded)

    def _answer(self, path: str, request: BaseHTTPRequestHandler, body: Any) -> Reply:
        if path == "resolve":
            etag = f'"{self.pack["digest"]}"'
            return (304, None, {"ETag": etag}) if request.headers.get("If-None-Match") == etag else (200, self.pack, {"ETag": etag})
        if path == "heartbeat":
            self.beats.append(body)
            acked = set(body["acks"])
            self.commands = [command for command in self.commands if command["id"] not in acked]
            return 200, {"commands": self.commands, "stale": self.stale, "server_time": "2026-11-30T00:00:00Z"}, {}
        return self.store(path.removeprefix("telemetry/"), body)

    def store(self, kind: str, body: Any) -> Reply:
        """As ingest: a bad item costs no good one, a known one is a duplicate."""
        self.seqs.append(body["seq"])
        rejected, accepted, duplicates = [], 0, 0
        for index, item in enumerate(body[kind]):
            key = item["run_id" if kind == "runs" else "event_id"]
            if key in self.poison:
                rejected.append({"index": index, "code": "invalid", "pointer": f"/{kind}/{index}", "detail": "poison"})
            elif key in self.stored:
                duplicates += 1
            else:
                accepted += 1
                self.stored[key] = item
        return 202, {"accepted": accepted, "duplicates": duplicates, "rejected": rejected, "commands": self.commands}, {}

    def _stream(self, request: BaseHTTPRequestHandler) -> None:
        if self.redirect:
            request.send_response(307)
            request.send_header("Location", self.redirect)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(200)
        request.send_header("Content-Type", "text/event-stream")
        request.send_header("Connection", "close")
        request.end_headers()
        request.close_connection = True
        if self.frames:
            request.wfile.write(self.frames.pop(0).encode())

    def asked(self, path: str) -> list[tuple[str, dict[str, str], Any]]:
        with self.lock:
            return [request for request in self.requests if request[0].startswith(path)]
