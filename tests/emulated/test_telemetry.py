"""Spans and metrics by the real SDKs, read back as a collector would; and what must never be in any of them."""

import asyncio
import contextlib
import json
import logging
import sys
import threading
from collections import Counter
from datetime import UTC, datetime

import anyio
import pytest

from ucontact_async import (
    GateClosed,
    GateOpened,
    Limiter,
    LoggedIn,
    LoginFailed,
    Reply,
    Safety,
    ScheduledCall,
    Service,
    UContact,
    UContactError,
)
from ucontact_async.emulator import Emulator

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed: pip install opentelemetry-sdk")
pytest.importorskip("prometheus_client", reason="prometheus-client is not installed: pip install prometheus-client")

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ucontact_async.telemetry.otel import OpenTelemetry
from ucontact_async.telemetry.prometheus import Prometheus

USER, PASSWORD, PHONE, CAMPAIGN = "canario-de-usuario", "canario-de-clave", "099123456", "Canarios->"
WHEN = datetime(2099, 5, 5, 12, tzinfo=UTC)
SCHEDULE = "Dialers/ScheduleDialerCall"
PATH = f"/Integra/resources/{SCHEDULE}"


class Instruments:
    """Both SDKs in memory, and what they hold as others read it."""

    def __init__(self, *, campaigns=False):
        self.exporter = InMemorySpanExporter()
        self.tracing = TracerProvider()
        self.tracing.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.registry = CollectorRegistry()
        metering = MeterProvider(metric_readers=[self.reader])
        self.observers = [
            OpenTelemetry(self.tracing, metering, campaigns=campaigns),
            Prometheus(self.registry),
        ]

    @property
    def text(self):
        """The page that Prometheus scrapes."""
        return generate_latest(self.registry).decode()

    def samples(self, name):
        """Return the samples of that name by their labels but for the server."""
        found = {}
        for family in text_string_to_metric_families(self.text):
            for sample in family.samples:
                if sample.name == name:
                    labels = sample.labels
                    order = ("endpoint", "outcome", "error", "status", "state")
                    found[tuple(labels[label] for label in order if label in labels)] = sample.value
        return found

    def spans(self, name):
        """Return the ended spans of that name, in the order of their start."""
        spans = [span for span in self.exporter.get_finished_spans() if span.name == name]
        return sorted(spans, key=lambda span: span.start_time)

    def points(self, name):
        """Return the data points of an OpenTelemetry metric."""
        data = self.reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == name:
                        return list(metric.data.data_points)
        return []

    def everything(self):
        """Return all that leaves the process by either SDK, as text."""
        data = self.reader.get_metrics_data()
        spans = "".join(span.to_json() for span in self.exporter.get_finished_spans())
        return f"{self.text}{spans}{'' if data is None else data.to_json()}"


@pytest.fixture
def instruments():
    return Instruments()


@pytest.fixture
async def server():
    """An emulator whose user has a name that can be looked for."""
    async with Emulator(user=USER, password=PASSWORD) as server:
        yield server


def client_of(server, instruments, *, password=PASSWORD, limiter=None):
    return UContact(
        server.url,
        user=USER,
        password=password,
        timezone="America/Montevideo",
        limiter=limiter,
        observers=instruments.observers,
    )


def call(number=PHONE):
    return ScheduledCall(campaign=CAMPAIGN, destination=number, calldate=WHEN, data={"name": PHONE})


def calls(count):
    return [call(f"0991234{n:02d}") for n in range(count)]


def fault(**rule):
    return {"endpoint": SCHEDULE, **rule}


