"""A call stated once: data on the class, a typed coroutine on an instance, and a value that cannot change."""

import asyncio
import copy
import enum
import inspect
import pickle
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sound_requests import RULES, sound

from ucontact_async import errors
from ucontact_async.api import ENDPOINTS, GROUPS, endpoint_of
from ucontact_async.api.dialers import Dialers, DialerTask, RemoveSchedule, Respool, ScheduledCall
from ucontact_async.endpoint import Endpoint, EndpointGroup, Flight, Prepared, Request, Safety
from ucontact_async.errors import InvalidRequest
from ucontact_async.text import DIAL_STRING, PAIRS, PHONE_LIST, SECRET
from ucontact_async.wire import Reply

each_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS)


class Knock(Request[str], frozen=True, kw_only=True):
    """Knock at a number."""

    destination: Annotated[str, DIAL_STRING]
    alternatives: Annotated[Sequence[str], PHONE_LIST] = ()
    data: Annotated[Mapping[str, str], PAIRS] = {}
    pin: Annotated[str, SECRET] = "0000"


class Doors(EndpointGroup):
    """Doors to knock at."""

    knock = Endpoint("Doors/Knock", Knock, Reply.TEXT, Safety.ONCE, send_by=5.0)
    ring = Endpoint("/other/Ring", Knock, Reply.TEXT, Safety.READ, send_by=lambda knock: float(knock.pin))


class Recorder:
    """A caller that performs nothing and remembers what it was asked."""

    rules = RULES

    def __init__(self):
        self.calls = []

    async def call(self, endpoint, request):
        """Answer with the name of the endpoint."""
        self.calls.append((endpoint, request))
        return f"answer of {endpoint.path}"


def a_call(**changes):
    """Return a scheduled call with ``changes``."""
    fields = {"campaign": "Ventas->", "destination": "098344484", "calldate": datetime(2026, 1, 15, tzinfo=UTC)}
    return ScheduledCall(**fields | changes)


class TestDescriptor:
    """One declaration, read in two ways."""

    def test_on_the_class_it_is_data(self):
        """The emulator and the tests read path, request, reply and safety there."""
        assert Doors.endpoints() == {"knock": Doors.knock, "ring": Doors.ring}
        assert (Doors.knock.path, Doors.knock.request_type, Doors.knock.reply) == ("Doors/Knock", Knock, Reply.TEXT)
        assert (Doors.knock.safety, Doors.knock.authenticated) == (Safety.ONCE, True)

    async def test_on_an_instance_it_is_a_coroutine(self):
        """The keywords become the request, the caller's reply is returned."""
        caller = Recorder()
        assert await Doors(caller).knock(destination="1001", data={"id": "7"}) == "answer of Doors/Knock"
        assert caller.calls == [(Doors.knock, Knock(destination="1001", data={"id": "7"}))]

    async def test_two_instances_are_apart(self):
        """Each instance calls its own caller."""
        one, two = Recorder(), Recorder()
        await Doors(one).knock(destination="1001")
        await Doors(two).ring(destination="1002")
        assert [endpoint for endpoint, _ in one.calls + two.calls] == [Doors.knock, Doors.ring]

    @each_endpoint
    def test_what_help_shows(self, endpoint):
        """Every coroutine has name, docstring and signature of its request: ``help()`` and completion show them."""
        (method,) = (
            getattr(group(Recorder()), name)
            for group in GROUPS
            for name, found in group.endpoints().items()
            if found is endpoint
        )
        assert inspect.iscoroutinefunction(method)
        assert method.__doc__ == endpoint.__doc__ == inspect.getdoc(endpoint.request_type)
        parameters = inspect.signature(method).parameters
        assert list(parameters) == list(endpoint.request_type.__struct_fields__)
        assert {parameter.kind for parameter in parameters.values()} <= {inspect.Parameter.KEYWORD_ONLY}
        fields = inspect.signature(endpoint.request_type).parameters
        assert [parameter.default for parameter in parameters.values()] == [field.default for field in fields.values()]
        plain = {name: getattr(field.annotation, "__origin__", field.annotation) for name, field in fields.items()}
        assert {name: parameter.annotation for name, parameter in parameters.items()} == plain

    def test_its_name(self):
        """A traceback names group and coroutine."""
        assert Doors(Recorder()).knock.__qualname__ == "Doors.knock"
        assert Doors(Recorder()).knock.__name__ == "knock"

    @pytest.mark.parametrize(
        ("positional", "keywords"),
        [(("1001",), {}), ((), {"destination": "1001", "number": "1"}), ((), {}), (("1001",), {"destination": "1001"})],
    )
    async def test_wrong_arguments(self, positional, keywords):
        """Positionals, unknown names and missing ones are TypeErrors before anybody is called."""
        caller = Recorder()
        with pytest.raises(TypeError):
            await Doors(caller).knock(*positional, **keywords)
        assert caller.calls == []

    def test_positional_requests_are_refused(self):
        """``kw_only`` is not inherited at run time, so a declaration that forgets it is refused."""

        class Forgetful(Request[None], frozen=True):
            destination: Annotated[str, DIAL_STRING]

        with pytest.raises(TypeError, match=r"Forgetful: restate frozen=True, kw_only=True"):
            Endpoint("x", Forgetful, Reply.DONE, Safety.READ)

    def test_mutable_requests_are_refused(self):
        """What is stated is a value."""

        class Soft(msgspec.Struct, kw_only=True):
            destination: Annotated[str, DIAL_STRING]

        with pytest.raises(TypeError, match=r"Soft: restate frozen=True"):
            Endpoint("x", Soft, Reply.DONE, Safety.READ)


