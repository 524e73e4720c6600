"""The load generator: wrk (Debian's package), on the core that the web process does not have."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.stage import OTHER_CORE

SCRIPT = """
local lines = {{}}
for line in io.lines("{file}") do lines[#lines + 1] = line end
local at = 0
request = function()
  at = at % #lines + 1
  return wrk.format("GET", "{path}", {{["Authorization"] = "Bearer " .. lines[at]{extra}}})
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """Requests a second, latencies in milliseconds, and answers that were neither 2xx nor 3xx."""

    rate: float
    p50_ms: float
    p99_ms: float
    errors: int


def available() -> bool:
    return shutil.which("wrk") is not None


def load(port: int, path: str, tokens: list[str], *, seconds: int = 6, connections: int = 32, etag: str = "") -> Load:
    """Sends GET requests over kept connections for some seconds, one token after the other."""
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "tokens"
        names.write_text("\n".join(tokens) + "\n")
        script = Path(folder) / "script.lua"
        extra = f', ["If-None-Match"] = \'"{etag}"\'' if etag else ""
        script.write_text(SCRIPT.format(file=names, path=path, extra=extra))
        command = ["taskset", "-c", OTHER_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script)]
        printed = subprocess.run([*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True).stdout
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", printed)
    return Load(
        rate=float(_found(r"Requests/sec:\s+([\d.]+)", printed)),
        p50_ms=_ms(_found(r"(?m)^\s+50%\s+(\S+)", printed)),
        p99_ms=_ms(_found(r"(?m)^\s+99%\s+(\S+)", printed)),
        errors=int(errors.group(1)) if errors else 0,
    )


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise ValueError(f"wrk printed no {pattern}: {text}")
    return match.group(1)


def _ms(text: str) -> float:
    for unit, factor in (("us", 0.001), ("ms", 1.0), ("s", 1000.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise ValueError(text)
