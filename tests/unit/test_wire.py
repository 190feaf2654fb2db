"""Requests to form bytes and answers to values or errors: what any other reader sees, and the whole answer table."""

import re
import string
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Annotated
from urllib.parse import parse_qsl

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from sound_requests import RULES, sound

from ucontact_async.api import ENDPOINTS
from ucontact_async.codec import FormCodec
from ucontact_async.errors import (
    Forbidden,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    Refused,
    Rejected,
    ServerFault,
    Throttled,
    UContactError,
    Unauthorized,
    UnreadableReply,
)
from ucontact_async.settings import ServerProfile
from ucontact_async.text import GUID, NAME, OPTIONAL_TIMESTAMP, PHONE_LIST, PRIVATE_TEXT, Campaign, Rules
from ucontact_async.wire import (
    Answer,
    Field,
    Reply,
    address,
    encode_form,
    fields_of,
    masked,
    read_answer,
    retry_after,
)

PROFILE = ServerProfile()
whole_text = st.text(st.characters(exclude_categories=["Cs"]))
each_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS)


def read(body):
    """Return the fields of a form as the standard library reads them."""
    return parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), errors="strict")


def an_example(endpoint, **changes):
    """Return one sound request of ``endpoint`` with ``changes``."""
    plain = {
        "str": "1001",
        "int": 5,
        "bool": False,
        "datetime": datetime(2026, 1, 15, 8, 30),
        "datetime | None": None,
        "Sequence[str]": ("24001234",),
        "Mapping[str, str]": {"id": "7"},
        "Mapping[str, Any]": {"id": 7},
        "bytes": b"x",
        "str | None": "api",
    }
    types = {name: hint.split("[", 1)[1].rsplit(",", 1)[0] for name, hint in annotations(endpoint.request_type)}
    values = {name: plain[kind] for name, kind in types.items()}
    formats = {field.name: field.format for field in fields_of(endpoint.request_type)}
    values |= {name: "Ventas->" for name, format_ in formats.items() if isinstance(format_, Campaign)}
    values |= {name: "5f3a1c9e-7b24" for name, format_ in formats.items() if format_ is GUID}
    values |= {name: "20270505" for name in ("folder",) if name in values}
    if "content" in values:
        values["name"] = "list.csv"
    return endpoint.request_type(**values | changes)


def annotations(request_type):
    """Return name and source text of each field's annotation."""
    texts = {}
    for parent in reversed(request_type.__mro__):
        texts |= getattr(parent, "__annotations__", {})
    return [(name, str(texts[name])) for name in request_type.__struct_fields__]


class Named(msgspec.Struct):
    """Two fields, of which one has another name on the wire."""

    ours: Annotated[str, PRIVATE_TEXT] = msgspec.field(name="campaign")
    phone: Annotated[str, PRIVATE_TEXT]


