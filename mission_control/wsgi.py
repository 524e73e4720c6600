"""What granian serves: `mission_control.wsgi:application`."""

from __future__ import annotations

import gc
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mission_control.settings.dev")

application = get_wsgi_application()

# What is loaded now stays: the collector need not look at it again. A batch of telemetry makes thousands of objects and no cycles, for which
# it would look every 700 of them.
gc.collect()
gc.freeze()
gc.set_threshold(10_000, 20, 20)
