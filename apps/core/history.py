"""History of governed objects: beside every change a row with the object as it is from then on and who made it so, in the change's own
transaction. What the log can erase (names, reasons) is not in it; it is found there by the request.

    class Team(TenantOwned):
        history = History(without=["description"])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, models, transaction
from simple_history.models import HistoricalRecords
from simple_history.utils import bulk_update_with_history

from apps.core.context import acting, set_tenant

# The kind of actor of what was not written by a service: by a migration, in a shell.
OUTSIDE: Final = "outside"
BATCH = 500


def actor_kind() -> str:
    ctx = acting()
    return ctx.actor.kind if ctx else OUTSIDE


def actor_id() -> UUID | None:
    ctx = acting()
    return ctx.actor.id if ctx else None


def actor_label() -> str:
    ctx = acting()
    return ctx.actor.label[:200] if ctx and ctx.actor.kind != "user" else ""


def channel() -> str:
    ctx = acting()
    return ctx.channel if ctx else ""


def request_id() -> str:
    ctx = acting()
    return ctx.request_id[:64] if ctx else ""


class Record(models.Model):
    """What every row of history says besides the object's own fields. Of people it keeps the id alone: their names can be erased."""

    actor_kind = models.CharField(max_length=10, default=actor_kind)
    actor_id = models.UUIDField(null=True, default=actor_id)
    actor_label = models.CharField(max_length=200, blank=True, default=actor_label)
    channel = models.CharField(max_length=10, blank=True, default=channel)
    request_id = models.CharField(max_length=64, blank=True, default=request_id)

    class Meta:
        abstract = True


def _nothing() -> Any:
    """A field of the library's that is not kept: reads as None, takes what it is given."""
    return property(lambda self: None, lambda self, value: None)


class History(HistoricalRecords):  # type: ignore[misc]
    """`without`: the fields that history leaves out (secrets, personal data, content that never changes, what is no governed state); the
    time of creation always is. `tenant`: the field that names whose row it is, "" where it is nobody's. A change of fields that are left
    out leaves no row."""

    def __init__(self, *, without: Sequence[str] = (), tenant: str = "tenant_id") -> None:
        super().__init__(bases=[Record], excluded_fields=["created_at", *without], history_id_field=models.BigAutoField())
        self.tenant = tenant

    def finalize(self, sender: type[models.Model], **kwargs: Any) -> None:
        super().finalize(sender, **kwargs)
        if sender is self.cls:
            sender.save_base = _in_one_transaction(sender.save_base)

    def post_save(self, instance: models.Model, created: bool, using: str | None = None, **kwargs: Any) -> None:
        touched = kwargs.get("update_fields")
        if created or touched is None or touched & self._names(instance):
            super().post_save(instance, created, using, **kwargs)

    def create_historical_record(self, instance: models.Model, history_type: str, using: str | None = None) -> None:
        with _as_tenant(getattr(instance, self.tenant) if self.tenant else None):
            super().create_historical_record(instance, history_type, using)

    def get_history_user(self, instance: models.Model) -> None:
        """The actor is the context's, which the library knows nothing of."""

    def copy_fields(self, model: type[models.Model]) -> dict[str, Any]:
        fields: dict[str, Any] = super().copy_fields(model)
        # Rows are found by their object alone.
        for field in fields.values():
            field.db_index = False
        return fields

    def get_meta_options(self, model: type[models.Model]) -> dict[str, Any]:
        found: dict[str, Any] = super().get_meta_options(model)
        # Numbers, not clocks: who changes an object holds its row.
        order = models.Index(
            fields=[model._meta.pk.attname, "-history_id"], name=f"{model._meta.label_lower.replace('.', '_')}_history"[:30]
        )
        return {**found, "ordering": ("-history_id",), "get_latest_by": "history_id", "indexes": [order]}

    def _names(self, instance: models.Model) -> set[str]:
        return {name for field in self.fields_included(instance) for name in (field.name, field.attname)}

    def _get_history_user_fields(self) -> dict[str, Any]:
        return {"history_user": _nothing()}

    def _get_history_change_reason_field(self) -> Any:
        return _nothing()


def _in_one_transaction(save_base: Callable[..., None]) -> Callable[..., None]:
    """Outside of a transaction a row would be there before its history, and stay where that fails."""

    @wraps(save_base)
    def wrapper(self: models.Model, *args: Any, using: str | None = None, **kwargs: Any) -> None:
        with transaction.atomic(using=using or DEFAULT_DB_ALIAS, savepoint=False):
            save_base(self, *args, using=using, **kwargs)

    return wrapper


@contextmanager
def _as_tenant(tenant_id: UUID | None) -> Iterator[None]:
    """History is written as the tenant whose it is, whoever writes. Inside a transaction, which an error takes back with the setting."""
    ctx = acting()
    if tenant_id is None or (ctx is not None and ctx.tenant_id == tenant_id):
        yield
        return
    before = set_tenant(tenant_id)
    yield
    set_tenant(before)


def revise(rows: models.QuerySet[Any], **values: Any) -> int:
    """Sets these values on every row of a governed model that `rows` finds, each with its history; how many. `QuerySet.update` would
    leave none. All rows are of one tenant."""
    with transaction.atomic(savepoint=False):
        found = list(rows.select_for_update(of=("self",)).order_by("pk"))
        for row in found:
            for name, value in values.items():
                setattr(row, name, value)
        if found:
            with _as_tenant(found[0].tenant_id):
                bulk_update_with_history(found, rows.model, list(values), batch_size=BATCH)
    return len(found)


def history_model(model: type[models.Model]) -> Any:
    """The model of its history, or None where it has none."""
    manager = getattr(model._meta, "simple_history_manager_attribute", None)
    return getattr(model, manager).model if manager else None


def history_table(model: type[models.Model]) -> str:
    """Raises AttributeError for a model without history."""
    name: str = history_model(model)._meta.db_table
    return name


def governed() -> list[type[models.Model]]:
    """Every model that has history."""
    from django.apps import apps

    return [model for model in apps.get_models() if history_model(model) is not None]
