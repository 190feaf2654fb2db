"""The forms of the endpoints as data: their fields with types that msgspec can describe, and whole examples.

It reads the endpoints' own declarations and refuses to know what a document looks like.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from .. import list_file, text
from ..endpoint import Endpoint
from ..wire import fields_of
from .vocabulary import VARIANTS, WORDS, Word

__all__ = ["Part", "arguments_of", "example_of", "form_of", "parts_of", "struct_of", "variants_of"]

_DIAL = "[0-9*#+-]{2,24}"
_CAMPAIGN = ".{1,78}(<-|->)"
_MOMENT = "[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}"


def _like(pattern: str) -> Meta:
    # As ECMA-262 has it and without Python's own classes: these patterns are read by other languages.
    return Meta(pattern=f"^({pattern})$")


# What a format writes, where that is more than any text.
_KINDS: Mapping[text.TextFormat[Any], Any] = {
    text.FLAG: bool,
    text.COUNT: Annotated[int, Meta(ge=0, le=2**31 - 1)],
    text.PRIORITY: Annotated[int, Meta(ge=2, le=9999)],
    text.GUID: Annotated[str, _like("[A-Za-z0-9-]{8,64}")],
    text.DIAL_STRING: Annotated[str, _like(_DIAL)],
    text.OPTIONAL_DIAL_STRING: Annotated[str, _like(f"({_DIAL})?")],
    text.PHONE_LIST: Annotated[str, _like(f"({_DIAL}(:{_DIAL})*)?")],
    text.CAMPAIGN: Annotated[str, _like(_CAMPAIGN)],
    text.OPTIONAL_CAMPAIGN: Annotated[str, _like(f"({_CAMPAIGN})?")],
    text.TIMESTAMP: Annotated[str, _like(_MOMENT)],
    text.OPTIONAL_TIMESTAMP: Annotated[Annotated[str, _like(_MOMENT)] | None, Meta()],
    list_file.FILE_NAME: Annotated[str, _like("[A-QS-Za-qs-z0-9_-][A-Za-z0-9_-]{0,49}[.]csv")],
    list_file.FILE_CONTENT: Annotated[str, Meta(extra_json_schema={"contentEncoding": "base64"})],
    text.JSON_OBJECT: Annotated[str, Meta(extra_json_schema={"contentMediaType": "application/json"})],
}
# A form has no null.
_IN_A_FORM: Mapping[text.TextFormat[Any], Any] = {text.OPTIONAL_TIMESTAMP: Annotated[str, _like(f"({_MOMENT})?")]}


class Part(NamedTuple):
    """One field on the wire: its name, its type as msgspec describes it, and the word for it."""

    name: str
    type: Any
    word: Word


def parts_of(endpoint: Endpoint[..., Any]) -> list[Part]:
    """Return every field that ``endpoint`` is sent, those inside its JSON argument included."""
    inside = endpoint.codec.argument is not None
    kinds = _KINDS if inside else {**_KINDS, **_IN_A_FORM}
    types = {field.wire_name: kinds.get(field.format, str) for field in fields_of(endpoint.request_type)}
    types |= {name: Literal[value] for name, value in endpoint.codec.constants.items()}
    return [Part(name, type_, _word(endpoint, name)) for name, type_ in types.items()]


def arguments_of(endpoint: Endpoint[..., Any]) -> list[Part]:
    """Return the fields inside the JSON argument of ``endpoint``; none if it has none."""
    codec = endpoint.codec
    return [part for part in parts_of(endpoint) if codec.argument is not None and part.name not in codec.beside]


def form_of(endpoint: Endpoint[..., Any]) -> list[Part]:
    """Return the fields of the form itself, without its JSON argument."""
    inside = arguments_of(endpoint)
    return [part for part in parts_of(endpoint) if part not in inside]


def _word(endpoint: Endpoint[..., Any], name: str) -> Word:
    return WORDS.get(f"{endpoint.path}:{name}") or WORDS[name]


def struct_of(name: str, parts: list[Part], doc: str) -> type[msgspec.Struct]:
    """Return a Struct of ``parts`` under their names on the wire, for msgspec to describe."""
    fields = [
        (f"field{number}", Annotated[part.type, Meta(description=part.word.meaning, examples=[part.word.example])])
        for number, part in enumerate(parts)
    ]
    names = {field: part.name for (field, _), part in zip(fields, parts, strict=True)}
    return msgspec.defstruct(name, fields, rename=names, namespace={"__doc__": doc})


def variants_of(endpoint: Endpoint[..., Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the documented uses of ``endpoint`` by name, each with the fields that it sets; one without a name."""
    return VARIANTS.get(endpoint.path, {"": {}})


def example_of(
    endpoint: Endpoint[..., Any], variant: Mapping[str, Any], show: Callable[[Word], Any] = lambda word: word.example
) -> dict[str, Any]:
    """Return a whole form with made-up values, its JSON argument as an object; ``show`` chooses each value."""
    chosen = {part.name: variant.get(part.name, part.word) for part in parts_of(endpoint)}
    filled = {name: show(value) if isinstance(value, Word) else value for name, value in chosen.items()}
    argument = endpoint.codec.argument
    if argument is None:
        return filled
    beside = {name: filled.pop(name) for name in endpoint.codec.beside}
    return {**beside, argument: filled}
