"""The file of an export as an answer, over the API and in the admin alike."""

from __future__ import annotations

from django.http import StreamingHttpResponse

from apps.telemetry.services.exports import File


def file_answer(found: File) -> StreamingHttpResponse:
    """The file, sent as it is read from the storage."""
    headers = {
        "Content-Disposition": f'attachment; filename="{found.name}"',
        "Content-Length": str(found.size),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingHttpResponse(found.pieces, content_type=found.media_type, headers=headers)
