"""The requests that a journal keeps, read back."""

from __future__ import annotations

from typing import Any

from ..api import ENDPOINTS
from ..endpoint import Request
from ..errors import InvalidRequest, JournalError
from ..text import Rules

__all__ = ["read_request"]

# What was written by the rules of its server is read by any.
_RULES = Rules()


def read_request(journal: object, path: str, document: str) -> Request[Any]:
    """Return the request to ``path``, a known endpoint, that ``journal`` keeps as ``document``.

    Raises :class:`JournalError`, naming ``journal``, where it cannot be read.
    """
    request: Request[Any]
    try:
        request = ENDPOINTS[path].codec.read(document, _RULES)
    except (ValueError, TypeError, RecursionError, InvalidRequest):  # or what stands there is no text
        del document  # a traceback with locals would show it
    else:
        return request
    raise JournalError(f"{journal} holds a request to {path} that cannot be read")
