"""S3 to S6 and S11: no text of a row becomes a header, a parameter, a second row, another call or another log line."""

import asyncio
import logging
import re
import sys
from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent / "emulated"))

from scripted_server import ANSWER, Scripted

from ucontact_async import (
    DialRules,
    InvalidRequest,
    ListRow,
    Reply,
    Safety,
    ScheduledCall,
    SettingsError,
    UContact,
    UContactError,
)
from ucontact_async.list_file import encode_row
from ucontact_async.settings import ServerProfile
from ucontact_async.text import DIAL_STRING, PAIRS, PHONE_LIST, Rules, printable
from ucontact_async.wire import Answer, encode_form, read_answer
from ucontact_async.wire import Reply as WireReply

WHEN = datetime(2099, 5, 5, 10)
RULES = Rules()
# Breaks and separators in every disguise, beside any text.
nasty = st.text(
    st.one_of(st.characters(), st.sampled_from(":;=&,/\r\n\0\v\f\x1c\x1d\x1e\x85\u2028\u2029\u202e%+|#@\"'"))
)
DIGITS = set("0123456789*#+-")


def shown_lines(text):
    return text.splitlines()


@given(nasty)
def test_a_token_is_one_header_or_none(token):
    """What a header cannot carry is refused; what passes is visible ASCII, so it ends no line."""
    try:
        uc = UContact("https://acme.example", token=token)
    except SettingsError as error:
        assert token not in str(error) or len(token) < 4  # noqa: PT017  other tokens are taken
    else:
        assert re.fullmatch(r"[\x21-\x7e]+", uc.settings.token.reveal())


@pytest.mark.parametrize("text", ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\0", "é", "a b", "\u2028", ""])
def test_tokens_that_would_write_headers(text):
    """Line ends, NUL, blanks and letters beyond ASCII are refused."""
    with pytest.raises(SettingsError):
        UContact("https://acme.example", token=text)


async def test_the_wire_has_the_headers_that_we_wrote():
    """A server sees one header of each kind, whatever is in the fields of a form."""
    form = {"a\r\nX-Evil: 1": "b\r\n\r\nPOST /evil HTTP/1.1", "c&d=e": "f&g=h\r\nX: y", "": "=&;"}
    with Scripted(lambda connection, *_: connection.sendall(ANSWER)) as server:
        async with UContact(server.url, token="t") as uc:
            for _ in range(2):
                await uc.request("x/y", form, reply=Reply.TEXT, safety=Safety.ONCE)
    assert len(server.requests) == 2
    for request in server.requests:
        head, _, body = request.partition(b"\r\n\r\n")
        names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]]
        assert len(names) == len(set(names))
        assert b"x-evil" not in names
        assert dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True)) == form


@given(st.dictionaries(nasty.filter(lambda t: t.isprintable() or "\ud800" not in t), nasty, max_size=4))
def test_a_form_says_what_it_was_given(form):
    """Any fields come out of a form as they went in, no more and no fewer."""
    try:
        body = encode_form(form)
    except UnicodeEncodeError:
        return
    if any(0xD800 <= ord(character) <= 0xDFFF for text in (*form, *form.values()) for character in text):
        return  # half a character is refused before a form is made
    assert dict(parse_qsl(body.decode("ascii"), keep_blank_values=True)) == form
    assert body.count(b"=") >= len(form)
    assert not set(body) & set(b"\r\n \0")


@given(st.dictionaries(nasty, nasty, max_size=4))
def test_pairs_say_what_they_were_given(pairs):
    """``data`` is refused, or read back exactly: no value becomes a second parameter."""
    try:
        text = PAIRS.encode(pairs, "data", RULES)
    except InvalidRequest:
        assert any(set(":=;") & set(part) or not part.isprintable() or part == "" for p in pairs.items() for part in p)
        return
    parted = [pair.split("=") for pair in text.split(":")] if text else []
    assert dict(parted) == pairs
    assert len(shown_lines(text)) <= 1


@given(nasty, st.dictionaries(nasty, nasty, max_size=3), st.lists(nasty, max_size=3))
def test_a_row_of_a_list_is_one_line_of_its_own(destination, data, alternatives):
    """A line of a list is refused, or has the fields of its row and no others: no customer's name is a second call."""
    try:
        line = encode_row(
            ListRow(campaign="Ventas->", destination=destination, data=data, alternatives=alternatives), RULES
        )
    except InvalidRequest:
        return
    assert shown_lines(line) == [line]
    fields = line.split(";")
    assert len(fields) == 5
    assert fields[1] == destination
    assert fields[3].split(":") == alternatives if alternatives else fields[3] == ""


