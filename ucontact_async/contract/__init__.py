"""The contract for others: every endpoint as a Postman collection or an OpenAPI document, made from the table."""

from __future__ import annotations

from .openapi import openapi_document
from .postman import postman_collection

__all__ = ["openapi_document", "postman_collection"]