class TestForm:
    """Whatever a request holds, it arrives as the fields it was meant to be."""

    @each_endpoint
    @settings(max_examples=30)
    @given(st.data())
    def test_every_request_is_read_back(self, endpoint, data):
        """parse(encode(x)) == x through the standard library's reader, for every endpoint of the table."""
        request = data.draw(sound(endpoint.request_type))
        body = endpoint.encode(request, RULES)
        fields = read(body)
        wire_names = {field.wire_name for field in fields_of(endpoint.request_type)} | set(endpoint.codec.constants)
        if endpoint.codec.argument is None:
            assert [name for name, _ in fields] == [name for name, _ in fields if name in wire_names]
            assert len(fields) == len(wire_names)
        else:
            beside = dict(fields)
            inside = msgspec.json.decode(beside.pop(endpoint.codec.argument))
            assert set(beside) == set(endpoint.codec.beside)
            assert [*sorted(inside), *sorted(beside)] == [*sorted(wire_names - set(beside)), *sorted(beside)]
        assert endpoint.codec.decode(dict(fields), RULES) == request
        document = endpoint.prepare(request, RULES).document
        if "fileb64" in wire_names:
            assert "fileb64" not in msgspec.json.decode(document)
        else:
            assert endpoint.codec.read(document, RULES) == request

    @each_endpoint
    @settings(max_examples=30)
    @given(st.data())
    def test_the_compiled_encoder_writes_what_the_plain_one_does(self, endpoint, data):
        """Byte for byte what msgspec and yarl make of the same fields, constants first: keys of rows hang on it."""
        request = data.draw(sound(endpoint.request_type))
        codec = endpoint.codec
        values = dict(codec.constants)
        for field in fields_of(endpoint.request_type):
            values[field.wire_name] = field.format.encode(getattr(request, field.name), field.name, RULES)
        files = {name: values.pop(name) for name, value in [*values.items()] if type(value) is bytes}
        form = {name: "" if value is None else str(value) for name, value in (files | values).items()}
        form |= dict.fromkeys(files, "\0")
        form = {field.wire_name: form[field.wire_name] for field in fields_of(endpoint.request_type)} if files else form
        if codec.argument is not None:
            form = {name: form[name] for name in codec.beside}
            inside = {name: value for name, value in values.items() if name not in codec.beside}
            form[codec.argument] = msgspec.json.encode(inside).decode()
        body, document = codec.encode(request, RULES)
        expected = encode_form(form)
        for file in files.values():
            expected = expected.replace(b"%00", file)
        assert body == expected
        beside = {name: str(values[name]) for name in codec.beside}
        assert msgspec.json.decode(document) == msgspec.json.decode(msgspec.json.encode(values | beside))

    @pytest.mark.parametrize(
        ("constants", "beside", "expected"),
        [
            ({"kind": 1, "note": "a=b c&é"}, (), b"arg=%7B%22kind%22:1,%22note%22:%22a%3Db+c%26%C3%A9%22%7D"),
            ({}, (), b"arg=%7B%7D"),
        ],
    )
    def test_a_request_without_fields(self, constants, beside, expected):
        """Constants alone, or nothing at all, make a whole JSON argument."""

        class Nothing(msgspec.Struct):
            pass

        assert FormCodec(Nothing, "arg", constants, beside).encode(Nothing(), RULES)[0] == expected
        assert FormCodec(Nothing, None, constants).encode(Nothing(), RULES)[0] == (
            b"kind=1&note=a%3Db+c%26%C3%A9" if constants else b""
        )

    @pytest.mark.parametrize(
        ("beside", "expected"),
        [
            ((), b"arg=%7B%22kind%22:1,%22campaign%22:%22a%3Db+c%22,%22phone%22:%22%C3%A9%22%7D"),
            (("phone",), b"phone=%C3%A9&arg=%7B%22kind%22:1,%22campaign%22:%22a%3Db+c%22%7D"),
            (("phone", "campaign"), b"phone=%C3%A9&campaign=a%3Db+c&arg=%7B%22kind%22:1%7D"),
            (("kind", "campaign", "phone"), b"kind=1&campaign=a%3Db+c&phone=%C3%A9&arg=%7B%7D"),
        ],
    )
    def test_what_stands_beside_the_argument_is_not_in_it(self, beside, expected):
        """Each field is in one place, written as that place wants it, and the document holds it wherever it is."""
        codec = FormCodec(Named, "arg", {"kind": 1}, beside)
        body, document = codec.encode(Named(ours="a=b c", phone="é"), RULES)
        assert body == expected
        kind = "1" if "kind" in beside else 1
        assert msgspec.json.decode(document) == {"kind": kind, "campaign": "a=b c", "phone": "é"}

    def test_flat_fields(self):
        """Without an argument the fields are the form, after what always goes with them."""
        codec = FormCodec(Named, None, {"kind": 1})
        assert codec.encode(Named(ours="a=b c", phone="é"), RULES)[0] == b"kind=1&campaign=a%3Db+c&phone=%C3%A9"

    def test_a_value_of_few_is_checked_once(self):
        """A campaign is in every row: its rules are asked for its first, and again where they are other rules."""

        class Campaigns(type(PRIVATE_TEXT)):
            few = True

            def __init__(self):
                super().__init__()
                self.asked = []

            def encode(self, value, field, rules):
                self.asked.append(value)
                return super().encode(value, field, rules).upper()

        campaigns = Campaigns()

        class Row(msgspec.Struct):
            campaign: Annotated[str, campaigns]

        codec = FormCodec(Row)
        bodies = [codec.encode(Row(campaign), RULES)[0] for campaign in "abaab"]
        assert bodies == [b"campaign=A", b"campaign=B", b"campaign=A", b"campaign=A", b"campaign=B"]
        assert campaigns.asked == ["a", "b"]
        assert codec.encode(Row("a"), Rules()) == codec.encode(Row("a"), RULES)
        assert campaigns.asked == ["a", "b", "a", "a"]

    def test_what_a_declaration_says_of_its_fields(self):
        """Our name, the server's, how it is written, and whether it must be there; an empty default is one too."""

        class Declared(Named):
            source: Annotated[str, NAME] = ""
            alternatives: Annotated[Sequence[str], PHONE_LIST] = msgspec.field(default_factory=tuple)

        assert fields_of(Declared) == (
            Field("ours", "campaign", PRIVATE_TEXT, required=True),
            Field("phone", "phone", PRIVATE_TEXT, required=True),
            Field("source", "source", NAME, required=False),
            Field("alternatives", "alternatives", PHONE_LIST, required=False),
        )

    @pytest.mark.parametrize(
        ("path", "whole"),
        [
            ("/Integra/resources/Dialers/Respool", "https://acme.example/Integra/resources/Dialers/Respool"),
            ("/a%2Fb", "https://acme.example/a%2Fb"),
            ("https://records.example/x.wav", "https://records.example/x.wav"),
        ],
    )
    def test_where_a_path_leads(self, path, whole):
        """A path is one on the server; a whole address is another server's."""
        assert str(address("https://acme.example", path)) == whole

    @given(st.dictionaries(whole_text.filter(bool), whole_text, max_size=5))
    @example({"user": "a&password=x\r\nX-Injected: 1", "password": "a=b;c%26d+e f\x00#?é€😀"})
    def test_no_text_becomes_a_second_field(self, form):
        """Names and values come back as they were, in order; the bytes hold no line break, blank or other control."""
        body = encode_form(form)
        assert read(body) == list(form.items())
        assert re.fullmatch(rb"[\x21-\x7e]*", body)
        assert body.count(b"&") == max(len(form) - 1, 0)

    @pytest.mark.parametrize(
        "hostile",
        [
            "x&status=0",
            "x&callspool={}",
            '"},"status":0',
            '","priority":"1',
            "a\\",
            "x%26y=1",
            "x+y z",
            "%00",
            "#",
            "?a=b",
        ],
    )
    def test_injection_stays_in_its_field(self, hostile):
        """Neither the form nor the JSON argument can be left from inside a value."""
        endpoint = ENDPOINTS["Dialers/DialerTask"]
        ((name, text),) = read(endpoint.encode(an_example(endpoint, source=hostile), RULES))
        assert name == "call"
        values = msgspec.json.decode(text)
        assert values["source"] == hostile
        assert len(values) == 9

    def test_a_password_with_everything(self):
        """A password may hold any character, as base64 does."""
        endpoint = ENDPOINTS["auth/getUserToken"]
        body = endpoint.encode(endpoint.request_type(user="a&b", password="p+/=&user=admin\r\n\x00é"), RULES)
        assert read(body) == [("user", "a&b"), ("password", "p+/=&user=admin\r\n\x00é")]

    @each_endpoint
    def test_a_value_of_a_wrong_type(self, endpoint):
        """Each field refuses each wrong type by its name and what was expected; nothing else is raised."""
        for field in fields_of(endpoint.request_type):
            right = getattr(an_example(endpoint), field.name)
            for wrong in (None, 1.5, b"1001", object(), [1], 5, "", ()):
                if isinstance(wrong, type(right)) or (field.format is OPTIONAL_TIMESTAMP and wrong is None):
                    continue
                if field.format.snapshot is not None and isinstance(wrong, list | tuple):
                    continue
                with pytest.raises(InvalidRequest) as caught:
                    endpoint.encode(an_example(endpoint, **{field.name: wrong}), RULES)
                assert caught.value.field == field.name
                assert f"got {type(wrong).__name__}" in caught.value.reason or "expected" not in caught.value.reason
                assert "expected" in caught.value.reason or wrong is None

    @pytest.mark.parametrize("number", [None, 99, b"099", ["099"]])
    def test_a_list_with_a_wrong_type_inside(self, number):
        """A number that came out of a spreadsheet as a number is refused by the list it stands in."""
        endpoint = ENDPOINTS["Dialers/Respool"]
        with pytest.raises(InvalidRequest, match="alternatives: expected a sequence of numbers as text"):
            endpoint.encode(an_example(endpoint, alternatives=[number]), RULES)

    @each_endpoint
    def test_rules_that_concern_two_fields_come_last(self, endpoint):
        """No wrong type of any field makes the check of the whole fail in a way of its own."""
        for name in endpoint.request_type.__struct_fields__:
            wrong = an_example(endpoint)
            msgspec.structs.force_setattr(wrong, name, object())
            with pytest.raises(InvalidRequest):
                endpoint.encode(wrong, RULES)

    def test_constants_travel_with_every_request(self):
        """A respool is always of status 1, as a number."""
        endpoint = ENDPOINTS["Dialers/Respool"]
        assert msgspec.json.decode(read(endpoint.encode(an_example(endpoint), RULES))[0][1])["status"] == 1

    def test_a_field_without_a_format(self):
        """A declaration that forgets how a field is written is refused when it is first read."""

        class Careless(msgspec.Struct):
            agent: str

        with pytest.raises(TypeError, match="Careless.agent: annotate it"):
            fields_of(Careless)

    @each_endpoint
    def test_masked_fields_can_be_encoded(self, endpoint):
        """A preview of any request keeps the rules of the API."""
        request = an_example(endpoint)
        body = endpoint.encode(endpoint.request_type(**masked(request)), RULES)
        assert bool(body) == bool(fields_of(endpoint.request_type))


