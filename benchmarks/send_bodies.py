"""`python -m benchmarks.send_bodies <port> <token> <folder> <senders> <path> <media type>`: posts every batch of a folder over kept connections;
prints what came back."""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any


def main() -> None:
    port, token, folder, senders = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
    path, media_type = sys.argv[5:]
    bodies = [each.read_bytes() for each in sorted(folder.iterdir())]
    answered, accepted, latencies, lock = 0, 0, [], threading.Lock()

    def send(mine: list[bytes]) -> None:
        nonlocal accepted, answered
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for body in mine:
            status, answer, seconds = post(connection, token, path, media_type, body)
            with lock:
                answered += status in (200, 202)
                accepted += answer.get("accepted", 0) if status == 202 else 0
                latencies.append(seconds)

    threads = [threading.Thread(target=send, args=(bodies[index::senders],)) for index in range(senders)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begun
    latencies.sort()
    figures = {"p50_ms": 1000 * latencies[len(latencies) // 2], "p99_ms": 1000 * latencies[int(len(latencies) * 0.99)]}
    print(json.dumps({"answered": answered, "accepted": accepted, "seconds": seconds, **figures}))


def post(connection: http.client.HTTPConnection, token: str, path: str, media_type: str, body: bytes) -> tuple[int, dict[str, Any], float]:
    begun = time.perf_counter()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": media_type}
    connection.request("POST", path, body, headers)
    response = connection.getresponse()
    answer = response.read()
    said = json.loads(answer) if response.getheader("Content-Type") == "application/json" else {}
    return response.status, said, time.perf_counter() - begun


if __name__ == "__main__":
    main()
