"""What goes to a server: the small texts, form bodies and whole requests, and the same read as a server reads them."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import msgspec

from ucontact_async.api import ENDPOINTS, endpoint_of
from ucontact_async.api.recordings import DIGITS, OPTIONAL_DAY
from ucontact_async.batch.operations import identity_of
from ucontact_async.errors import InvalidRequest
from ucontact_async.list_file import (
    FILE_CONTENT,
    FILE_NAME,
    USER_NAME,
    ListRow,
    TypedNumber,
    decode_file,
    decode_row,
    encode_row,
)
from ucontact_async.serving import Service, gson, read_form
from ucontact_async.text import (
    ANY_CAMPAIGN,
    CAMPAIGN,
    CAMPAIGN_OR_ALL,
    COUNT,
    DIAL_STRING,
    FLAG,
    FREE_TEXT,
    GUID,
    JSON_OBJECT,
    NAME,
    OPTIONAL_CAMPAIGN,
    OPTIONAL_DIAL_STRING,
    OPTIONAL_TIMESTAMP,
    PAIRS,
    PHONE_LIST,
    PRIORITY,
    PRIVATE_TEXT,
    SECRET,
    TIMESTAMP,
    Rules,
    mask_phone,
    parse_timestamp,
    printable,
)
from ucontact_async.wire import Answer, encode_form, fields_of

from .target import DEEP, Draw, Target, expect, pick, reread, text_of
from .witnessed import BODIES, VALUES

ZONES = [ZoneInfo(name) for name in ("America/Montevideo", "Australia/Lord_Howe", "Europe/Madrid", "UTC")]
SOUND = ("Ventas->", "098344484", "24001234", "5f3a1c9e-7b24-4d0f", "20270505", "lista.csv", "Ana", "id", "7", "*", "")
AT = {text: pick(place, SOUND) for place, text in enumerate(SOUND)}
"""The byte that draws each sound text."""
ENDPOINTS_IN_ORDER = list(ENDPOINTS.values())
_TEXTS = (FREE_TEXT, PRIVATE_TEXT, SECRET, NAME, GUID, DIAL_STRING, OPTIONAL_DIAL_STRING, CAMPAIGN, OPTIONAL_CAMPAIGN)
_TEXTS += (ANY_CAMPAIGN, CAMPAIGN_OR_ALL, FILE_NAME, USER_NAME, OPTIONAL_DAY, DIGITS)


def moment_of(draw: Draw) -> datetime:
    """Return any moment: without a zone, in one, or at an offset; a usual one as often as one at the end of time."""
    kind = draw.byte()
    if kind < 192:
        plain = datetime(2027, 1, 1) + timedelta(minutes=30 * int.from_bytes(draw.take(2), "big"))
    else:
        days = int.from_bytes(draw.take(3), "big") % 3_652_059
        plain = datetime(1, 1, 1) + timedelta(
            days=days, microseconds=int.from_bytes(draw.take(5), "big") % 86_400_000_000
        )
    zones = (None, None, *ZONES, UTC, timezone(timedelta(minutes=draw.byte() * 10 - 1270)))
    return plain.replace(tzinfo=zones[kind % len(zones)], fold=kind % 2)


def value_of(format_, draw: Draw):
    """Return any value for a field of this format, sometimes one of another type."""
    if draw.byte() == 255:
        return draw.choice((None, 7, 1.5, True, b"x", [1], {"a": None}, {1: "b"}, ["1", 2], "text", ("09", "09")))
    if format_ in (COUNT, PRIORITY):
        return draw.number()
    if format_ is FLAG:
        return bool(draw.byte() % 2)
    if format_ is PAIRS:
        return {draw.text(SOUND): draw.text(SOUND) for _ in range(draw.byte() % 4)}
    if format_ is PHONE_LIST:
        return [draw.text(SOUND) for _ in range(draw.byte() % 4)]
    if format_ in (TIMESTAMP, OPTIONAL_TIMESTAMP):
        return moment_of(draw)
    if format_ is FILE_CONTENT:
        return draw.take(draw.byte())
    if format_ is JSON_OBJECT:
        return {draw.text(SOUND): draw.number() for _ in range(draw.byte() % 3)}
    return draw.text(SOUND)


def request(data: bytes) -> None:
    """Any request of any endpoint: refused, or read by a server as what it was."""
    draw = Draw(data)
    rules = Rules(draw.choice(ZONES), user="api")
    endpoint = draw.choice(ENDPOINTS_IN_ORDER)
    fields = fields_of(endpoint.request_type)
    values = {field.name: value_of(field.format, draw) for field in fields}
    try:
        made = endpoint.request(**values)
        prepared = endpoint.prepare(made, rules)
    except InvalidRequest:
        raise
    except Exception as error:
        raise AssertionError(f"a request that cannot be refused: {endpoint.path} {type(error).__name__}") from error
    repr(made)
    _recovered(endpoint, made, prepared, rules)


def _recovered(endpoint, made, prepared, rules):
    read = reread(endpoint.codec.decode, read_form("", prepared.body), rules)
    kept = reread(endpoint.codec.read, prepared.document, rules) if "content" not in made.__struct_fields__ else read
    again, _ = reread(endpoint.codec.encode, read, rules)
    expect(again == prepared.body, f"{endpoint.path}: read back it is another request")
    expect(read == kept, f"{endpoint.path}: the document says something else than the form")
    for field in fields_of(endpoint.request_type):
        was, became = getattr(made, field.name), getattr(read, field.name)
        same = was == became or (was is None and field.format is USER_NAME)
        same = _same_second(was, became) if isinstance(was, datetime) else same
        expect(same, f"{endpoint.path}: {field.name} is not what was written")
    first, second = (identity_of(each, prepared.body, rules.zone) for each in (made, read))
    expect(first == second, f"{endpoint.path}: read back it is another call")


def _same_second(was, became):
    became = became.replace(tzinfo=None) if was.tzinfo is None else became
    # By the distance: at the change of a clock, moments in different zones are never equal.
    return became - was.replace(microsecond=0) == timedelta(0)


def call(data: bytes) -> None:
    """A form as any client may send it: a call, or an answer that refuses it; never an error."""
    draw = Draw(data)
    endpoint = draw.choice(ENDPOINTS_IN_ORDER)
    form = read_form("", draw.rest())
    expect(len(form) <= 1000, "more fields than are read")
    SERVICE.fields(endpoint, form)
    opened = SERVICE.open(endpoint, form)
    if isinstance(opened, Answer):
        expect(opened.body == b"0", "a refusal that is none")
    else:
        msgspec.json.encode(opened.fields)


SERVICE = Service(ENDPOINTS, dict.fromkeys(ENDPOINTS, lambda _: None), lambda _: None)


def form(data: bytes) -> None:
    """Names and values through the encoder of forms and a server's reader."""
    draw = Draw(data)
    given = {draw.text(VALUES): draw.text(VALUES) for _ in range(draw.byte() % 5)}
    given = {
        name.encode("utf-8", "replace").decode(): value.encode("utf-8", "replace").decode()
        for name, value in given.items()
        if name
    }
    expect(read_form("", encode_form(given)) == given, "a form is not what was written")
    expect(msgspec.json.decode(gson(given)) == given, "JSON is not what was written")
    read_form(draw.text(), draw.rest())


