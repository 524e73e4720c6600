"""The embedded default: what `make up` runs. The supervisor gives the URLs and the key; in another terminal they are looked up."""

import os

from mission_control.embedded.environment import load

load()
os.environ.setdefault("SECRET_KEY", "only-for-commands-that-touch-no-session-outside-make-up")

from .base import *  # noqa: E402
