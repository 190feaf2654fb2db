"""Prometheus metrics of a client, by prometheus-client (extra ``prometheus``)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, Metric
    from prometheus_client.metrics_core import GaugeMetricFamily
    from prometheus_client.registry import Collector
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error.name}: python -m pip install 'ucontact-async[prometheus]'") from None

from ..events import Event, GateClosed, LoggedIn, LoginFailed
from ..observed import Call, CallEnd, Exchange, ExchangeEnd, Observed
from .gauges import Clients

__all__ = ["BUCKETS", "Prometheus"]

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0)
"""The upper ends of the histograms' buckets, in seconds: those of OpenTelemetry's conventions, and the time-out."""

_STATES = ("open", "closed", "probing")


class Prometheus(Collector):
    """Counts and times what its clients do, in a registry; one for all clients of a process.

    ============================================  ===================================================================
    ``ucontact_calls_total``                      ``server, endpoint, outcome, error``: calls that ended
    ``ucontact_call_duration_seconds``            ``server, endpoint``: histogram, waiting and every try included
    ``ucontact_request_duration_seconds``         ``server, endpoint, status``: histogram of HTTP requests; ``status``
                                                  is a number or the class of what went wrong
    ``ucontact_requests_in_flight``               ``server``: on the wire; ``ucontact_requests_waiting`` for a slot
    ``ucontact_requests_limit``                   ``server``: how many may be on the wire
    ``ucontact_gate``                             ``server, state``: 1 for the one of ``open``, ``closed``, ``probing``
    ``ucontact_gate_closings_total``              ``server``
    ``ucontact_logins_total``                     ``server, outcome``: ``succeeded`` or ``failed``
    ``ucontact_journal_marked_rows``              ``server``: marked sent and not yet settled
    ``ucontact_journal_pending_changes``          ``server``: not yet written
    ``ucontact_journal_lag_seconds``              ``server``: how long the oldest of these has waited
    ============================================  ===================================================================

    ``outcome`` is ``succeeded``, ``refused``, ``not_sent``, ``unknown`` or ``cancelled``; only ``unknown`` may have
    happened.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY, *, buckets: Sequence[float] = BUCKETS) -> None:
        """Register the metrics; raises the registry's ``ValueError`` where another one is there already."""
        self._clients = Clients()
        calls = Counter(
            "ucontact_calls", "Calls that ended.", ("server", "endpoint", "outcome", "error"), registry=registry
        )
        call_seconds = Histogram(
            "ucontact_call_duration_seconds",
            "Calls, waiting and every try included.",
            ("server", "endpoint"),
            registry=registry,
            buckets=buckets,
        )
        request_seconds = Histogram(
            "ucontact_request_duration_seconds",
            "HTTP requests.",
            ("server", "endpoint", "status"),
            registry=registry,
            buckets=buckets,
        )
        # There are few labels, and to look them up takes as long as to count.
        self._call, self._call_time = functools.cache(calls.labels), functools.cache(call_seconds.labels)
        self._request_time = functools.cache(request_seconds.labels)
        self._closings = Counter("ucontact_gate_closings", "Rests given to the server.", ("server",), registry=registry)
        self._logins = Counter("ucontact_logins", "Logins that ended.", ("server", "outcome"), registry=registry)
        registry.register(self)

    def attach(self, client: Observed) -> Callable[[], None]:
        """Count for ``client`` too."""
        server = client.server

        def hear(event: Event) -> None:
            if isinstance(event, GateClosed):
                self._closings.labels(server).inc()
            elif isinstance(event, LoggedIn | LoginFailed):
                self._logins.labels(server, "succeeded" if isinstance(event, LoggedIn) else "failed").inc()

        self._closings.labels(server)
        for outcome in ("succeeded", "failed"):
            self._logins.labels(server, outcome)
        return self._clients.add(client, hear)

    def call_began(self, client: Observed, call: Call) -> None:
        """Do nothing: it is counted when it ends."""

    def call_ended(self, client: Observed, call: Call, mark: None, end: CallEnd) -> None:
        """Count a call."""
        self._call(client.server, call.endpoint, end.outcome, end.error).inc()
        self._call_time(client.server, call.endpoint).observe(end.seconds)

    def request_began(self, client: Observed, exchange: Exchange) -> None:
        """Do nothing: it is counted when it ends."""

    def request_ended(self, client: Observed, exchange: Exchange, mark: None, end: ExchangeEnd) -> None:
        """Count a request."""
        self._request_time(client.server, exchange.endpoint, end.error or str(end.status)).observe(end.seconds)

    def describe(self) -> Iterable[Metric]:
        """Return nothing: what is collected is only known once there are clients."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return what the clients are doing now."""
        families = {
            name: GaugeMetricFamily(f"ucontact_{name}", text, labels=labels)
            for name, text, labels in (
                ("requests_in_flight", "Requests on the wire.", ("server",)),
                ("requests_waiting", "Requests that wait for a slot.", ("server",)),
                ("requests_limit", "How many requests may be on the wire.", ("server",)),
                ("gate", "1 for the state that the gate is in.", ("server", "state")),
                ("journal_marked_rows", "Rows marked sent and not yet settled.", ("server",)),
                ("journal_pending_changes", "Changes not yet written.", ("server",)),
                ("journal_lag_seconds", "How long the oldest pending change has waited.", ("server",)),
            )
        }
        for seen in self._clients.look():
            for name, value in (
                ("requests_in_flight", seen.in_flight),
                ("requests_waiting", seen.waiting),
                ("requests_limit", seen.max_concurrency),
                ("journal_marked_rows", seen.lag.marked),
                ("journal_pending_changes", seen.lag.pending),
                ("journal_lag_seconds", seen.lag.seconds),
            ):
                families[name].add_metric([seen.server], value)
            for state in _STATES:
                families["gate"].add_metric([seen.server, state], float(seen.gate == state))
        return families.values()