class TestFlatten:
    """The emulator's side: a form that may hold anything."""

    CODEC = FormCodec(ENDPOINTS["Dialers/Respool"].request_type, "callspool", {"status": 1})

    @pytest.mark.parametrize(
        ("form", "said"),
        [
            ({}, "no field callspool"),
            ({"callspool": ""}, "callspool is not JSON"),
            ({"callspool": "{"}, "callspool is not JSON"),
            ({"callspool": "\udcff"}, "callspool is not JSON"),
            ({"callspool": chr(0xD800)}, "callspool is not JSON"),
            ({"callspool": "[" * 100_000}, "callspool is not JSON"),
            ({"callspool": "[]"}, "callspool is not a JSON object"),
            ({"callspool": "1"}, "callspool is not a JSON object"),
            ({"callspool": "{}"}, "no field campaign"),
            ({"callspool": '{"campaign": 1.5}'}, "expected text"),
        ],
    )
    def test_what_is_no_request(self, form, said):
        """Each is a ValueError that says what is missing."""
        with pytest.raises(ValueError, match=said):
            self.CODEC.decode(form, RULES)

    def test_optional_fields_may_be_missing(self):
        """Other clients leave out what is empty."""
        text = '{"campaign": "a->", "destination": 99123456, "dialerbase": "b", "contact": "5", "unknown": null}'
        request = self.CODEC.decode({"callspool": text}, RULES)
        assert (request.destination, request.contact, request.priority) == ("99123456", 5, 9999)
        assert (request.data, request.alternatives) == ({}, ())

    @each_endpoint
    @settings(max_examples=30)
    @given(st.data())
    def test_any_form_is_a_request_or_a_value_error(self, endpoint, data):
        """No form brings down the reader."""
        scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | whole_text
        names = [field.wire_name for field in fields_of(endpoint.request_type)]
        if endpoint.codec.argument is None:
            form = {name: data.draw(whole_text) for name in names}
        else:
            values = {name: data.draw(scalars | st.lists(scalars, max_size=2)) for name in names}
            form = {endpoint.codec.argument: msgspec.json.encode(values).decode()}
        try:
            request = endpoint.codec.decode(form, RULES)
        except ValueError:
            return
        assert isinstance(request, endpoint.request_type)


