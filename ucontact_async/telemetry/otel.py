"""OpenTelemetry spans and metrics of a client, by opentelemetry-api (extra ``otel``); the SDK is the application's.

HTTP requests follow the semantic conventions for HTTP clients; what they do not know is named ``ucontact.*``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error.name}: python -m pip install 'ucontact-async[otel]'") from None

from ..events import Event, GateClosed, LoggedIn, LoginFailed
from ..observed import Call, CallEnd, Exchange, ExchangeEnd, Observed
from .gauges import Clients, ServerGauges

__all__ = ["BUCKETS", "OpenTelemetry"]

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""The upper ends of the histograms' buckets, in seconds, that the conventions advise."""

_SCOPE = "ucontact_async"
_TRIED = context.create_key("ucontact_async-tried")


class OpenTelemetry:
    """Spans and metrics of its clients, for the providers given, by default the global ones.

    *Spans*: each call has one named after its endpoint (``ucontact.endpoint``, ``ucontact.safety``,
    ``ucontact.outcome``, ``ucontact.attempts``, ``error.type``; ``ucontact.campaign`` if ``campaigns``), a child of
    whatever span is current where it is made; a bulk run's of the one that it was started in. Each HTTP request
    is a client span within it, ``POST {url.template}``. Errors are named by their class; their texts are not recorded.

    *Metrics*: ``http.client.request.duration`` and ``http.client.active_requests`` of the conventions;
    ``ucontact.call.duration`` (waiting and every try included), ``ucontact.requests.waiting``,
    ``ucontact.requests.limit``, ``ucontact.gate`` (1 for the state that it is in), ``ucontact.gate.closings``,
    ``ucontact.logins``, ``ucontact.journal.marked``, ``ucontact.journal.pending``, ``ucontact.journal.lag``.

    Nothing is added to a request: no trace header is sent to the server.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        campaigns: bool = False,
    ) -> None:
        """Create the instruments; ``campaigns`` has the names of campaigns in the spans of calls."""
        self._clients = Clients()
        self._campaigns = campaigns
        self._tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
        meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
        self._request_seconds = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._call_seconds = meter.create_histogram(
            "ucontact.call.duration",
            unit="s",
            description="Calls, waiting and every try included.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._closings = meter.create_counter("ucontact.gate.closings", description="Rests given to the server.")
        self._logins = meter.create_counter("ucontact.logins", description="Logins that ended.")
        for name, unit, text, look in (
            ("http.client.active_requests", "{request}", "Requests on the wire.", lambda seen: seen.in_flight),
            ("ucontact.requests.waiting", "{request}", "Requests that wait for a slot.", lambda seen: seen.waiting),
            ("ucontact.requests.limit", "{request}", "How many may be on the wire.", lambda seen: seen.max_concurrency),
            ("ucontact.journal.marked", "{row}", "Marked sent, not yet settled.", lambda seen: seen.lag.marked),
            ("ucontact.journal.pending", "{change}", "Not yet written.", lambda seen: seen.lag.pending),
            ("ucontact.journal.lag", "s", "How long the oldest of them has waited.", lambda seen: seen.lag.seconds),
        ):
            create = meter.create_observable_gauge
            if name.startswith("http."):  # the conventions' kind: it can be added up over clients
                create = meter.create_observable_up_down_counter  # type: ignore[assignment]
            create(name, callbacks=[self._callback(look)], unit=unit, description=text)
        meter.create_observable_gauge(
            "ucontact.gate", callbacks=[self._gate], description="1 for the state that the gate is in."
        )

    def _callback(self, look: Callable[[ServerGauges], float]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _: [Observation(look(seen), _server(seen)) for seen in self._clients.look()]

    def _gate(self, _: CallbackOptions) -> Iterable[Observation]:
        for seen in self._clients.look():
            for state in ("open", "closed", "probing"):
                yield Observation(int(seen.gate == state), {**_server(seen), "ucontact.gate.state": state})

    def attach(self, client: Observed) -> Callable[[], None]:
        """Measure ``client`` too."""
        server = _server(client)

        def hear(event: Event) -> None:
            if isinstance(event, GateClosed):
                self._closings.add(1, server)
            elif isinstance(event, LoggedIn):
                self._logins.add(1, {**server, "ucontact.outcome": "succeeded"})
            elif isinstance(event, LoginFailed):
                self._logins.add(1, {**server, "ucontact.outcome": "failed", "error.type": event.error})

        return self._clients.add(client, hear)

    def call_began(self, client: Observed, call: Call) -> tuple[Span, Any]:
        """Begin the span of a call."""
        attributes = {"ucontact.endpoint": call.endpoint, "ucontact.safety": call.safety}
        if self._campaigns and (campaign := call.campaign):
            attributes["ucontact.campaign"] = campaign
        span = self._tracer.start_span(call.endpoint, attributes=attributes)
        # How often the endpoint of this call was requested already, for its requests to count on.
        within = context.set_value(_TRIED, {call.endpoint: 0}, trace.set_span_in_context(span))
        return span, context.attach(within)

    def call_ended(self, client: Observed, call: Call, mark: tuple[Span, Any], end: CallEnd) -> None:
        """End it, and measure the call."""
        span, token = mark
        span.set_attributes({"ucontact.outcome": end.outcome, "ucontact.attempts": end.attempts})
        _end(span, token, end.error)
        attributes = {**_server(client), "ucontact.endpoint": call.endpoint, "ucontact.outcome": end.outcome}
        if end.error:
            attributes["error.type"] = end.error
        self._call_seconds.record(end.seconds, attributes)

    def request_began(self, client: Observed, exchange: Exchange) -> tuple[Span, Any]:
        """Begin the span of a request."""
        # A path of somebody's own is not shown: it may name anybody.
        url = f"{client.scheme}://{client.server}{exchange.path or '/REDACTED'}"
        attributes = {"http.request.method": "POST", "url.full": url, **_server(client)}
        if exchange.path:
            attributes["url.template"] = exchange.path
        tried = cast("dict[str, int]", context.get_value(_TRIED) or {})
        if exchange.endpoint in tried:
            if tried[exchange.endpoint]:
                attributes["http.request.resend_count"] = tried[exchange.endpoint]
            tried[exchange.endpoint] += 1
        span = self._tracer.start_span(f"POST {exchange.path}".rstrip(), kind=SpanKind.CLIENT, attributes=attributes)
        return span, context.attach(trace.set_span_in_context(span))

    def request_ended(self, client: Observed, exchange: Exchange, mark: tuple[Span, Any], end: ExchangeEnd) -> None:
        """End it, and measure the request."""
        span, token = mark
        attributes: dict[str, str | int] = {"http.request.method": "POST", "url.scheme": client.scheme}
        attributes |= _server(client)
        error = end.error
        if exchange.path:
            attributes["url.template"] = exchange.path
        if end.status is not None:
            span.set_attribute("http.response.status_code", end.status)
            attributes["http.response.status_code"] = end.status
            if end.status >= 400:
                error = error or str(end.status)
        if error:
            attributes["error.type"] = error
        _end(span, token, error)
        self._request_seconds.record(end.seconds, attributes)


def _server(seen: Observed | ServerGauges) -> dict[str, Any]:
    return {"server.address": seen.address, "server.port": seen.port}


def _end(span: Span, token: Any, error: str) -> None:
    context.detach(token)
    if error:
        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR))
    span.end()
