"""The README's commands, run as they stand there."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from mission_control.embedded.environment import ROOT
from tests.embedded.portal import Portal, clean_environment

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_it_names_the_two_commands_that_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert re.findall(r"^    make ([a-z]+)", README, re.MULTILINE) == ["up", "test"] and {"up", "test"} <= targets
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link


@pytest.mark.e2e
def test_a_newcomer_can_follow_it() -> None:
    portal = Portal(DEMO="1")
    try:
        portal.start(timeout_s=150)
        script = "set -e\n" + "\necho ' ¶'\n".join(BLOCKS)
        environ = clean_environment(PORT=str(portal.port), DATA_DIR=str(portal.data))
        done = subprocess.run(["bash", "-c", script], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        resolved, sent, _ = done.stdout.split("¶")
        assert json.loads(resolved)["pack"] == "hr-ops-pack"
        assert json.loads(sent) == {"accepted": 1, "duplicates": 0, "rejected": [], "commands": []}
    finally:
        portal.close()