async def test_a_bulk_run_is_counted(server, instruments):
    """Each row is one call by endpoint and outcome, each request one by its status, in both SDKs alike."""
    server.set_faults(
        {
            "rules": [
                fault(match={"destination": "*01"}, fault="body", body="0"),
                fault(match={"destination": "*02"}, fault="close_after_apply"),
                fault(match={"destination": "*03"}, fault="status", status=429, count=1),
                fault(match={"destination": "*04"}, fault="status", status=500),
            ]
        }
    )
    async with client_of(server, instruments) as uc:
        report = await uc.bulk(calls(20))
        assert (report.succeeded, report.failed, report.unknown) == (17, 1, 2)
    counted = instruments.samples("ucontact_calls_total")
    assert {labels: value for labels, value in counted.items() if labels[0] == SCHEDULE} == {
        (SCHEDULE, "succeeded", ""): 17,
        (SCHEDULE, "refused", "Rejected"): 1,
        (SCHEDULE, "unknown", "ReplyLost"): 1,
        (SCHEDULE, "unknown", "ServerFault"): 1,
    }
    requests = instruments.samples("ucontact_request_duration_seconds_count")
    assert {labels: value for labels, value in requests.items() if labels[0] == SCHEDULE} == {
        (SCHEDULE, "200"): 18,
        (SCHEDULE, "429"): 1,
        (SCHEDULE, "500"): 1,
        (SCHEDULE, "ReplyLost"): 1,
    }
    assert instruments.samples("ucontact_call_duration_seconds_count")[SCHEDULE,] == 20
    assert instruments.samples("ucontact_logins_total") == {("succeeded",): 1, ("failed",): 0}
    assert instruments.samples("ucontact_gate_closings_total")[()] >= 1
    of_calls, of_requests = Counter(), Counter()
    for point in instruments.points("ucontact.call.duration"):
        if point.attributes["ucontact.endpoint"] == SCHEDULE:
            of_calls[point.attributes["ucontact.outcome"], point.attributes.get("error.type", "")] += point.count
    for point in instruments.points("http.client.request.duration"):
        if point.attributes["url.template"] == PATH:
            status = point.attributes.get("http.response.status_code")
            of_requests[status, point.attributes.get("error.type")] += point.count
    assert of_calls == {labels[1:]: value for labels, value in counted.items() if labels[0] == SCHEDULE}
    assert of_requests == {(200, None): 18, (429, "429"): 1, (500, "500"): 1, (None, "ReplyLost"): 1}
    (logins,) = instruments.points("ucontact.logins")
    assert (logins.value, logins.attributes["ucontact.outcome"]) == (1, "succeeded")
    assert instruments.points("ucontact.gate.closings")[0].value >= 1


async def test_spans_stand_in_each_other(server, instruments):
    """A call is within the span that is current, its requests within it; another try says that it is one."""
    server.set_faults({"rules": [fault(fault="status", status=429, count=1)]})
    tracer = instruments.tracing.get_tracer("the application")
    async with client_of(server, instruments) as uc:
        await uc.login()
        with tracer.start_as_current_span("mine"):
            await uc.send(call())
            assert trace.get_current_span().name == "mine"
        (mine,) = instruments.spans("mine")
    (made,) = instruments.spans(SCHEDULE)
    assert made.parent.span_id == mine.context.span_id
    assert dict(made.attributes) == {
        "ucontact.endpoint": SCHEDULE,
        "ucontact.safety": "once",
        "ucontact.outcome": "succeeded",
        "ucontact.attempts": 2,
    }
    assert made.status.is_unset
    first, second = instruments.spans(f"POST {PATH}")
    for span in (first, second):
        assert span.parent.span_id == made.context.span_id
        assert span.kind is trace.SpanKind.CLIENT
    host, port = server.url.removeprefix("http://").split(":")
    common = {
        "http.request.method": "POST",
        "url.full": f"{server.url}{PATH}",
        "url.template": PATH,
        "server.address": host,
        "server.port": int(port),
    }
    assert dict(first.attributes) == {**common, "http.response.status_code": 429, "error.type": "429"}
    assert not first.status.is_ok
    assert dict(second.attributes) == {**common, "http.response.status_code": 200, "http.request.resend_count": 1}
    assert second.status.is_unset


