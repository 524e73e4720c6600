"""`python -m benchmarks.listen <port> <connections> <token…>`: holds connections to the stream and reads as cheaply as can be.

Prints a line when all are open; then for each line `<number>` on its input, once every connection has read the event with that number, how
long after the event's own `at` they did.
"""

from __future__ import annotations

import json
import re
import resource
import selectors
import socket
import sys
import time

_EVENT = re.compile(rb'"number":(\d+),"at":([\d.]+)')


def main() -> None:
    port, count, tokens = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    selector = selectors.EpollSelector()
    begun = time.perf_counter()
    opening, opened = 0, set()
    while len(opened) < count:
        # Few at a time: the backlog of a listening socket is no queue to wait in.
        while opening - len(opened) < 200 and opening < count:
            connection = socket.create_connection(("127.0.0.1", port))
            request = f"GET /api/v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tokens[opening % len(tokens)]}\r\n\r\n"
            connection.sendall(request.encode())
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ)
            opening += 1
        for key, _ in selector.select(5):
            data = key.fileobj.recv(65536)  # type: ignore[union-attr]
            if not data or data.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")):
                sys.exit(f"refused: {data[:300]!r}")
            if b"event: ping" in data:
                opened.add(key.fd)
    print(json.dumps({"open": len(opened), "seconds": time.perf_counter() - begun}), flush=True)
    selector.register(sys.stdin, selectors.EVENT_READ)
    wanted, delays = -1, {}
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                line = sys.stdin.readline()
                if not line:
                    return
                wanted, delays = int(line), {}
                continue
            data = key.fileobj.recv(65536)  # type: ignore[union-attr]
            now = time.time()
            if not data:
                sys.exit("a connection was ended")
            for number, at in _EVENT.findall(data):
                if int(number) == wanted:
                    delays[key.fd] = (now - float(at)) * 1000
            if len(delays) == count:
                ordered = sorted(delays.values())
                found = {"p50": ordered[count // 2], "p99": ordered[int(count * 0.99)], "last": ordered[-1], "count": count}
                print(json.dumps(found), flush=True)
                delays = {}


if __name__ == "__main__":
    main()
