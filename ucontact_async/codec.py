"""Requests to form bytes and back: one compiled encoder for each request type; no I/O.

The client reads this file downwards (check and write a request), the emulator upwards (read a form). It does not know
what becomes of the bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from .errors import InvalidRequest
from .wire import fields_of, quote

if TYPE_CHECKING:
    from .text import Rules

__all__ = ["FormCodec"]

# How many accepted values of one field are remembered: more than a run has campaigns or agents.
_KNOWN = 256
# What writes one field: the values it has accepted (None where they are too many), its rules, our name, the wire's.
_Step = tuple[dict[Any, Any] | None, Callable[..., Any], str, str]


class FormCodec:
    """How one request type travels: flat form fields, or one field ``argument`` that holds a JSON object."""

    def __init__(
        self,
        request_type: type[msgspec.Struct],
        argument: str | None = None,
        constants: Mapping[str, Any] | None = None,
        beside: Sequence[str] = (),
    ) -> None:
        """``constants`` are wire fields that every such request carries with the same value.

        The wire fields named in ``beside`` travel beside the argument, not in it.
        """
        self.request_type = request_type
        self.argument = argument
        self.constants = dict(constants or {})
        self.beside = tuple(beside)
        self._begin = "" if argument is None else f"{quote(argument)}="
        self._rules: Rules | None = None

    def encode(self, request: msgspec.Struct, rules: Rules) -> tuple[bytes, str]:
        """Return the form body of ``request``, and its wire fields as one JSON object, which :meth:`read` reads.

        Raises :class:`InvalidRequest` naming the field.
        """
        values = self._checked(request, rules)
        if self.argument is None or self.beside:
            return self._piecewise(values)
        # The argument is the document: escaped as a whole it takes half the time of its fields one by one.
        document = msgspec.json.encode(values).decode()
        return (self._begin + quote(document)).encode("ascii"), document

    def _checked(self, request: msgspec.Struct, rules: Rules) -> dict[str, Any]:
        """Return what is sent, by its names on the wire."""
        if rules is not self._rules:
            self._rules = rules
            for known, *_ in self._steps:
                if known is not None:
                    known.clear()
        values = self.constants.copy()
        name, value = "", None
        try:
            for (known, encode, name, wire_name), value in zip(
                self._steps, msgspec.structs.astuple(request), strict=True
            ):
                # A value of few is looked up: a third of the 3,000 instructions that its rules take.
                if known is None or (text := known.get(value)) is None:
                    text = encode(value, name, rules)
                    if known is not None and type(value) is str:
                        _remember(known, value, text)
                values[wire_name] = text
        except (TypeError, AttributeError):
            expects = next(field.format.expects for field in fields_of(self.request_type) if field.name == name)
            raise InvalidRequest(name, f"expected {expects}, got {type(value).__name__}") from None
        return values

    @functools.cached_property
    def _steps(self) -> list[_Step]:
        return [
            ({} if field.format.few else None, field.format.encode, field.name, field.wire_name)
            for field in fields_of(self.request_type)
        ]

    def _piecewise(self, values: dict[str, Any]) -> tuple[bytes, str]:
        """Write fields that travel one by one. A file is ready for the form: copied once, and in no document."""
        flat = values
        if self.argument is not None:
            flat = {name: values.pop(name) for name in self.beside}
            flat[self.argument] = msgspec.json.encode(values).decode()
            values |= {name: str(flat[name]) for name in self.beside}
        parts = []
        for name, value in flat.items():
            text = value if type(value) is bytes else quote("" if value is None else str(value)).encode("ascii")
            parts += [b"&", quote(name).encode("ascii"), b"=", text]
        said = {name: value for name, value in values.items() if type(value) is not bytes}
        return b"".join(parts[1:]), msgspec.json.encode(said).decode()

    def flatten(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Return the wire fields that ``form`` carries, the JSON argument opened; ``ValueError`` if it is no object."""
        if self.argument is None:
            return dict(form)
        try:
            values = msgspec.json.decode(form[self.argument])
        except KeyError:
            raise ValueError(f"no field {self.argument}") from None
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise ValueError(f"{self.argument} is not JSON") from None
        if not isinstance(values, dict):
            raise ValueError(f"{self.argument} is not a JSON object")
        return values | {name: form[name] for name in self.beside if name in form}

    def decode(self, form: Mapping[str, str], rules: Rules) -> Any:
        """Read what :meth:`encode` writes. Missing optional fields take their default; ``ValueError`` otherwise."""
        return self._request(self.flatten(form), rules)

    def read(self, document: str, rules: Rules) -> Any:
        """Read the wire fields that :meth:`encode` gives as JSON; ``ValueError`` for anything else."""
        values = msgspec.json.decode(document)
        if not isinstance(values, dict):
            raise ValueError("not a JSON object")
        return self._request(values, rules)

    def _request(self, values: Mapping[str, Any], rules: Rules) -> Any:
        given: dict[str, Any] = {}
        for field in fields_of(self.request_type):
            if field.wire_name in values:
                given[field.name] = field.format.decode(values[field.wire_name], rules)
            elif field.required:
                raise ValueError(f"no field {field.wire_name}")
        return self.request_type(**given)


def _remember(known: dict[Any, Any], value: str, text: Any) -> None:
    if len(known) >= _KNOWN:
        known.clear()
    known[value] = text