async def test_what_began_last_ends_first(server, instruments, caplog):
    """Two that trace leave the current span as it was: each gives back the context that it found."""
    instruments.observers.append(OpenTelemetry(instruments.tracing))
    async with client_of(server, instruments) as uc:
        with instruments.tracing.get_tracer("the application").start_as_current_span("mine") as mine:
            await uc.campaigns.summary()  # in this very task, as every read
            assert trace.get_current_span() is mine
    assert len(instruments.spans("Supervisor/queuesummary")) == 2
    assert caplog.text == ""


async def test_a_call_that_ends_badly(server, instruments):
    """Its span has the class of the error as its type and is marked as one; no text of the error is recorded."""
    server.set_faults({"rules": [fault(fault="close_after_apply")]})
    async with client_of(server, instruments) as uc:
        with pytest.raises(UContactError):
            await uc.send(call())
    (made,) = instruments.spans(SCHEDULE)
    assert made.attributes["ucontact.outcome"] == "unknown"
    assert made.attributes["error.type"] == "ReplyLost"
    assert made.status.status_code is trace.StatusCode.ERROR
    assert not made.status.description
    assert not made.events


async def test_a_cancelled_call(server, instruments):
    """What was cancelled before a byte left is cancelled; what left goes on, and is counted by how it really ended."""
    limiter = Limiter(1)
    async with client_of(server, instruments, limiter=limiter) as uc:
        await uc.login()
        await limiter.acquire()
        with anyio.move_on_after(0.02):
            await uc.send(call())
        limiter.release()
        server.set_faults({"rules": [fault(fault="latency", seconds=0.1)]})
        async with anyio.create_task_group() as group:
            group.start_soon(uc.send, call())
            while not server.ledger.in_flight:
                await asyncio.sleep(0.001)
            group.cancel_scope.cancel()
    counted = instruments.samples("ucontact_calls_total")
    assert counted[SCHEDULE, "cancelled", "CancelledError"] == counted[SCHEDULE, "succeeded", ""] == 1


async def test_gauges_are_read_when_they_are_asked_for(server, instruments, tmp_path):
    """In flight, waiting, limit, gate and the journal's marks are those of the moment, and of a closed client none."""
    server.set_faults({"rules": [fault(fault="hang_before_apply")]})
    limiter = Limiter(3)
    async with client_of(server, instruments, limiter=limiter) as uc:
        async with uc.stream(calls(20), journal=tmp_path / "j", max_unknown=None) as run:
            while server.snapshot()["in_flight"] < 3 or run.lag.pending:
                await asyncio.sleep(0.001)
            waiting = asyncio.ensure_future(uc.campaigns.status())
            while not limiter.stats.waiting:
                await asyncio.sleep(0.001)
            assert instruments.samples("ucontact_requests_in_flight") == {(): 3}
            assert instruments.samples("ucontact_requests_waiting") == {(): limiter.stats.waiting}
            assert instruments.samples("ucontact_requests_limit") == {(): 3}
            assert instruments.samples("ucontact_journal_marked_rows") == {(): 3}
            assert instruments.samples("ucontact_journal_pending_changes") == {(): 0}
            gate = {"open": 1, "closed": 0, "probing": 0}
            assert instruments.samples("ucontact_gate") == {(state,): value for state, value in gate.items()}
            assert [point.value for point in instruments.points("http.client.active_requests")] == [3]
            assert [point.value for point in instruments.points("ucontact.journal.marked")] == [3]
            limiter.overloaded(60.0)
            assert instruments.samples("ucontact_gate")["closed",] == 1
            states = {p.attributes["ucontact.gate.state"]: p.value for p in instruments.points("ucontact.gate")}
            assert states == {"open": 0, "closed": 1, "probing": 0}
            waiting.cancel()
            run.abort()
            await run.finish()
        assert instruments.samples("ucontact_journal_marked_rows") == {(): 0}
    assert instruments.samples("ucontact_requests_in_flight") == {}
    assert instruments.points("ucontact.requests.limit") == []