# reliability.md 1.4, a line each: status, headers, body, what it is.
TABLE = [
    (200, {}, b"1", None),
    (200, {}, b"1\n", None),
    (200, {}, b" \t\r\n1 \r\n", None),
    (200, {}, b"0", Rejected),
    (200, {}, b"0\r\n", Rejected),
    (200, {}, b'"1"', UnreadableReply),
    (200, {}, b"", UnreadableReply),
    (200, {}, b"\n", UnreadableReply),
    (200, {}, b"11", UnreadableReply),
    (200, {}, b"1 1", UnreadableReply),
    (200, {}, b"1.0", UnreadableReply),
    (200, {}, b"00", UnreadableReply),
    (200, {}, b"OK", UnreadableReply),
    (200, {}, b"true", UnreadableReply),
    (200, {}, b"1\x00", UnreadableReply),
    (200, {}, b"\x0b1", UnreadableReply),
    (200, {}, b"\xc2\xa01", UnreadableReply),
    (200, {}, b"\xef\xbb\xbf1", UnreadableReply),
    (200, {}, b"\xff\xfe", UnreadableReply),
    (200, {}, b'{"error": "busy"}', UnreadableReply),
    (200, {}, b"<html><body>1</body></html>", UnreadableReply),
    (200, {"Content-Encoding": "gzip"}, b"1", UnreadableReply),
    (200, {"content-encoding": "br"}, b"0", UnreadableReply),
    (200, {"Content-Encoding": "identity"}, b"1", None),
    (200, {"Content-Encoding": ""}, b"1", None),
    (200, {"Content-Type": "text/html"}, b"1", None),
    (201, {}, b"1", UnreadableReply),
    (202, {}, b"1", UnreadableReply),
    (204, {}, b"", UnreadableReply),
    (206, {}, b"1", UnreadableReply),
    (301, {"Location": "/portal/login"}, b"", UnreadableReply),
    (307, {"Location": "/portal/login"}, b"", UnreadableReply),
    (308, {"Location": "/login"}, b"", UnreadableReply),
    (302, {"Location": "/portal/login"}, b"", Unauthorized),
    (302, {"location": "https://acme/portal/Login.jsp?next=%2F"}, b"", Unauthorized),
    (302, {"Location": "/login;jsessionid=0A1B"}, b"", Unauthorized),
    (302, {"Location": "/login.html;jsessionid=0A1B#top"}, b"", Unauthorized),
    (303, {"Location": "login/"}, b"", Unauthorized),
    (302, {"Location": "/loginX"}, b"", UnreadableReply),
    (302, {"Location": "/portal/home"}, b"", UnreadableReply),
    (302, {"Location": "/login/help"}, b"", UnreadableReply),
    (302, {"Location": "/relogin"}, b"", UnreadableReply),
    (302, {"Location": "http://["}, b"", UnreadableReply),
    (302, {"Location": ""}, b"", UnreadableReply),
    (302, {}, b"", UnreadableReply),
    (304, {}, b"", UnreadableReply),
    (400, {}, b"", Refused),
    (401, {}, b"", Unauthorized),
    (401, {}, b"1", Unauthorized),
    (403, {}, b"", Forbidden),
    (404, {}, b"1", NotFound),
    (405, {}, b"", Refused),
    (408, {}, b"", ServerFault),
    (411, {}, b"", Refused),
    (413, {}, b"", Refused),
    (414, {}, b"", Refused),
    (415, {}, b"", Refused),
    (429, {}, b"", Throttled),
    (429, {"Retry-After": "soon"}, b"", Throttled),
    (431, {}, b"", Refused),
    (500, {}, b"1", ServerFault),
    (502, {"Retry-After": "1"}, b"", ServerFault),
    (503, {"Retry-After": "1"}, b"", Throttled),
    (503, {}, b"", ServerFault),
    (503, {"Retry-After": "soon"}, b"", ServerFault),
    (504, {}, b"", ServerFault),
    (599, {}, b"", ServerFault),
    (600, {}, b"1", UnreadableReply),
    (100, {}, b"1", UnreadableReply),
    (0, {}, b"1", UnreadableReply),
]


