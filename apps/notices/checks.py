"""What `manage.py check` says of this room's settings."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, register

from apps.notices.sealing import keys


@register
def sealing_key(**kwargs: Any) -> list[CheckMessage]:
    try:
        keys()
    except ValueError as error:
        return [Error(str(error), id="notices.E001")]
    return []