async def test_instruments_may_look_from_threads_of_their_own(anyio_backend):
    """Prometheus' own server and OpenTelemetry's reader ask in a thread, while runs begin and are forgotten."""
    registry, failures, over = CollectorRegistry(), [], threading.Event()

    def scrape():
        while not over.is_set():
            try:
                generate_latest(registry)
            except RuntimeError as error:
                failures.append(error)

    before = sys.getswitchinterval()
    scraping = threading.Thread(target=scrape)
    async with UContact("http://127.0.0.1:1", token="t", observers=[Prometheus(registry)]) as uc:
        kept = [uc.stream([]) for _ in range(100)]
        try:
            sys.setswitchinterval(1e-5)
            scraping.start()
            for number in range(1_000):
                kept[number % 100] = uc.stream([])
        finally:
            over.set()
            scraping.join()
            sys.setswitchinterval(before)
    assert failures == []


async def test_an_address_of_ip_6(instruments):
    """It is shown as in a URL, in brackets."""
    async with UContact("http://[::1]:1", token="t", timezone="UTC", observers=instruments.observers) as uc:
        with anyio.move_on_after(0.3), contextlib.suppress(UContactError):
            await uc.send(call())
        assert 'ucontact_requests_limit{server="[::1]:1"}' in instruments.everything()
    assert f"http://[::1]:1{PATH}" in instruments.everything()


async def test_clients_of_one_server_are_one(server, instruments):
    """Two clients with one limiter are not counted twice, and each that closes leaves the other."""
    limiter = Limiter(5)
    async with client_of(server, instruments, limiter=limiter) as uc:
        async with client_of(server, instruments, limiter=limiter) as other:
            await uc.login()
            await other.login()
            assert instruments.samples("ucontact_requests_limit") == {(): 5}
            assert instruments.samples("ucontact_logins_total")["succeeded",] == 2
            async with client_of(server, instruments, limiter=Limiter(2)):
                assert instruments.samples("ucontact_requests_limit") == {(): 7}
            limiter.overloaded(0.0)
            assert instruments.samples("ucontact_gate_closings_total") == {(): 1}
            await uc.campaigns.summary()
            await uc.send(call())
        assert instruments.samples("ucontact_requests_limit") == {(): 5}
        limiter.overloaded(0.0)
        assert instruments.samples("ucontact_gate_closings_total") == {(): 2}
        await uc.send(call())
    limiter.overloaded(0.0)
    assert instruments.samples("ucontact_gate_closings_total") == {(): 2}


async def test_copies_of_a_client_are_observed(server, instruments):
    """A client with other options counts as the one that it was made of."""
    async with client_of(server, instruments) as uc:
        await uc.with_options(timeout=3).send(call())
    assert instruments.samples("ucontact_calls_total")[SCHEDULE, "succeeded", ""] == 1


@pytest.mark.parametrize("campaigns", [False, True])
async def test_a_campaign_is_named_if_that_was_asked_for(server, campaigns):
    """The customer's own words are in the spans of calls only for who says so."""
    instruments = Instruments(campaigns=campaigns)
    async with client_of(server, instruments) as uc:
        await uc.send(call())
        await uc.campaigns.summary()
    (made,) = instruments.spans(SCHEDULE)
    assert made.attributes.get("ucontact.campaign") == (CAMPAIGN if campaigns else None)
    assert (CAMPAIGN in instruments.everything()) is campaigns
    assert "ucontact.campaign" not in instruments.spans("Supervisor/queuesummary")[0].attributes


async def test_an_observer_that_fails_harms_no_call(server, caplog):
    """Whatever it raises is logged by its class alone; the call is made, and the other observers are told."""

    class Broken:
        def __getattr__(self, name):
            def fail(*what):
                raise ValueError(PHONE)

            return fail

    class Attached(Broken):
        def attach(self, client):
            return lambda: None

    instruments = Instruments()
    instruments.observers[:0] = [Attached(), Broken()]
    async with client_of(server, instruments) as uc:
        await uc.send(call())
    assert instruments.samples("ucontact_calls_total")[SCHEDULE, "succeeded", ""] == 1
    assert "an observer failed: ValueError" in caplog.text
    assert PHONE not in caplog.text