def text(data: bytes) -> None:
    """Any text as any kind of text: refused, or read back as it was; and shown without harm."""
    draw = Draw(data)
    format_, rules = draw.choice(_TEXTS), Rules(campaign_arrows=bool(draw.byte() % 2), user="api")
    value = text_of(draw.rest())
    expect(printable(value, 10_000).isprintable(), "a text that forges a line")
    expect(len(mask_phone(value)) == max(4, len(value)), "a mask of another length")
    written = format_.encode(value, "field", rules)
    expect(reread(format_.decode, written, rules) == value, "a text is not what was written")


def pairs(data: bytes) -> None:
    """Form data: refused, or the same pairs again; what a server sent is read and written as it came."""
    draw = Draw(data)
    given = {draw.text(SOUND): draw.text(SOUND) for _ in range(draw.byte() % 5)}
    came = PAIRS.decode(text_of(draw.rest()), RULES)
    expect("" not in came, "a pair without a name")
    written = PAIRS.encode(given, "data", RULES)
    expect(written.count(":") == max(0, len(given) - 1), "a value that became a pair")
    expect(reread(PAIRS.decode, written, RULES) == given, "pairs are not what was written")


def alternatives(data: bytes) -> None:
    """Further numbers: refused, or the same numbers again."""
    draw = Draw(data)
    given = tuple(draw.text(SOUND) for _ in range(draw.byte() % 5))
    PHONE_LIST.decode(text_of(draw.rest()), RULES)
    PHONE_LIST.mask(given)
    written = PHONE_LIST.encode(given, "alternatives", RULES)
    expect(reread(PHONE_LIST.decode, written, RULES) == given, "numbers are not what was written")


def timestamp(data: bytes) -> None:
    """A moment in the server's zone: refused, or the same second again; and any text for one."""
    draw = Draw(data)
    rules, moment = Rules(draw.choice(ZONES)), moment_of(draw)
    parse_timestamp(text_of(draw.rest()))
    written = TIMESTAMP.encode(moment, "calldate", rules)
    expect(len(written) == 19, "a date of another length")
    read = reread(TIMESTAMP.decode, written, rules)
    expect(_same_second(moment, read), "a moment is not what was written")


def json_object(data: bytes) -> None:
    """A JSON object as the text of a field."""
    try:
        value = JSON_OBJECT.decode(text_of(data), RULES)
    except ValueError:
        return
    written = JSON_OBJECT.encode(value, "data", RULES)
    expect(reread(JSON_OBJECT.decode, written, RULES) == value, "an object is not what was written")


RULES = Rules()