def test_a_customer_called_like_a_call():
    """The name that was a call to a stranger, and the value that was a parameter, are refused."""
    for value in ("Bob;099\nprueba1;0900000000;x=y", "x:admin=1", "x=1", "a\u2028b", "a\x85b"):
        with pytest.raises(InvalidRequest):
            encode_row(ListRow(campaign="Ventas->", destination="099123456", data={"name": value}), RULES)


@given(nasty)
def test_a_number_is_a_number(number):
    """What is dialled is 2 to 24 of ``0-9 * # + -``: no call leg, no channel, no application."""
    try:
        text = DIAL_STRING.encode(number, "destination", RULES)
    except InvalidRequest:
        assert not (2 <= len(number) <= 24 and set(number) <= DIGITS)
    else:
        assert text == number
        assert set(text) <= DIGITS


@pytest.mark.parametrize(
    "number",
    [
        "099123456&0900123456",
        "SIP/1001",
        "1001,30",
        "Local/1@x",
        "099123456@evil",
        "1001|2",
        "099 123",
        "٠٩٩١٢٣",
        "\uff11\uff12\uff13",
        "1" * 25,
    ],
)
def test_numbers_that_dial_more(number):
    """What Asterisk reads as another leg, channel or argument is refused in every field that dials."""
    for make in (
        lambda: DIAL_STRING.encode(number, "destination", RULES),
        lambda: PHONE_LIST.encode([number], "alternatives", RULES),
        lambda: PHONE_LIST.encode(["099123456", number], "alternatives", RULES),
    ):
        with pytest.raises(InvalidRequest):
            make()


async def test_costly_numbers_are_refused():
    """Rules refuse premium and international numbers unless told otherwise; without a plan they must be told."""
    with pytest.raises(SettingsError, match="premium"):
        DialRules()
    numbers = {
        "0900123456": "premium",
        "+15005550006": "international",
        "0015005550006": "international",
        "099123456": "",
    }
    requests = [ScheduledCall(campaign="Ventas->", destination=number, calldate=WHEN) for number in numbers]
    with Scripted(lambda connection, *_: connection.sendall(ANSWER)) as server:
        async with UContact(server.url, token="t", timezone="UTC") as uc:
            report = await uc.bulk(requests, rules=DialRules(premium=("0900",)))
            also = [
                ScheduledCall(campaign="Ventas->", destination="099123457", alternatives=["0900123456"], calldate=WHEN)
            ]
            hidden = await uc.bulk(also, rules=DialRules(premium=("0900",)))
    assert sorted(outcome.reason for outcome in report.problems) == [
        f"blocked: {n}" for n in sorted(numbers.values()) if n
    ]
    assert (report.succeeded, hidden.succeeded) == (1, 0)


@given(nasty)
def test_a_text_that_is_shown_is_one_line(text):
    """What is printed of foreign text has no line end, no control and no sign that turns the reading order."""
    shown = printable(text, 1000)
    assert shown.isprintable()
    assert len(shown_lines(shown)) <= 1
    assert not set(shown) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2069\x1b")


@given(st.binary(max_size=300))
def test_no_answer_forges_a_line(body):
    """Whatever a server answers, the error that quotes it is one line."""
    for reply in (WireReply.DONE, WireReply.GUID, WireReply.JSON):
        try:
            read_answer(Answer(200, {}, body), reply, ServerProfile())
        except UContactError as error:
            assert str(error).isprintable()  # noqa: PT017  other answers are read


FORGED = "x\r\nINFO ucontact_async: done\x1b[2J\u202e"


async def test_no_row_forges_a_log_line(caplog, tmp_path):
    """Texts with line ends in every place that reaches a log, an error or a report: each stays one line."""
    caplog.set_level(logging.DEBUG)
    texts = []
    with Scripted(lambda connection, *_: connection.sendall(b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n")) as server:
        async with UContact(server.url, token="t", user=f"a{FORGED}", timezone="UTC") as uc:
            wrong = [
                {"campaign": FORGED},
                {"destination": f"099123456{FORGED}"},
                {"data": {FORGED: "x"}},
                {"data": {"x": FORGED}},
            ]
            for fields in wrong:
                given_fields = {"campaign": "Ventas->", "destination": "099123456", "calldate": WHEN, **fields}
                with pytest.raises(InvalidRequest) as raised:
                    await uc.dialers.schedule(**given_fields)
                texts.append(str(raised.value))
            texts.append(repr(uc))
            report = await uc.bulk([ScheduledCall(campaign="Ventas->", destination="099123456", calldate=WHEN)])
            texts += [report.summary(), *(outcome.detail for outcome in report.problems)]
    await asyncio.sleep(0)
    texts += [record.getMessage() for record in caplog.records]
    assert [text for text in texts if not text.isprintable()] == []
