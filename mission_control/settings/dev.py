"""The embedded default: what `make up` runs. The supervisor gives the URLs and the key; in another terminal they are looked up."""

import os

from mission_control.embedded.environment import data_folder, load

load()
os.environ.setdefault("SECRET_KEY", "only-for-commands-that-touch-no-session-outside-make-up")
# An archive of a workplace lies beside its database.
os.environ.setdefault("ARCHIVE_STORE", str(data_folder(os.environ).resolve() / "archives"))

from .base import *  # noqa: E402