def outcome(status, headers=(), body=b"", reply=Reply.DONE, profile=PROFILE):
    """Return the error that an answer is, or what it says."""
    try:
        return read_answer(Answer(status, dict(headers), body), reply, profile)
    except UContactError as error:
        return error


class TestAnswers:
    """What an answer means: done, surely not done, or nobody knows."""

    @pytest.mark.parametrize(("status", "headers", "body", "expected"), TABLE)
    def test_the_answer_table(self, status, headers, body, expected):
        """Each line of the table is exactly its class, the status is kept, and said for what is not the endpoint's."""
        result = outcome(status, headers, body)
        if expected is None:
            assert result is None
        else:
            assert type(result) is expected
            assert result.status == status
            assert str(headers.get("Content-Encoding", status if status != 200 else "")) in str(result)

    @pytest.mark.parametrize("body", [b"", b"1", b"0", b"<html>"])
    def test_every_status(self, body):
        """No status but 200 is a success, only 4xx is a certain no, and 408 is none."""
        for status in {*range(100, 600)} - {200}:
            error = outcome(status, {}, body)
            assert isinstance(error, UContactError)
            certain = 400 <= status <= 499 and status != 408
            assert error.may_have_happened is not certain

    @given(st.integers(0, 999), st.dictionaries(st.sampled_from(["Location", "Retry-After"]), st.text()), st.binary())
    @example(302, {"Location": "//[a"}, b"")
    @example(200, {}, b"[" * 100_000)
    def test_no_answer_brings_down_the_reader(self, status, headers, body):
        """Any answer is a value or one of our errors, for each kind of reply; success is 200 only."""
        for reply in (Reply.DONE, Reply.OK, Reply.GUID, Reply.TEXT, Reply.JSON):
            result = outcome(status, headers, body, reply)
            assert status == 200 or isinstance(result, UContactError)

    @given(st.binary(max_size=200).filter(lambda body: body.strip(b" \t\r\n") not in (b"0", b"1")))
    @example("\u202e1\r\nFORGED LINE".encode())
    def test_what_is_quoted_of_a_strange_body(self, body):
        """All but ``1`` and ``0`` is an unknown outcome; its text is one printable line with a bounded quotation."""
        error = outcome(200, {}, body)
        assert type(error) is UnreadableReply
        assert str(error).isprintable()
        assert len(str(error)) < 1000

    def test_a_strange_body_is_quoted(self):
        """What came instead of an answer is where somebody looks first: its beginning, whatever bytes it is of."""
        assert "HTTP 200" in str(outcome(200, {}, b"<html>"))
        assert "'<html>'" in str(outcome(200, {}, b"<html>"))
        assert "\ufffd" in str(outcome(200, {}, b"\xff"))
        assert "b" not in str(outcome(200, {}, b"a" * 64 + b"b")).partition("gives:")[2]
        assert "'" + 64 * "é" + "..." in str(outcome(200, {}, 65 * "é".encode()))

    def test_a_body_that_may_hold_a_secret_is_not_quoted(self):
        """The answer to a login is a token, also where it is not understood."""

        class Login(type(Reply.DONE)):
            secret = True

        error = outcome(200, {}, b"canary", Login())
        assert type(error) is UnreadableReply
        assert "HTTP 200" in str(error)
        assert "canary" not in str(error)

    @pytest.mark.parametrize(
        ("reply", "body"),
        [(Reply.DONE, b"1"), (Reply.OK, b"OK"), (Reply.GUID, b"5f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b10")],
    )
    def test_only_white_space_may_stand_around_an_answer(self, reply, body):
        """Any other byte before or after it makes it an answer that the endpoint never gives."""
        for byte in {bytes([number]) for number in range(256)} - {b" ", b"\t", b"\r", b"\n"}:
            assert type(outcome(200, {}, byte + body, reply)) is UnreadableReply
            assert type(outcome(200, {}, body + byte, reply)) is UnreadableReply

    @pytest.mark.parametrize(
        ("profile", "status", "headers", "expected"),
        [
            (ServerProfile(trust_429=False), 429, {"Retry-After": "1"}, ServerFault),
            (ServerProfile(trust_retry_after_503=False), 503, {"Retry-After": "1"}, ServerFault),
            (ServerProfile(trust_503=True), 503, {}, Throttled),
            (ServerProfile(trust_503=True, trust_retry_after_503=False), 503, {"Retry-After": "1"}, Throttled),
            (ServerProfile(trust_429=False, trust_503=True), 503, {}, Throttled),
            (ServerProfile(login_page="signin"), 302, {"Location": "/signin.do"}, Unauthorized),
            (ServerProfile(login_page="signin"), 302, {"Location": "/login"}, UnreadableReply),
        ],
    )
    def test_what_a_profile_changes(self, profile, status, headers, expected):
        """What is trusted of a server is declared, and each declaration can be taken back."""
        assert type(outcome(status, headers, profile=profile)) is expected

    @pytest.mark.parametrize("name", ["Retry-After", "retry-after", "RETRY-AFTER"])
    def test_headers_in_any_case(self, name):
        """The headers of an HTTP library are found however the server writes them."""
        headers = CIMultiDictProxy(CIMultiDict({name: "7"}))
        with pytest.raises(Throttled) as caught:
            read_answer(Answer(503, headers, b""), Reply.DONE, PROFILE)
        assert caught.value.retry_after == 7

    def test_an_answer_shows_no_body(self):
        """The answer to a login is a token: neither repr nor rich's repr shows what was answered."""
        answer = Answer(200, {"Set-Cookie": "canary"}, b"canary")
        assert "canary" not in repr(answer) + repr(list(answer.__rich_repr__()))


