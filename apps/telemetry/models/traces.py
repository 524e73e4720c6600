"""The queue of traces that are to be settled."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models

from apps.core.models import TenantOwned


class OpenTraces(TenantOwned):
    """Root tasks of one request of spans, whose runs and events say all they can when the rest of the trace has come."""

    roots = ArrayField(models.CharField(max_length=200))
    due_at = models.DateTimeField()
    # Whether this is the last look: then what is missing never comes.
    last = models.BooleanField(default=False)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["tenant", "due_at"], name="telemetry_opentraces_due")]

    def __str__(self) -> str:
        return f"{len(self.roots)} traces"