class TestSpellings:
    """One endpoint under another spelling of its path."""

    def test_its_own_path(self):
        """Under its own path it is itself."""
        assert Doors.knock.at("Doors/Knock") is Doors.knock

    def test_another_path(self):
        """Under another it differs in nothing else, and the declaration stays as it was."""
        twin = Doors.knock.at("Doors/Nock")
        assert (twin.path, Doors.knock.path) == ("Doors/Nock", "Doors/Knock")
        assert {**vars(twin), "path": "Doors/Knock"} == vars(Doors.knock)

    @each_endpoint
    def test_no_spelling_belongs_to_two(self, endpoint):
        """No other spelling is the path of an endpoint, or among the other spellings of another one."""
        others = {path for other in ENDPOINTS.values() if other is not endpoint for path in (other.path, *other.also)}
        assert not {endpoint.path, *endpoint.also} & others


class TestTable:
    """The table of all endpoints."""

    def test_every_endpoint_is_in_it_once(self):
        """No path and no request type belongs to two endpoints."""
        declared = [endpoint for group in GROUPS for endpoint in group.endpoints().values()]
        assert list(ENDPOINTS.values()) == declared
        assert len({endpoint.request_type for endpoint in declared}) == len(declared)

    @each_endpoint
    @settings(max_examples=5)
    @given(st.data())
    def test_a_request_knows_its_endpoint(self, endpoint, data):
        """The same request as a value finds its way."""
        assert endpoint_of(data.draw(sound(endpoint.request_type))) is endpoint

    @pytest.mark.parametrize("stranger", [None, "Dialers/Respool", {}, Knock(destination="1001"), Respool])
    def test_a_stranger(self, stranger):
        """Anything else is a TypeError that says so."""
        with pytest.raises(TypeError, match="not one of the request types"):
            endpoint_of(stranger)

    @each_endpoint
    def test_the_declaration_is_not_shadowed(self, endpoint):
        """Each has a docstring, a safety and a path that is not a whole URL."""
        assert inspect.getdoc(endpoint.request_type)
        assert isinstance(endpoint.safety, Safety)
        assert "://" not in endpoint.path


class TestPrepare:
    """A request after all rules of the API."""

    def test_what_is_prepared(self):
        """Path, bytes, and what the outcome is judged by."""
        prepared = Doors.knock.prepare(Knock(destination="1001"), RULES)
        body = b"destination=1001&alternatives=&data=&pin=0000"
        assert prepared == Prepared(
            path="Doors/Knock",
            body=body,
            document='{"destination":"1001","alternatives":"","data":"","pin":"0000"}',
            reply=Reply.TEXT,
            safety=Safety.ONCE,
            send_by=5.0,
            authenticated=True,
        )

    def test_a_deadline_that_depends_on_the_request(self):
        """``send_by`` may be a number, a function of the request, or nothing."""
        assert Doors.ring.send_by(Knock(destination="1001", pin="3")) == 3.0
        assert Dialers.schedule.send_by(a_call()) is None

    def test_the_rules_are_applied(self):
        """Fields one by one, then those that contradict each other."""
        with pytest.raises(InvalidRequest, match="destination"):
            Dialers.schedule.prepare(a_call(destination="x"), RULES)
        moments = {"since": datetime(2026, 1, 2), "until": datetime(2026, 1, 1)}
        with pytest.raises(InvalidRequest, match="until: is before since"):
            Dialers.remove_schedule.prepare(RemoveSchedule(campaign="a->", destination="1001", **moments), RULES)

    def test_it_shows_no_bytes(self):
        """Neither repr nor rich's repr shows what will be sent: it holds numbers, and a login its password."""
        prepared = Doors.knock.prepare(Knock(destination="098344484", pin="canary"), RULES)
        shown = repr(prepared) + repr(list(prepared.__rich_repr__()))
        assert "4484" not in shown
        assert "canary" not in shown
        assert "Doors/Knock" in repr(prepared)


