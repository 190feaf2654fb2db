"""The contract as a Postman collection, version 2.1, that runs from the login to the logout.

It knows that format; the words, forms and answers in it are its siblings'.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ..api import ENDPOINTS
from ..endpoint import Endpoint, Safety
from ..settings import ROOT, origin_of
from ..wire import CONTENT_TYPE
from .answers import shape_of
from .forms import Part, arguments_of, example_of, form_of, parts_of, struct_of, variants_of
from .prose import ABOUT, PLACEHOLDER, about, section_of
from .vocabulary import Word

__all__ = ["postman_collection"]

_SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
_SECRET = {"user", "password", "token"}
_HOW = """

## To run it

1. Fill in the variables of the collection: `baseUrl`, `user` and `password`; `token` and `guid` fill themselves.
2. Choose a `campaign`, `agent`, `phone` and `destination` of your own: the values here are made up.
3. Run the collection as a whole, or a request after `auth/getUserToken`.

Most requests change something, and some ring a telephone. Those are sent to a test server on this machine; anywhere \
else they are skipped until the variable `allowChanges` is `yes`."""
_GUARD = (
    "const here = /^https?:\\/\\/(localhost|127\\.[0-9.]+|\\[::1\\])(:[0-9]+)?(\\/|$)/;",
    'if (pm.variables.get("allowChanges") !== "yes" && !here.test(pm.variables.get("baseUrl"))) {',
    '  console.log("skipped: it changes something; set the variable allowChanges to yes");',
    "  pm.execution.skipRequest();",
    "}",
)


def postman_collection(url: str = PLACEHOLDER) -> dict[str, Any]:
    """Return the contract as a Postman collection (2.1) for the server at ``url``, ready for ``json.dumps``.

    It logs in, calls every endpoint with made-up values, checks each answer against what is documented and logs out.
    Server, user, campaign, agent and numbers are variables; user, password and token are empty. Raises
    :class:`SettingsError` for a URL that is no server's.
    """
    return {
        "info": {"name": "uContact Telephony API", "description": ABOUT + _HOW, "schema": _SCHEMA},
        "auth": {
            "type": "apikey",
            "apikey": [
                {"key": "key", "value": "Authorization", "type": "string"},
                {"key": "value", "value": "Basic {{token}}", "type": "string"},
                {"key": "in", "value": "header", "type": "string"},
            ],
        },
        "variable": _variables(url),
        "item": _folders(),
    }


def _variables(url: str) -> list[dict[str, Any]]:
    words = (part.word for endpoint in ENDPOINTS.values() for part in parts_of(endpoint))
    values = {word.variable: "" if word.variable in _SECRET else word.example for word in words if word.variable}
    values = {"baseUrl": origin_of(url), **values, "allowChanges": "no"}
    return [{"key": name, "value": value, "type": "string"} for name, value in values.items()]


def _folders() -> list[dict[str, Any]]:
    # Whoever runs them in this order is logged in, has a call to hang up, and leaves no session behind.
    folders: dict[str, list[dict[str, Any]]] = {"Log in": []}
    for endpoint in ENDPOINTS.values():
        parts = {part.name for part in parts_of(endpoint)}
        section = section_of(endpoint)
        if not endpoint.authenticated:
            section = "Log out" if "token" in parts else "Log in"
        folders.setdefault(section, []).extend(_items(endpoint))
    folders["Log out"] = folders.pop("Log out")
    return [{"name": name, "item": items} for name, items in folders.items()]


def _items(endpoint: Endpoint[..., Any]) -> Iterable[dict[str, Any]]:
    shape = shape_of(endpoint.reply)
    media = shape.media
    body = shape.example if isinstance(shape.example, str) and media == "text/plain" else _json(shape.example)
    for use, variant in variants_of(endpoint).items():
        request = _request(endpoint, variant)
        answers = [("Success", body), *([("Refusal", "0")] if shape.zero else [])]
        yield {
            "name": f"{endpoint.path}: {use}" if use else endpoint.path,
            "event": _events(endpoint),
            "request": {**request, "description": _description(endpoint)},
            "response": [
                {
                    "name": name,
                    "originalRequest": request,
                    "status": "OK",
                    "code": 200,
                    "header": [{"key": "Content-Type", "value": media}],
                    "_postman_previewlanguage": "json" if media == "application/json" else "text",
                    "body": answer,
                }
                for name, answer in answers
            ],
        }


def _request(endpoint: Endpoint[..., Any], variant: Mapping[str, Any]) -> dict[str, Any]:
    meanings = {part.name: part.word.meaning for part in form_of(endpoint)}
    if endpoint.codec.argument is not None:
        meanings[endpoint.codec.argument] = "A JSON object; its keys are in the description of the request."
    form = example_of(endpoint, variant, _shown)
    path = f"{ROOT}{endpoint.path}".strip("/")
    request: dict[str, Any] = {
        "method": "POST",
        "header": [{"key": "Content-Type", "value": CONTENT_TYPE}],
        "url": {"raw": f"{{{{baseUrl}}}}/{path}", "host": ["{{baseUrl}}"], "path": path.split("/")},
    }
    if form:
        fields = [
            {"key": name, "value": _text(value), "type": "text", "description": meanings[name]}
            for name, value in form.items()
        ]
        request["body"] = {"mode": "urlencoded", "urlencoded": fields}
    return request if endpoint.authenticated else {**request, "auth": {"type": "noauth"}}


def _shown(word: Word) -> Any:
    return f"{{{{{word.variable}}}}}" if word.variable else word.example


def _text(value: Any) -> str:
    return _json(value) if isinstance(value, dict) else "" if value is None else str(value)


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _events(endpoint: Endpoint[..., Any]) -> list[dict[str, Any]]:
    statuses = ", ".join(map(str, endpoint.reply.statuses))
    check = [
        f'pm.test("HTTP {statuses}", () => pm.expect(pm.response.code).to.be.oneOf([{statuses}]));',
        *shape_of(endpoint.reply).check,
    ]
    changes = endpoint.authenticated and endpoint.safety is not Safety.READ
    scripts = {"prerequest": _GUARD if changes else (), "test": check}
    return [
        {"listen": listen, "script": {"type": "text/javascript", "exec": list(lines)}}
        for listen, lines in scripts.items()
        if lines
    ]


def _description(endpoint: Endpoint[..., Any]) -> str:
    shape = shape_of(endpoint.reply)
    lines = [about(endpoint), f"Answer: {shape.meaning}" + (f" `0`: {shape.zero}." if shape.zero else "")]
    if inside := arguments_of(endpoint):
        lines.append(f"The keys of `{endpoint.codec.argument}`, all of them sent:")
        lines.append(_table(inside))
    return "\n\n".join(lines)


def _table(parts: list[Part]) -> str:
    """Return the keys of a JSON argument as a table; their types are those that msgspec tells."""
    (_,), named = msgspec.json.schema_components([struct_of("Argument", parts, "")])
    rows = [
        f"| `{name}` | {_type_of(schema)} | {schema['description']} |"
        for name, schema in named["Argument"]["properties"].items()
    ]
    return "\n".join(["| key | JSON | meaning |", "|---|---|---|", *rows])


def _type_of(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type_of(kind) for kind in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{_json(value)}`" for value in schema["enum"])
    return str(schema["type"])
