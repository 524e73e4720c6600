"""What granian serves: `mission_control.wsgi:application`."""

from __future__ import annotations

import gc
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mission_control.settings.dev")

application = get_wsgi_application()

# What is loaded now stays: the collector need not look at it again. A batch of telemetry makes tens of thousands of objects and no cycles:
# looked through every 10,000 of them, they cost a tenth of the process's time.
gc.collect()
gc.freeze()
gc.set_threshold(100_000, 20, 20)
