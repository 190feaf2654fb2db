"""The contract: every endpoint of the vendor's Telephony page, one file an area."""

from __future__ import annotations

from typing import Any

from ..endpoint import Endpoint, Request
from .calls import Calls
from .campaigns import Campaigns
from .dialers import Dialers
from .recordings import RecordingCalls
from .session import Session

__all__ = ["ENDPOINTS", "GROUPS", "endpoint_of"]

GROUPS = (Session, Dialers, Calls, RecordingCalls, Campaigns)

ENDPOINTS: dict[str, Endpoint[..., Any]] = {
    endpoint.path: endpoint for group in GROUPS for endpoint in group.endpoints().values()
}

_BY_REQUEST = {endpoint.request_type: endpoint for endpoint in ENDPOINTS.values()}


def endpoint_of(request: Request[Any]) -> Endpoint[..., Any]:
    """Return the endpoint that ``request`` belongs to; ``TypeError`` for anything that is not a request."""
    try:
        return _BY_REQUEST[type(request)]
    except KeyError:
        raise TypeError(f"{type(request).__name__} is not one of the request types of ucontact_async") from None
