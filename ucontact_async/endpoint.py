"""How a call is stated: once, as a value that the client, the emulator and the tests read.

An :class:`Endpoint` on an :class:`EndpointGroup` is data when it is read on the class and a typed coroutine when it
is read on an instance. This file performs no call; whoever does is a :class:`Caller`.
"""

from __future__ import annotations

import copy
import enum
import functools
import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from itertools import repeat
from operator import attrgetter
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    get_args,
    get_origin,
    overload,
)

import msgspec
from msgspec.structs import force_setattr

from .block_codec import Block, BlockCodec
from .codec import FormCodec
from .errors import InvalidRequest, NotSent, OutcomeUnknown, Throttled, Unauthorized, UnreadableReply, bare, unseen
from .text import SECRET
from .wire import Reply, encode_form, fields_of, masked

if TYPE_CHECKING:
    from types import MethodType

    from .errors import UContactError
    from .text import Rules
    from .wire import Answer

__all__ = [
    "Caller",
    "Endpoint",
    "EndpointGroup",
    "Flight",
    "Guard",
    "Pass",
    "Prepared",
    "Progress",
    "Request",
    "Safety",
]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Safety(enum.Enum):
    """What a second delivery of the same request would do: the column that decides every repetition."""

    READ = "read"
    """Changes nothing."""
    REPEATABLE = "repeatable"
    """Twice is the same as once."""
    ONCE = "once"
    """A second one does harm: a telephone rings twice."""

    def allows(self, error: UContactError) -> bool:
        """Return whether a request that ended in ``error`` may be sent again.

        Asked after a failure and after a crash: a journal row marked sent and never settled is an
        :class:`OutcomeUnknown`.
        """
        if isinstance(error, NotSent):
            return error.transient
        if isinstance(error, Unauthorized | Throttled):
            return True
        return isinstance(error, OutcomeUnknown) and self is not Safety.ONCE


class Request(msgspec.Struct, Generic[R_co], frozen=True, kw_only=True, gc=False):
    """A request as a value; the type argument is what a successful call returns.

    Its ``repr`` hides phone numbers, form data and secrets.
    """

    def __post_init__(self) -> None:
        """Keep snapshots of what could change afterwards; idempotent, for it runs again on every copy."""
        value = kept = None
        try:
            for name, value_of, fixed, snapshot in _snapshots(type(self)):
                value = value_of(self)
                if type(value) is not fixed and (kept := snapshot(value, name)) is not value:
                    force_setattr(self, name, kept)
        except InvalidRequest as error:
            value = kept = None
            raise bare(error) from None

    def check(self) -> None:
        """Refuse fields that contradict each other; called when each for itself has been found sound."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in masked(self).items())})"

    def __rich_repr__(self) -> Any:
        yield from masked(self).items()


@functools.cache
def _snapshots(request_type: type[msgspec.Struct]) -> tuple[tuple[Any, ...], ...]:
    formats = [(field.name, field.format) for field in fields_of(request_type)]
    return tuple(
        (name, attrgetter(name), format_.fixed, format_.snapshot)
        for name, format_ in formats
        if format_.snapshot is not None
    )


class Prepared(msgspec.Struct, Generic[R_co], frozen=True, gc=False):
    """A request after all rules of the API, ready to be sent: bytes, and what its outcome is judged by.

    ``document`` is what it says, as one JSON object of wire fields: what a journal keeps of it.
    """

    path: str
    body: bytes
    reply: Reply[Any]
    safety: Safety
    document: str = ""
    send_by: float | None = None
    authenticated: bool = True
    patience: float = 1.0

    def __repr__(self) -> str:
        return f"Prepared({self.path}, {len(self.body)} bytes)"

    def __rich_repr__(self) -> Any:
        yield self.path
        yield f"{len(self.body)} bytes"


@unseen
def unlisted(path: str, form: Mapping[str, str], *, reply: Reply[R], safety: Safety, rules: Rules) -> Prepared[R]:
    """Return a request that the vendor's page does not list, ready to be sent; raise :class:`InvalidRequest`."""
    if path.startswith("//"):  # would be another host, and get the token
        raise InvalidRequest("path", "begins with //; give the path of an endpoint of this server")
    SECRET.encode("".join(f"{name}{value}" for name, value in form.items()), "form", rules)
    return Prepared(path=path, body=encode_form(form), reply=reply, safety=safety)


class Progress(Protocol):
    """What an attempt tells while it runs."""

    @property
    def left(self) -> bool:
        """Whether the first byte may have left."""
        ...

    def forbid(self) -> None:
        """See to it that the first byte does not leave any more."""
        ...


