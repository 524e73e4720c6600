"""The embedded default: what `make up` runs. The supervisor gives the URLs and the key."""

import os

os.environ.setdefault("SECRET_KEY", "only-for-commands-that-touch-no-session-outside-make-up")

from .base import *  # noqa: E402,F403
