"""What both documents say in words: of the API, of an endpoint, and of sending it twice.

It refuses to know what a document looks like.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ..api import GROUPS
from ..endpoint import Endpoint, Safety
from ..wire import fields_of
from .vocabulary import VARIANTS, Word

__all__ = ["ABOUT", "PLACEHOLDER", "VERSION", "about", "coroutine_of", "section_of", "summary_of"]

VERSION = "8"
"""The version of the vendor's page, of 27 February 2020."""

PLACEHOLDER = "https://ucontact.example"
"""A server that does not exist, for whoever names none."""

ABOUT = """\
The uContact Telephony API, as the vendor's page of 27 February 2020 and public clients know it.

* Every call is a POST with a form; objects travel as the text of a JSON in one field of the form.
* Log in first. The token goes out as it is in `Authorization: Basic <token>`: it is never encoded once more.
* The documented refusal is HTTP 200 with the body `0`; a token that is not valid (any more) gets 401.
* Bodies are tiny texts or JSON. Do not rely on their Content-Type, and strip white space around them.
* There is no idempotency key. Of everything marked `once`, a request whose answer was lost may have been done, and a \
second one rings a telephone twice: never let a tool repeat it by itself."""

_SAFETY: Mapping[Safety, str] = {
    Safety.READ: "Safety `read`: changes nothing, may be repeated.",
    Safety.REPEATABLE: "Safety `repeatable`: twice is the same as once, so it may be repeated.",
    Safety.ONCE: "Safety `once`: without an answer it may have been done; do not repeat it, a second one does harm.",
}
_SECTIONS = {"RecordingCalls": "Recordings"}
_SOURCE = re.compile(r" \((?:\"[^\"]+\")?(?:, )?(?:``protocol\.md`` [^)]*|[0-9.]+)?\)")
_ROLE = re.compile(r":\w+:`~?([^`]+)`")


def section_of(endpoint: Endpoint[..., Any]) -> str:
    """Return the section of the vendor's page that ``endpoint`` stands in."""
    name = next(group.__name__ for group in GROUPS if endpoint in group.endpoints().values())
    return _SECTIONS.get(name, name)


def coroutine_of(endpoint: Endpoint[..., Any]) -> str:
    """Return the name of the endpoint in this library with its section's, such as ``dialers.respool``."""
    names = (name for group in GROUPS for name, known in group.endpoints().items() if known is endpoint)
    return f"{section_of(endpoint).lower()}.{next(names)}"


def summary_of(endpoint: Endpoint[..., Any]) -> str:
    """Return what ``endpoint`` does, in one sentence: the first of its request's, fields by their names on the wire."""
    first = (inspect.getdoc(endpoint.request_type) or "").split("\n\n")[0].replace("\n", " ")
    plain = _ROLE.sub(r"\1", _SOURCE.sub("", first)).replace("``", "`")
    for field in fields_of(endpoint.request_type):
        plain = plain.replace(f"`{field.name}`", f"`{field.wire_name}`")
    return re.split(r"(?<=[.:]) ", plain)[0].rstrip(".:")


def about(endpoint: Endpoint[..., Any]) -> str:
    """Return what is to be known before ``endpoint`` is called."""
    sentences = [f"{summary_of(endpoint)}.", _SAFETY[endpoint.safety]]
    sentences += [f"Also published as `{path}`." for path in endpoint.also]
    sentences += [_uses(VARIANTS[endpoint.path])] if endpoint.path in VARIANTS else []
    return "\n\n".join(sentences)


def _uses(variants: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the documented uses of an endpoint as a table: what the fields hold that make the difference."""
    names = list(dict.fromkeys(name for variant in variants.values() for name in variant))
    lines = [["use", *(f"`{name}`" for name in names)], ["---"] * (len(names) + 1)]
    lines += [[use, *(_said(variant[name]) for name in names)] for use, variant in variants.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _said(value: Any) -> str:
    plain = value.example if isinstance(value, Word) else value
    return f"`{msgspec.json.encode(plain).decode()}`"