def list_line(data: bytes) -> None:
    """A line of a list file: refused, or written again as a row that says the same."""
    row = decode_row(text_of(data))
    repr(row)
    try:
        line = encode_row(row, Rules())
    except InvalidRequest:  # a campaign without its arrow, parameters written carelessly
        return
    expect(reread(decode_row, line) == row, "a row is not what was written")


def list_row(data: bytes) -> None:
    """A row of a list: refused, or one line that says the same."""
    draw = Draw(data)
    row = ListRow(
        campaign=draw.text(SOUND),
        destination=_number(draw),
        data={draw.text(SOUND): draw.text(SOUND) for _ in range(draw.byte() % 3)},
        alternatives=[_number(draw) for _ in range(draw.byte() % 3)],
        priority=draw.number(),
        agentphone=draw.text(SOUND),
    )
    repr(row)
    line = encode_row(row, Rules(), campaign="Ventas->")
    read, dropped = decode_file(line.encode())
    whole = msgspec.structs.replace(row, campaign=row.campaign or "Ventas->")
    expect((read, dropped) == ([whole], 0), "a row is not one line that says the same")


def _number(draw):
    kind = draw.byte()
    if kind < 200:
        return draw.text(SOUND)
    return TypedNumber(kind="MWHPUX"[kind % 6], number=draw.text(SOUND), retries=draw.number())


def list_file(data: bytes) -> None:
    """The bytes of a list file, through base64 and back, and read as rows; never an error."""
    rows, dropped = decode_file(data)
    expect(len(rows) + dropped <= data.count(b"\n") + 1, "more rows than lines")
    if data:
        sent = FILE_CONTENT.encode(data, "content", RULES)
        field = read_form("", b"fileb64=" + sent)["fileb64"]
        expect(FILE_CONTENT.decode(field, RULES) == data, "a file is not what was sent")
    FILE_CONTENT.decode(text_of(data), RULES)


def identities(data: bytes) -> None:
    """Calls that differ in campaign, number or moment are told apart, however they are spelt."""
    draw = Draw(data)
    seen = {}
    for _ in range(3):
        endpoint = ENDPOINTS["Dialers/RemoveContact"]
        made = endpoint.request(campaign=draw.text(SOUND), destination=draw.text(SOUND))
        body = endpoint.encode(made, RULES)
        key = identity_of(made, body), endpoint_of(made)
        expect(seen.setdefault(key, body) == body, "two calls with one identity")
    for one, other in pairwise(seen.values()):
        expect(one != other, "one call with two identities")


_ROW = b"Ventas->;098344484;id=7:n=Ana;H=0=24001234;1;1001"
_INVALID = (InvalidRequest,)
_USUAL = bytes(range(255, 191, -1))

TARGETS = (
    Target(
        "request",
        request,
        tuple(bytes([0, place]) + b"\x00" + _USUAL for place in range(len(ENDPOINTS_IN_ORDER))),
        _INVALID,
    ),
    Target(
        "call",
        call,
        tuple(bytes([[*ENDPOINTS].index(path)]) + body for path, body in BODIES)
        + tuple(bytes([[*ENDPOINTS].index("Dialers/Respool")]) + b"callspool=" + deep for deep in DEEP),
    ),
    Target("form", form, (b"\x02\xc0\xc1\xc2\xc3\x03a=1&b=%20+", b"\x00\x00\xff=\xff&&=")),
    Target(
        "text",
        text,
        tuple(bytes([place, 0]) + value.encode() for place in range(len(_TEXTS)) for value in SOUND[:7]),
        _INVALID,
    ),
    Target(
        "pairs",
        pairs,
        (bytes([2, AT["id"], AT["7"], AT["Ana"], AT["5f3a1c9e-7b24-4d0f"]]) + b"id=7:n=Ana", b"\x00a=b=c::=x:y"),
        _INVALID,
    ),
    Target(
        "alternatives",
        alternatives,
        (bytes([2, AT["098344484"], AT["24001234"]]) + b"098344484:24001234", b"\x00::"),
        _INVALID,
    ),
    Target(
        "timestamp", timestamp, (b"\x00\x02\x10\x002027-05-05 10:00", b"\x01\xc3abcdefgh2027-05-05T10:00:00Z"), _INVALID
    ),
    Target("JSON object", json_object, (b'{"id":"7"}', b"", b'{"a":[1.5,null,{"b":true}]}', *DEEP)),
    Target("list line", list_line, (_ROW, b"Ventas->;M=2=099111222;;;9999"), _INVALID),
    Target(
        "list row",
        list_row,
        (bytes([AT["Ventas->"], 0, AT["098344484"], 1, AT["Ana"], AT["7"], 1, 0, AT["24001234"], 66, AT[""]]), _USUAL),
        _INVALID,
    ),
    Target("list file", list_file, (_ROW + b"\r\n" + _ROW, b"\xef\xbb\xbf" + _ROW, "Ñ;1".encode("cp1252"))),
    Target(
        "identity",
        identities,
        (bytes([AT["Ventas->"], AT["098344484"], AT["Ventas->"], AT["24001234"], AT["Ventas->"], AT["098344484"]]),),
        _INVALID,
    ),
)