class TestRetryAfter:
    """Seconds or a date, at most five minutes."""

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("0", 0),
            ("7", 7),
            (" 7 ", 7),
            ("300", 300),
            ("301", 300),
            ("9" * 5000, 300),
            ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 300),
            ("Fri, 31 Dec 9999 23:59:59 -0000", 300),
            ("Fri, 31 Dec 9999 23:59:59 +0300", 300),
            (None, None),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("1e3", None),
            ("inf", None),
            ("nan", None),
            ("soon", None),
            ("7 seconds", None),
            ("Wed, 99 Oct 2015 07:28:00 GMT", None),
            ("Wed, 21 Oct 99999 07:28:00 GMT", None),
        ],
    )
    def test_what_is_read(self, value, seconds):
        """Garbage names no time, and no time is longer than the limit."""
        assert retry_after(value) == seconds

    @pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=3)), timezone(timedelta(hours=-3)), None])
    @pytest.mark.skipif(not hasattr(time, "tzset"), reason="only on POSIX: a process's own time zone")
    def test_a_date_to_come(self, zone, monkeypatch):
        """A date is as far away as it is, whatever zone it is told in and whatever zone this machine is in."""
        date = format_datetime((datetime.now(UTC) + timedelta(seconds=200)).astimezone(zone or UTC))
        monkeypatch.setenv("TZ", "XXX-5")
        time.tzset()
        try:
            assert 0 < retry_after(date if zone else date.replace("+0000", "-0000")) <= 200
        finally:
            monkeypatch.undo()
            time.tzset()

    @given(st.text() | st.from_regex(r"\w{3}, \d{1,3} \w{3} \d{1,5} \d\d:\d\d:\d\d [+-]?\w{1,5}"))
    def test_any_text_is_a_time_or_none(self, value):
        """No header brings down the reader."""
        seconds = retry_after(value)
        assert seconds is None or 0 <= seconds <= 300


