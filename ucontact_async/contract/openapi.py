"""The contract as an OpenAPI 3.1 document.

It knows that format; the words, forms and answers in it are its siblings'.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..api import ENDPOINTS
from ..endpoint import Endpoint
from ..settings import ROOT, origin_of
from .answers import shape_of
from .forms import arguments_of, example_of, form_of, struct_of, variants_of
from .prose import ABOUT, PLACEHOLDER, VERSION, about, coroutine_of, section_of, summary_of

__all__ = ["openapi_document"]

_REF = "#/components/schemas/{name}"
_FORM = "application/x-www-form-urlencoded"


def openapi_document(url: str = PLACEHOLDER) -> dict[str, Any]:
    """Return the contract as an OpenAPI 3.1 document for the server at ``url``, ready for ``json.dumps``.

    Every endpoint has its form with types and meanings, examples with made-up values, its success and refusal, and
    ``x-safety``: ``read``, ``repeatable`` or ``once``. It holds no secret. Raises :class:`SettingsError` for a URL
    that is no server's.
    """
    components: dict[str, Any] = {}
    paths = {f"/{path}": {"post": _operation(endpoint, components)} for path, endpoint in ENDPOINTS.items()}
    sections = dict.fromkeys(map(section_of, ENDPOINTS.values()))
    return {
        "openapi": "3.1.0",
        "info": {"title": "uContact Telephony API", "version": VERSION, "description": ABOUT},
        "servers": [{"url": origin_of(url) + ROOT.rstrip("/")}],
        "tags": [{"name": section} for section in sections],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`Basic <token>` with the token of the login as it is: it is not encoded once more.",
                }
            },
        },
    }


def _operation(endpoint: Endpoint[..., Any], components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": coroutine_of(endpoint).replace(".", "_"),
        "tags": [section_of(endpoint)],
        "summary": summary_of(endpoint),
        "description": about(endpoint),
        "x-safety": endpoint.safety.value,
    }
    if body := _body(endpoint, components):
        operation["requestBody"] = body
    operation["responses"] = _responses(endpoint, components)
    if not endpoint.authenticated:
        operation["security"] = []
    return operation


def _described(type_: Any, components: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of ``type_``, what it refers to put among the components."""
    (schema,), named = msgspec.json.schema_components([type_], ref_template=_REF)
    components.update(named)
    return schema


def _body(endpoint: Endpoint[..., Any], components: dict[str, Any]) -> dict[str, Any]:
    outside, inside = form_of(endpoint), arguments_of(endpoint)
    if not outside and not inside:
        return {}
    name, argument = endpoint.request_type.__name__, endpoint.codec.argument
    content: dict[str, Any]
    if argument is None:
        content = {"schema": _described(struct_of(name, outside, f"The form of {endpoint.path}."), components)}
    else:
        form = {part.name: _described(part.type, components) | {"description": part.word.meaning} for part in outside}
        form[argument] = _described(struct_of(name, inside, f"The JSON in `{argument}`."), components)
        content = {
            "schema": {"type": "object", "properties": form, "required": list(form)},
            "encoding": {argument: {"contentType": "application/json"}},
        }
    content["examples"] = {
        (use.split(" (")[0].replace(" ", "-") or "example"): {
            "summary": use or "with made-up values",
            "value": example_of(endpoint, variant),
        }
        for use, variant in variants_of(endpoint).items()
    }
    return {"required": True, "content": {_FORM: content}}


def _responses(endpoint: Endpoint[..., Any], components: dict[str, Any]) -> dict[str, Any]:
    shape = shape_of(endpoint.reply)
    schema = _described(shape.type, components)
    refusal: Any = 0 if shape.media == "application/json" else "0"
    examples = {"success": {"summary": "done", "value": shape.example}}
    meaning = shape.meaning
    if shape.zero:
        schema = {"anyOf": [schema, {"const": refusal, "description": shape.zero}]}
        examples["refusal"] = {"summary": shape.zero, "value": refusal}
        meaning += f" `0`: {shape.zero}."
    answer = {"description": meaning, "content": {shape.media: {"schema": schema, "examples": examples}}}
    responses = {str(status): answer for status in endpoint.reply.statuses if status != 204}
    if 204 in endpoint.reply.statuses:
        responses["204"] = {"description": "The same as 200."}
    if endpoint.authenticated:
        responses["401"] = {"description": "The token is not valid (any more); nothing was done. Log in again."}
    responses["404"] = {"description": "This version of the server does not have the endpoint."}
    return responses