class TestValues:
    """Requests are values: they do not change, and copies are equal."""

    def test_one_dict_reused(self):
        """Three requests built from one dict and one list keep what these held when each was built."""
        data, alternatives, calls = {}, [], []
        for number in ("1001", "1002", "1003"):
            data["id"] = number
            alternatives[:] = [number]
            calls.append(a_call(data=data, alternatives=alternatives))
        assert [call.data["id"] for call in calls] == ["1001", "1002", "1003"]
        assert [call.alternatives for call in calls] == [("1001",), ("1002",), ("1003",)]

    def test_defaults_are_not_shared(self):
        """What is written into one request's default is not seen in the next."""
        a_call().data["id"] = "7"
        assert a_call().data == {}

    @pytest.mark.parametrize("alternatives", ["099", "099123456", b"099", None, {"099"}])
    def test_a_text_is_no_list(self, alternatives):
        """``alternatives="099"`` would have dialled 0, 9 and 9."""
        with pytest.raises(InvalidRequest, match="alternatives: expected a list"):
            a_call(alternatives=alternatives)

    def test_a_generator_is_read_once(self):
        """An iterator is kept as what it gave."""
        call = a_call(alternatives=(number for number in ("1001", "1002")))
        assert call.alternatives == call.alternatives == ("1001", "1002")

    @pytest.mark.parametrize("name", ["destination", "data", "unknown"])
    def test_it_is_frozen(self, name):
        """No attribute is set after it was built."""
        with pytest.raises(AttributeError):
            setattr(a_call(), name, "x")

    @each_endpoint
    @settings(max_examples=10)
    @given(st.data())
    def test_copies_are_equal(self, endpoint, data):
        """Pickle, copy, deepcopy and replace give an equal request with equal bytes, however often."""
        request = data.draw(sound(endpoint.request_type))
        pickled = [pickle.loads(pickle.dumps(request, protocol)) for protocol in range(2, 6)]
        replaced = msgspec.structs.replace(msgspec.structs.replace(request))
        for twin in (*pickled, copy.copy(request), copy.deepcopy(request), replaced):
            assert twin == request
            assert type(twin) is type(request)
            assert endpoint.encode(twin, RULES) == endpoint.encode(request, RULES)

    def test_a_replaced_field_is_a_snapshot_too(self):
        """``replace`` keeps the rules of building."""
        data = {"id": "7"}
        call = msgspec.structs.replace(a_call(), data=data)
        data["id"] = "8"
        assert call.data == {"id": "7"}
        with pytest.raises(InvalidRequest):
            msgspec.structs.replace(call, alternatives="099")


class TestRepr:
    """What a log or a traceback shows of a request."""

    @pytest.mark.parametrize("show", [repr, str, "{}".format, lambda call: repr(list(call.__rich_repr__()))])
    def test_numbers_data_and_secrets_are_hidden(self, show):
        """No last four digits of any number, no value of the form data, no secret; names and campaign are shown."""
        call = a_call(alternatives=["24007777"], agentphone="1001", data={"name": "canary"})
        shown = show(call) + show(Knock(destination="098344484", pin="canary"))
        assert not any(secret in shown for secret in ("4484", "7777", "1001", "canary"))
        assert all(known in shown for known in ("Ventas->", "09834****", "name", "2026"))

    @pytest.mark.parametrize(
        ("alternatives", "masks"), [(["24007777", "24008888"], "'2400***1', '2400***2'"), ([], "")]
    )
    def test_how_it_looks(self, alternatives, masks):
        """The whole text once."""
        comma = "," if len(alternatives) == 1 else ""
        assert repr(Knock(destination="098344484", alternatives=alternatives, data={"id": "7"})) == (
            f"Knock(destination='09834****', alternatives=({masks}{comma}), data={{'id': '***'}}, pin='***')"
        )

    @pytest.mark.parametrize("wrong", [98344484, None, b"098344484", ["098344484"], 9834.4484])
    def test_a_wrong_type_can_be_shown(self, wrong):
        """A request that will be refused has a repr all the same, and it does not show what was not checked."""
        shown = repr(Knock(destination=wrong, alternatives=[wrong], pin=wrong)) + repr(Knock(destination=wrong).data)
        assert "4484" not in shown

    @each_endpoint
    @settings(max_examples=10)
    @given(st.data())
    def test_rich_and_repr_agree(self, endpoint, data):
        """Both are made of the same masks."""
        request = data.draw(sound(endpoint.request_type))
        inside = ", ".join(f"{name}={value!r}" for name, value in request.__rich_repr__())
        assert repr(request) == f"{type(request).__name__}({inside})"


class Answer(enum.Enum):
    """What the matrix says of one cell."""

    NEVER = ()
    ALWAYS = tuple(Safety)
    UNLESS_ONCE = (Safety.READ, Safety.REPEATABLE)


