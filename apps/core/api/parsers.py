"""JSON bodies under the rules of pack content: no floats, no duplicate keys, nothing that PostgreSQL cannot hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.parsers import JSONParser

from apps.core.domain.canonical import parse_json
from apps.core.errors import problem

MAX_BODY_BYTES = 5 * 1024 * 1024


class StrictJSONParser(JSONParser):
    """Raises Problem `too_large`, `bad_encoding` or `invalid`."""

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        raw = stream.read(MAX_BODY_BYTES + 1)
        if len(raw) > MAX_BODY_BYTES:
            raise problem("too_large", f"The body is over {MAX_BODY_BYTES} bytes.")
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            raise problem("bad_encoding", f"The body is not UTF-8: byte {error.start} cannot be decoded.") from None
        return parse_json(raw)
