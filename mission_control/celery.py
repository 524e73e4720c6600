"""The Celery application: tasks are idempotent, acknowledged when done, and delivered again when a worker is lost."""

from __future__ import annotations

import os

from celery import Celery

# A task that is not acknowledged after this many seconds goes to another worker. Redis counts a task's countdown as well, so a
# countdown has to stay below it; so has a task's run time, hence the limits.
VISIBILITY_TIMEOUT_S = 120

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mission_control.settings.dev")

app = Celery("mission_control")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    task_time_limit=VISIBILITY_TIMEOUT_S - 20,
    task_soft_time_limit=VISIBILITY_TIMEOUT_S - 30,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "visibility_timeout": VISIBILITY_TIMEOUT_S,
        # The transport looks for lost tasks every interval x throttle seconds; with its own throttle of 10 that is over a minute.
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "socket_keepalive": True,
        "socket_connect_timeout": 5,
    },
)
app.autodiscover_tasks()