class Flight:
    """One call on its way, watched by whoever started it: how far it got, what must happen before its first byte."""

    arms: bool = False
    """Whether :meth:`arm` has anything to do."""

    attempts: int = 0
    """How many times it was tried; a try that a refused token ended does not count."""

    lost: UContactError | None = None
    """How the last of its tries ended that may have happened without our knowing, also if others followed it."""

    may_leave: Callable[[], bool] | None = None
    """Asked in the moment before the first byte: whether it may leave. ``None`` always."""

    progress: Progress | None = None
    forbidden: bool = False

    begun: Any = None
    """The try that the caller has begun, and of which nobody knows yet how it ends: the caller's own."""

    doubted: bool = False
    """Whether one of its answers may be that of another call."""

    def forbid(self) -> None:
        """See to it that no first byte leaves from now on: cancelling alone may come one turn too late."""
        self.forbidden = True
        if self.progress is not None:
            self.progress.forbid()

    @property
    def left(self) -> bool:
        """Whether a byte of the call may have left."""
        return self.progress is not None and self.progress.left

    def doubt(self) -> None:
        """Note that a connection gave too many answers, of which one was taken for that of this call."""
        self.doubted = True
        if self.lost is None:
            self.lost = UnreadableReply("its connection gave an answer too many: this may be that of another call")

    async def arm(self) -> None:
        """Make durable that the call may leave from now on; awaited before the first byte, again after a withdrawal."""

    def withdraw(self) -> None:
        """Take that back: the attempt surely did not happen, and the next one has to wait."""


class Pass(Protocol):
    """What a guard gave to one call."""

    def may_leave(self) -> bool:
        """Whether the first byte may leave now; asked in that very moment."""
        ...

    def ended(self, error: UContactError | None) -> UContactError | None:
        """Take note of how the call ended, and return what is to be said of it."""
        ...


class Guard(Protocol):
    """Whoever says which calls may be made at all."""

    async def admit(self, request: Request[Any]) -> Pass | None:
        """Return the pass of ``request``, ``None`` if it needs none; raise :class:`Blocked` if it gets none."""
        ...

    async def clear(self, files: Sequence[Request[Any]]) -> None:
        """Raise :class:`Blocked` naming every row in ``files`` of an upload that may not be called."""
        ...


class Caller(Protocol):
    """Whoever can perform a call."""

    @property
    def rules(self) -> Rules:
        """What the text formats need to know of the server."""
        ...

    async def call(self, endpoint: Endpoint[..., R], request: Request[R]) -> R:
        """Perform ``request`` and return its reply, or raise one of our errors."""
        ...

    async def clear(self, files: Sequence[Request[Any]]) -> None:
        """Raise :class:`Blocked` if the client's rules of the dial forbid rows in ``files``."""
        ...

    async def login(self) -> None:
        """Log in now, unless that was done before."""
        ...

    def prepare(self, request: Request[Any]) -> Prepared[Any]:
        """Apply all rules of the API to ``request``; raise :class:`InvalidRequest` naming the field."""
        ...

    def unhindered(self, prepared: Prepared[Any]) -> bool:
        """Whether :meth:`begin` can only fail for want of a slot or a connection."""
        ...

    def begin(self, prepared: Prepared[Any], flight: Flight, tell: Callable[[Answer | None], None], now: float) -> bool:
        """Send what was prepared at once; ``False`` says that something has to be waited for, and nothing was done.

        ``tell`` gets an answer, for :meth:`answered`, or ``None``; :meth:`perform` goes on with what did not end there.
        What has to be durable before the first byte is durable. ``now`` is the present.
        """
        ...

    def answered(self, prepared: Prepared[Any], flight: Flight, answer: Answer, now: float) -> bool:
        """Return whether what was begun succeeded, which is all there is to do then; else :meth:`perform` goes on."""
        ...

    async def perform(self, prepared: Prepared[R], flight: Flight, *, wait: float | None) -> R:
        """Send what was prepared, or go on with what was begun; ``wait`` bounds, in seconds, every wait before that."""
        ...


class EndpointGroup:
    """A group of endpoints, named after a section of the vendor's page, mounted on a caller."""

    def __init__(self, caller: Caller) -> None:
        """Let ``caller`` perform the calls of this group."""
        self._caller = caller

    @classmethod
    def endpoints(cls) -> dict[str, Endpoint[..., Any]]:
        """Return the endpoints of this group by the names of their coroutines."""
        return {name: value for name, value in vars(cls).items() if isinstance(value, Endpoint)}


