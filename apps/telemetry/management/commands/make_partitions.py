"""`manage.py make_partitions`: telemetry's daily tables, ahead of time."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from apps.telemetry.partitions import DAYS_AHEAD, days_ready, make_partitions


class Command(BaseCommand):
    help = "Makes the partitions of telemetry for the days to come."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, default=DAYS_AHEAD, help="days from today, 0 to 31")

    def handle(self, *args: Any, days: int, **options: Any) -> None:
        if not 0 <= days <= 31:
            raise CommandError("--days must be 0 to 31.")
        made = make_partitions(days)
        self.stdout.write(f"{made} partitions made; ready for {days_ready(timezone.now().date())} days from today.")
