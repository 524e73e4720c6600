"""Settings: every name is documented, `.env` is read as written, and production has no default for a secret."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mission_control.embedded.environment import ROOT, load_file, read_file

_READS = re.compile(r"""(?:\benv\(|environ\.get\(|environ\[|environ\.setdefault\(|getenv\()\s*["']([A-Z][A-Z0-9_]+)["']""")
# Of the system, not ours to document.
_FOREIGN = {"PATH", "HOME", "PYTHONPATH", "CI", "PYTEST_XDIST_WORKER"}
_COMPLETE = {
    "SECRET_KEY": "x" * 50,
    "DATABASE_URL": "postgresql://a@localhost/x",
    "DATABASE_OWNER_URL": "postgresql://b@localhost/x",
    "REDIS_URL": "redis://localhost/0",
    "ALLOWED_HOSTS": "portal.example.com",
}


def documented() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert all(line.startswith("#") or not line for line in lines), "an example sets nothing by itself"
    return dict(match.groups() for line in lines if (match := re.fullmatch(r"#([A-Z0-9_]+)=(.*)", line)))  # type: ignore[misc]


def test_env_example_names_every_setting_that_is_read_and_no_other() -> None:
    files = [ROOT / "manage.py", *(ROOT / "mission_control").rglob("*.py"), *(ROOT / "apps").rglob("*.py")]
    read = {name for path in files for name in _READS.findall(path.read_text())} - _FOREIGN
    assert read - documented().keys() == set()
    # TRUST_PROXY and the like are read, PORT and DEMO as well; what nobody reads has no place there.
    text = "".join(path.read_text() for path in files)
    assert {name for name in documented() if f'"{name}"' not in text} == set()


def test_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".env"
    file.write_text("# a comment\n\nPORT=9000\nSECRET_KEY = 'a=b # c'\nnonsense\nDEMO=\n")
    assert read_file(file) == {"PORT": "9000", "SECRET_KEY": "a=b # c", "DEMO": ""}
    assert read_file(tmp_path / "none") == {}
    monkeypatch.setattr("mission_control.embedded.environment.ROOT", tmp_path)
    environ = {"PORT": "1"}
    load_file(environ)
    assert environ["PORT"] == "1" and environ["SECRET_KEY"] == "a=b # c"


@pytest.mark.parametrize("without", sorted(_COMPLETE))
def test_production_does_not_start_without(without: str) -> None:
    environ = {name: value for name, value in _COMPLETE.items() if name != without}
    done = subprocess.run(
        [sys.executable, "-c", "import mission_control.settings.prod"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert f"{without} is not set" in done.stderr
