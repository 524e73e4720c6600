"""The project: settings, routes, processes. `apps` imports nothing from here."""

from mission_control.celery import app as celery_app

__all__ = ["celery_app"]