MATRIX = [
    (errors.NotSent("refused"), Answer.ALWAYS),
    (errors.NotSent("too late", transient=False), Answer.NEVER),
    (errors.Unauthorized("401", status=401), Answer.ALWAYS),
    (errors.SessionStolen("401", status=401), Answer.ALWAYS),
    (errors.Throttled("429", status=429), Answer.ALWAYS),
    (errors.Throttled("503", status=503, retry_after=1), Answer.ALWAYS),
    (errors.ReplyLost("reset", phase="sent"), Answer.UNLESS_ONCE),
    (errors.ReplyLost("reset", phase="answered"), Answer.UNLESS_ONCE),
    (errors.OutcomeUnknown("crash", phase="sent"), Answer.UNLESS_ONCE),
    (errors.ServerFault("500", status=500), Answer.UNLESS_ONCE),
    (errors.UnreadableReply("html", status=200), Answer.UNLESS_ONCE),
    (errors.Rejected("0", status=200), Answer.NEVER),
    (errors.Forbidden("403", status=403), Answer.NEVER),
    (errors.NotFound("404", status=404), Answer.NEVER),
    (errors.Refused("405", status=405), Answer.NEVER),
    (errors.InvalidRequest("destination", "is empty"), Answer.NEVER),
    (errors.SettingsError("no zone"), Answer.NEVER),
    (errors.JournalError("disk full"), Answer.NEVER),
    (errors.JournalBusy("another run"), Answer.NEVER),
    (errors.JournalMismatch("another file"), Answer.NEVER),
    (errors.UContactError("anything"), Answer.NEVER),
]


class TestSafety:
    """The column that decides every repetition."""

    @pytest.mark.parametrize("safety", Safety)
    @pytest.mark.parametrize(("error", "answer"), MATRIX, ids=lambda value: type(value).__name__)
    def test_the_matrix(self, safety, error, answer):
        """Every cell of design.md section 5, and every other error: never."""
        assert safety.allows(error) is (safety in answer.value)

    def test_no_doubt_is_repeated_where_it_harms(self):
        """For ONCE the rule is one sentence: what may have happened is never sent again."""
        unknown = [error for error, _ in MATRIX if error.may_have_happened]
        assert len(unknown) == 5
        assert not any(Safety.ONCE.allows(error) for error in unknown)

    @pytest.mark.parametrize(
        ("path", "safety"),
        [
            ("Dialers/Respool", Safety.ONCE),
            ("Dialers/ScheduleDialerCall", Safety.ONCE),
            ("Dialers/DialerTask", Safety.ONCE),
            ("Dialers/RemoveContact", Safety.REPEATABLE),
            ("Dialers/RemoveScheduleDialerCall", Safety.REPEATABLE),
            ("Dialers/uploadbase", Safety.ONCE),
            ("Dialers/uploadbasewithtimezone", Safety.ONCE),
            ("auth/EndSession", Safety.REPEATABLE),
            ("Supervisor/queuesummary", Safety.READ),
            ("Supervisor/campaignstatus", Safety.READ),
        ],
    )
    def test_what_each_endpoint_is(self, path, safety):
        """The column as the design states it."""
        assert ENDPOINTS[path].safety is safety


class TestFlight:
    """A call that nobody watches closely."""

    async def test_without_a_journal_nothing_happens(self):
        """The plain flight arms nothing and knows of no byte."""
        flight = Flight()
        await flight.arm()
        flight.withdraw()
        assert (flight.arms, flight.left) == (False, False)

    @pytest.mark.parametrize("left", [False, True])
    def test_it_asks_the_attempt(self, left):
        """Whether a byte has left is the attempt's knowledge."""
        flight = Flight()
        flight.progress = type("Attempt", (), {"left": left})()
        assert flight.left is left

    def test_what_is_forbidden_stays_so(self):
        """A flight that may not leave any more says so, and tells the attempt that is under way."""

        class Attempt:
            left = forbidden = False

            def forbid(self):
                self.forbidden = True

        flight = Flight()
        flight.progress = attempt = Attempt()
        assert not flight.forbidden
        flight.forbid()
        assert flight.forbidden
        assert attempt.forbidden
        early = Flight()
        early.forbid()
        assert early.forbidden


async def test_requests_are_built_before_anything_waits():
    """A wrong request fails when its coroutine first runs, and leaves nothing behind."""
    caller = Recorder()
    task = asyncio.ensure_future(Doors(caller).knock(destination="1001", alternatives="099"))
    with pytest.raises(InvalidRequest):
        await task
    assert caller.calls == []


def test_a_task_is_a_value_like_any_other():
    """Constructors give the same values as the plain type."""
    assert DialerTask.urgent(campaign="a->", destination="1001") == DialerTask(campaign="a->", destination="1001")