class Endpoint(Generic[P, R]):
    """One endpoint of the API: path, request, documented answer, and what a second delivery would do.

    On an instance of its group it is a coroutine that takes the request's fields as keywords.
    """

    def __init__(
        self,
        path: str,
        request: Callable[P, Request[R]],
        reply: Reply[R],
        safety: Safety,
        *,
        also: tuple[str, ...] = (),
        argument: str | None = None,
        constants: Mapping[str, Any] | None = None,
        send_by: float | Callable[[Any], float | None] | None = None,
        authenticated: bool = True,
        beside: Sequence[str] = (),
        patience: float = 1.0,
    ) -> None:
        """State an endpoint.

        ``path`` follows ``/Integra/resources/`` (one that starts with ``/`` is taken whole); ``also`` are other
        spellings that were published. ``argument`` names the form field that carries the request as a JSON object.
        ``send_by`` is how many seconds after the call the first byte may leave at the latest, or a function of the
        request that says so. Wire fields named in ``beside`` stay outside the JSON argument. An attempt may take
        ``patience`` times the usual time-out.
        """
        request_type = cast("type[Request[R]]", request)
        parameters = inspect.signature(request_type).parameters.values()
        if not request_type.__struct_config__.frozen or any(p.kind is not p.KEYWORD_ONLY for p in parameters):
            raise TypeError(f"{request_type.__name__}: restate frozen=True, kw_only=True; kw_only is not inherited")
        self.path = path
        self.also = also
        self.request = request
        self.request_type = request_type
        self.reply = reply
        self.safety = safety
        self.authenticated = authenticated
        self.codec = FormCodec(request_type, argument, constants, beside)
        self._block_codec: BlockCodec | None = None
        self.patience = patience
        self._send_by = send_by

    def send_by(self, request: Request[R]) -> float | None:
        """Return within how many seconds the first byte of ``request`` must leave; ``None`` for no limit."""
        return self._send_by(request) if callable(self._send_by) else self._send_by

    def encode(self, request: Request[R], rules: Rules) -> bytes:
        """Return the form body, after all rules of the API; raise :class:`InvalidRequest` naming the field."""
        return self.prepare(request, rules).body

    def prepare(self, request: Request[R], rules: Rules) -> Prepared[R]:
        """Return ``request`` encoded, with all that its delivery needs to know; raise as :meth:`encode` does."""
        body, document = b"", ""
        try:
            body, document = self.codec.encode(request, rules)
            request.check()
        except InvalidRequest as error:
            body, document = b"", ""
            raise bare(error) from None
        (prepared,) = self._prepared([request], [body], [document])
        return prepared

    def prepare_all(
        self, requests: Sequence[Request[R]], rules: Rules, *, documents: bool = True
    ) -> tuple[list[Prepared[R]], Block] | None:
        """Return what :meth:`prepare` does of each of ``requests``, all of our type, at a third of the cost.

        Without ``documents``, for whoever keeps none, these are empty. ``None`` where they have to be taken one by one:
        because one of them would be refused, or is not plain enough.
        """
        if self.codec.argument is None or self.codec.beside:
            return None
        if self._block_codec is None:
            self._block_codec = BlockCodec(self.codec)
        block = self._block_codec.encode(requests, rules, documents=documents)
        if block is None:
            return None
        if self.request_type.check is not Request.check:
            try:
                for request in requests:
                    request.check()
            except InvalidRequest:
                return None
        return self._prepared(requests, block.bodies, block.documents), block

    def _prepared(
        self, requests: Sequence[Request[R]], bodies: Sequence[bytes], documents: Sequence[str]
    ) -> list[Prepared[R]]:
        send_by = map(self.send_by, requests) if callable(self._send_by) else repeat(self._send_by)
        terms = map(repeat, (self.authenticated, self.patience))
        columns = (repeat(self.path), bodies, repeat(self.reply), repeat(self.safety), documents, send_by, *terms)
        return [*map(Prepared, *columns)]

    def at(self, path: str) -> Endpoint[P, R]:
        """Return this endpoint under another spelling of its path."""
        if path == self.path:
            return self
        twin = copy.copy(self)
        twin.path = path
        return twin

    def __set_name__(self, group: type[EndpointGroup], name: str) -> None:
        # A real function, so that help() and completion show the fields.
        async def method(self_: EndpointGroup, *args: P.args, **kwargs: P.kwargs) -> R:
            try:
                request = self.request(*args, **kwargs)
            finally:
                del args, kwargs  # what a traceback with locals would show; the request shows itself masked
            return await self_._caller.call(self, request)  # noqa: SLF001  its own group

        method.__name__ = name
        method.__qualname__ = f"{group.__qualname__}.{name}"
        method.__doc__ = inspect.getdoc(self.request_type)
        parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)]
        for parameter in inspect.signature(self.request_type).parameters.values():
            said = parameter.annotation  # how it is written on the wire is nothing to the caller
            parameters.append(
                parameter.replace(annotation=get_args(said)[0] if get_origin(said) is Annotated else said)
            )
        method.__dict__["__signature__"] = inspect.Signature(parameters)
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, group: None, owner: type[EndpointGroup]) -> Endpoint[P, R]: ...

    @overload
    def __get__(self, group: EndpointGroup, owner: type[EndpointGroup]) -> Callable[P, Coroutine[Any, Any, R]]: ...

    def __get__(
        self, group: EndpointGroup | None, owner: type[EndpointGroup]
    ) -> Endpoint[P, R] | Callable[P, Coroutine[Any, Any, R]]:
        """Return the endpoint itself on the class, its coroutine on an instance."""
        if group is None:
            return self
        bound: MethodType = self._method.__get__(group, owner)
        return cast("Callable[P, Coroutine[Any, Any, R]]", bound)