class TestReplies:
    """The documented kinds of reply, from both sides."""

    @given(whole_text.map(lambda text: text.strip(" \t\r\n")).filter(lambda text: text != "0"))
    def test_text_is_read_back(self, text):
        """parse(encode(x)) == x; white space around it is the server's."""
        assert Reply.TEXT.decode(Reply.TEXT.encode(text)) == text
        assert outcome(200, {}, b" " + text.encode() + b"\r\n", Reply.TEXT) == text

    def test_text_loses_nothing_but_white_space(self):
        """No printable character at its ends is taken for the server's."""
        for character in string.digits + string.ascii_letters + string.punctuation:
            assert outcome(200, {}, f" {character}-{character}\t".encode(), Reply.TEXT) == f"{character}-{character}"

    @pytest.mark.parametrize("value", [[], {}, [0], {"a": [1, None]}, "0", "", False, True, None, 1, 0.5])
    def test_json_is_read_back(self, value):
        """parse(encode(x)) == x; only the number 0 is a refusal, not what is merely empty or false."""
        assert Reply.JSON.decode(Reply.JSON.encode(value)) == value

    @pytest.mark.parametrize("reply", [Reply.DONE, Reply.OK, Reply.GUID, Reply.TEXT, Reply.JSON])
    @pytest.mark.parametrize("body", [b"0", b" 0\n"])
    def test_zero_is_a_refusal(self, reply, body):
        """HTTP 200 with the body 0 is the documented no, for every kind of reply."""
        error = outcome(200, {}, body, reply)
        assert type(error) is Rejected
        assert error.status == 200
        assert "the server answered 0" in str(error)

    def test_done_is_one(self):
        """The emulator answers what the client takes for done."""
        assert Reply.DONE.encode(None) == b"1"
        assert outcome(200, {}, Reply.DONE.encode(None)) is None

    @pytest.mark.parametrize("body", [b"OK", b" OK\r\n"])
    def test_ok_is_ok(self, body):
        """A workflow that was started is answered OK, in capitals; the emulator says the same."""
        assert outcome(200, {}, body, Reply.OK) is None
        assert Reply.OK.encode(None) == b"OK"

    @pytest.mark.parametrize("body", [b"1", b"ok", b"Ok", b'"OK"', b"OK OK", b"OKAY", b"OK\x00", b"", b"\xffOK"])
    def test_what_is_not_ok(self, body):
        """Anything but OK is an unknown outcome."""
        assert type(outcome(200, {}, body, Reply.OK)) is UnreadableReply

    @given(st.uuids(), st.sampled_from([str.lower, str.upper, str.title]), st.sampled_from(["", " ", "\n", "\r\n"]))
    def test_a_guid_is_read_back(self, guid, case, around):
        """Any UUID in any case, as the server wrote it; white space around it is the server's."""
        text = case(str(guid))
        assert Reply.GUID.decode(Reply.GUID.encode(text)) == text
        assert outcome(200, {}, f"{around}{text}{around}".encode(), Reply.GUID) == text

    @pytest.mark.parametrize(
        "body",
        [
            *(b"", b"1", b"OK", b"null", b"5f3a1c9e", b"5f3a1c9e7b244d0f9a612f8e5d3c7b10"),
            *(b'"5f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b10"', b"{5f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b10}"),
            *(b"5f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b1", b"5f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b100"),
            *(b"gf3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b10", b"5f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b10 0"),
            *(b"5f3a1c9e7-b24-4d0f-9a61-2f8e5d3c7b10", "\u0665f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b10".encode()),
        ],
    )
    def test_what_is_no_guid(self, body):
        """Anything but the 36 characters of a UUID is an unknown outcome: the agent's phone may be ringing."""
        assert type(outcome(200, {}, body, Reply.GUID)) is UnreadableReply

    @pytest.mark.parametrize("body", [b"\xff", b"", b"{", b"nul", b"[1,]"])
    def test_what_is_no_json(self, body):
        """Bytes that are no JSON are an unknown outcome."""
        assert isinstance(outcome(200, {}, body, Reply.JSON), OutcomeUnknown)

    def test_bytes_that_are_no_text(self):
        """Bytes that are no UTF-8 are an unknown outcome."""
        assert type(outcome(200, {}, b"\xff", Reply.TEXT)) is UnreadableReply

    def test_how_much_is_read(self):
        """64 KiB for a command, 16 MiB for JSON."""
        assert [reply.limit for reply in (Reply.DONE, Reply.TEXT, Reply.JSON)] == [65_536, 65_536, 16_777_216]
