"""The base of every DRF view: a context, one transaction a request, idempotent writes, entity tags."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import msgspec
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from rest_framework import generics, viewsets
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.context import ActionContext
from apps.core.domain.canonical import pointer
from apps.core.domain.redaction import redact_text
from apps.core.errors import problem
from apps.core.http import problem_response
from apps.core.models import IdempotencyRecord

KEPT = timedelta(hours=24)
MAX_KEY = 200


class ContextMixin(APIView):
    """`self.ctx` is the request's context. The handler runs in its transaction: an error leaves nothing behind."""

    # Keys of the answer that are shown once: a replay under an Idempotency-Key has null there.
    shown_once: frozenset[str] = frozenset()
    # Whose content an agent's token reaches here: nobody's, or every user's of its harness.
    agents_reach: str = ""

    @property
    def ctx(self) -> ActionContext:
        context: ActionContext = self.request._request.ctx  # type: ignore[attr-defined]
        return context

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        self.args = args
        self.kwargs = kwargs
        request = self.initialize_request(request, *args, **kwargs)
        self.request = request
        self.headers = self.default_response_headers
        try:
            self.initial(request, *args, **kwargs)
            refuse_nul(request)
            handler = getattr(self, (request.method or "").lower(), self.http_method_not_allowed)
            if self.ctx.agent_id is not None:
                self.ctx.user_ref = self.agents_reach
            with self.ctx.transaction():
                response = self._once(request, handler, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 -- as DRF's own dispatch: handle_exception raises again what is no refusal
            response = self.handle_exception(error)
        self.response = self.finalize_response(request, response, *args, **kwargs)
        return self.response

    def _once(self, request: Request, handler: Any, *args: Any, **kwargs: Any) -> Any:
        key = request.headers.get("Idempotency-Key")
        if key is None or request.method in ("GET", "HEAD", "OPTIONS"):
            return handler(request, *args, **kwargs)
        if not 0 < len(key) <= MAX_KEY or not key.isprintable():
            raise problem("invalid", f"Idempotency-Key must be 1 to {MAX_KEY} printable characters.")
        # Some count, and one number in ten passes for a card's.
        if not key.isdigit() and redact_text(key)[1]:
            raise problem("invalid", "Idempotency-Key holds what looks like a secret; send a random one.")
        body_hash = hashlib.sha256(msgspec.json.encode(request.data, order="sorted")).digest()
        lookup = {
            "tenant_id": self.ctx.tenant_id,
            "actor": self.ctx.actor.key,
            "route": f"{request.method} {request.path}"[:300],
            "key": key,
        }
        try:
            with transaction.atomic():
                record = IdempotencyRecord.objects.create(**lookup, body_hash=body_hash)
        except IntegrityError:
            return self._replay(IdempotencyRecord.objects.select_for_update().get(**lookup), body_hash, request, handler, *args, **kwargs)
        return self._remember(record, handler(request, *args, **kwargs))

    def _replay(self, record: IdempotencyRecord, body_hash: bytes, request: Request, handler: Any, *args: Any, **kwargs: Any) -> Any:
        if record.created_at < timezone.now() - KEPT:
            record.created_at, record.body_hash = timezone.now(), body_hash
            return self._remember(record, handler(request, *args, **kwargs))
        if bytes(record.body_hash) != body_hash:
            raise problem("idempotency_conflict", "This Idempotency-Key was used for a request with another body; use a new key.")
        return Response(record.body, status=record.status or 200, headers={"Idempotency-Replayed": "true"})

    def _remember(self, record: IdempotencyRecord, response: Response) -> Response:
        body = msgspec.json.decode(msgspec.json.encode(response.data, enc_hook=str))
        if isinstance(body, dict):
            body.update(dict.fromkeys(self.shown_once & body.keys()))
        record.status, record.body = response.status_code, body
        record.save(update_fields=["status", "body", "body_hash", "created_at"])
        return response


def refuse_nul(request: Request) -> None:
    """U+0000 is in nothing that PostgreSQL holds, so a path with it leads nowhere, and a filter with it is not valid."""
    if "\x00" in request.path:
        raise problem("not_found", "There is no such resource.")
    for name, values in request.query_params.lists():
        if "\x00" in name or any("\x00" in value for value in values):
            shown = name.replace("\x00", "")[:50]
            raise problem("invalid", f"The parameter '{shown}' holds U+0000.", pointer=pointer(shown))


def unknown_route(request: HttpRequest) -> HttpResponse:
    """What no other route takes: a problem like every other error, also where only a slash is wrong."""
    return problem_response(
        problem("not_found", "There is no such route. Mind the slash at its end: the OpenAPI document has each path."), request
    )


class ContextView(ContextMixin, generics.GenericAPIView):  # type: ignore[type-arg]
    """A single endpoint."""


class ContextViewSet(ContextMixin, viewsets.GenericViewSet):  # type: ignore[type-arg]
    """A resource with its actions. `get_queryset` starts from `Model.objects.restrict(self.ctx)`."""


def check_if_match(request: Request, etag: str) -> None:
    """Raises Problem `stale_etag` when If-Match names another state than the present one."""
    sent = request.headers.get("If-Match")
    if sent is not None and sent != "*" and f'"{etag}"' not in [part.strip() for part in sent.split(",")]:
        raise problem("stale_etag", "The resource has changed since you read it; read it again and repeat your change.")
