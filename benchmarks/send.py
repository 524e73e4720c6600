"""`python -m benchmarks.send <port> <token> <template> <senders> <batches> <seconds>`: posts batches over kept connections until so many are sent
or so many seconds are over (0: no limit), and prints what came back.

The template holds encoded runs with `ID` for each id, so that a batch costs the sender next to nothing: only ids are new, random as those of
traces are. The sender's own processor time is printed too.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

# What stands for the id of run `{index}` of the batch, and what it becomes: 16 hexadecimal digits.
ID = "id-of-{index:04d}-x"
_MARK = ID.partition("{")[0].encode()
_LENGTH = len(ID.format(index=0))


def main() -> None:
    port, token, template = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_bytes()
    senders, batches, seconds = int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6])
    first, *rest = template.split(_MARK)
    places = [int(piece[:4]) for piece in rest]
    between = [piece[_LENGTH - len(_MARK) :] for piece in rest]
    accepted, latencies, lock = 0, [], threading.Lock()
    begun, numbers = time.perf_counter(), iter(range(batches or 10**9))

    def send(sender: int) -> None:
        nonlocal accepted
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        name = os.urandom(4).hex()
        for seq in range(1, 10**9):
            with lock:
                if next(numbers, None) is None or (seconds and time.perf_counter() - begun > seconds):
                    return
            digits = os.urandom(8 * (max(places) + 1)).hex().encode()
            ids = [digits[at : at + 16] for at in range(0, len(digits), 16)]
            parts = [b""] * (2 * len(places))
            parts[::2], parts[1::2] = [ids[place] for place in places], between
            runs = first + b"".join(parts)
            body = b'{"producer": "bench-%d-%b", "seq": %d, "runs": %b}' % (sender, name.encode(), seq, runs)
            status, answer, took = post(connection, token, body)
            while status in (429, 503):
                time.sleep(0.05)
                status, answer, took = post(connection, token, body)
            with lock:
                accepted += answer.get("accepted", 0) if status == 202 else 0
                latencies.append(took)

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = time.perf_counter() - begun
    latencies.sort()
    figures = {"p50_ms": 1000 * latencies[len(latencies) // 2], "p99_ms": 1000 * latencies[int(len(latencies) * 0.99)]}
    print(json.dumps({"accepted": accepted, "batches": len(latencies), "seconds": total, "cpu_s": time.process_time(), **figures}))


def post(connection: http.client.HTTPConnection, token: str, body: bytes) -> tuple[int, dict[str, Any], float]:
    begun = time.perf_counter()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request("POST", "/api/v1/telemetry/runs", body, headers)
    response = connection.getresponse()
    return response.status, json.loads(response.read()), time.perf_counter() - begun


if __name__ == "__main__":
    main()