def test_a_client_without_observers_has_none_in_its_way():
    """Where nobody looks, the caller and the lane are those of a client that could not be observed."""
    from ucontact_async.caller import HttpCaller
    from ucontact_async.lane import CommandLane

    uc = UContact("http://127.0.0.1:1", token="x")
    assert type(uc._caller) is HttpCaller
    assert type(uc._caller.lane) is CommandLane


class JsonLines(logging.Handler):
    """Writes records as programs for logs do: the message, and every field beyond those that each record has."""

    USUAL = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.lines = []

    def emit(self, record):  # noqa: D102  the handler's own name
        fields = {name: value for name, value in vars(record).items() if name not in self.USUAL}
        trouble = logging.Formatter().format(record)
        assert fields["ucontact_event"]
        assert all(name.startswith("ucontact_") for name in fields), fields
        self.lines.append(json.dumps({"logger": record.name, "message": trouble, **fields}))


@pytest.fixture
def log():
    handler, root = JsonLines(), logging.getLogger("ucontact_async")
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


SECRETS = f"{PHONE} {USER} {PASSWORD} {CAMPAIGN}"
SCENES = {
    "success": ([], "succeeded"),
    "refusal": ([fault(fault="body", body="0")], "refused"),
    "refusal that quotes": ([fault(fault="status", status=400, body=SECRETS)], "refused"),
    "unknown": ([fault(fault="close_after_apply")], "unknown"),
    "unknown that quotes": ([fault(fault="body", body=SECRETS)], "unknown"),
    "redirect": ([fault(fault="status", status=302, headers={"Location": f"/Login?u={PHONE}"})], "refused"),
    "throttle": ([fault(fault="status", status=429, body=SECRETS, count=1)], "succeeded"),
    "login failure": ([{"endpoint": "auth/*", "fault": "body", "body": "0"}], "refused"),
    "login that quotes": ([{"endpoint": "auth/*", "fault": "body", "body": SECRETS}], "not_sent"),
}


@pytest.mark.parametrize("scene", SCENES)
async def test_no_secret_and_no_number_leaves_by_any_of_them(server, instruments, log, tmp_path, scene):
    """Spans, metrics, logs and events of every kind of end are searched for number, token, user and campaign."""
    rules, outcome = SCENES[scene]
    server.set_faults({"rules": rules})
    told, service = [], Service(lambda: client_of(server, instruments))
    token = None
    async with service:
        uc = service.client
        uc.listen(told.append, LoggedIn, LoginFailed, GateClosed, GateOpened)
        with contextlib.suppress(UContactError):
            await uc.login()
            token = uc._caller.tokens.peek().value.reveal()
        with contextlib.suppress(UContactError):
            await uc.send(call())
        path = f"/IntegraChannels/resources/{PHONE}/{USER}"
        with contextlib.suppress(UContactError):
            await uc.request(path, {"number": PHONE}, reply=Reply.TEXT, safety=Safety.READ)
        run = await service.start("march", uc.stream(calls(5), journal=tmp_path / "j"))
        told += [event async for event in run.events(every=0.01)]
    counted = instruments.samples("ucontact_calls_total")
    assert any(labels[:2] == (SCHEDULE, outcome) for labels in counted), counted
    assert any(labels[0] == "_OTHER" for labels in counted)
    assert log.lines
    shown = f"{instruments.everything()}{''.join(log.lines)}{told!r}{instruments.observers!r}"
    for secret in (PHONE, "0991234", USER, PASSWORD, CAMPAIGN, "Canarios", token):
        assert secret is None or secret not in shown
    assert (token is None) == scene.startswith("login")
