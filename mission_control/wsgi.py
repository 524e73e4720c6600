"""What granian serves: `mission_control.wsgi:application`."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mission_control.settings.dev")

application = get_wsgi_application()
